"""The scores as a metric of torchmetrics, whose states are sums: of batches, devices, processes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ntpscore.core.moments import Moments, Pooling
from ntpscore.core.scores import score_moments
from ntpscore.errors import MomentsError
from ntpscore.extras import needing

with needing("torchmetrics", "NextTokenPerceptionScore"):
    from torchmetrics import Metric

_COUNTS = ("n_texts", "n_tokens")


class NextTokenPerceptionScore(Metric):
    """The six scores of hidden states, for every layer and every k, in torchmetrics' way.

    Its states are the sums of `Moments`, reduced by adding, in float64. `a + b` and `merge_state`
    are the metric of the texts of both.

    Args:
        layers: hidden-state indices that are accumulated, in order; an int n means 0 … n − 1.
        width: d, the width of the hidden states.
        n_outputs: c, the number of classes or of target columns.
        n_shuffles: P, how many label permutations are accumulated beside the labels.
        pooling: see `Moments`.
        keywords: of `torchmetrics.Metric`, such as `sync_on_compute`.

    Attributes:
        moments: what was added, for `score_moments`; it shares the metric's memory.

    Examples:
        >>> metric = NextTokenPerceptionScore(layers=1, width=4, n_outputs=2)
        >>> hidden_states = torch.randn(1, 12, 5, 4)  # layers, texts, tokens, width
        >>> metric.update(hidden_states, torch.ones(12, 5), torch.tensor([0, 1] * 6))
        >>> metric.compute()["retained"].shape  # layers, k
        torch.Size([1, 4])
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True

    def __init__(
        self,
        layers: int | Sequence[int],
        width: int,
        n_outputs: int,
        n_shuffles: int = 0,
        *,
        pooling: Pooling = "mean",
        **keywords: Any,
    ) -> None:
        super().__init__(**keywords)
        empty = Moments(layers, width, n_outputs, n_shuffles, pooling=pooling)
        self._size = (empty.layers, width, n_outputs, n_shuffles)
        self._pooling = pooling
        for name, zeros in empty.sums.items():
            self.add_state(name, zeros, dist_reduce_fx="sum")
        for name in _COUNTS:
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    @property
    def moments(self) -> Moments:
        """See the class."""
        moments = Moments(*self._size, device="meta", pooling=self._pooling)
        for name in moments.sums:
            setattr(moments, name, getattr(self, name))
        moments.n_texts, moments.n_tokens = (int(getattr(self, name)) for name in _COUNTS)
        return moments

    def update(
        self,
        hidden_states: Tensor | Sequence[Tensor],
        attention_mask: Tensor,
        labels: Tensor,
        shuffled_labels: Tensor | None = None,
    ) -> None:
        """Add a batch of texts; see `Moments.update`."""
        moments = self.moments
        moments.update(hidden_states, attention_mask, labels, shuffled_labels)
        for name in _COUNTS:
            getattr(self, name).fill_(getattr(moments, name))

    def compute(self) -> dict[str, Tensor]:
        """The (layers, d) values of every score at k = 1 … d, and `r2` (layers,).

        Chance levels, shuffles and all else: `score_moments(metric.moments)`.

        Raises:
            MomentsError: as `score_moments`.
        """
        table = score_moments(self.moments)
        figures = {
            str(name): torch.stack([scores.values[name] for scores in table.by_layer])
            for name in table.names
        }
        r2 = torch.tensor([scores.r2 for scores in table.by_layer], dtype=torch.float64)
        return figures | {"r2": r2.to(self.device)}

    def merge_state(self, incoming_state: "dict[str, Any] | Metric") -> None:
        """Add the texts of another metric, or of its states; see `torchmetrics.Metric`.

        Raises:
            MomentsError: it is of other layers, another width, …
        """
        if isinstance(incoming_state, NextTokenPerceptionScore):
            mine, others = self.moments.size, incoming_state.moments.size
            if mine != others:
                raise MomentsError(f"metrics of {mine} and {others} don't add up")
        super().merge_state(incoming_state)

    def __add__(self, other: Any) -> Any:
        """The metric of the texts of both; with anything else, what torchmetrics makes of it."""
        if not isinstance(other, NextTokenPerceptionScore):
            return super().__add__(other)
        both = self.clone()
        both.merge_state(other)
        return both
