"""Rank correlations, written out in loops."""

import itertools
import math

import numpy as np


def ranks(values: list[float]) -> list[float]:
    """1 for the smallest; equal values share the mean of their places."""
    found = []
    for value in values:
        below = sum(other < value for other in values)
        same = sum(other == value for other in values)
        found.append(below + (same + 1) / 2)
    return found


def pearson(x: list[float], y: list[float]) -> float:
    mx, my = sum(x) / len(x), sum(y) / len(y)
    xy = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    xx = sum((a - mx) ** 2 for a in x)
    yy = sum((b - my) ** 2 for b in y)
    return xy / math.sqrt(xx * yy) if xx * yy > 0 else math.nan


def spearman(x: list[float], y: list[float]) -> float:
    return pearson(ranks(x), ranks(y))


def partial_spearman(x: list[float], y: list[float], z: list[float]) -> float:
    """Pearson's r of what a straight line in the ranks of z leaves of the ranks of x and y."""

    def rest(values: list[float]) -> list[float]:
        design = np.column_stack([np.ones(len(z)), ranks(z)])
        found = np.linalg.lstsq(design, np.array(ranks(values)), rcond=None)[0]
        return list(np.array(ranks(values)) - design @ found)

    return pearson(rest(x), rest(y))


def exact_p(x: list[float], y: list[float]) -> float:
    """The share of all orders of y whose |r| is at least as large as that of the order found."""
    found = abs(spearman(x, y))
    every = [abs(spearman(x, list(order))) for order in itertools.permutations(y)]
    return sum(r >= found - 1e-9 for r in every) / len(every)
