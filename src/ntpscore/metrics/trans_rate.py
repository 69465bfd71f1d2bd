"""TransRate: mutual information of features and labels, measured by coding rates."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ntpscore.metrics.inputs import Floats, check_classes, check_varied

DISTORTION = 1e-4


def trans_rate(
    features: npt.ArrayLike, labels: npt.NDArray[Any], *, distortion: float = DISTORTION
) -> float:
    """TransRate, `R(Z) − Σ_c (n_c/n) R(Z_c)`, with `R(Z) = ½ log det(I + Zᵀ Z / (n ε²))`.

    Z are the features, centred and scaled to mean squared length one, so that models of other
    scale compare; Z_c the rows of class c, not centred again. Not negative, in nats; higher is
    better. Defined for n < d, but a class of few texts is coded cheaply whatever it is: compare
    models on the same texts only.

    Args:
        features: (n, d).
        labels: (n,) class indices.
        distortion: ε².

    Source:
        Huang et al. 2022, "Frustratingly Easy Transferability Estimation". Its printed listing
        weighs classes equally and does not scale Z; the definition weighs them by their shares, as
        here, and scaling by one factor for all rows keeps long and short features apart.
    """
    X = check_varied(features)
    codes = check_classes(labels, len(X), "trans_rate")
    X = X - X.mean(0)
    Z = X / math.sqrt(float(np.mean((X**2).sum(1))))
    within = sum(
        len(Z_c) / len(Z) * _coding_rate(Z_c, distortion)
        for Z_c in (Z[codes == label] for label in range(codes.max() + 1))
    )
    return _coding_rate(Z, distortion) - within


def _coding_rate(Z: Floats, distortion: float) -> float:
    n, d = Z.shape
    gram = Z.T @ Z if d <= n else Z @ Z.T
    gram /= n * distortion
    gram[np.diag_indices_from(gram)] += 1.0
    return float(np.linalg.slogdet(gram).logabsdet) / 2
