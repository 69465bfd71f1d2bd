"""R² of ordinary least squares on the features."""

import math

from ntpscore.core.moments import LayerMoments
from ntpscore.core.probe import LeastSquares
from ntpscore.errors import MetricError


def r2(moments: LayerMoments) -> float:
    """In-sample R² of least squares with intercept, `tr(Cov(x)⁺ Cov(x,Y) Cov(Y,x)) / tr Cov(Y)`.

    All label columns together; labels of any kind. In [0, 1]; higher is better. Meaningless labels
    give about d/n, and n ≤ d gives 1: compare models of unequal width by `r2_adjusted`.

    Source:
        method.md, `ΣΛ / tr Cov(Y)` on centred moments.
    """
    return float(_fit(moments).r2[0])


def r2_adjusted(moments: LayerMoments) -> float:
    """R² of least squares corrected for the number of features, `1 − (1 − R²)(n − 1)/(n − 1 − r)`.

    r is the numerical rank of the features' covariance. At most 1, zero
    on average for meaningless labels; higher is better.

    Source:
        Ezekiel 1930, "Methods of Correlation Analysis".
    """
    fit = _fit(moments)
    if math.isnan(fit.r2_adjusted):
        groups = "" if moments.grouping is None else " in too few different groups"
        raise MetricError(
            f"r2_adjusted needs more texts than features: {moments.n_texts} texts{groups} span "
            f"{fit.rank} dimensions"
        )
    return fit.r2_adjusted


def _fit(moments: LayerMoments) -> LeastSquares:
    if not moments.Y_variances[0] > 0:
        raise MetricError("the labels never differ, so there is nothing to predict")
    return LeastSquares.of(moments)
