"""The same quantities in 60 digits, for small d: the judge where float64 loses its footing."""

from collections.abc import Sequence
from typing import NamedTuple

import mpmath
import numpy as np
from mpmath import mp
from numpy.typing import NDArray

from tests.reference.moments import Moments
from tests.support.untraced import untraced

Array = NDArray[np.float64]

DIGITS = 60
RANK_TOLERANCE = 1e-20
"""Share of the largest eigenvalue of (M Mᵀ, N), a square, below which one counts as zero."""


class ExactMoments(NamedTuple):
    """`Moments` as mpmath matrices (`mu` and `p` are columns)."""

    N: mpmath.matrix
    M: mpmath.matrix
    C0: mpmath.matrix
    C1: mpmath.matrix
    mu: mpmath.matrix
    p: mpmath.matrix
    YY: mpmath.matrix
    token_trace: mpmath.mpf


class ExactPairs(NamedTuple):
    """Both eigenproblems solved in 60 digits; `r` is the rank of M."""

    U: mpmath.matrix
    lam_u: list[mpmath.mpf]
    V: mpmath.matrix
    lam_v: list[mpmath.mpf]
    r: int


def to_mp(array: Array) -> mpmath.matrix:
    """The float64 numbers themselves, a vector as a column."""
    rows = array.reshape(len(array), -1)
    return mp.matrix([[mp.mpf(float(value)) for value in row] for row in rows])


def to_numpy(matrix: mpmath.matrix) -> Array:
    """Rounded to float64, (rows, columns)."""
    rows = [[float(matrix[i, j]) for j in range(matrix.cols)] for i in range(matrix.rows)]
    return np.array(rows, dtype=np.float64)


def columns(matrix: mpmath.matrix, first: int, last: int) -> mpmath.matrix:
    """Columns first … last−1."""
    chosen = mp.matrix(matrix.rows, last - first)
    for i in range(matrix.rows):
        for j in range(first, last):
            chosen[i, j - first] = matrix[i, j]
    return chosen


def trace(matrix: mpmath.matrix) -> mpmath.mpf:
    """Sum of the diagonal."""
    return mp.fsum(matrix[i, i] for i in range(matrix.rows))


@untraced
def exact_moments(texts: Sequence[Array], Y: Array) -> ExactMoments:
    """The moments of float64 hidden states, summed in 60 digits from prefix sums."""
    with mp.workdps(DIGITS):
        n, c = Y.shape
        d = texts[0].shape[0]
        number = np.vectorize(lambda value: mp.mpf(float(value)), otypes=[object])
        N, M, YY, C0, C1, mu, p = (
            number(np.zeros(shape)) for shape in ((d, d), (d, c), (c, c), (d, d), (d, d), d, c)
        )
        token_trace = mp.mpf(0)
        for X, y_row in zip(texts, Y, strict=True):
            tokens, y = number(X).T, number(y_row)
            S = tokens[0]
            for x in tokens[1:]:
                C0 += np.outer(S, S)
                C1 += np.outer(S, x)
                token_trace += x @ x
                S = S + x
            x_bar = S / len(tokens)
            N += np.outer(x_bar, x_bar)
            M += np.outer(x_bar, y)
            YY += np.outer(y, y)
            mu += x_bar
            p += y
        N, M, C0, C1, YY = (mp.matrix((sums / n).tolist()) for sums in (N, M, C0, C1, YY))
        mu, p = (mp.matrix((sums / n).tolist()) for sums in (mu, p))
        return ExactMoments(N, M, C0, C1, mu, p, YY, token_trace / n)


@untraced
def exact_from_float(moments: Moments) -> ExactMoments:
    """Float64 moments taken as they stand: the judge of a solver, not of the accumulation."""
    with mp.workdps(DIGITS):
        return ExactMoments(
            to_mp(moments.N),
            to_mp(moments.M),
            to_mp(moments.C0),
            to_mp(moments.C1),
            to_mp(moments.mu),
            to_mp(moments.p),
            to_mp(moments.YY),
            mp.mpf(moments.token_trace),
        )


def centre(moments: ExactMoments) -> tuple[mpmath.matrix, mpmath.matrix, mpmath.matrix]:
    """N − μμᵀ, M − μp̄ᵀ and E[YYᵀ] − p̄p̄ᵀ."""
    with mp.workdps(DIGITS):
        return (
            moments.N - moments.mu * moments.mu.T,
            moments.M - moments.mu * moments.p.T,
            moments.YY - moments.p * moments.p.T,
        )


def generalized_eigen(A: mpmath.matrix, B: mpmath.matrix) -> tuple[list[mpmath.mpf], mpmath.matrix]:
    """Eigenvalues (descending) and B-orthonormal eigenvectors of (A Aᵀ, B), B positive definite.

    With B = L Lᵀ (Cholesky) and H = L⁻¹ A, the eigenvectors of H Hᵀ go back by L⁻ᵀ.
    """
    with mp.workdps(DIGITS):
        L_inverse = mp.inverse(mp.cholesky(B))
        H = L_inverse * A
        values, Q = mp.eigsy(H * H.T)
        order = sorted(range(len(values)), key=lambda i: values[i], reverse=True)
        vectors = L_inverse.T * Q
        ordered = mp.matrix(vectors.rows, vectors.cols)
        for new, old in enumerate(order):
            for i in range(vectors.rows):
                ordered[i, new] = vectors[i, old]
        return [values[i] for i in order], ordered


@untraced
def exact_pairs(
    moments: ExactMoments, *, r: int | None = None, tolerance: float = RANK_TOLERANCE
) -> ExactPairs:
    """U and V of equations 8 and 9; r is counted on Λ unless given."""
    lam_u, U = generalized_eigen(moments.M, moments.N)
    lam_v, V = generalized_eigen(moments.C1, moments.C0)
    counted = sum(1 for value in lam_u if value > tolerance * lam_u[0])
    return ExactPairs(U, lam_u, V, lam_v, counted if r is None else r)


def exact_projector(basis: mpmath.matrix) -> mpmath.matrix:
    """P = B (BᵀB)⁻¹ Bᵀ."""
    with mp.workdps(DIGITS):
        return basis * mp.inverse(basis.T * basis) * basis.T


@untraced
def exact_projector_v(pairs: ExactPairs, k: int) -> Array:
    """P_k, the projector on the first k columns of V, rounded to float64."""
    return to_numpy(exact_projector(columns(pairs.V, 0, k)))


@untraced
def exact_projector_u(pairs: ExactPairs, k: int) -> Array:
    """The projector on the first k ≤ r columns of U, rounded to float64."""
    return to_numpy(exact_projector(columns(pairs.U, 0, k)))


def _ntps(U_k: mpmath.matrix, V_k: mpmath.matrix) -> float:
    with mp.workdps(DIGITS):
        G = U_k * U_k.T
        return float(trace(exact_projector(V_k) * G) / trace(G))


@untraced
def exact_algorithm1(pairs: ExactPairs, k: int) -> float:
    """Score `algorithm1`, defined without a choice of basis for k ≤ r only."""
    if k > pairs.r:
        raise ValueError(f"k = {k} is above rank(M) = {pairs.r}: the score depends on the basis")
    return _ntps(columns(pairs.U, 0, k), columns(pairs.V, 0, k))


@untraced
def exact_smallest_first(pairs: ExactPairs, k_u: int, k_v: int) -> float:
    """Score `smallest_first` with k_u and k_v columns, ascending; M must have rank d."""
    d = pairs.U.rows
    if pairs.r < d:
        raise ValueError(f"rank(M) = {pairs.r} is below d = {d}: the score depends on the basis")
    return _ntps(columns(pairs.U, d - k_u, d), columns(pairs.V, d - k_v, d))


@untraced
def exact_expected(moments: ExactMoments, pairs: ExactPairs, k: int) -> float:
    """Score `expected`: f = (k − r)/(d − r) of R = N⁻¹ − U_r U_rᵀ beside U_r."""
    if k <= pairs.r:
        return exact_algorithm1(pairs, k)
    with mp.workdps(DIGITS):
        U_r = columns(pairs.U, 0, pairs.r)
        G = U_r * U_r.T
        R = mp.inverse(moments.N) - G
        P = exact_projector(columns(pairs.V, 0, k))
        f = mp.mpf(k - pairs.r) / (moments.N.rows - pairs.r)
        return float((trace(P * G) + f * trace(P * R)) / (trace(G) + f * trace(R)))


@untraced
def exact_supervised(pairs: ExactPairs, k: int) -> float:
    """Score `supervised`: ‖P_k U_r‖² / ‖U_r‖²."""
    return _ntps(columns(pairs.U, 0, pairs.r), columns(pairs.V, 0, k))


@untraced
def exact_subspace(pairs: ExactPairs, k: int) -> float:
    """Score `subspace`: tr(P_U P_k) / r."""
    with mp.workdps(DIGITS):
        P_u = exact_projector(columns(pairs.U, 0, pairs.r))
        P_v = exact_projector(columns(pairs.V, 0, k))
        return float(trace(P_u * P_v) / pairs.r)


@untraced
def exact_retained(moments: ExactMoments, pairs: ExactPairs, k: int) -> float:
    """Score `retained`: tr(MᵀV (VᵀNV)⁻¹ VᵀM) / tr(Mᵀ N⁻¹ M), N and M centred."""
    with mp.workdps(DIGITS):
        N, M, _ = centre(moments)
        V = columns(pairs.V, 0, k)
        kept = trace(M.T * V * mp.inverse(V.T * N * V) * V.T * M)
        return float(kept / trace(M.T * mp.inverse(N) * M))


@untraced
def exact_r2(moments: ExactMoments) -> float:
    """R² of OLS with intercept: tr(Mᵀ N⁻¹ M) / tr Cov(Y), N and M centred."""
    with mp.workdps(DIGITS):
        N, M, covariance_y = centre(moments)
        return float(trace(M.T * mp.inverse(N) * M) / trace(covariance_y))
