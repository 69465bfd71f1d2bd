"""The authors' released procedure, in the order of its own operations, all in float32."""

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Array = NDArray[np.float32]


def sums(texts: list[Array], Y: Array) -> tuple[Array, Array, Array, Array]:
    """N, M, C0 and C1 of texts (d, ℓ) with label rows, one batch, L1 and L2 written out."""
    n, d = len(texts), len(texts[0])
    mean = np.stack([X.sum(1) / np.float32(X.shape[1]) for X in texts])
    C0, C1 = np.zeros((2, d, d), np.float32)
    for X in texts:
        length = X.shape[1]
        if length < 2:
            continue
        L1 = np.triu(np.ones((length, length - 1), np.float32))
        L2 = np.vstack([np.zeros((1, length - 1)), np.eye(length - 1)]).astype(np.float32)
        C0 += X @ L1 @ L1.T @ X.T / np.float32(n)
        C1 += X @ L1 @ L2.T @ X.T / np.float32(n)
    return mean.T @ mean / np.float32(n), mean.T @ Y / np.float32(n), C0, C1


def eigenvectors(A: Array, B: Array) -> Array:
    """All eigenvectors of (A, B), ascending, whitened by those of B above 1e-8."""
    values, vectors = scipy.linalg.eigh(B)
    kept = values > 1e-8
    W = vectors[:, kept] @ np.linalg.inv(np.sqrt(np.diag(values[kept])))
    return np.asarray(W @ scipy.linalg.eigh(W.T @ A @ W)[1])


def scores(N: Array, M: Array, C0: Array, C1: Array) -> list[float]:
    """For the fractions .05, .10, …, .95, a pseudo-inverse for each; NaN without a column."""
    U, V = eigenvectors(M @ M.T, N), eigenvectors(C1 @ C1.T, C0)
    found = []
    for fraction in np.arange(0.05, 1.0, 0.05):
        U_k, V_k = U[:, : int(fraction * U.shape[1])], V[:, : int(fraction * V.shape[1])]
        if not U_k.size or not V_k.size:
            found.append(float("nan"))
            continue
        inside = np.linalg.norm(V_k @ np.linalg.pinv(V_k) @ U_k)
        found.append(float(inside**2 / np.linalg.norm(U_k) ** 2))
    return found
