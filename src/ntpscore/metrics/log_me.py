"""LogME: the logarithm of the largest evidence of a Bayesian linear model of the labels."""

import math

import numpy as np
from scipy.optimize import minimize_scalar

from ntpscore.core.factored_metric import relative_cutoff
from ntpscore.core.lapack import Tridiagonal
from ntpscore.core.moments import LayerMoments
from ntpscore.errors import MetricError
from ntpscore.metrics.inputs import Floats

# An unexplained share of the labels below this is rounding, and more where F is ill-conditioned.
_NOTHING_LEFT = 1e-12
_GRID = 400
_DECADES_BEYOND = 8.0


def log_me(moments: LayerMoments) -> float:
    """LogME, `max_{α,β} log p(y | F, α, β) / n`, averaged over the label columns.

    The model is `y = F w + noise`, w of precision α and the noise of precision β, without
    intercept, F the (n, d) features. Any real number, in nats per text; higher is better. Classes
    count as one-hot columns; targets and several labels at once are defined likewise.

    With s_i² the r ≤ min(n, d) eigenvalues of `Fᵀ F` that are not zero, a_i the squared
    coordinates of y in its left singular vectors, R the rest of `‖y‖²` and t = α/β, the best β is
    n/Q, `Q = R + Σ a_i t/(t + s_i²)`, and the evidence

        (n/2) log(n/(2π Q)) − n/2 − ½ Σ_{i ≤ r} log(1 + s_i²/t).

    All sums run over the r terms, so n < d is no special case. t is found on a grid and refined,
    which can't stop early as fixed-point iterations do. Two limits count as maxima too: t → ∞
    (features are useless) and, where r = n, t → 0 (no noise). Where least squares fits with r < n
    the evidence has no bound, and the result is infinite: for n ≤ d, texts that occur twice with
    the same label do that.

    Source:
        You, Liu, Wang, Long 2021, "LogME: Practical Assessment of Pre-trained Models for Transfer
        Learning", which climbs to a maximum by fixed-point steps on α and β.
    """
    n = moments.n_texts
    values, coordinates = (x.cpu().numpy() for x in Tridiagonal.of(moments.N, moments.M).eigen)
    in_range = np.flatnonzero(values > relative_cutoff(moments.width) * max(values[-1], 0.0))[-n:]
    if not len(in_range):
        raise MetricError("the features are all zero")
    powers = moments.YY.diagonal().cpu().numpy() * n
    if not (powers > 0).all():
        raise MetricError("a label column is zero everywhere: leave that class or target out")
    values = values[in_range]
    inside = n * coordinates[in_range] ** 2 / values[:, None]  # (r, c) a_i
    evidences = [
        _largest_evidence(n * values, a, float(power), n)
        for a, power in zip(inside.T, powers, strict=True)
    ]
    return float(np.mean(evidences)) / n


def _largest_evidence(squares: Floats, a: Floats, power: float, n: int) -> float:
    """The largest log evidence of one label column over α and β.

    Args:
        squares: (r,) s_i².
        a: (r,) squared coordinates of y.
        power: `‖y‖²`.
        n: number of texts.
    """
    rank = len(squares)
    rest = max(power - a.sum(), 0.0) if rank < n else 0.0
    # The moments are rounded at eps, and their smallest direction feels it squares.max/min times.
    rounding = np.finfo(np.float64).eps * squares.max() / squares.min()
    if rank < n and rest < max(_NOTHING_LEFT, rounding) * power:
        return math.inf

    def evidence(log_t: float) -> float:
        t = math.exp(log_t)
        Q = rest + float((a * (t / (t + squares))).sum())
        return _evidence(Q, float(np.log1p(squares / t).sum()), n)

    limits = [_evidence(power, 0.0, n)]
    if rank == n:
        limits.append(_evidence(float((a / squares).sum()), float(np.log(squares).sum()), n))
    beyond = _DECADES_BEYOND * math.log(10)
    low, high = math.log(squares.min()) - beyond, math.log(squares.max()) + beyond
    grid = np.linspace(low, high, _GRID)
    heights = [evidence(log_t) for log_t in grid]
    top = int(np.argmax(heights))
    maximum = minimize_scalar(
        lambda log_t: -evidence(log_t),
        bounds=(grid[max(top - 1, 0)], grid[min(top + 1, _GRID - 1)]),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return max(*limits, heights[top], -float(maximum.fun))


def _evidence(Q: float, log_determinant: float, n: int) -> float:
    return n / 2 * math.log(n / (2 * math.pi * Q)) - n / 2 - log_determinant / 2
