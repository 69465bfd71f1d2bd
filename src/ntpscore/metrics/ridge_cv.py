"""A ridge probe judged by leaving one text out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ntpscore.errors import MetricError
from ntpscore.metrics.inputs import Floats, check_features, check_targets

# Ridges as shares of the features' mean variance: a few huge directions carry most of it.
RIDGES = tuple(10.0**exponent for exponent in range(-8, 4))


@dataclass(frozen=True)
class RidgeProbe:
    """The best of the ridge probes, by leave-one-out.

    Attributes:
        ridge: λ, the penalty, as a share of the features' mean variance.
        r2: leave-one-out R², all label columns together.
        predictions: (n, c) of each text by the probe of all others.
    """

    ridge: float
    r2: float
    predictions: Floats


def fit_ridge_probe(features: npt.ArrayLike, labels: npt.NDArray[Any]) -> RidgeProbe:
    """Fit ridge regressions with intercept, and choose λ by the leave-one-out error.

    `min_W ‖Y − X W‖² + n λ v ‖W‖²`, v the mean variance of a feature, for λ = 1e-8, …, 1e3. The
    prediction of a text without itself is exact, `y − (y − ŷ)/(1 − h)` with leverage h.

    Args:
        features: (n, d).
        labels: (n,) class indices, or (n, t) targets or indicators.

    Raises:
        MetricError: features or labels never differ.

    Source:
        Golub, Heath, Wahba 1979, "Generalized cross-validation as a method for choosing a good
        ridge parameter"; Allen 1974 (PRESS).
    """
    X = check_features(features)
    Y = check_targets(labels, len(X))
    n, d = X.shape
    X = X - X.mean(0)
    mean = Y.mean(0)
    left, singular, _ = np.linalg.svd(X, full_matrices=False)
    squares = singular**2
    if not squares[0] > 0:
        raise MetricError("the features never differ between texts")
    # The mean of all other texts, as the probe without features has it.
    nothing = float((((Y - mean) * n / (n - 1)) ** 2).sum())
    coordinates = left.T @ (Y - mean)
    best: RidgeProbe | None = None
    for ridge in RIDGES:
        kept = squares / (squares + ridge * squares.sum() / d)
        fitted = mean + left @ (kept[:, None] * coordinates)
        leverage = 1 / n + (left**2) @ kept
        predictions = Y - (Y - fitted) / (1 - leverage)[:, None]
        r2 = 1 - float(((Y - predictions) ** 2).sum()) / nothing
        if best is None or r2 > best.r2:
            best = RidgeProbe(ridge, r2, predictions)
    assert best is not None  # noqa: S101
    return best


def ridge_cv(features: npt.ArrayLike, labels: npt.NDArray[Any]) -> float:
    """Leave-one-out R² of the best ridge probe of `fit_ridge_probe`.

    At most 1, below 0 where no ridge does better than the mean; higher is better. Labels of any
    kind; defined for n < d. The choice among 12 ridges makes it slightly optimistic.

    Args:
        features: (n, d).
        labels: (n,) class indices, or (n, t) targets or indicators.

    Raises:
        MetricError: features or labels never differ.

    Source:
        see `fit_ridge_probe`.
    """
    return fit_ridge_probe(features, labels).r2
