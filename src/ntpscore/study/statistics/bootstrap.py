"""Intervals of correlations over a dozen data sets, by drawing the data sets anew."""

import numpy as np

from ntpscore.study.statistics.correlation import COVERAGE, TIE, ConfidenceInterval, Values
from ntpscore.study.statistics.sweep import Sweep


def resampled_correlations(sweep: Sweep, *, resamples: int = 2_000, seed: int = 0) -> Values:
    """Oriented r of every configuration over data sets drawn anew with replacement.

    The draw is the same for all configurations and models. A data set drawn twice ties with itself.

    Returns:
        (resamples, C), the mean over models; NaN where a draw leaves one side constant.
    """
    n = len(sweep.data)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    total = np.zeros((resamples, sweep.values.shape[1]))
    for values, outcome in zip(sweep.values, sweep.outcomes, strict=True):
        y = _resampled_ranks(outcome[None], weights)[:, 0]
        for start in range(0, len(values), 64):
            part = slice(start, start + 64)
            x = _resampled_ranks(values[part], weights)
            products = np.einsum("bcn,bn,bn->bc", x, y, weights, optimize=True)
            left = np.einsum("bcn,bcn,bn->bc", x, x, weights, optimize=True)
            norms = np.sqrt(left * (y * y * weights).sum(axis=1, keepdims=True))
            total[:, part] += np.divide(
                products, norms, out=np.full_like(products, np.nan), where=norms > TIE
            )
    return sweep.sign * total / len(sweep.models)


def selected_interval(draws: Values, r: Values) -> ConfidenceInterval:
    """95 % interval for the configuration with the largest r, the choice taken into account.

    It is the simultaneous interval of all configurations, `r ± q`, with q the 95 % quantile over
    resamples of the largest `|r* − r|` of any configuration. What holds for all holds for the one
    that was chosen, however it was. It is wide, and careful: with twelve data sets and 100 to 400
    configurations it held the true r in every one of 80 to 150 simulated studies; with a single
    configuration in 87 to 94 %.

    Percentiles of the best r of each resample are no such interval: where nothing is correlated
    they held the truth in none of 150 studies, since repeated data sets make the best r larger
    still. The bootstrap of the chosen one's error, reversed, held it in 78 to 93 %.

    Args:
        draws: (resamples, C) from `resampled_correlations`.
        r: (C,) the correlations found.
    """
    off = np.abs(draws - r)
    some = ~np.isnan(off).all(axis=1)
    reach = float(np.quantile(np.nanmax(off[some], axis=1), COVERAGE))
    best = float(r.max())
    return ConfidenceInterval(max(-1.0, best - reach), min(1.0, best + reach))


def _resampled_ranks(values: Values, weights: Values) -> Values:
    """Centred mid-ranks (resamples, rows, n) of each value in each weighted sample."""
    rows, n = values.shape
    value, other = values[:, :, None], values[:, None, :]
    below = (value < other) + 0.5 * (value == other)
    flat = weights @ below.transpose(1, 0, 2).reshape(n, rows * n)
    ranks: Values = flat.reshape(len(weights), rows, n) - n / 2
    return ranks
