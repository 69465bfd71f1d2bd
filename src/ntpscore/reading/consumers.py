"""Who sees the hidden states of a pass."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ntpscore.core.moments import Batch, Moments


class Consumer(Protocol):
    """Sees every wanted layer of every text once; where memory runs out a batch comes in parts."""

    def begin(self, texts: list[int], attention_mask: Tensor) -> Any:
        """Texts that come next.

        Args:
            texts: their numbers.
            attention_mask: (b, t), on the model's device; tokens stand on the left.

        Returns:
            What `take` and `end` need to know of them.
        """

    def take(self, batch: Any, layer: int, hidden_states: Tensor) -> None:
        """Take one layer of these texts, wholly or, where an error leaves it, not at all.

        Args:
            batch: from `begin`.
            layer: hidden-state index.
            hidden_states: (b, t, d), of any strides; not to be changed or kept.
        """

    def end(self, batch: Any) -> None:
        """All layers were taken; of a batch that came in parts, those of a part by the end."""


class AddMoments:
    """Adds hidden states to moments; on a graphics card while the next blocks run.

    Args:
        moments: all of them see the same texts, each its own layers.
        labels: of all texts, on the moments' device.
        permutations: (P, n) for those of the moments that have shuffles.
    """

    def __init__(self, moments: Sequence[Moments], labels: Tensor, permutations: Tensor) -> None:
        self._moments = moments
        self._labels = labels
        self._permutations = permutations
        self._device = labels.device
        on_card = self._device.type == "cuda"
        self._beside = torch.cuda.Stream(self._device) if on_card else None

    def begin(self, texts: list[int], attention_mask: Tensor) -> list[Batch]:
        """See `Consumer.begin`."""
        rows = torch.tensor(texts, device=self._labels.device)
        labels, shuffled = self._labels[rows], self._labels[self._permutations[:, rows]]
        mask = attention_mask.to(self._labels.device)
        return [
            moments.batch(mask, labels, shuffled if moments.n_shuffles else None)
            for moments in self._moments
        ]

    def take(self, batch: list[Batch], layer: int, hidden_states: Tensor) -> None:
        """See `Consumer.take`."""
        if self._beside is None:
            self._add(batch, layer, hidden_states.to(self._device))
            return
        # A copy, since blocks may go on in place.
        hidden_states = hidden_states.to(self._device, copy=True)
        self._beside.wait_stream(torch.cuda.current_stream(self._device))
        hidden_states.record_stream(self._beside)
        with torch.cuda.stream(self._beside):
            self._add(batch, layer, hidden_states)

    def _add(self, batch: list[Batch], layer: int, hidden_states: Tensor) -> None:
        adds = [
            moments.prepare_layer(layer, hidden_states, part)
            for moments, part in zip(self._moments, batch, strict=True)
            if layer in moments.layers
        ]
        for add in adds:
            add()

    def end(self, batch: list[Batch]) -> None:
        """See `Consumer.end`."""
        if self._beside is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._beside)
        for moments, part in zip(self._moments, batch, strict=True):
            moments.add_labels(part)


class InOrder:
    """Several consumers that see the same texts.

    Args:
        consumers: in this order. Where memory runs out at one of them, those before it see the
            layer again in parts: only the last may be one that adds.
    """

    def __init__(self, *consumers: Consumer) -> None:
        self._consumers = consumers

    def begin(self, texts: list[int], attention_mask: Tensor) -> list[Any]:
        """See `Consumer.begin`."""
        return [consumer.begin(texts, attention_mask) for consumer in self._consumers]

    def take(self, batch: list[Any], layer: int, hidden_states: Tensor) -> None:
        """See `Consumer.take`."""
        for consumer, part in zip(self._consumers, batch, strict=True):
            consumer.take(part, layer, hidden_states)

    def end(self, batch: list[Any]) -> None:
        """See `Consumer.end`."""
        for consumer, part in zip(self._consumers, batch, strict=True):
            consumer.end(part)
