"""What is left of the best configuration of a sweep, once it is known that it was chosen.

The best of hundreds of correlations over a dozen data sets is large whatever is correlated. Four
answers, each with the choice inside: a permutation test of the largest correlation, correlations of
data sets and of models that the choice did not see, and an interval that holds for every
configuration at once.

Correlations here are *oriented*: Spearman's r times the sweep's sign, so that more is better. Of
several models the mean of theirs counts. Tests are one-sided: only correlations of the expected
sign speak for a score.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from ntpscore.errors import DataError
from ntpscore.study.statistics.correlation import TIE, Values
from ntpscore.study.statistics.sweep import Sweep

# Orders of the data sets that are worked on together: bounds the memory.
_CHUNK = 500


def correlations(sweep: Sweep) -> Values:
    """Oriented Spearman's r of every configuration.

    Returns:
        (m, C) one row per model.
    """
    x, y = _standard_ranks(sweep.values), _standard_ranks(sweep.outcomes)
    return np.asarray(sweep.sign * np.einsum("mcn,mn->mc", x, y))


def best_configuration(r: Values) -> int:
    """The place in the sweep of the largest oriented correlation (C,); of equal ones the first."""
    return int(_first_best(r[:, None])[0])


@dataclass(frozen=True)
class MaxStatistic:
    """One-sided p-values of one sweep.

    Attributes:
        p: (C,) of each configuration, as if it had been fixed in advance.
        p_best: of the best one, corrected for the choice among the sweep's configurations.
        p_family: the same, corrected for all configurations of all sweeps tested together.
    """

    p: Values
    p_best: float
    p_family: float


def max_statistic_test(
    sweeps: Sequence[Sweep], *, permutations: int = 10_000, seed: int = 0
) -> list[MaxStatistic]:
    """Test the largest oriented r against the largest under permuted data sets.

    The outcomes are reassigned to the data sets at random, in the same way for all layers, k,
    models and sweeps: what these have in common stays as it is. Where there are no more orders than
    permutations, each is taken once and the p-values are exact; else they are
    `(1 + count) / (1 + P)`.

    Args:
        sweeps: over the same data sets.
        permutations: P.
        seed: of the permutations.

    Source:
        Westfall and Young 1993, single-step maxT.
    """
    if not sweeps or len({sweep.data for sweep in sweeps}) > 1:
        raise DataError("sweeps that are tested together must be over the same data sets")
    orders = data_set_orders(len(sweeps[0].data), permutations, seed)
    observed = [correlations(sweep).mean(axis=0) for sweep in sweeps]
    counts = [np.zeros(len(r), dtype=np.int64) for r in observed]
    ranks = [(_flat(_standard_ranks(s.values)), _standard_ranks(s.outcomes)) for s in sweeps]
    peaks = np.empty((len(sweeps), len(orders)))
    for part, rows in _chunks(orders):
        for i, sweep in enumerate(sweeps):
            x, y = ranks[i]
            shuffled = y[:, rows].transpose(1, 0, 2).reshape(len(rows), -1)
            permuted = sweep.sign * (x @ shuffled.T) / len(sweep.models)
            counts[i] += (permuted >= observed[i][:, None] - TIE).sum(axis=1)
            peaks[i, part] = permuted.max(axis=0)
    overall = peaks.max(axis=0)
    return [
        MaxStatistic(
            p=count / len(orders),
            p_best=float((peak >= r.max() - TIE).mean()),
            p_family=float((overall >= r.max() - TIE).mean()),
        )
        for r, count, peak in zip(observed, counts, peaks, strict=True)
    ]


@dataclass(frozen=True)
class LeftOut:
    """What a choice is worth where it did not look.

    Attributes:
        r: oriented; see the function that made it.
        p: one-sided, by permutation, the choices made anew in each.
        configurations: the place in the sweep that each fold chose.
        r_by_fold: (folds,) where a fold has an r of its own; empty otherwise.
    """

    r: float
    p: float
    configurations: npt.NDArray[np.int64]
    r_by_fold: Values


def leave_one_out_selection(sweep: Sweep, *, permutations: int = 1_000, seed: int = 0) -> LeftOut:
    """Choose the configuration without a data set, then see where that data set falls.

    For data set i the configuration with the largest mean r over the *other* data sets is taken.
    Under it, i has the place u_i among all n data sets (its score is known without its outcome) and
    v_i by its outcome. One point has no correlation, so the n pairs of places are pooled: with
    ũ = u − (n+1)/2 and ṽ likewise,

        r = Σ ũ_i ṽ_i / √(Σ ũ_i² Σ ṽ_i²),

    the sums over models too. With a single configuration this is Spearman's r.

    **Bias under the null.** The choice sees only how the others are ordered among themselves, and
    where all orders of the outcomes are equally likely (no ties) the place of i is independent of
    that. So the numerator has expectation exactly zero: there is neither the optimism of the best r
    nor the pessimism of correlating with predictions from the others. The denominator makes r a
    ratio, whose mean is zero up to terms that the simulation in the tests can't see. r shrinks
    towards zero where folds choose differently, as it should.

    Args:
        sweep: of one or more models; all take the same configuration.
        permutations: of the p-value, the whole procedure being repeated for each.
        seed: of the permutations.
    """
    n = len(sweep.data)
    orders = data_set_orders(n, permutations, seed)
    centre = (n + 1) / 2
    places = rankdata(sweep.values, axis=2) - centre
    chosen = np.empty(n, dtype=np.int64)
    pooled = np.empty(len(orders))
    outcome_places = rankdata(sweep.outcomes, axis=1)
    rest_of = [np.delete(np.arange(n), i) for i in range(n)]
    rests = [_flat(_standard_ranks(sweep.values[:, :, rest])) for rest in rest_of]
    for part, rows in _chunks(orders):
        # (P, m, n): the place of the outcome that each data set is given.
        v = outcome_places[:, rows].transpose(1, 0, 2)
        products, left, right = (np.zeros(len(rows)) for _ in range(3))
        for i, rest in enumerate(rest_of):
            others, own = v[:, :, rest], v[:, :, i : i + 1]
            # Places among the rest: one less for those above i, half of one less for its equals.
            among = others - (others > own) - 0.5 * (others == own)
            r = sweep.sign * rests[i] @ _unit(among).reshape(len(rows), -1).T
            configurations = _first_best(r)
            if part.start == 0:
                chosen[i] = configurations[0]
            u = places[:, configurations, i].T
            w = own[:, :, 0] - centre
            products += (u * w).sum(axis=1)
            left += (u * u).sum(axis=1)
            right += (w * w).sum(axis=1)
        norms = np.sqrt(left * right)
        pooled[part] = sweep.sign * np.divide(
            products, norms, out=np.zeros(len(rows)), where=norms > TIE
        )
    return LeftOut(
        r=float(pooled[0]),
        p=float((pooled >= pooled[0] - TIE).mean()),
        configurations=chosen,
        r_by_fold=np.empty(0),
    )


def leave_one_model_out(sweep: Sweep, *, permutations: int = 1_000, seed: int = 0) -> LeftOut:
    """Choose the configuration on the other models, then take its r under the model left out.

    The data sets are the same in the choice and in the check, and models agree on which of them
    are easy: a configuration that orders these data sets well by luck does so under every model.
    The r is therefore *not* corrected for the choice as far as data sets go, and under the null it
    is above zero as soon as models are alike; its p-value, from permutations that are the same for
    all models, is right.

    Args:
        sweep: of two models or more.
        permutations: of the p-value, the whole procedure being repeated for each.
        seed: of the permutations.

    Returns:
        `r` is the mean of `r_by_fold`, whose folds are the models.
    """
    models = len(sweep.models)
    if models < 2:
        raise DataError("leaving out a model needs two models or more")
    orders = data_set_orders(len(sweep.data), permutations, seed)
    x, y = _standard_ranks(sweep.values), _standard_ranks(sweep.outcomes)
    means = np.empty(len(orders))
    chosen, by_fold = np.empty(models, dtype=np.int64), np.empty(models)
    for part, rows in _chunks(orders):
        r = sweep.sign * np.einsum("mcn,mpn->mcp", x, y[:, rows], optimize=True)
        total = r.sum(axis=0)
        held_out = np.empty((models, len(rows)))
        for i in range(models):
            configurations = _first_best((total - r[i]) / (models - 1))
            held_out[i] = r[i, configurations, np.arange(len(rows))]
            if part.start == 0:
                chosen[i] = configurations[0]
        if part.start == 0:
            by_fold = held_out[:, 0]
        means[part] = held_out.mean(axis=0)
    return LeftOut(
        r=float(means[0]),
        p=float((means >= means[0] - TIE).mean()),
        configurations=chosen,
        r_by_fold=by_fold,
    )


def data_set_orders(n: int, permutations: int, seed: int) -> npt.NDArray[np.int64]:
    """Orders of n data sets, the one that was found first.

    Returns:
        (n!, n) all of them if there are no more than `permutations`, else (1 + permutations, n).
    """
    if permutations < 1:
        raise DataError(f"{permutations} permutations test nothing: ask for 1,000 or more")
    if math.factorial(n) <= permutations:
        return np.array(list(itertools.permutations(range(n))))
    rows = np.tile(np.arange(n), (1 + permutations, 1))
    rows[1:] = np.random.default_rng(seed).permuted(rows[1:], axis=1)
    return rows


def _chunks(
    orders: npt.NDArray[np.int64],
) -> Iterator[tuple[slice, npt.NDArray[np.int64]]]:
    for start in range(0, len(orders), _CHUNK):
        part = slice(start, min(start + _CHUNK, len(orders)))
        yield part, orders[part]


def _first_best(r: Values) -> npt.NDArray[np.int64]:
    """Of each column the first place within rounding of its largest value."""
    return np.asarray((r >= r.max(axis=0) - TIE).argmax(axis=0))


def _standard_ranks(values: Values) -> Values:
    """Ranks along the last axis, of mean 0 and length 1; all 0 where they are all equal."""
    ranks: Values = rankdata(values, axis=-1)
    return _unit(ranks)


def _unit(ranks: Values) -> Values:
    centred: Values = ranks - ranks.mean(axis=-1, keepdims=True)
    norms: Values = np.sqrt((centred**2).sum(axis=-1, keepdims=True))
    unit: Values = np.divide(centred, norms, out=np.zeros_like(centred), where=norms > TIE)
    return unit


def _flat(ranks: Values) -> Values:
    """(m, C, n) as (C, m n)."""
    return ranks.transpose(1, 0, 2).reshape(ranks.shape[1], -1)
