"""Reading texts in random order until scores are known well enough."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ntpscore.core.folds import FEWEST_FOLDS, Estimate, Folds
from ntpscore.core.grouping import Grouping
from ntpscore.core.moments import Moments, Pooling
from ntpscore.errors import MomentsError
from ntpscore.files import as_output_error
from ntpscore.reading.ranks import Ranks
from ntpscore.reading.tokens import plan_shares

# With fewer texts than so many times the width, least squares says more of the texts than of the
# labels, and its bias is no longer one that falls as 1/n.
_TEXTS_PER_WIDTH = 3
# The next look is where the intervals should be narrow enough, a little before, and never at more
# than twice the texts: the width is itself an estimate.
_EARLY, _FARTHEST = 0.95, 2.0
_FOLDER = "folds-"


class AdaptiveReading:
    """Texts in random order, and when to stop reading them.

    Args:
        lengths: tokens of each text.
        groups: (n,) numbers from 0 on, equal for texts that are read one after the other, since
            they are no independent ones.
        batch_tokens: tokens per batch, padding included.
        n_shares: how many passes run at once in each process.
        seed: of the order.
        half_width: what the intervals must reach.
        names: whose intervals, of `ntpscore.core.folds.ESTIMATED`.
        layer: the hidden-state index that is looked at.
        width: d.
        n_outputs: c, columns of the labels.
        grouping: the same, for the moments.
        pooling: of the moments.
        device: of the sums.
        ranks: the processes that read together.

    Attributes:
        rounds: batches of each share of all processes, for one round after the other.
        added: moments of the layer that each pass adds to, of this round.
        k: of the scores, half the width.
        layer: as given.
        estimates: of all that can be estimated, by name, at the last look.
        next_look: how many texts there must be for the next one.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        groups: npt.NDArray[np.int64],
        *,
        batch_tokens: int,
        n_shares: int,
        seed: int,
        half_width: float,
        names: Sequence[str],
        layer: int,
        width: int,
        n_outputs: int,
        grouping: Grouping | None,
        device: torch.device,
        ranks: Ranks,
        pooling: Pooling = "mean",
    ) -> None:
        self._n, self._ranks = len(lengths), ranks
        self._half_width, self._names = half_width, names
        self._width, self._n_outputs, self._device = width, n_outputs, device
        self._grouping, self._pooling = grouping, pooling
        self.layer = layer
        self.k = max(1, width // 2)
        self._round = max(1, -(-_TEXTS_PER_WIDTH * width // FEWEST_FOLDS))
        # Groups in random order, and the texts of each in theirs.
        places = np.argsort(np.random.default_rng(seed).permutation(int(groups.max()) + 1))
        order = np.argsort(places[groups], kind="stable")
        self.rounds = [
            plan_shares(
                lengths,
                batch_tokens,
                n_shares * ranks.size,
                order[start : start + self._round].tolist(),
            )
            for start in range(0, self._n, self._round)
        ]
        self.added = [self._empty() for _ in range(n_shares)]
        self.estimates: dict[str, Estimate] = {}
        self.restart()

    def restart(self) -> None:
        """Forget what was read."""
        self._folds = Folds(self.layer, self._empty)
        self.next_look = 0

    def _empty(self) -> Moments:
        return Moments(
            [self.layer], self._width, self._n_outputs, 0, self._device,
            grouping=self._grouping, pooling=self._pooling,
        )  # fmt: skip

    def collect(self) -> None:
        """Add up what all passes, and all processes, have read of a round."""
        total = sum(self.added[1:], start=self.added[0])
        self._ranks.add(total)
        self._folds.current = self._folds.current + total
        self.added = [self._empty() for _ in self.added]

    def end_round(self, number: int) -> bool:
        """Say that a round was read and collected; returns whether reading can stop.

        Args:
            number: of the round.
        """
        stop = self._ranks.is_first and self._look(number)
        stop, self.next_look = self._ranks.agree((stop, self.next_look))
        return bool(stop)

    def _look(self, number: int) -> bool:
        n = (number + 1) * self._round
        if n > self._n or not self._folds.end_round() or n < self.next_look:
            return False
        self.estimates = self._folds.estimates(self.k, self._n)
        half_widths = [self.estimates[name].half_width for name in self._names]
        widest = max(half_widths)
        if all(half_width <= self._half_width for half_width in half_widths):
            return True
        left = 1 / n - 1 / self._n
        needed = 1 / (1 / self._n + left * (self._half_width / widest) ** 2) if widest > 0 else n
        self.next_look = int(min(_EARLY * needed, _FARTHEST * n))
        return False

    # -- checkpoints ----------------------------------------------------------------------------

    def save(self, folder: Path, name: str) -> None:
        """Write the folds, which the first process has, beside the checkpoint of this name."""
        if not self._ranks.is_first:
            return
        into = folder / f"{_FOLDER}{name}"
        with as_output_error(into):
            into.mkdir(exist_ok=True)
        *full, current = self._folds.parts()
        for i, part in enumerate([*full, sum(self.added, start=current)]):
            part.save(into / f"{i}.safetensors")

    def load(self, folder: Path, name: str, rounds: int) -> None:
        """Take over the folds that were written beside the checkpoint of this name."""
        if not self._ranks.is_first:
            return
        paths = list((folder / f"{_FOLDER}{name}").glob("*.safetensors"))
        parts = [
            Moments.load(path, self._device) for path in sorted(paths, key=lambda p: int(p.stem))
        ]
        if not parts:
            raise MomentsError(f"{folder} holds no folds of the checkpoint {name}")
        self._folds = Folds.of_parts(self.layer, self._empty, parts, rounds)

    @staticmethod
    def forget(folder: Path, but: str | None = None) -> None:
        """Delete the folds in a folder but those of the checkpoint of this name."""
        for path in folder.glob(f"{_FOLDER}*"):
            if path.name != f"{_FOLDER}{but}":
                shutil.rmtree(path, ignore_errors=True)
