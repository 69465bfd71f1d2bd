"""R² of ordinary least squares on the features."""

from ntpscore.core.geneig import factor_metric
from ntpscore.core.grouping import adjusted_r2
from ntpscore.core.moments import LayerMoments
from ntpscore.errors import MetricError


def r2(moments: LayerMoments) -> float:
    """In-sample R² of least squares with intercept, `tr(Cov(x)⁺ Cov(x,Y) Cov(Y,x)) / tr Cov(Y)`.

    All label columns together; labels of any kind. In [0, 1]; higher is better. Meaningless labels
    give about d/n, and n ≤ d gives 1: compare models of unequal width by `r2_adjusted`.

    Args:
        moments: of one layer.

    Raises:
        MetricError: the labels never differ.
        MomentsError: the features never differ.

    Source:
        method.md, `ΣΛ / tr Cov(Y)` on centred moments.
    """
    return _fit(moments)[0]


def r2_adjusted(moments: LayerMoments) -> float:
    """R² of least squares corrected for the number of features, `1 − (1 − R²)(n − 1)/(n − 1 − r)`.

    r is the numerical rank of the features' covariance. At most 1, zero
    on average for meaningless labels; higher is better.

    Args:
        moments: of one layer.

    Raises:
        MetricError: the labels never differ, or there are no more texts than features.
        MomentsError: the features never differ.

    Source:
        Ezekiel 1930, "Methods of Correlation Analysis".
    """
    value, rank = _fit(moments)
    chance = moments.chance_r2(rank)
    if not chance < 1:
        groups = "" if moments.grouping is None else " in too few different groups"
        raise MetricError(
            f"r2_adjusted needs more texts than features: {moments.n_texts} texts{groups} span "
            f"{rank} dimensions"
        )
    return adjusted_r2(value, chance)


def _fit(moments: LayerMoments) -> tuple[float, int]:
    """R² and the numerical rank of the features' covariance."""
    variance = float(moments.Y_variances[0])
    if variance == 0:
        raise MetricError("the labels never differ, so there is nothing to predict")
    metric = factor_metric(moments.N_centred)
    explained = float((metric.whitener.T @ moments.M_centred).square().sum())
    return min(explained / variance, 1.0), metric.rank
