"""GBC: how much the classes overlap, each taken as a Gaussian."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ntpscore.metrics.inputs import Floats, check_classes, check_varied

MOST_COMPONENTS = 64


def gbc(features: npt.ArrayLike, labels: npt.NDArray[Any]) -> float:
    """Gaussian Bhattacharyya coefficient, `−Σ_{a ≠ b} exp(−D_B(a, b))` over ordered pairs.

    `D_B = ⅛ Σ_j (μ_aj − μ_bj)²/s_j + ½ Σ_j log(s_j/√(s_aj s_bj))`, `s = (s_a + s_b)/2`, with mean μ
    and variance s (over n_c) of each class in each of the first 64 principal components, fewer
    where the features have a lower rank. In [−c(c − 1), 0]; higher is better. Defined for n < d. A
    class of a single text has no variance and overlaps with none.

    Source:
        Pándy, Agostinelli, Uijlings, Ferrari, Mensink 2022, "Transferability Estimation using
        Bhattacharyya Class Separability", with diagonal covariances. The authors' code also has
        spherical ones, its setting for the choice of a source model, and raises every variance to
        at least 1e-4, which hangs on the scale of the features; here nothing is raised.
    """
    from sklearn.decomposition import PCA

    X = check_varied(features)
    codes = check_classes(labels, len(X), "gbc")
    components = PCA(min(MOST_COMPONENTS, *X.shape), svd_solver="full").fit(X)
    sizes = components.singular_values_
    # The last of n ≤ d components is rounding, in which any two classes look alike.
    in_range = sizes > sizes[0] * max(X.shape) * np.finfo(np.float64).eps
    reduced = components.transform(X)[:, in_range]
    classes = [reduced[codes == label] for label in range(codes.max() + 1)]
    means = np.stack([rows.mean(0) for rows in classes])
    variances = np.stack([rows.var(0) for rows in classes])
    total = 0.0
    for a in range(len(classes) - 1):
        total += float(np.exp(-_distances(a, means, variances)).sum())
    return -2 * total


def _distances(a: int, means: Floats, variances: Floats) -> Floats:
    """The Bhattacharyya distances of class a to all classes after it; infinite in the limit."""
    gaps = (means[a] - means[a + 1 :]) ** 2
    own, others = variances[a], variances[a + 1 :]
    both = (own + others) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = gaps / both / 8 + (np.log(both) - (np.log(own) + np.log(others)) / 2) / 2
    # Two points in a component: the same, or without overlap.
    terms = np.where(both > 0, terms, np.where(gaps > 0, np.inf, 0.0))
    distances: Floats = terms.sum(1)
    return distances
