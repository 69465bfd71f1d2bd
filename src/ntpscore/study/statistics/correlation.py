"""Rank correlations over a handful of data sets, with what chance alone would give.

A dozen data sets are few: p-values are by permutation and intervals by bootstrap, never by formulas
for large samples.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata, weightedtau

Values = npt.NDArray[np.float64]
COVERAGE = 0.95
# Rounding of a sum of products of ranks, relative to the largest r.
TIE = 1e-12


def spearman(x: Values, y: Values) -> float:
    """Spearman's r of x and y (n,), ties at their mean rank; NaN where one side never varies.

    Source:
        Spearman 1904: Pearson's correlation of the ranks.
    """
    return float(_correlations(rankdata(x)[None], rankdata(y))[0])


def partial_spearman(x: Values, y: Values, given: Values) -> float:
    """Spearman's r of x and y (n,) with the ranks of a third quantity (n,) taken out of both.

    Returns:
        `(r_xy − r_xz r_yz) / √((1 − r_xz²)(1 − r_yz²))`; NaN where x or y says nothing beside z.
    """
    r_xy, r_xz, r_yz = spearman(x, y), spearman(x, given), spearman(y, given)
    left = (1 - r_xz**2) * (1 - r_yz**2)
    return float((r_xy - r_xz * r_yz) / np.sqrt(left)) if left > TIE else float("nan")


def weighted_kendall(x: Values, y: Values) -> float:
    """Kendall's tau in which pairs count more the higher they stand: mistakes at the top cost most.

    A pair weighs the sum of 1 / (1 + place) of both, places from 0 for the highest; the mean of the
    places by x (ties by y) and of those by y (ties by x) is taken.

    Args:
        x: (n,) more is better: negate otherwise.
        y: (n,) likewise.

    Returns:
        In [-1, 1]; NaN where one side is constant or holds a NaN.

    Source:
        Vigna 2015, A weighted correlation index for rankings with ties.
    """
    if np.isnan(x).any() or np.isnan(y).any() or np.ptp(rankdata(x)) * np.ptp(rankdata(y)) == 0:
        return float("nan")
    return float(weightedtau(x, y).statistic)


def regret_at_1(score: Values, outcome: Values) -> float:
    """How much of the outcome is lost by taking the candidate with the highest score.

    The candidates are models on one data set, or data sets under one model. Negate a score or an
    outcome (n,) of which less is better.

    Returns:
        The best outcome less that of the choice, in units of the outcome, at least 0. Candidates
        that share the highest score are chosen with equal chance. NaN where a value is NaN or there
        is no candidate.
    """
    if not len(score) or np.isnan(score).any() or np.isnan(outcome).any():
        return float("nan")
    return float(outcome.max() - outcome[score == score.max()].mean())


def permutation_p(x: Values, y: Values, *, permutations: int = 10_000, seed: int = 0) -> float:
    """How often |r| of shuffled y is at least as large: two-sided, never zero.

    Returns:
        `(1 + count) / (1 + permutations)`; NaN where r is.
    """
    r = spearman(x, y)
    if not np.isfinite(r):
        return float("nan")
    rng = np.random.default_rng(seed)
    ranks = rankdata(y)
    shuffled = rng.permuted(np.tile(ranks, (permutations, 1)), axis=1)
    count = int((np.abs(_correlations(shuffled, rankdata(x))) >= abs(r) - TIE).sum())
    return (1 + count) / (1 + permutations)


class ConfidenceInterval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def bootstrap_interval(
    x: Values, y: Values, *, resamples: int = 10_000, seed: int = 0
) -> ConfidenceInterval:
    """Percentile bootstrap of Spearman's r over data sets.

    With a dozen data sets it is rough: resamples repeat data sets, and repeated ones are ties.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(x), size=(resamples, len(x)))
    r = _correlations(rankdata(x[drawn], axis=1), rankdata(y[drawn], axis=1))
    return percentile_interval(r)


def percentile_interval(draws: Values) -> ConfidenceInterval:
    """The middle 95 % of draws (resamples,), such as those of one configuration fixed in advance.

    NaN where every draw is.
    """
    if np.isnan(draws).all():
        return ConfidenceInterval(float("nan"), float("nan"))
    tail = (1 - COVERAGE) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return ConfidenceInterval(float(low), float(high))


def _correlations(rows: Values, others: Values) -> Values:
    """Pearson's r of each row with the same row of `others`, or with `others` where it is one."""
    a = rows - rows.mean(axis=-1, keepdims=True)
    b = others - others.mean(axis=-1, keepdims=True)
    norms = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    products = (a * b).sum(axis=-1)
    r: Values = np.divide(products, norms, out=np.full(len(rows), np.nan), where=norms > TIE)
    return r
