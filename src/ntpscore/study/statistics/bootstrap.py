"""Intervals of correlations over a dozen data sets, by drawing the data sets anew."""

import numpy as np
from scipy.stats import norm

from ntpscore.study.statistics.correlation import COVERAGE, TIE, ConfidenceInterval, Values
from ntpscore.study.statistics.sweep import Sweep

# Fisher's z of an r of 1, which a dozen data sets can give, is infinite.
_LARGEST = 0.99


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


def selected_interval(draws: Values, r: Values, n: int) -> ConfidenceInterval:
    """95 % interval for the configuration with the largest r, the choice taken into account.

    A choice of the largest r makes it too large, never too small. So the upper end is that of a
    configuration fixed in advance, by Fisher's z, `tanh(z + 1.96 se)`, whose variance for
    Spearman's r is `se² = (1 + r²/2) / (n − 3)`; the lower end is that of all configurations at
    once: the higher one of `r − q`, q the 95 % quantile over resamples of the largest `|r* − r|`
    of any, and of `tanh(z − q_z)`, q_z that of the largest `z* − z`; but no higher than Fisher's.
    In simulated studies of twelve data sets, of 1 to 100 configurations, alike or not, with signal
    and without, it held the true r of the chosen one in 95 to 100 %.

    Percentiles of the best r of each resample are no such interval: where nothing is correlated
    they held the truth in none of 150 studies, since repeated data sets make the best r larger
    still.

    Args:
        draws: (resamples, C) from `resampled_correlations`.
        r: (C,) the correlations found, of several models their means.
        n: over how many data sets.

    Source:
        Bonett and Wright 2000, Sample size requirements for estimating Pearson, Kendall and
        Spearman correlations.
    """
    drawn, best = draws[~np.isnan(draws).all(axis=1)], float(r.max())

    def reach(off: Values) -> float:
        return float(np.quantile(np.nanmax(off, axis=1), COVERAGE))

    z = _fishers_z(np.array(best))
    error = norm.ppf((1 + COVERAGE) / 2) * np.sqrt((1 + best**2 / 2) / max(1, n - 3))
    by_r = best - reach(np.abs(drawn - r))
    by_z = np.tanh(z - reach(_fishers_z(drawn) - _fishers_z(r)))
    low, high = np.tanh([z - error, z + error])
    return ConfidenceInterval(max(-1.0, float(min(low, max(by_r, by_z)))), float(max(best, high)))


def _fishers_z(r: Values) -> Values:
    z: Values = np.arctanh(np.clip(r, -_LARGEST, _LARGEST))
    return z


def _resampled_ranks(values: Values, weights: Values) -> Values:
    """Centred mid-ranks (resamples, rows, n) of each value in each weighted sample."""
    rows, n = values.shape
    value, other = values[:, :, None], values[:, None, :]
    below = (value < other) + 0.5 * (value == other)
    flat = weights @ below.transpose(1, 0, 2).reshape(n, rows * n)
    ranks: Values = flat.reshape(len(weights), rows, n) - n / 2
    return ranks
