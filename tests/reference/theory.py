"""Theorems 1 and 2: losses looped over texts, closed forms, and least squares on the features."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.reference.moments import shift_matrices
from tests.reference.scores import ntps

Array = NDArray[np.float64]


def next_token_weights(C0: Array, C1: Array, V: Array) -> Array:
    """W = (Vᵀ C0 V)⁻¹ Vᵀ C1, (k, d) (equation 6)."""
    return np.asarray(np.linalg.inv(V.T @ C0 @ V) @ V.T @ C1)


def label_weights(N: Array, M: Array, U: Array) -> Array:
    """Z = (Uᵀ N U)⁻¹ Uᵀ M, (k, c) (equation 7, pooled by the mean)."""
    return np.asarray(np.linalg.inv(U.T @ N @ U) @ U.T @ M)


def next_token_loss_from_texts(texts: Sequence[Array], V: Array, W: Array) -> float:
    """L = E‖Wᵀ Vᵀ X L1 − X L2‖²_F (equation 2), one text at a time; W need not be optimal."""
    total = 0.0
    for X in texts:
        L1, L2 = shift_matrices(X.shape[1])
        total += float(np.sum((W.T @ V.T @ X @ L1 - X @ L2) ** 2))
    return total / len(texts)


def label_loss_from_texts(texts: Sequence[Array], Y: Array, U: Array, Z: Array) -> float:
    """L* = E‖Zᵀ Uᵀ x̄ − Y‖² (equation 3, pooled by the mean), one text at a time."""
    total = 0.0
    for X, y in zip(texts, Y, strict=True):
        x_bar = X.sum(axis=1) / X.shape[1]
        total += float(np.sum((Z.T @ U.T @ x_bar - y) ** 2))
    return total / len(texts)


def next_token_loss(C0: Array, C1: Array, token_trace: float, V: Array) -> float:
    """L(V) = tr E[X2 X2ᵀ] − tr(C1ᵀ V (Vᵀ C0 V)⁻¹ Vᵀ C1) at the optimal W (equation 16)."""
    return token_trace - float(np.trace(C1.T @ V @ np.linalg.inv(V.T @ C0 @ V) @ V.T @ C1))


def label_loss(N: Array, M: Array, YY: Array, U: Array) -> float:
    """L*(U) = tr E[YYᵀ] − tr(Uᵀ M Mᵀ U (Uᵀ N U)⁻¹) at the optimal Z (equations 29 and 30)."""
    return float(np.trace(YY) - np.trace(U.T @ M @ M.T @ U @ np.linalg.inv(U.T @ N @ U)))


def least_squares_loss(features: Array, Y: Array, *, intercept: bool) -> float:
    """Mean over texts of the summed squared error of the best linear map, by `lstsq`."""
    design = np.column_stack([features, np.ones(len(features))]) if intercept else features
    weights = np.linalg.lstsq(design, Y, rcond=None)[0]
    return float(np.sum((design @ weights - Y) ** 2) / len(Y))


def r2_from_features(features: Array, Y: Array) -> float:
    """1 − SSE/SST of OLS with intercept, squared errors summed over all outputs."""
    total = float(np.sum((Y - Y.mean(axis=0)) ** 2) / len(Y))
    return 1.0 - least_squares_loss(features, Y, intercept=True) / total


def ols_mse_from_features(features: Array, Y: Array) -> float:
    """Training MSE of OLS with intercept, averaged over outputs as `mean_squared_error` does."""
    return least_squares_loss(features, Y, intercept=True) / int(Y.shape[1])


def excess_loss_from_features(
    features: Array, Y: Array, U: Array, V: Array, *, intercept: bool = False
) -> float:
    """ΔL = L*(V) − L*(U) by definition: two least-squares fits, on Vᵀx̄ and on Uᵀx̄."""
    return least_squares_loss(features @ V, Y, intercept=intercept) - least_squares_loss(
        features @ U, Y, intercept=intercept
    )


def retained_from_features(features: Array, Y: Array, V: Array) -> float:
    """Score `retained` by definition: 1 − SSE falls on Vᵀx̄, over the same on x̄, with intercept."""
    total = float(np.sum((Y - Y.mean(axis=0)) ** 2) / len(Y))
    Q = np.linalg.qr(V)[0]
    kept = total - least_squares_loss(features @ Q, Y, intercept=True)
    return kept / (total - least_squares_loss(features, Y, intercept=True))


def excess_loss(N: Array, U: Array, lam_u: Array, V: Array) -> float:
    """ΔL = Σ_i Λ_i (1 − u_iᵀ N V (Vᵀ N V)⁻¹ Vᵀ N u_i) (equation 35), over the columns of U."""
    inner = np.linalg.inv(V.T @ N @ V)
    total = 0.0
    for value, u in zip(lam_u, U.T, strict=True):
        total += float(value * (1.0 - u @ N @ V @ inner @ V.T @ N @ u))
    return total


class Bounds(NamedTuple):
    """What Theorem 2 says ΔL lies between."""

    lower: float
    upper: float


def theorem2_bounds(N: Array, U: Array, lam_u: Array, V: Array) -> Bounds:
    """λ(N) Λ ‖U‖²_F (1 − NTPS) with the smallest and the largest λ and Λ (equation 41).

    U must hold all rank(M) label-carrying columns, no fewer and no more.
    """
    metric = np.linalg.eigvalsh(N)
    size = float(np.sum(U**2)) * (1.0 - ntps(U, V))
    return Bounds(float(metric[0] * np.min(lam_u) * size), float(metric[-1] * np.max(lam_u) * size))
