"""How good held-out estimates are, with 95 % intervals over texts."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from torch import Tensor

from ntpscore.text import LabelledText, Task

BOOTSTRAP = 500
# Weights that are worked on at once.
_AT_ONCE = 2**19
COVERAGE = 0.95
_Z = 1.959964
# What differs by less than so many standard errors can't be told apart, two-sided at 95 %.
TIED = 1.96
# What stands for a readout, by task: the share of texts put into their class, F1 averaged over
# classes, the share of the targets' variance.
HEADLINES: dict[Task, str] = {
    "classification": "accuracy",
    "multilabel": "macro_f1",
    "regression": "r2",
}
Array = npt.NDArray[np.float64]


def target_columns(text: LabelledText) -> Array:
    """(n, c) what ridge regression fits: one-hot classes, indicators, or targets."""
    if text.task == "classification":
        return np.eye(len(text.classes))[text.labels.astype(np.int64)]
    return text.labels.astype(np.float64)


@dataclass(frozen=True)
class Measures:
    """Compares estimates of the same texts with their labels.

    Attributes:
        task: what the labels are for.
        targets: (n, c) see `target_columns`.
        groups: (n,) equal for texts that are drawn together.
        spread: (n,) squared errors of the mean of the labels of the other folds.
        weights: (b, n) how often each text is drawn in each resample of groups, whole numbers.
        alone: whether every text is a group of its own.
    """

    task: Task
    targets: Array
    groups: npt.NDArray[np.int64]
    spread: Array
    weights: npt.NDArray[np.uint8]
    alone: bool

    @classmethod
    def of(
        cls, task: Task, targets: Array, groups: npt.NDArray[np.int64], means: Array, seed: int
    ) -> "Measures":
        """Draws the resamples.

        Args:
            task: what the labels are for.
            targets: (n, c).
            groups: (n,) 0 … m − 1.
            means: (n, c) what the labels of the other folds predict of each text: their mean.
            seed: of the resamples.
        """
        m = int(groups.max()) + 1
        rng = np.random.default_rng(seed)
        # Each group is drawn once on average, and never 256 times.
        weights = np.empty((BOOTSTRAP, len(groups)), np.uint8)
        for row in weights:
            row[:] = rng.multinomial(m, np.full(m, 1 / m))[groups]
        spread = np.square(targets - means).sum(1)
        return cls(task, targets, groups, spread, weights, m == len(groups))

    def drawn(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(b, …) sums of values (n, …) over each resample, in their number format."""
        blocks = np.array_split(self.weights, max(1, self.weights.size // _AT_ONCE))
        return np.concatenate([block.astype(values.dtype) @ values for block in blocks])

    @cached_property
    def _drawn_spread(self) -> Array:
        return self.drawn(self.spread)

    @cached_property
    def _drawn_true(self) -> Array:
        return self._count(self.targets)

    def _count(self, indicators: Array) -> Array:
        """`drawn` of zeros and ones: sums of whole numbers up to 2²⁴ are exact in float32."""
        return self.drawn(indicators.astype(np.float32)).astype(np.float64)

    def errors(self, estimates: Array) -> Array:
        """(n,) squared errors, summed over columns."""
        squared: Array = np.square(self.targets - estimates).sum(1)
        return squared

    def right(self, class_scores: Array) -> Array:
        """(n,) 1 where a text is put into its class; multilabel: the share of its labels."""
        same = self._assigned(class_scores) == self.targets
        right: Array = same.all(1) if self.task == "classification" else same.mean(1)
        return right.astype(np.float64)

    def lost(self, estimates: Array, class_scores: Array) -> Array:
        """(n,) what is lost on each text: 1 if put into a wrong class; squared error of targets."""
        if self.task == "regression":
            return self.errors(estimates)
        return 1 - self.right(class_scores)

    def rate(self, estimates: Array, class_scores: Array) -> dict[str, float]:
        """Every measure of the task, `NAME`, `NAME_low` and `NAME_high`.

        Args:
            estimates: (n, c) held out.
            class_scores: (n, c) to read classes off, see `HeldOut`.
        """
        errors = self.errors(estimates)
        rated = {"r2": self._r2(errors)}
        if self.task == "regression":
            rated["mse"] = self._mean(errors / self.targets.shape[1])
            rated["spearman"] = self._spearman(estimates)
        else:
            right = self.right(class_scores)
            rated["accuracy"] = self._share(right)
            rated["macro_f1"] = self._macro_f1(self._assigned(class_scores))
        return {
            f"{name}{end}": float(value)
            for name, values in rated.items()
            for end, value in zip(("", "_low", "_high"), values, strict=True)
        }

    def majority(self) -> dict[str, float]:
        """The headline of always saying what is most frequent; of targets, their mean."""
        if self.task == "regression":
            return {"r2": 0.0}
        share = self.targets.mean(0)
        if self.task == "classification":
            return {"accuracy": float(share.max())}
        said = np.broadcast_to((share > 0.5).astype(np.float64), self.targets.shape)
        return {
            "accuracy": float((said == self.targets).mean()),
            "macro_f1": self._macro_f1(said)[0],
        }

    def difference(self, errors: Array, others: Array) -> tuple[float, float]:
        """See `paired_difference`."""
        return paired_difference(errors, others, self.groups)

    def _assigned(self, class_scores: Array) -> Array:
        if self.task == "classification":
            classes: Array = np.eye(class_scores.shape[1])[class_scores.argmax(1)]
            return classes
        return (class_scores > 0.5).astype(np.float64)

    def _r2(self, errors: Array) -> tuple[float, float, float]:
        """1 − Σ errors / Σ spread."""
        total, drawn = self.spread.sum(), self._drawn_spread
        if total == 0:
            return (np.nan, np.nan, np.nan)
        values = 1 - self.drawn(errors)[drawn > 0] / drawn[drawn > 0]
        return (1 - errors.sum() / total, *_interval(values))

    def _mean(self, values: Array) -> tuple[float, float, float]:
        drawn = self.drawn(values) / self.drawn(np.ones(len(values)))
        return (values.mean(), *_interval(drawn))

    def _share(self, right: Array) -> tuple[float, float, float]:
        if self.alone and self.task == "classification":
            return (right.mean(), *wilson(right.sum(), len(right)))
        return self._mean(right)

    def _macro_f1(self, assigned: Array) -> tuple[float, float, float]:
        hits = assigned * self.targets
        whole = _mean_f1(hits.sum(0), assigned.sum(0), self.targets.sum(0))
        drawn = _mean_f1(self._count(hits), self._count(assigned), self._drawn_true)
        return (float(whole), *_interval(drawn))

    def _spearman(self, estimates: Array) -> tuple[float, float, float]:
        """Of ranks among all texts, averaged over targets."""
        a, b = rankdata(estimates, axis=0), rankdata(self.targets, axis=0)
        columns = np.stack([np.ones_like(a), a, b, a * b, a**2, b**2])

        def mean(sums: Array) -> Any:
            n, *rest = np.moveaxis(sums, -2, 0)
            ma, mb, mab, maa, mbb = (one / n for one in rest)
            with np.errstate(invalid="ignore", divide="ignore"):
                variances = (maa - ma**2) * (mbb - mb**2)
                return ((mab - ma * mb) / np.sqrt(variances)).mean(-1)

        whole, c = columns.sum(1), a.shape[1]
        flat = columns.transpose(1, 0, 2).reshape(len(a), -1)
        values = mean(self.drawn(flat).reshape(-1, 6, c))
        return (float(mean(whole)), *_interval(values[np.isfinite(values)]))


def _mean_f1(hits: Array, said: Array, true: Array) -> Array:
    """F1 averaged over the classes that occur: (…, c) counts to (…)."""
    both = said + true
    each = 2 * hits / np.maximum(both, 1)
    macro: Array = each.sum(-1) / np.maximum((both > 0).sum(-1), 1)
    return macro


def paired_difference(
    errors: Array, others: Array, groups: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """Mean of paired differences, and its standard error over groups of texts."""
    differences = errors - others
    mean = float(differences.mean())
    sums = np.bincount(groups, differences - mean)
    m, n = len(sums), len(differences)
    return mean, float(np.sqrt((sums**2).sum() * m / max(m - 1, 1)) / n)


def wilson(right: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share.

    Source:
        Wilson 1927.
    """
    p, z = right / n, _Z
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)


def to_array(values: Tensor) -> Array:
    """A tensor for numpy."""
    return np.asarray(values.cpu().numpy(), dtype=np.float64)


def _interval(values: Array) -> tuple[float, float]:
    if not len(values):
        return np.nan, np.nan
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
