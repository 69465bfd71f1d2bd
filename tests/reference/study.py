"""Statistics of a sweep, written out in loops over lists.

`values[m][c][i]` is the score of model m at configuration c on data set i; `outcomes[m][i]` its
outcome there.
"""

import itertools
import math

import numpy as np

from tests.reference.correlation import pearson, ranks, spearman

Sweep = list[list[list[float]]]
Outcomes = list[list[float]]


def weighted_kendall(x: list[float], y: list[float]) -> float:
    """Vigna's tau with additive hyperbolic weights, the mean of both ways to rank."""

    def sign(a: float) -> int:
        return (a > 0) - (a < 0)

    def one_way(first: list[float], second: list[float]) -> float:
        order = sorted(range(len(x)), key=lambda i: (-first[i], -second[i]))
        place = {i: at for at, i in enumerate(order)}

        def product(a: list[float], b: list[float]) -> float:
            return sum(
                sign(a[i] - a[j]) * sign(b[i] - b[j]) * (1 / (1 + place[i]) + 1 / (1 + place[j]))
                for i, j in itertools.combinations(range(len(x)), 2)
            )

        return product(x, y) / math.sqrt(product(x, x) * product(y, y))

    return (one_way(x, y) + one_way(y, x)) / 2


def mean_r(values: Sweep, outcomes: Outcomes, c: int, over: list[int], sign: int) -> float:
    """The mean over models of oriented r at a configuration, over some data sets."""
    found = [
        spearman([model[c][i] for i in over], [outcome[i] for i in over])
        for model, outcome in zip(values, outcomes, strict=True)
    ]
    # A side that is constant has no order to agree or disagree with.
    return sign * sum(0.0 if math.isnan(r) else r for r in found) / len(found)


def first_best(r: list[float]) -> int:
    return next(c for c, value in enumerate(r) if value >= max(r) - 1e-9)


def max_statistic(
    sweeps: list[tuple[Sweep, Outcomes, int]],
) -> list[tuple[list[float], float, float]]:
    """Per sweep, over all orders of the data sets: p of each configuration, best, family."""
    n = len(sweeps[0][1][0])
    everything = list(range(n))
    under: list[list[list[float]]] = []
    for order in itertools.permutations(everything):
        under.append([])
        for values, outcomes, sign in sweeps:
            permuted = [[row[i] for i in order] for row in outcomes]
            under[-1].append(
                [mean_r(values, permuted, c, everything, sign) for c in range(len(values[0]))]
            )
    results = []
    for s, found in enumerate(under[0]):
        p = [np.mean([r[s][c] >= value - 1e-9 for r in under]) for c, value in enumerate(found)]
        best = np.mean([max(r[s]) >= max(found) - 1e-9 for r in under])
        family = np.mean([max(map(max, r)) >= max(found) - 1e-9 for r in under])
        results.append(([float(one) for one in p], float(best), float(family)))
    return results


def left_out_data(values: Sweep, outcomes: Outcomes, sign: int) -> tuple[float, list[int]]:
    """Pooled places of data sets under the configurations chosen without them."""
    n = len(outcomes[0])
    u, v, chosen = [], [], []
    for i in range(n):
        rest = [j for j in range(n) if j != i]
        c = first_best([mean_r(values, outcomes, c, rest, sign) for c in range(len(values[0]))])
        chosen.append(c)
        for model, outcome in zip(values, outcomes, strict=True):
            u.append(ranks(model[c])[i] - (n + 1) / 2)
            v.append(ranks(outcome)[i] - (n + 1) / 2)
    products = sum(a * b for a, b in zip(u, v, strict=True))
    norm = math.sqrt(sum(a * a for a in u) * sum(b * b for b in v))
    return (sign * products / norm if norm else 0.0), chosen


def left_out_models(values: Sweep, outcomes: Outcomes, sign: int) -> tuple[list[float], list[int]]:
    everything = list(range(len(outcomes[0])))
    found, chosen = [], []
    for m in range(len(values)):
        others, theirs = values[:m] + values[m + 1 :], outcomes[:m] + outcomes[m + 1 :]
        c = first_best([mean_r(others, theirs, c, everything, sign) for c in range(len(values[0]))])
        chosen.append(c)
        found.append(mean_r([values[m]], [outcomes[m]], c, everything, sign))
    return found, chosen


def resampled(values: Sweep, outcomes: Outcomes, sign: int, drawn: list[int]) -> list[float]:
    """Oriented r of each configuration over data sets that are really repeated."""
    return [
        sign
        * float(
            np.mean(
                [
                    pearson(ranks([m[c][i] for i in drawn]), ranks([o[i] for i in drawn]))
                    for m, o in zip(values, outcomes, strict=True)
                ]
            )
        )
        for c in range(len(values[0]))
    ]


def jackknife_plus(
    estimate: list[float], reached: list[float], data: list[str], new: float, coverage: float
) -> tuple[float, float, float]:
    """A shifted estimate and the ends of its interval, each data set weighing alike."""
    names = sorted(set(data))

    def shift_without(left_out: str | None) -> float:
        means = []
        for name in names:
            if name != left_out:
                of_name = [r - e for e, r, d in zip(estimate, reached, data, strict=True)
                           if d == name]  # fmt: skip
                means.append(sum(of_name) / len(of_name))
        return sum(means) / len(means)

    ends = []
    for e, r, d in zip(estimate, reached, data, strict=True):
        shift = shift_without(d)
        missed = r - (e + shift)
        ends.append((new + shift + missed, 1 / (len(names) * data.count(d))))
    level = (1 + coverage) / 2 * (len(names) + 1) / len(names)

    def reach(ordered: list[tuple[float, float]]) -> float:
        total = 0.0
        for end, weight in ordered:
            total += weight
            if total >= level - 1e-9:
                return end
        raise AssertionError(level)

    low, high = reach(sorted(ends, reverse=True)), reach(sorted(ends))
    cut = [min(max(value, 0.0), 1.0) for value in (new + shift_without(None), low, high)]
    return cut[0], cut[1], cut[2]
