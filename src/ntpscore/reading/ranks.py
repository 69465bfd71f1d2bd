"""Processes that make one run together, as `torchrun` or `accelerate launch` start them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ntpscore.errors import NtpscoreError
from ntpscore.files import expand
from ntpscore.result_folder import UNFINISHED

if TYPE_CHECKING:
    import torch

    from ntpscore.core.moments import Moments

_FAILED = "ntpscore-failed"
Part = TypeVar("Part")


def started_together() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


class Ranks:
    """One of the processes of a run, and what it does together with the others.

    Each reads its share of the texts; sums are added over all of them, each solves some of the
    layers, and the first (rank 0) goes on alone. Every collective call is made by all of them.

    Args:
        rank: of this process, 0 … size − 1.
        size: how many there are; with one, nothing here needs `torch.distributed`.
        store: of the process group.
        here: how many of them are on this machine; None means all.
    """

    def __init__(
        self, rank: int = 0, size: int = 1, store: Any = None, *, here: int | None = None
    ) -> None:
        self.rank = rank
        self.size = size
        self.here = here or size
        self._store = store

    @classmethod
    @cache
    def of_environment(cls) -> "Ranks":
        """Join, once, the processes that the launcher's variables tell of, or be alone.

        Of a machine's graphics cards each of its processes gets an equal share.

        Raises:
            NtpscoreError: the others can't be reached.
        """
        if not started_together():
            return cls()
        import torch
        import torch.distributed as dist
        from torch.distributed.rendezvous import rendezvous

        _share_out_cards()
        with _told("can't reach the other processes of this run"):
            store, rank, size = next(rendezvous("env://"))
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(backend, store=store, rank=rank, world_size=size)
        return cls(rank, size, store, here=int(os.environ.get("LOCAL_WORLD_SIZE", "0")))

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def own_folder(self, out: str | Path) -> Path:
        """Where this process's checkpoints go: of the first, where the result goes too."""
        folder = expand(out)
        if self.is_first:
            return folder
        return folder / UNFINISHED / f"process-{self.rank}-of-{self.size}"

    def own(self, shares: Sequence[Part]) -> list[Part]:
        """Which of the shares, or layers, are this process's."""
        return list(shares[self.rank :: self.size])

    def add(self, moments: "Moments") -> None:
        """Make moments those of the texts of all processes."""
        if self.size == 1:
            return
        import torch
        import torch.distributed as dist

        with _told():
            for total in moments.sums.values():
                dist.all_reduce(total)
            counts = torch.tensor([moments.n_texts, moments.n_tokens])
            dist.all_reduce(counts)
        moments.n_texts, moments.n_tokens = counts.tolist()

    def add_to_first(self, values: "torch.Tensor") -> None:
        """Add whole numbers of all processes in the first; the others' are spoilt."""
        import torch.distributed as dist

        with _told():
            dist.reduce(values, 0)

    def collect(self, value: Any) -> list[Any]:
        """What each process has, by rank; known to all."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        with _told():
            dist.all_gather_object(values, value)
        return values

    def agree(self, value: Any) -> Any:
        """What the first process has, known to all."""
        return self.collect(value if self.is_first else None)[0]

    def leave_to_first(self) -> None:
        """The end of every process but the first, with exit code 0.

        Raises:
            SystemExit: this is not the first.
        """
        if not self.is_first:
            raise SystemExit(0)

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """Tells an error once: what fails everywhere is told by one process, the others are mute.

        Raises:
            SystemExit: with code 2, where another process tells it.
        """
        try:
            yield
        except NtpscoreError:
            if self._store is not None and self._store.add(_FAILED, 1) > 1:
                raise SystemExit(2) from None
            raise


def _share_out_cards() -> None:
    """Leave this process its share of the machine's cards, before any of them is used."""
    import torch

    n_cards = torch.cuda.device_count()
    here, size = (int(os.environ.get(name, "0")) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    if size < 2 or n_cards < size:
        return
    each = n_cards // size
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = named.split(",") if named else [str(card) for card in range(n_cards)]
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(cards[here * each : (here + 1) * each])


@contextmanager
def _told(what: str = "another process of this run has ended") -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise NtpscoreError(
            f"{what}, see its own message or the launcher's: start all of them again; with the "
            "same --out they go on from their last checkpoints"
        ) from error
