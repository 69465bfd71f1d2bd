"""H-score: how much of the features' variance lies between classes, in whitened coordinates."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from ntpscore.core.factored_metric import factor_metric
from ntpscore.core.moments import LayerMoments
from ntpscore.errors import MetricError
from ntpscore.metrics.inputs import check_class_shares, check_classes, check_varied


def h_score(moments: LayerMoments) -> float:
    """H-score, `tr(Cov(x)⁺ Cov(E[x | y]))`.

    In [0, min(c − 1, rank Cov(x))]; higher is better. It is c − 1 times the R² of least squares on
    one-hot labels, each column weighed by one over its class's share. With n ≤ d texts in general
    position it is c − 1 whatever the labels say: use `h_score_shrunk` there.

    Args:
        moments: of one layer, with one class per text.

    Source:
        Bao et al. 2019, "An Information-Theoretic Approach to Transferability in Task Transfer
        Learning".
    """
    shares = check_class_shares(moments, "h_score")
    whitener = factor_metric(moments.N_centred).whitener
    between = (whitener.T @ moments.M_centred).square().sum(0).cpu().numpy()
    occurs = shares > 0
    return float((between[occurs] / shares[occurs]).sum())


def h_score_shrunk(features: npt.ArrayLike, labels: npt.NDArray[Any]) -> float:
    """H-score with a covariance shrunk by Ledoit and Wolf, `(1 − δ) tr(Σ_δ⁻¹ Cov(E[x | y]))`.

    `Σ_δ = (1 − δ) Cov(x) + δ tr(Cov(x))/d I`; δ is estimated. In [0, c − 1]; higher is better.
    Defined and meaningful for n < d.

    Source:
        Ibrahim, Ponomareva, Mazumder 2021, "Newer is not always better: Rethinking transferability
        metrics, their peculiarities, stability and performance"; Ledoit and Wolf 2004, "A
        well-conditioned estimator for large-dimensional covariance matrices".
    """
    from sklearn.covariance import ledoit_wolf

    X = check_varied(features)
    codes = check_classes(labels, len(X), "h_score_shrunk")
    X = X - X.mean(0)
    covariance, shrinkage = ledoit_wolf(X, assume_centered=True)
    counts = np.bincount(codes)
    means = np.stack([X[codes == label].mean(0) for label in range(len(counts))])
    try:
        solved = cho_solve(cho_factor(covariance), means.T)
    except LinAlgError as error:
        raise MetricError(
            "the shrunk covariance of the features is singular: too few texts differ"
        ) from error
    return float((1 - shrinkage) * (counts / len(X)) @ (means * solved.T).sum(1))
