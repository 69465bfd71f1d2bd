"""Every score by its definition, in plain float64: explicit inverses, one projector per k."""

import math
from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Pairs(NamedTuple):
    """Generalized eigenvectors of (M Mᵀ, N) and (C1 C1ᵀ, C0), eigenvalues descending.

    `U` (d, rank N) is N-orthonormal, `V` (d, rank C0) is C0-orthonormal.
    """

    U: Array
    lam_u: Array
    V: Array
    lam_v: Array


def algorithm1_u_v(N: Array, M: Array, C0: Array, C1: Array) -> Pairs:
    """Lines 13 and 14 of Algorithm 1 (equations 8 and 9); N and C0 must be positive definite."""
    lam_u, U = scipy.linalg.eigh(M @ M.T, N)
    lam_v, V = scipy.linalg.eigh(C1 @ C1.T, C0)
    return Pairs(U[:, ::-1], lam_u[::-1], V[:, ::-1], lam_v[::-1])


def metric_rank(B: Array, *, relative: float | None = None, absolute: float = 0.0) -> int:
    """Number of eigenvalues of B above `relative` times the largest (by default d·eps)."""
    values = np.linalg.eigvalsh(B)
    share = len(B) * np.finfo(np.float64).eps if relative is None else relative
    return int(np.sum(values > max(share * values[-1], absolute)))


def whitening(B: Array, *, relative: float | None = None, absolute: float = 0.0) -> Array:
    """Eigenvectors of B over the root of their eigenvalues, (d, rank B): Wᵀ B W = I."""
    rank = metric_rank(B, relative=relative, absolute=absolute)
    values, vectors = np.linalg.eigh(B)
    keep = slice(len(values) - rank, None)
    return np.asarray(vectors[:, keep] / np.sqrt(values[keep]))


def factored_u_v(
    N: Array,
    M: Array,
    C0: Array,
    C1: Array,
    *,
    relative: float | None = None,
    absolute: float = 0.0,
) -> Pairs:
    """The same eigenproblems as singular value decompositions, within the ranges of N and C0.

    With Wᵀ N W = I, the left singular vectors q of Wᵀ M give u = W q and λ = σ². Squaring C1 costs
    the literal version EPS·cond(C0)²; this one keeps EPS·cond(C0), and needs no inverse of N or C0.
    """
    W_u = whitening(N, relative=relative, absolute=absolute)
    W_v = whitening(C0, relative=relative, absolute=absolute)
    if W_v.shape[1] == 0:
        raise ValueError("C0 is zero: no text has a next token")
    Q_u, sizes_u, _ = np.linalg.svd(W_u.T @ M)
    Q_v, sizes_v, _ = np.linalg.svd(W_v.T @ C1)
    lam_u, lam_v = np.zeros(W_u.shape[1]), np.zeros(W_v.shape[1])
    lam_u[: len(sizes_u)] = sizes_u**2
    lam_v[: len(sizes_v)] = sizes_v**2
    return Pairs(W_u @ Q_u, lam_u, W_v @ Q_v, lam_v)


def label_rank(N: Array, M: Array, tolerance: float = 1e-10) -> int:
    """r = rank(M), counted on the whitened Wᵀ M so that no scale of the coordinates matters."""
    sizes = np.linalg.svd(whitening(N).T @ M, compute_uv=False)
    return int(np.sum(sizes > tolerance * sizes[0])) if sizes[0] > 0 else 0


def projector(V_k: Array) -> Array:
    """P_k = V_k V_k⁺ (line 16 of Algorithm 1)."""
    return np.asarray(V_k @ np.linalg.pinv(V_k))


def ntps(U_k: Array, V_k: Array) -> float:
    """‖P_k U_k‖²_F / ‖U_k‖²_F (line 17 of Algorithm 1)."""
    return float(np.sum((projector(V_k) @ U_k) ** 2) / np.sum(U_k**2))


def algorithm1(N: Array, M: Array, C0: Array, C1: Array, k: int) -> float:
    """Score `algorithm1`, literally: the first k columns of both.

    Depends on the solver's choice of basis for k > rank(M); N and C0 must be positive definite, and
    well-conditioned (the error is EPS·cond²).
    """
    pairs = algorithm1_u_v(N, M, C0, C1)
    return ntps(pairs.U[:, :k], pairs.V[:, :k])


def share_columns(rank: int, k_fraction: float) -> int:
    """int(fraction · rank): the fraction is the float given, so 0.05 * 7 and 7 / 20 may differ."""
    return int(k_fraction * rank)


def smallest_first(
    N: Array,
    M: Array,
    C0: Array,
    C1: Array,
    k_fraction: float,
    *,
    relative: float | None = None,
    absolute: float = 0.0,
) -> float:
    """Score `smallest_first`: eigenvalues ascending, int(fraction · rank) columns of each side.

    The rank is that of each side's metric, N or C0: the eigenvalues above the threshold (the
    released code has absolute=1e-8). Not a number if a side has no column.
    """
    pairs = factored_u_v(N, M, C0, C1, relative=relative, absolute=absolute)
    k_u = share_columns(pairs.U.shape[1], k_fraction)
    k_v = share_columns(pairs.V.shape[1], k_fraction)
    if k_u == 0 or k_v == 0:
        return math.nan
    return ntps(pairs.U[:, ::-1][:, :k_u], pairs.V[:, ::-1][:, :k_v])


def inverse_metric(N: Array) -> Array:
    """N⁻¹, or the inverse within the range of a singular N."""
    if metric_rank(N) == len(N):
        return np.asarray(np.linalg.inv(N))
    W = whitening(N)
    return np.asarray(W @ W.T)


def label_gram(N: Array, M: Array, r: int) -> Array:
    """U_r U_rᵀ = N⁻¹ M (Mᵀ N⁻¹ M)⁺ Mᵀ N⁻¹, without any generalized eigenvector, (d, d).

    N⁻¹ M spans the eigenvectors with a positive eigenvalue (M Mᵀ u = λ N u), and the Gram matrix of
    an N-orthonormal basis of a subspace does not depend on the basis.
    """
    B = inverse_metric(N) @ M
    values, vectors = np.linalg.eigh(M.T @ B)
    kept = vectors[:, len(values) - r :]
    B = B @ kept
    return np.asarray(B @ np.diag(1.0 / values[len(values) - r :]) @ B.T)


def expected(N: Array, M: Array, C0: Array, C1: Array, k: int, *, r: int | None = None) -> float:
    """Score `expected` by its formula.

    (‖P_k U_r‖² + f tr(P_k R)) / (‖U_r‖² + f tr R) with R = N⁻¹ − U_r U_rᵀ and
    f = (k − r)/(d − r), for k > r; ‖P_k U_k‖² / ‖U_k‖² for k ≤ r. Where N is singular, rank(N)
    stands for d and f stops at 1.
    """
    rank = label_rank(N, M) if r is None else r
    pairs = factored_u_v(N, M, C0, C1)
    if k <= rank:
        return ntps(pairs.U[:, :k], pairs.V[:, :k])
    P = projector(pairs.V[:, :k])
    G = label_gram(N, M, rank)
    R = inverse_metric(N) - G
    columns = pairs.U.shape[1]
    f = min(1.0, (k - rank) / (columns - rank)) if columns > rank else 0.0
    numerator = np.trace(P @ G) + f * np.trace(P @ R)
    return float(numerator / (np.trace(G) + f * np.trace(R)))


class MonteCarlo(NamedTuple):
    """A sampled value and its standard error."""

    value: float
    standard_error: float


def completion_basis(N: Array, M: Array, r: int) -> Array:
    """An N-orthonormal basis of {u in the range of N: Mᵀ u = 0}, (d, rank N − r)."""
    W = whitening(N)
    _, _, right = np.linalg.svd((W.T @ M).T)
    return np.asarray(W @ right[r:].T)


def expected_monte_carlo(
    N: Array,
    M: Array,
    C0: Array,
    C1: Array,
    k: int,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    r: int | None = None,
) -> MonteCarlo:
    """Mean numerator over mean denominator of `ntps`, over random completions of U_r.

    Every draw takes k − r columns of a uniformly rotated N-orthonormal basis of the null space of
    M Mᵀ. The standard error of the ratio q = a/b is the delta method's: sd(a − q b) / (b √draws).
    """
    rank = label_rank(N, M) if r is None else r
    pairs = factored_u_v(N, M, C0, C1)
    P = projector(pairs.V[:, :k])
    basis = completion_basis(N, M, rank)
    numerators, denominators = [], []
    for _ in range(draws):
        Q, R = np.linalg.qr(rng.standard_normal((basis.shape[1], basis.shape[1])))
        completion = basis @ (Q * np.sign(np.diag(R)))
        U_k = np.hstack([pairs.U[:, :rank], completion[:, : k - rank]])
        numerators.append(float(np.sum((P @ U_k) ** 2)))
        denominators.append(float(np.sum(U_k**2)))
    a, b = np.array(numerators), np.array(denominators)
    value = float(a.mean() / b.mean())
    return MonteCarlo(value, float(np.std(a - value * b) / (b.mean() * math.sqrt(draws))))


def supervised(N: Array, M: Array, C0: Array, C1: Array, k: int, *, r: int | None = None) -> float:
    """Score `supervised`: ‖P_k U_r‖² / ‖U_r‖², k counts the columns of V only."""
    rank = label_rank(N, M) if r is None else r
    pairs = factored_u_v(N, M, C0, C1)
    return ntps(pairs.U[:, :rank], pairs.V[:, :k])


def subspace(N: Array, M: Array, C0: Array, C1: Array, k: int, *, r: int | None = None) -> float:
    """Score `subspace`: mean over r angles of cos², an angle that is missing (k < r) being 90°."""
    rank = label_rank(N, M) if r is None else r
    pairs = factored_u_v(N, M, C0, C1)
    angles = scipy.linalg.subspace_angles(pairs.U[:, :rank], pairs.V[:, :k])
    return float(np.sum(np.cos(angles) ** 2) / rank)


def subspace_from_bases(
    N: Array, M: Array, C0: Array, C1: Array, k: int, *, r: int | None = None
) -> float:
    """Score `subspace` again: ‖Q_Uᵀ Q_V‖²_F / r for orthonormal bases of both spans."""
    rank = label_rank(N, M) if r is None else r
    pairs = factored_u_v(N, M, C0, C1)
    Q_u = np.linalg.qr(pairs.U[:, :rank])[0]
    Q_v = np.linalg.qr(pairs.V[:, :k])[0]
    return float(np.sum((Q_u.T @ Q_v) ** 2) / rank)


def fit_sum(N: Array, M: Array) -> float:
    """Σ Λ_i = tr(Mᵀ N⁻¹ M), the part of E‖Y‖² that a linear map of x̄ explains."""
    return float(np.trace(M.T @ inverse_metric(N) @ M))


def retained_share(N: Array, M: Array, V_k: Array) -> float:
    """Σ Λ_i u_iᵀ N V (VᵀNV)⁻¹ Vᵀ N u_i / Σ Λ_i = tr(MᵀV (VᵀNV)⁻¹ VᵀM) / tr(Mᵀ N⁻¹ M).

    N Σ Λ_i u_i u_iᵀ N = M Mᵀ, so no U is needed. V_k may be any basis of its span.
    """
    Q = np.linalg.qr(V_k)[0]
    inner = inverse_metric(Q.T @ N @ Q)
    return float(np.trace(M.T @ Q @ inner @ Q.T @ M) / fit_sum(N, M))


def retained(N: Array, M: Array, C0: Array, C1: Array, mu: Array, p: Array, k: int) -> float:
    """Score `retained`: the share of the probe's fit left in V_k, on centred moments.

    V comes from the uncentred C0 and C1.
    """
    V_k = factored_u_v(N, M, C0, C1).V[:, :k]
    return retained_share(N - np.outer(mu, mu), M - np.outer(mu, p), V_k)


def retained_by_eigenvectors(
    N: Array, M: Array, C0: Array, C1: Array, mu: Array, p: Array, k: int
) -> float:
    """Score `retained` term by term: Λ_i and u_i of the centred pair, all of them."""
    N_c, M_c = N - np.outer(mu, mu), M - np.outer(mu, p)
    pairs = factored_u_v(N_c, M_c, C0, C1)
    V_k = pairs.V[:, :k]
    inner = np.linalg.inv(V_k.T @ N_c @ V_k)
    kept = 0.0
    for value, u in zip(pairs.lam_u, pairs.U.T, strict=True):
        kept += float(value * (u @ N_c @ V_k @ inner @ V_k.T @ N_c @ u))
    return kept / float(np.sum(pairs.lam_u))


def retained_chance(
    N: Array,
    M: Array,
    mu: Array,
    p: Array,
    k: int,
    *,
    rng: np.random.Generator,
    draws: int = 500,
) -> MonteCarlo:
    """Mean of `retained` when V spans k random directions, uniform in Euclidean space."""
    N_c, M_c = N - np.outer(mu, mu), M - np.outer(mu, p)
    shares = np.array(
        [retained_share(N_c, M_c, rng.standard_normal((len(N), k))) for _ in range(draws)]
    )
    return MonteCarlo(float(shares.mean()), float(shares.std() / math.sqrt(draws)))


def r2(N: Array, M: Array, mu: Array, p: Array, YY: Array) -> float:
    """Σ Λ / tr Cov(Y) on centred moments: the OLS R² of all outputs together, with intercept."""
    variance = float(np.trace(YY - np.outer(p, p)))
    # The float shares of one class need not sum to 1 exactly, so zero variance is 1e-16 of E‖Y‖².
    if variance <= 1e-12 * float(np.trace(YY)):
        raise ValueError("Y does not vary, so R² is 0/0")
    return fit_sum(N - np.outer(mu, mu), M - np.outer(mu, p)) / variance


def ols_mse(N: Array, M: Array, mu: Array, p: Array, YY: Array) -> float:
    """(tr Cov(Y) − Σ Λ) / c: the training MSE of OLS with intercept, averaged over outputs."""
    variance = float(np.trace(YY - np.outer(p, p)))
    return (variance - fit_sum(N - np.outer(mu, mu), M - np.outer(mu, p))) / len(p)
