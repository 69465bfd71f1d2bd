"""Who sees the hidden states of a pass."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Protocol

import torch
from torch import Tensor

from ntpscore.core.moments import Batch, Moments
from ntpscore.reading.memory import STAGES


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
    """Adds hidden states to moments.

    Args:
        moments: all of them see the same texts, each its own layers.
        labels: of all texts, on the moments' device.
        permutations: (P, n) for those of the moments that have shuffles.
    """

    def __init__(self, moments: Sequence[Moments], labels: Tensor, permutations: Tensor) -> None:
        self._moments = moments
        self._labels = labels
        self._permutations = permutations

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
        if self._moments[0].precision != "float32-pairs":  # whose products are made where they are
            hidden_states = hidden_states.to(self._labels.device)
        adds = [
            moments.prepare_layer(layer, hidden_states, part)
            for moments, part in zip(self._moments, batch, strict=True)
            if layer in moments.layers
        ]
        for add in adds:
            add()

    def end(self, batch: list[Batch]) -> None:
        """See `Consumer.end`."""
        for moments, part in zip(self._moments, batch, strict=True):
            moments.add_labels(part)

    def wait(self) -> None:
        """Nothing is left to be added."""


@dataclass(frozen=True)
class _Labelled:
    """A batch's mask and labels, and what was made of them where hidden states are.

    Attributes:
        mask: (b, t).
        labels: (b,) or (b, c).
        shuffled: (P, b) or (P, b, c).
        parts: by the number of the moments and the device.
    """

    mask: Tensor
    labels: Tensor
    shuffled: Tensor
    parts: dict[tuple[int, torch.device], Batch] = field(default_factory=dict)


class AddOnHost:
    """As `AddMoments`, for moments that are in main memory, in place of the card's.

    What a batch adds to a layer is made where its hidden states are, and fetched and added while
    the pass goes on: before anyone reads the moments, `wait` is to be called. Sums of the released
    code can't be added so.

    Args:
        moments: as `AddMoments`, on the processor.
        labels: of all texts, on the processor.
        permutations: (P, n), as `AddMoments`.
    """

    def __init__(self, moments: Sequence[Moments], labels: Tensor, permutations: Tensor) -> None:
        self._moments = moments
        self._labels = labels
        self._permutations = permutations
        self._stages: dict[tuple[int, torch.device], list[_Stage]] = {}
        self._turns: dict[tuple[int, torch.device], Iterator[_Stage]] = {}
        # One thread, so that the order of the sums is that of the layers and batches.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sums")

    def begin(self, texts: list[int], attention_mask: Tensor) -> _Labelled:
        """See `Consumer.begin`."""
        rows = torch.tensor(texts)
        shuffled = self._labels[self._permutations[:, rows]]
        return _Labelled(attention_mask.cpu(), self._labels[rows], shuffled)

    def take(self, batch: _Labelled, layer: int, hidden_states: Tensor) -> None:
        """See `Consumer.take`."""
        ready = []
        for number, moments in enumerate(self._moments):
            if layer in moments.layers:
                key = number, hidden_states.device
                stage = self._free_stage(key)
                stage.clear(layer)
                if key not in batch.parts:
                    batch.parts[key] = _batch_of(stage.sums, batch)
                add = stage.sums.prepare_layer(layer, hidden_states, batch.parts[key])
                ready.append((stage, add, moments.sums_of(layer)))
        for stage, add, totals in ready:
            add()
            stage.send(totals, self._pool)

    def end(self, batch: _Labelled) -> None:
        """See `Consumer.end`."""
        for part in batch.parts.values():
            part.check()
        for moments in self._moments:
            moments.add_labels(_batch_of(moments, batch))

    def wait(self) -> None:
        """Until all is added."""
        for stages in self._stages.values():
            for stage in stages:
                stage.wait()

    def _free_stage(self, key: tuple[int, torch.device]) -> "_Stage":
        if key not in self._stages:
            self._stages[key] = [_Stage(self._moments[key[0]], key[1]) for _ in range(STAGES)]
            self._turns[key] = cycle(self._stages[key])
        stage = next(self._turns[key])
        stage.wait()
        return stage


def _batch_of(moments: Moments, batch: _Labelled) -> Batch:
    """The batch where these moments are."""
    shuffled = batch.shuffled if moments.n_shuffles else None
    return moments.batch(batch.mask.to(moments.device), batch.labels, shuffled)


class _Stage:
    """What one batch adds to one layer, on its way from a device to main memory.

    Args:
        moments: that it is for.
        device: that it comes from.

    Attributes:
        sums: of one layer, on the device.
    """

    def __init__(self, moments: Moments, device: torch.device) -> None:
        self.sums = Moments(
            moments.layers[:1], moments.width, moments.n_outputs, moments.n_shuffles, device,
            precision=moments.precision, pooling=moments.pooling,
        )  # fmt: skip
        self._added: Future[None] | None = None
        # On a card: a stream beside the one that computes, and memory that it can write to.
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":  # pragma: no cover  # on a card, untested
            self._stream = torch.cuda.Stream(device)
            self._pinned = {
                name: torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
                for name, value in self.sums.sums_of(moments.layers[0]).items()
            }

    def wait(self) -> None:
        """Until what was sent last is added."""
        if self._added is not None:
            self._added.result()
            self._added = None

    def clear(self, layer: int) -> None:
        """Make it nothing, of this layer."""
        self.sums.layers = (layer,)
        self.sums.clear()

    def send(self, totals: dict[str, Tensor], pool: ThreadPoolExecutor) -> None:
        """Have it added to these sums of the layer."""
        values, arrived = self.sums.sums_of(self.sums.layers[0]), None
        if self._stream is not None:  # pragma: no cover  # on a card, untested
            self._stream.wait_stream(torch.cuda.current_stream(self.sums.device))
            with torch.cuda.stream(self._stream):
                for name, value in values.items():
                    self._pinned[name].copy_(value, non_blocking=True)
                arrived = self._stream.record_event()
            values = self._pinned
        self._added = pool.submit(_add_all, totals, values, arrived)


def _add_all(
    totals: dict[str, Tensor], values: dict[str, Tensor], arrived: torch.cuda.Event | None
) -> None:
    if arrived is not None:  # pragma: no cover  # on a card, untested
        arrived.synchronize()
    for name, total in totals.items():
        total.add_(values[name])


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
