"""N-LEEP: LEEP through the clusters of a Gaussian mixture in place of the source classes."""

import warnings
from typing import Any

import numpy.typing as npt

from ntpscore.errors import MetricError
from ntpscore.metrics.inputs import check_classes, check_varied
from ntpscore.metrics.leep import leep

ENERGY = 0.8
CLUSTERS_PER_CLASS = 5


def n_leep(features: npt.ArrayLike, labels: npt.NDArray[Any], *, seed: int = 0) -> float:
    """N-LEEP: features to the principal components of 80 % of their variance, a mixture of 5c
    Gaussians with full covariances fitted there, and LEEP on its posteriors.

    In (−∞, 0]; higher is better. n < d is defined as long as n ≥ 5c. The mixture is fitted from one
    seeded start, so the value is one of several local optima, and the order of texts or a rotation
    may lead to another; where clusters hold few texts it is optimistic.
    Costs n·5c·p² per step, p the number of components: the slowest of the metrics.

    Args:
        features: (n, d).
        labels: (n,) class indices.
        seed: of the mixture's start.

    Source:
        Li et al. 2021, "Ranking Neural Checkpoints".
    """  # noqa: D205
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    X = check_varied(features)
    codes = check_classes(labels, len(X), "n_leep")
    n_clusters = CLUSTERS_PER_CLASS * (int(codes.max()) + 1)
    if n_clusters > len(X):
        raise MetricError(
            f"n_leep fits {CLUSTERS_PER_CLASS} clusters per class, {n_clusters} in all, which "
            f"needs as many texts; there are {len(X)}"
        )
    X = X - X.mean(0)
    # The mixture adds 1e-6 to each variance: at unit scale that is little for any model.
    reduced = PCA(n_components=ENERGY, svd_solver="full").fit_transform(X / X.std())
    mixture = GaussianMixture(n_clusters, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(reduced)
    return leep([mixture.predict_proba(reduced)], codes)
