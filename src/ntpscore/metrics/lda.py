"""Accuracy of linear discriminant analysis."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial.distance import cdist

from ntpscore.errors import MetricError
from ntpscore.metrics.inputs import Floats, Integers, check_classes, check_features, deal_out

# A share below this is rounding.
_NOTHING = 1e-13


def lda(
    features: npt.ArrayLike, labels: npt.NDArray[Any], groups: npt.NDArray[Any] | None = None
) -> float:
    """Held-out accuracy of linear discriminant analysis with a shrunk covariance, in ten folds.

    The class of text x is the k with the largest `log π_k − ½ (x − μ_k)ᵀ Σ⁻¹ (x − μ_k)`; shares π,
    means μ and pooled within-class covariance `Σ = (1 − δ) W/n + δ tr(W/n)/d I` are those of the
    texts of other folds, δ by Ledoit and Wolf; π is that of all texts. In [0, 1]; higher is better.
    Defined for n < d. A class that other folds lack is unknown there.

    Source:
        Fisher 1936, "The use of multiple measurements in taxonomic problems"; Ledoit and Wolf 2004,
        "A well-conditioned estimator for large-dimensional covariance matrices".
    """
    X = check_features(features)
    codes = check_classes(labels, len(X), "lda")
    folds = deal_out(codes, groups)
    shares = np.log(np.bincount(codes))
    right = 0
    for fold in range(folds.max() + 1):
        held_out = folds == fold
        distances = _distances(X[held_out], X[~held_out], codes[~held_out], len(shares))
        right += int(((shares - distances / 2).argmax(1) == codes[held_out]).sum())
    return right / len(X)


def _distances(held_out: Floats, X: Floats, codes: Integers, n_classes: int) -> Floats:
    """(m, c) squared distances of texts to the means of classes, infinite where one has no text.

    Args:
        held_out: (m, d) the texts.
        X: (n, d) the texts that means and covariance are of.
        codes: (n,) their classes.
        n_classes: c.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    n, d = X.shape
    present = np.unique(codes)
    means = np.stack([X[codes == label].mean(0) for label in present])
    within = X - means[np.searchsorted(present, codes)]
    scatter = float((within**2).sum())
    if scatter <= _NOTHING * float(((X - X.mean(0)) ** 2).sum()):
        raise MetricError("lda needs texts that differ within their classes")
    shrinkage = float(ledoit_wolf_shrinkage(within, assume_centered=True))
    floor = shrinkage * scatter / (n * d)
    covariance = (1 - shrinkage) / n * (within.T @ within)
    covariance[np.diag_indices(d)] += floor
    try:
        L = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        L = np.zeros((1, 1))
    if L.diagonal().min() <= _NOTHING**0.5 * L.diagonal().max():
        raise MetricError("lda needs a covariance that can be inverted: too few texts differ")
    distances = np.full((len(held_out), n_classes), np.inf)
    both = torch.from_numpy(np.concatenate([held_out, means]))
    # SciPy's keeps Python's lock meanwhile, and Ctrl-C waits for it.
    white = torch.linalg.solve_triangular(torch.from_numpy(L), both.T, upper=False).T.numpy()
    texts, centres = np.split(white, [len(held_out)])
    distances[:, present] = cdist(texts, centres, "sqeuclidean")
    return distances
