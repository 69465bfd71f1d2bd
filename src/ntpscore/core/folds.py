"""How well scores are known from some of the texts: the jackknife over folds of their moments.

Texts come in random order. Their moments are kept in folds of the same size, so that a score can be
had without each of them; how these differ tells how far the score of all texts can be off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ntpscore.core.moments import Moments
from ntpscore.core.score_names import SCORES
from ntpscore.core.scores import score_layer
from ntpscore.errors import MomentsError

FEWEST_FOLDS = 10
# Full ones, the one being filled, and two sums of them.
MOST_FOLDS = 2 * FEWEST_FOLDS + 3
COVERAGE = 0.95
# What can be estimated of a layer: a score at one k, or the fit of least squares.
FITS = ("r2", "r2_adjusted")
# `algorithm1` hangs on the last bits of the sums, and no part of the texts can tell them.
_STEADY = tuple(name for name in SCORES if name != "algorithm1")
ESTIMATED = (*_STEADY, *FITS)


@dataclass(frozen=True)
class Estimate:
    """What some texts say of the value of all.

    Attributes:
        value: of all texts, corrected for the bias of having fewer.
        low: end of its interval.
        high: likewise.
    """

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's width; NaN where the value is not defined."""
        return (self.high - self.low) / 2

    def widened(self, by: float) -> "Estimate":
        """The same with both ends farther out."""
        return Estimate(self.value, self.low - by, self.high + by)


def jackknife(without: Float[Tensor, " K"], full: float, *, n_texts: int, of: int) -> Estimate:
    """A 95 % interval for the value that all texts will give, from a random part of them.

    Args:
        without: (K,) the value without each of K folds of the same size.
        full: the value with all of them.
        n_texts: n, texts in the folds together.
        of: N, texts in all, N >= n.

    Returns:
        `full − (1 − n/N) (K − 1)(mean(without) − full)`: the jackknife's bias, which falls as 1/n,
        less what of it stays at N; and Student's interval, K − 1 degrees of freedom, from the
        jackknife's variance `(K − 1)/K Σ (without − mean)²` times 1 − n/N, since the texts that
        are left are known to be finitely many. At n = N it is `full` itself.

    Raises:
        MomentsError: there are fewer than two folds, or n is not in 1 … N.

    Source:
        Quenouille 1956, Notes on bias in estimation; Efron and Stein 1981, The jackknife estimate
        of variance; Cochran 1977, Sampling Techniques, section 2.6 (finite population).
    """
    K = len(without)
    if K < 2 or not 1 <= n_texts <= of:
        raise MomentsError(f"no jackknife of {K} folds of {n_texts} of {of} texts")
    # Slow to import, and needed here alone.
    from scipy.stats import t as student_t

    mean = float(without.mean())
    left = 1 - n_texts / of
    value = full - left * (K - 1) * (mean - full)
    variance = left * (K - 1) / K * float((without - mean).square().sum())
    reach = float(student_t.ppf((1 + COVERAGE) / 2, K - 1)) * variance**0.5
    return Estimate(value, value - reach, value + reach)


class Folds:
    """Moments of one layer in 10 to 19 folds of the same size, whatever number of texts comes.

    Texts arrive in rounds of the same number. Where there would be twenty folds, neighbours are
    joined.

    Args:
        layer: the hidden-state index.
        empty: makes moments of this layer, without shuffles, that hold nothing.

    Attributes:
        current: the moments of the fold that is being filled.
    """

    def __init__(self, layer: int, empty: Callable[[], Moments]) -> None:
        self.layer = layer
        self._empty = empty
        self._full: list[Moments] = []
        self._rounds = 0
        self._rounds_per_fold = 1
        self.current = empty()

    def end_round(self) -> bool:
        """Say that a round is complete; returns whether there are enough folds, all of them full.

        The same number of calls leaves the same folds.
        """
        self._rounds += 1
        if self._rounds < self._rounds_per_fold:
            return False
        self._full.append(self.current)
        self.current = self._empty()
        self._rounds = 0
        if len(self._full) == 2 * FEWEST_FOLDS:
            self._full = [a + b for a, b in zip(self._full[::2], self._full[1::2], strict=True)]
            self._rounds_per_fold *= 2
        return len(self._full) >= FEWEST_FOLDS

    def parts(self) -> list[Moments]:
        """The full folds and the one being filled."""
        return [*self._full, self.current]

    @classmethod
    def of_parts(
        cls, layer: int, empty: Callable[[], Moments], parts: Sequence[Moments], rounds: int
    ) -> "Folds":
        """The folds that `parts` gave after so many rounds.

        Raises:
            MomentsError: these are no parts of so many rounds.
        """
        folds = cls(layer, empty)
        for _ in range(rounds):
            folds.end_round()
        if len(parts) != len(folds.parts()):
            raise MomentsError(f"{len(parts)} folds are not those of {rounds} rounds")
        folds._full, folds.current = list(parts[:-1]), parts[-1]
        return folds

    def estimates(self, k: int, of: int) -> dict[str, Estimate]:
        """What the full folds say of the values of all texts, for each of `ESTIMATED`.

        Of the fits, theory says that their bias falls as 1/n, so what the jackknife takes for it is
        taken off. Of the scores nothing says so: their intervals are wider by all of it.

        Args:
            k: of the scores.
            of: texts in all.
        """
        everything = _total(self._full)
        of_all = _values(everything, self.layer, k)
        values = torch.tensor(
            [
                _values(_total([*self._full[:j], *self._full[j + 1 :]]), self.layer, k)
                for j in range(len(self._full))
            ],
            dtype=torch.float64,
        )
        estimates = {}
        for i, (name, full) in enumerate(zip(ESTIMATED, of_all, strict=True)):
            estimate = jackknife(values[:, i], full, n_texts=everything.n_texts, of=of)
            doubt = 0.0 if name in FITS else abs(estimate.value - full)
            estimates[name] = estimate.widened(doubt)
        return estimates


def _total(parts: Sequence[Moments]) -> Moments:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _values(moments: Moments, layer: int, k: int) -> list[float]:
    """Those of `ESTIMATED`, in its order."""
    scores = score_layer(moments.layer(layer))
    of_k = [float(scores.values[name][k - 1]) for name in _STEADY]
    return [*of_k, *(float(getattr(scores, name)) for name in FITS)]
