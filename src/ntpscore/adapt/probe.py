"""The paper's linear probe: a linear layer on mean-token features, trained by AdamW."""

import math
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from ntpscore.adapt.config import ProbeConfig
from ntpscore.adapt.frozen import FittedHeads, SplitFeatures, find_layer, fit_on_features
from ntpscore.adapt.head import LinearHead, label_tensor, loss_of
from ntpscore.adapt.result import LOSS_COLUMNS, AdaptResult
from ntpscore.errors import TrainingError
from ntpscore.models import LanguageModel
from ntpscore.progress import Progress
from ntpscore.reading.features import Place
from ntpscore.text import LabelledText, Task


def train_probe(
    features: Tensor,
    labels: Tensor,
    n_outputs: int,
    task: Task,
    config: ProbeConfig,
    progress: bool | None = None,
) -> tuple[nn.Linear, pd.DataFrame]:
    """Train a linear layer on features.

    Args:
        features: (n, d) float32.
        labels: (n,) class indices, or (n, c) float32 labels or targets.
        n_outputs: c.
        task: says the loss: cross entropy, binary cross entropy per label, squared error.
        config: see `ProbeConfig`.
        progress: show a bar.

    Returns:
        layer: the trained layer.
        loss_curve: a row per epoch with the mean loss over it.
    """
    n, d = features.shape
    # One generator of its own for all that is random: the global one stays as it is.
    generator = torch.Generator().manual_seed(config.seed)
    linear = nn.utils.skip_init(nn.Linear, d, n_outputs)
    bound = d**-0.5
    with torch.no_grad():
        linear.weight.uniform_(-bound, bound, generator=generator)
        linear.bias.uniform_(-bound, bound, generator=generator)
    optimizer = torch.optim.AdamW(
        linear.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    rows: list[tuple[int, int, float, float]] = []
    step = 0
    with Progress(progress) as bar:
        bar.start("training the probe", config.epochs, "epochs")
        for epoch in range(config.epochs):
            total = 0.0
            for indices in torch.randperm(n, generator=generator).split(config.batch_size):
                x = features[indices]
                if config.dropout:
                    mask = torch.rand(x.shape, generator=generator) >= config.dropout
                    x = x * mask / (1 - config.dropout)
                loss = loss_of(linear(x), labels[indices], task)
                step += 1
                if not math.isfinite(loss.item()):
                    raise TrainingError(
                        f"training diverged: the loss at step {step} (epoch {epoch + 1}) is "
                        f"{loss.item()}; lower --learning-rate {config.learning_rate:g}"
                    )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(indices)
            rows.append((step, (epoch + 1) * n, total / n, config.learning_rate))
            bar.advance(1)
    return linear, pd.DataFrame(rows, columns=list(LOSS_COLUMNS))


def fit_probe(
    model: LanguageModel,
    train: LabelledText,
    test: LabelledText | None,
    *,
    config: ProbeConfig | None = None,
    folder: Path | None = None,
    cache: Path | None = None,
    progress: bool | None = None,
) -> AdaptResult:
    """Train a linear layer on frozen mean-token features; all epochs cost one forward pass.

    The arguments are those of `fit_on_features`.

    Raises:
        NtpscoreError: bad input, or the loss becomes NaN.

    Source:
        Next Token Perception Score, section 2 and Table 1; batch size and dropout as in the
        authors' code.
    """
    config = config or ProbeConfig()
    layer = find_layer(config.layer, model)

    def fit(features: SplitFeatures) -> FittedHeads:
        X = features.of([Place(layer)])[Place(layer)]
        labels = label_tensor(train.labels, train.task)
        linear, loss_curve = train_probe(
            X.float(), labels, len(train.classes), train.task, config, progress
        )
        weights, intercept = (
            parameter.detach().double() for parameter in (linear.weight.T, linear.bias)
        )
        return FittedHeads([LinearHead(layer, weights, intercept)], loss_curve=loss_curve)

    return fit_on_features(
        "probe", fit, model, train, test, config,
        folder=folder, cache=cache, progress=progress,
    )  # fmt: skip
