"""The paper's linear probe: a linear layer on mean-token features, trained by AdamW."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from ntpscore.adapt.evaluation import Evaluation, evaluate_split
from ntpscore.adapt.features import collect_splits
from ntpscore.adapt.head import label_tensor, loss_of
from ntpscore.adapt.result import (
    LOSS_COLUMNS,
    STAGES,
    AdaptResult,
    make_record,
    tabulate_predictions,
)
from ntpscore.clock import Clock
from ntpscore.errors import NtpscoreError, TrainingError
from ntpscore.models import LanguageModel
from ntpscore.progress import Progress
from ntpscore.reading import BATCH_TOKENS
from ntpscore.reading.reader import check_layers
from ntpscore.text import LabelledText, Task, recode_labels


@dataclass(frozen=True)
class ProbeConfig:
    """How `fit_probe` runs.

    Attributes:
        layer: hidden-state index; None means the last.
        learning_rate: of AdamW, constant.
        epochs: passes over the features.
        batch_size: texts per step.
        dropout: share of a text's features that are zeroed in a step.
        weight_decay: of AdamW.
        max_length: tokens after which a text is cut; None means the model's context.
        batch_tokens: tokens per batch of the forward pass, padding included.
        seed: of initial weights, order, dropout and bootstrap.
    """

    layer: int | None = None
    learning_rate: float = 1e-4
    epochs: int = 50
    batch_size: int = 64
    dropout: float = 0.05
    weight_decay: float = 0.01
    max_length: int | None = None
    batch_tokens: int = BATCH_TOKENS
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            NtpscoreError: one of them makes no sense.
        """
        for name, least in (("epochs", 1), ("batch_size", 1), ("batch_tokens", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise NtpscoreError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 < self.learning_rate < math.inf:
            raise NtpscoreError(f"learning_rate must be above 0, got {self.learning_rate}")
        if not 0 <= self.dropout < 1:
            raise NtpscoreError(f"dropout must be from 0 to below 1, got {self.dropout}")
        if not 0 <= self.weight_decay < math.inf:
            raise NtpscoreError(f"weight_decay must be at least 0, got {self.weight_decay}")


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

    Raises:
        TrainingError: the loss becomes NaN or infinite.
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
    with Progress(progress) as shown:
        shown.start("training the probe", config.epochs, "epochs")
        for epoch in range(config.epochs):
            total = 0.0
            for indices in torch.randperm(n, generator=generator).split(config.batch_size):
                x = features[indices]
                if config.dropout:
                    kept = torch.rand(x.shape, generator=generator) >= config.dropout
                    x = x * kept / (1 - config.dropout)
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
            shown.advance(1)
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

    Args:
        model: from `load_model`.
        train: the texts to fit.
        test: the texts to test; None for none.
        config: see `ProbeConfig`.
        folder: where the result goes; None keeps it in memory.
        cache: where features are kept; None means the folder.
        progress: show progress bars; None means on a terminal.

    Raises:
        NtpscoreError: bad input, or the loss becomes NaN.

    Source:
        Next Token Perception Score, section 2 and Table 1; batch size and dropout as in the
        authors' code.
    """
    config = config or ProbeConfig()
    clock = Clock(STAGES)
    wanted = model.n_layers if config.layer is None else config.layer
    (layer,) = check_layers([wanted], model, "--layer")
    test = None if test is None else recode_labels(test, train)
    data = collect_splits(
        model,
        train,
        test,
        (layer,),
        max_length=config.max_length,
        batch_tokens=config.batch_tokens,
        clock=clock,
        cache=cache or folder,
        progress=progress,
    )
    with clock("fit"):
        labels = label_tensor(train.labels, train.task)
        linear, loss_curve = train_probe(
            data.train.by_layer[layer], labels, len(train.classes), train.task, config, progress
        )

    def outputs(features: Tensor) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            found: npt.NDArray[np.float32] = linear(features).numpy()
        return found

    def judge(found: npt.NDArray[np.float32], text: LabelledText) -> Evaluation:
        return evaluate_split(found, text, train, seed=config.seed)

    test_evaluation = predicted = None
    with clock("evaluate"):
        train_evaluation = judge(outputs(data.train.by_layer[layer]), train)
        if test is not None and data.test is not None:
            test_outputs = outputs(data.test.by_layer[layer])
            test_evaluation = judge(test_outputs, test)
            predicted = tabulate_predictions(test_outputs, test)
    trainable = (model.width + 1) * len(train.classes)
    record = make_record(
        "probe",
        model,
        train=train,
        train_tokens=data.train_tokens,
        test=test,
        test_tokens=data.test_tokens,
        config=config,
        layers=(layer,),
        train_evaluation=train_evaluation,
        test_evaluation=test_evaluation,
        trainable_parameters=trainable,
        total_parameters=model.model.num_parameters() + trainable,
        clock=clock,
        steps=int(loss_curve["step"].iloc[-1]),
        samples_seen=config.epochs * len(train),
        warnings=data.warnings,
    )
    result = AdaptResult(record, loss_curve=loss_curve, predictions=predicted)
    if folder is not None:
        result.save(folder)
    return result
