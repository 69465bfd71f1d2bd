"""Accuracy of linear discriminant analysis."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ntpscore.errors import MetricError
from ntpscore.metrics.inputs import Floats, Integers, check_classes, check_features

# A share below this is rounding.
_NOTHING = 1e-13


def lda(features: npt.ArrayLike, labels: npt.NDArray[Any]) -> float:
    """Leave-one-out accuracy of linear discriminant analysis with a shrunk covariance.

    The class of text x is the k with the largest `log π_k − ½ (x − μ_k)ᵀ Σ⁻¹ (x − μ_k)`; shares π,
    means μ and pooled within-class covariance `Σ = (1 − δ) W/n + δ tr(W/n)/d I` are those of all
    other texts, exactly: removing a text changes the scatter W by one rank. δ is estimated once, by
    Ledoit and Wolf. In [0, 1]; higher is better. Defined for n < d. A class of a single text is
    unknown without it, so that its text counts as an error.

    Args:
        features: (n, d).
        labels: (n,) class indices.

    Raises:
        MetricError: the labels are targets or several at once, or of one class; or texts of one
            class never differ, or only a single one of them does.

    Source:
        Fisher 1936, "The use of multiple measurements in taxonomic problems"; Ledoit and Wolf 2004,
        "A well-conditioned estimator for large-dimensional covariance matrices".
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    X = check_features(features)
    codes = check_classes(labels, len(X), "lda")
    n, d = X.shape
    X = X - X.mean(0)
    counts = np.bincount(codes)
    means = np.stack([X[codes == label].mean(0) for label in range(len(counts))])
    within = X - means[codes]
    shrinkage = float(ledoit_wolf_shrinkage(within, assume_centered=True))
    scatter = float((within**2).sum())
    if scatter <= _NOTHING * float((X**2).sum()):
        raise MetricError("lda needs texts that differ within their classes")
    # Nothing lies outside the span of the texts, and W is diagonal in its eigenvectors.
    basis = np.linalg.svd(X, full_matrices=False)[2] if n < d else np.eye(d)
    values, vectors = np.linalg.eigh(_gram(within @ basis.T))
    turn = basis.T @ vectors
    predicted = _predict_left_out(
        X @ turn, means @ turn, codes, counts, values.clip(min=0.0), scatter, shrinkage, d
    )
    return float((predicted == codes).mean())


def _gram(rows: Floats) -> Floats:
    gram: Floats = rows.T @ rows
    return gram


def _predict_left_out(
    X: Floats,
    means: Floats,
    codes: Integers,
    counts: Integers,
    values: Floats,
    scatter: float,
    shrinkage: float,
    width: int,
) -> Integers:
    """The class of each text by the discriminant of all others, in eigenvectors of W.

    Args:
        X: (n, r) texts.
        means: (c, r) class means.
        codes: (n,) classes.
        counts: (c,) texts of each class.
        values: (r,) eigenvalues of W.
        scatter: tr W.
        shrinkage: δ.
        width: d, the number of features, of which r are a basis of the texts' span.
    """
    n = len(X)
    predicted = np.full(n, -1, dtype=np.int64)
    for i, (x, own) in enumerate(zip(X, codes, strict=True)):
        count = counts[own]
        if count == 1:
            continue
        away = x - means[own]
        factor = count / (count - 1)
        left = (1 - shrinkage) / (n - 1)
        scatter_left = scatter - factor * float(away @ away)
        floor = shrinkage * scatter_left / (width * (n - 1))
        spreads = left * values + floor
        if scatter_left <= _NOTHING * scatter or spreads.min() <= _NOTHING * spreads.max():
            raise MetricError(
                f"lda needs a covariance that can be inverted: without text {i} the texts differ "
                "too little within their classes"
            )
        inverse = 1 / spreads
        gaps = x - means
        gaps[own] = away * factor
        # Sherman and Morrison: Σ is a diagonal less `left · factor · away awayᵀ`.
        scaled = inverse * away
        shrunk_by = left * factor
        along = gaps @ scaled
        rest = max(1 - shrunk_by * float(away @ scaled), _NOTHING)
        distances = (gaps**2) @ inverse + shrunk_by * along**2 / rest
        remaining = counts - (np.arange(len(counts)) == own)
        predicted[i] = int(np.argmax(np.log(remaining) - distances / 2))
    return predicted
