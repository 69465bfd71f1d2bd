"""The generalized symmetric eigenproblem `A Aᵀ v = λ B v`, safe where B is singular.

B is factored on its numerical range only: what was kept, what was dropped and how badly
conditioned the rest is stands in the result, and nothing is regularised.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ntpscore.core.triangles import lower_gram, lower_inverse, lower_product, upper_product
from ntpscore.errors import MomentsError

_KRYLOV_STEPS = 5
_RANDOM_ROWS = 4
_EPS = torch.finfo(torch.float64).eps
# However bad the conditioning, a direction with this share of the labels is one.
_LOOSEST_RANK = 1e-4


def check_finite(moment: Tensor) -> None:
    """Refuse a moment with an entry that is NaN or infinite.

    Raises:
        MomentsError: there is one.
    """
    # One pass and no mask: any such entry makes the sum one too.
    if not bool(moment.sum().isfinite()):
        raise MomentsError("a second moment is NaN or infinite")


def relative_cutoff(width: int) -> float:
    """Eigenvalues of the equilibrated metric below this share of the largest count as zero.

    `d · eps`, the backward error of a float64 eigensolver, times a margin of ten for the rounding
    of the accumulated sums.
    """
    return 10.0 * width * _EPS


@dataclass(frozen=True)
class Metric:
    """A symmetric positive semi-definite B, factored on its numerical range.

    Attributes:
        matrix: (d, d) B itself.
        whitener: (d, m) K with `Kᵀ B K = I` and the range of B as its span.
        factor: (m, d) F with `Fᵀ F = B` on that range.
        rank: m, the numerical rank.
        triangular: whether K and F are upper triangular.
    """

    matrix: Float[Tensor, "d d"]
    whitener: Float[Tensor, "d m"]
    factor: Float[Tensor, "m d"]
    rank: int
    triangular: bool = False

    def whiten(self, X: Float[Tensor, "d q"]) -> Float[Tensor, "m q"]:
        """`Kᵀ X`."""
        K = self.whitener
        return lower_product(K.T, X) if self.triangular else K.T @ X

    def unwhiten(self, W: Float[Tensor, "m q"]) -> Float[Tensor, "d q"]:
        """`K W`."""
        K = self.whitener
        return upper_product(K, W) if self.triangular else K @ W

    @cached_property
    def condition(self) -> float:
        """Ratio of the largest to the smallest eigenvalue of B that was kept (2-norm).

        Estimated in Krylov spaces, to a few per cent, from below.
        """
        K, B = self.whitener, self.matrix
        largest = _largest_eigenvalue(lambda rows: rows @ B, B)
        inverse = _largest_eigenvalue(lambda rows: rows @ K.T @ K, K)
        return max(1.0, float(largest * inverse))

    @property
    def width(self) -> int:
        """The number of rows d of B."""
        return self.whitener.shape[0]

    @property
    def n_dropped(self) -> int:
        """How many directions were dropped because B does not see them."""
        return self.width - self.rank


def factor_metric(B: Float[Tensor, "d d"]) -> Metric:
    """Factor a symmetric positive semi-definite matrix on its numerical range.

    The coordinates are first scaled to unit diagonal, so that a few coordinates with huge values
    don't hide the others; then a Cholesky factorisation is taken where it is safe, an
    eigendecomposition without the directions below `relative_cutoff` where it is not.

    Args:
        B: (d, d), float64.

    Raises:
        MomentsError: B is not finite, or is zero.
    """
    check_finite(B)
    diagonal = B.diagonal()
    if not bool((diagonal > 0).any()):
        raise MomentsError(
            "a second moment is zero: the hidden states are all zero, constant, or every text has "
            "a single token"
        )
    # Coordinates that never vary stay as they are; powers of two make the scaling exact.
    scale = torch.where(diagonal > 0, torch.exp2(torch.log2(diagonal).div(2).round()), 1.0)
    scaled = B / scale[:, None] / scale
    cutoff = relative_cutoff(len(B))
    L, failed = torch.linalg.cholesky_ex(scaled)
    if not bool(failed):
        inverse = lower_inverse(L)
        # ‖B‖·‖L⁻¹‖² in the Frobenius norm bounds the condition number from above.
        if float(torch.linalg.norm(scaled) * inverse.square().sum()) < 0.1 / cutoff:
            whitener, factor = inverse.T / scale[:, None], L.T * scale
            return Metric(B, whitener, factor, len(B), triangular=True)
    values, vectors = torch.linalg.eigh(scaled)
    kept = values > cutoff * values[-1]
    factor = (vectors[:, kept] * values[kept].sqrt()).T * scale
    # The whitener is the pseudo-inverse of the factor: scaled back alone, the eigenvectors would
    # leave the range of B.
    Q, R = torch.linalg.qr(factor.T)
    identity = torch.eye(len(R), dtype=B.dtype, device=B.device)
    whitener = Q @ torch.linalg.solve_triangular(R.T, identity, upper=False)
    return Metric(B, whitener, factor, len(R))


@dataclass(frozen=True)
class Centring:
    """What turns a whitener K of N into one of the covariance `N − μμᵀ` on the same space.

    `N − μμᵀ = Fᵀ (I − a aᵀ) F` with `a = Kᵀ μ`, so `K (I + g a aᵀ)` whitens it, with
    `1 + g ‖a‖² = 1 / √(1 − ‖a‖²)`.

    Attributes:
        N: the second moment, factored.
        a: (d,) the mean in whitened coordinates.
        g: () the weight of `a aᵀ`.
    """

    N: Metric
    a: Float[Tensor, " d"]
    g: Float[Tensor, ""]

    @classmethod
    def of(
        cls, N: Metric, mu: Float[Tensor, " d"], N_centred: Float[Tensor, "d d"]
    ) -> "Centring | None":
        """None unless both matrices are of full rank by the same safe bound as in `factor_metric`.

        Args:
            N: the second moment, factored.
            mu: (d,) the mean.
            N_centred: (d, d) `N − μμᵀ`.
        """
        if not N.triangular:
            return None
        a = N.whiten(mu[:, None])[:, 0]
        rest = 1 - a.square().sum()
        variances = N_centred.diagonal()
        inverse = N.whitener.square().sum(1) + (N.whitener @ a).square() / rest
        unit = torch.where(variances > 0, 1 / variances, float("nan"))
        norm = (unit @ (N_centred.square() @ unit)).sqrt()
        # A NaN fails the comparison.
        safe = (rest > 0) & (norm * (variances * inverse).sum() < 0.1 / relative_cutoff(N.width))
        if not bool(safe):
            return None
        return cls(N, a, 1 / (rest.sqrt() + rest))

    def stretch(self, X: Float[Tensor, "q d"]) -> Float[Tensor, "q d"]:
        """`X (I + g a aᵀ)`."""
        return torch.addmm(X, (X @ self.a)[:, None], (self.g * self.a)[None])


def _largest_eigenvalue(
    product: Callable[[Tensor], Tensor], like: Float[Tensor, "_ m"]
) -> Float[Tensor, ""]:
    """The largest eigenvalue of a positive semi-definite operator on m coordinates, from below.

    Args:
        product: multiplies rows by the operator.
        like: a tensor of m columns, for its type and device.
    """
    blocks = [_random_rows(like)]
    for _ in range(_KRYLOV_STEPS):
        rows = product(blocks[-1])
        blocks.append(rows / rows.norm(dim=1, keepdim=True))
    basis = torch.linalg.qr(torch.cat(blocks).T).Q.T
    values: Tensor = torch.linalg.eigvalsh(product(basis) @ basis.T)
    return values[-1]


def _random_rows(like: Float[Tensor, "_ m"]) -> Float[Tensor, "v m"]:
    """A few rows of fixed random numbers: products with few rows are faster than with columns."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(_RANDOM_ROWS, like.shape[1], generator=generator, dtype=like.dtype)
    return rows.to(like.device)


@dataclass(frozen=True)
class GeneralizedEigen:
    """The eigenpairs of `A Aᵀ v = λ B v` on the numerical range of B, largest first.

    Attributes:
        values: (m,) eigenvalues, descending, not negative.
        whitened: (m, m) orthonormal eigenvectors in whitened coordinates; arbitrary in sign and
            within equal eigenvalues.
        metric: B, factored.
        residual: `‖A Aᵀ V − B V Λ‖ / ‖A Aᵀ V‖` in whitened coordinates (Frobenius), both norms
            estimated from the same few random combinations of its rows.
    """

    values: Float[Tensor, " m"]
    whitened: Float[Tensor, "m m"]
    metric: Metric
    residual: float

    @property
    def vectors(self) -> Float[Tensor, "d m"]:
        """(d, m) eigenvectors V, `Vᵀ B V = I`."""
        return self.metric.unwhiten(self.whitened)


def generalized_eigen(A: Float[Tensor, "d c"], B: Float[Tensor, "d d"]) -> GeneralizedEigen:
    """Solve `A Aᵀ v = λ B v` for all eigenpairs on the numerical range of B.

    Args:
        A: (d, c), float64.
        B: (d, d) symmetric positive semi-definite, float64.

    Returns:
        Eigenpairs, largest eigenvalue first.

    Raises:
        MomentsError: A or B is not finite, or B is zero.

    Source:
        Next Token Perception Score, eq. 8 (and Ghojogh et al. 2019, arXiv 1903.11240).
    """
    check_finite(A)
    metric = factor_metric(B)
    reduced = metric.whiten(A)
    values, vectors = torch.linalg.eigh(lower_gram(reduced))
    values, vectors = values.flip(0).clamp(min=0.0), vectors.flip(1)
    # ‖G W − W Λ‖ = ‖G − W Λ Wᵀ‖, without a product of two (m, m) matrices.
    rows = _random_rows(vectors)
    image = rows @ reduced @ reduced.T
    norm = torch.linalg.norm(image)
    off = torch.linalg.norm(image - (rows @ vectors * values) @ vectors.T)
    residual = float(off / torch.where(norm > 0, norm, 1.0))
    return GeneralizedEigen(values, vectors, metric, residual)


@dataclass(frozen=True)
class LabelDirections:
    """The eigenpairs of `M Mᵀ u = Λ N u` with Λ > 0: the directions that carry the labels.

    Attributes:
        values: (r,) Λ, descending, positive; r ≤ c is the numerical rank of M.
        whitened: (m, r) orthonormal `F u`, u in whitened coordinates.
    """

    values: Float[Tensor, " r"]
    whitened: Float[Tensor, "m r"]

    @property
    def rank(self) -> int:
        """The number r of directions."""
        return len(self.values)


def label_directions(M: Float[Tensor, "d c"], metric: Metric) -> LabelDirections:
    """The label-carrying generalized eigenvectors of (M Mᵀ, N), by a thin singular decomposition.

    Args:
        M: (d, c) cross moment of features and labels.
        metric: N, factored.

    Raises:
        MomentsError: M is not finite.

    Source:
        Next Token Perception Score, eq. 9; rank(M Mᵀ) ≤ c, so no (d, d) eigenproblem is needed.
    """
    check_finite(M)
    reduced = metric.whiten(M)
    vectors, singular, _ = torch.linalg.svd(reduced, full_matrices=False)
    # The rounding of the moments, which whitening amplifies by at most √condition.
    floor = _EPS * max(reduced.shape) * metric.condition**0.5
    rank = int((singular > min(floor, _LOOSEST_RANK) * singular[0]).sum())
    return LabelDirections(singular[:rank].square(), vectors[:, :rank])


def label_directions_of_each(M: Float[Tensor, "P d c"], metric: Metric) -> list[LabelDirections]:
    """`label_directions` of a stack of cross moments, where half the digits are enough.

    The eigenvectors come from the (c, c) Gram matrices: many times faster than singular
    decompositions, and good to the root of the rounding.
    """
    P, d, c = M.shape
    reduced = metric.whiten(M.permute(1, 0, 2).reshape(d, P * c))
    reduced = reduced.view(metric.rank, P, c).permute(1, 0, 2)
    values, vectors = torch.linalg.eigh(reduced.transpose(1, 2) @ reduced)
    values, vectors = values.flip(1), vectors.flip(2)
    seen = values > _EPS * max(metric.rank, c) * values[:, :1]
    ranks = seen.sum(1).clamp(max=min(metric.rank, c)).tolist()
    directions = reduced @ (vectors / torch.where(seen, values, 1.0).sqrt()[:, None, :])
    return [
        LabelDirections(value[:rank], direction[:, :rank])
        for value, direction, rank in zip(values, directions, ranks, strict=True)
    ]
