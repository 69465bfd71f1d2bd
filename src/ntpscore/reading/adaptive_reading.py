"""Reading texts in random order until scores are known well enough."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ntpscore.core.folds import FEWEST_FOLDS, Estimate, Folds
from ntpscore.core.moments import Moments
from ntpscore.errors import MomentsError
from ntpscore.reading.tokens import plan_batches

# With fewer texts than so many times the width, least squares says more of the texts than of the
# labels, and its bias is no longer one that falls as 1/n.
_TEXTS_PER_WIDTH = 3
# The next look is where the intervals should be narrow enough, a little before, and never at more
# than twice the texts: the width is itself an estimate.
_EARLY, _FARTHEST = 0.95, 2.0
_FOLDER = "folds-"


class UntilKnown:
    """Texts in random order, and when to stop reading them.

    Args:
        lengths: tokens of each text.
        batch_tokens: tokens per batch, padding included.
        seed: of the order.
        half_width: what the intervals must reach.
        names: whose intervals, of `ntpscore.core.folds.ESTIMATED`.
        layer: the hidden-state index that is looked at.
        width: d.
        n_outputs: c, columns of the labels.
        device: of the sums.

    Attributes:
        batches: text indices of each batch, in the order of reading.
        folds: of the moments of the layer.
        k: of the scores, half the width.
        estimates: of all that can be estimated, by name, at the last look.
        next_look: how many texts there must be for the next one.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        batch_tokens: int,
        seed: int,
        half_width: float,
        names: Sequence[str],
        layer: int,
        width: int,
        n_outputs: int,
        device: torch.device,
    ) -> None:
        self._n = len(lengths)
        self._half_width, self._names = half_width, names
        self._device = device
        self._round = max(1, -(-_TEXTS_PER_WIDTH * width // FEWEST_FOLDS))
        order = np.random.default_rng(seed).permutation(self._n)
        self.batches: list[list[int]] = []
        # Texts read at the end of each full round, by how many batches were.
        self._ends: dict[int, int] = {}
        for start in range(0, self._n, self._round):
            chosen = order[start : start + self._round].tolist()
            planned = plan_batches([lengths[i] for i in chosen], batch_tokens)
            self.batches += [[chosen[i] for i in batch] for batch in planned]
            if len(chosen) == self._round:
                self._ends[len(self.batches)] = start + self._round
        self._layer, self._width, self._n_outputs = layer, width, n_outputs
        self.k = max(1, width // 2)
        self.folds = Folds(layer, self._empty)
        self.estimates: dict[str, Estimate] = {}
        self.next_look = 0

    def _empty(self) -> Moments:
        return Moments([self._layer], self._width, self._n_outputs, 0, self._device)

    def end_of_round(self, done: int) -> int:
        """How many batches there are up to the end of the round that comes after `done` of them."""
        return next((end for end in self._ends if end > done), len(self.batches))

    def known(self, done: int) -> bool:
        """Whether reading can stop; to be asked once after every round.

        Args:
            done: how many batches were read.
        """
        if done not in self._ends:
            return False
        n = self._ends[done]
        if not self.folds.end_round() or n < self.next_look:
            return False
        self.estimates = self.folds.estimates(self.k, self._n)
        half_widths = [self.estimates[name].half_width for name in self._names]
        widest = max(half_widths)
        if all(half_width <= self._half_width for half_width in half_widths):
            return True
        left = 1 / n - 1 / self._n
        needed = 1 / (1 / self._n + left * (self._half_width / widest) ** 2) if widest > 0 else n
        self.next_look = int(min(_EARLY * needed, _FARTHEST * n))
        return False

    # -- checkpoints ----------------------------------------------------------------------------

    def save(self, folder: Path, done: int) -> None:
        """Write the folds beside the checkpoint after so many batches; see `forget`."""
        into = folder / f"{_FOLDER}{done}"
        into.mkdir(exist_ok=True)
        for i, part in enumerate(self.folds.parts()):
            part.save(into / f"{i}.safetensors")

    def load(self, folder: Path, done: int) -> None:
        """Take over the folds that were written after so many batches.

        Raises:
            MomentsError: they are not there, or not those.
        """
        paths = list((folder / f"{_FOLDER}{done}").glob("*.safetensors"))
        parts = [
            Moments.load(path, self._device) for path in sorted(paths, key=lambda p: int(p.stem))
        ]
        rounds = sum(end <= done for end in self._ends)
        if not parts:
            raise MomentsError(f"{folder} holds no folds of {done} batches")
        self.folds = Folds.of_parts(self._layer, self._empty, parts, rounds)

    @staticmethod
    def forget(folder: Path, but: int | None = None) -> None:
        """Delete the folds in a folder but those after so many batches."""
        for path in folder.glob(f"{_FOLDER}*"):
            if path.name != f"{_FOLDER}{but}":
                shutil.rmtree(path, ignore_errors=True)
