"""The moments, one text at a time: with the paper's explicit L1 and L2, and token by token."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Moments(NamedTuple):
    """Means over texts, each text counting once whatever its length.

    `N` (d, d) is E[x̄ x̄ᵀ]; `M` (d, c) is E[x̄ Yᵀ]; `C0` (d, d) is E[X L1 L1ᵀ Xᵀ]; `C1` (d, d) is
    E[X L1 L2ᵀ Xᵀ]; `mu` (d,) is E[x̄]; `p` (c,) is E[Y]; `YY` (c, c) is E[Y Yᵀ];
    `token_trace` is E[Σ_{i=2..ℓ} ‖x_i‖²] = tr E[X L2 L2ᵀ Xᵀ]; `n` counts the texts.
    """

    N: Array
    M: Array
    C0: Array
    C1: Array
    mu: Array
    p: Array
    YY: Array
    token_trace: float
    n: int


def shift_matrices(length: int) -> tuple[Array, Array]:
    """L1 and L2 of equations 21 and 22, both (ℓ, ℓ−1).

    `X L1` holds the sums of the first i tokens, `X L2` the (i+1)-th tokens, for i = 1 … ℓ−1.
    """
    L1 = np.zeros((length, length - 1))
    L2 = np.zeros((length, length - 1))
    for row in range(length):
        for column in range(length - 1):
            if row <= column:
                L1[row, column] = 1.0
            if row == column + 1:
                L2[row, column] = 1.0
    return L1, L2


def pooled_features(texts: Sequence[Array]) -> Array:
    """The mean token of every text, (n, d)."""
    rows = []
    for X in texts:
        if X.shape[1] == 0:
            raise ValueError("a text without tokens has no mean token")
        rows.append(X @ np.ones(X.shape[1]) / X.shape[1])
    return np.array(rows)


def moments_of_texts(texts: Sequence[Array], Y: Array) -> Moments:
    """Lines 2 to 12 of Algorithm 1, with L1 and L2 written out.

    Args:
        texts: One (d, ℓ) matrix of token columns per text; ℓ may differ and may be 1.
        Y: One-hot labels or targets, (n, c).
    """
    n, c = Y.shape
    d = texts[0].shape[0]
    x_bar = pooled_features(texts)
    N, M, YY = np.zeros((d, d)), np.zeros((d, c)), np.zeros((c, c))
    C0, C1 = np.zeros((d, d)), np.zeros((d, d))
    mu, p = np.zeros(d), np.zeros(c)
    token_trace = 0.0
    for X, x, y in zip(texts, x_bar, Y, strict=True):
        L1, L2 = shift_matrices(X.shape[1])
        N += np.outer(x, x) / n
        M += np.outer(x, y) / n
        YY += np.outer(y, y) / n
        C0 += X @ L1 @ L1.T @ X.T / n
        C1 += X @ L1 @ L2.T @ X.T / n
        token_trace += float(np.trace(X @ L2 @ L2.T @ X.T)) / n
        mu += x / n
        p += y / n
    return Moments(N, M, C0, C1, mu, p, YY, token_trace, n)


def moments_token_loop(texts: Sequence[Array], Y: Array) -> Moments:
    """The same moments from running prefix sums S_i, token by token and entry by entry."""
    n, c = Y.shape
    d = texts[0].shape[0]
    N, M, YY = np.zeros((d, d)), np.zeros((d, c)), np.zeros((c, c))
    C0, C1 = np.zeros((d, d)), np.zeros((d, d))
    mu, p = np.zeros(d), np.zeros(c)
    token_trace = 0.0
    for X, y in zip(texts, Y, strict=True):
        length = X.shape[1]
        S = np.zeros(d)
        for t in range(length):
            x = X[:, t]
            if t > 0:
                for a in range(d):
                    for b in range(d):
                        C0[a, b] += S[a] * S[b]
                        C1[a, b] += S[a] * x[b]
                    token_trace += float(x[a] ** 2)
            S = S + x
        x_bar = S / length
        for a in range(d):
            mu[a] += x_bar[a]
            for b in range(d):
                N[a, b] += x_bar[a] * x_bar[b]
            for j in range(c):
                M[a, j] += x_bar[a] * y[j]
        for i in range(c):
            p[i] += y[i]
            for j in range(c):
                YY[i, j] += y[i] * y[j]
    return Moments(N / n, M / n, C0 / n, C1 / n, mu / n, p / n, YY / n, token_trace / n, n)


def centred(moments: Moments) -> tuple[Array, Array, Array]:
    """Cov(x̄) = N − μμᵀ, Cov(x̄, Y) = M − μp̄ᵀ and Cov(Y) = E[YYᵀ] − p̄p̄ᵀ."""
    return (
        moments.N - np.outer(moments.mu, moments.mu),
        moments.M - np.outer(moments.mu, moments.p),
        moments.YY - np.outer(moments.p, moments.p),
    )
