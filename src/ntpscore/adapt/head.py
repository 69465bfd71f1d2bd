"""Linear heads: one fitted to frozen features, and one trained on top of a model."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ntpscore.adapt.evaluation import OutputKind
from ntpscore.models.failures import as_model_error
from ntpscore.reading.features import Place
from ntpscore.reading.pooling import mean_tokens
from ntpscore.text import Task

# Texts that are brought to float64 at once.
TEXTS_AT_ONCE = 4096


@dataclass(frozen=True)
class LinearHead:
    """A linear map with intercept on the standardised features of one layer.

    Attributes:
        layer: the hidden-state index.
        weights: (d, c) float64.
        intercept: (c,) float64.
        kind: what the outputs are.
        pooling: how a text's features come from its tokens.
        mean: (d,) float64, taken off the features; None for nothing.
        scale: (d,) float64, which the features are divided by; None for nothing.
        sharpness: of estimates of one-hot targets: what they are multiplied by to be logits. None
            where nothing is known of texts that were not fitted.
    """

    layer: int
    weights: Float[Tensor, "d c"]
    intercept: Float[Tensor, " c"]
    kind: OutputKind = "logits"
    pooling: str = "mean"
    mean: Float[Tensor, " d"] | None = None
    scale: Float[Tensor, " d"] | None = None
    sharpness: float | None = None

    @property
    def place(self) -> Place:
        """The features that it is of."""
        return Place(self.layer, self.pooling)

    def outputs(self, features: Float[Tensor, "n d"]) -> npt.NDArray[np.float64]:
        """(n, c) float64 outputs for (n, d) features of the head's layer."""
        # Products of columns and of rows are rounded differently, and a head that was read again is
        # to say the same to the last digit.
        weights = self.weights.clone(memory_format=torch.contiguous_format)
        parts = [self._standardise(part.double()) for part in features.split(TEXTS_AT_ONCE)]
        outputs: npt.NDArray[np.float64] = torch.cat(
            [part @ weights + self.intercept for part in parts]
        ).numpy()
        return outputs

    def _standardise(self, features: Tensor) -> Tensor:
        if self.mean is not None:
            features = features - self.mean
        return features if self.scale is None else features / self.scale


class MeanTokenClassifier(nn.Module):
    """A base model and a linear head on the mean of its last hidden states.

    The head, the mean and everything after it are float32, whatever the base computes in.

    Args:
        base: a transformer without vocabulary head, which returns `last_hidden_state`.
        width: d, of its hidden states.
        n_outputs: c, classes or targets.
        device: where the head lives.
        reads_both_ways: whether the base is an encoder.
    """

    def __init__(
        self,
        base: nn.Module,
        width: int,
        n_outputs: int,
        device: torch.device | str = "cpu",
        *,
        reads_both_ways: bool = False,
    ) -> None:
        super().__init__()
        self.base = base
        self._reads_both_ways = reads_both_ways
        self.head = nn.Linear(width, n_outputs, dtype=torch.float32, device=device)

    def forward(
        self, input_ids: Int[Tensor, "b t"], attention_mask: Int[Tensor, "b t"]
    ) -> Float[Tensor, "b c"]:
        """Logits or target estimates.

        Args:
            input_ids: (b, t), padded on the right.
            attention_mask: (b, t), 1 for a token and 0 for padding.
        """
        # A causal model never looks at the padding on the right, so it needs no mask.
        more: dict[str, Any] = {"use_cache": False}
        if self._reads_both_ways:
            more = {"attention_mask": attention_mask}
        with as_model_error(f"the forward pass of {type(self.base).__name__} failed"):
            output = self.base(input_ids=input_ids, return_dict=True, **more)
        hidden_states = output.last_hidden_state
        mean = mean_tokens(hidden_states, attention_mask.to(hidden_states.device))
        with _full_precision(mean.device):
            outputs: Tensor = self.head(mean.to(self.head.weight.device))
        return outputs


def _full_precision(device: torch.device) -> AbstractContextManager[None]:
    without: AbstractContextManager[None] = torch.autocast(device.type, enabled=False)
    return without


def label_tensor(labels: npt.NDArray[Any], task: Task) -> Tensor:
    """(n,) class indices as integers, or (n, c) rows as float32."""
    tensor = torch.from_numpy(np.ascontiguousarray(labels))
    return tensor.long() if task == "classification" else tensor.float()


def loss_of(outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Cross entropy of classes, mean binary cross entropy of labels, mean squared error of targets.

    Args:
        outputs: (b, c) float32.
        labels: (b,) class indices, or (b, c) rows.
        task: what the labels are for.
    """
    if task == "classification":
        return nn.functional.cross_entropy(outputs, labels)
    if task == "multilabel":
        return nn.functional.binary_cross_entropy_with_logits(outputs, labels)
    return nn.functional.mse_loss(outputs, labels)
