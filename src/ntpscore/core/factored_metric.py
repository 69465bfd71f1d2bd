"""A symmetric positive semi-definite matrix, factored on its numerical range.

What was kept, what was dropped and how badly conditioned the rest is stands in the result, and
nothing is regularised.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ntpscore.core.lapack import cholesky, eigh, triangular_inverse, triangular_product
from ntpscore.errors import MomentsError

_KRYLOV_STEPS = 10
EPS = torch.finfo(torch.float64).eps


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
    return 10.0 * width * EPS


@dataclass(frozen=True)
class FactoredMetric:
    """A symmetric positive semi-definite B, factored on its numerical range.

    Attributes:
        matrix: (d, d) B itself.
        whitener: (d, m) K with `Kᵀ B K = I` and the range of B as its span.
        factor: (m, d) F with `Fᵀ F = B` on that range.
        rank: m, the numerical rank.
        is_triangular: whether both K and F are upper triangular.
    """

    matrix: Float[Tensor, "d d"]
    whitener: Float[Tensor, "d m"]
    factor: Float[Tensor, "m d"]
    rank: int
    is_triangular: bool = False

    def whiten(self, X: Float[Tensor, "d q"]) -> Float[Tensor, "m q"]:
        """`Kᵀ X`."""
        if self.is_triangular:
            return triangular_product(self.whitener, X, upper=True, transpose=True)
        return self.whitener.T @ X

    def unwhiten(self, W: Float[Tensor, "m q"]) -> Float[Tensor, "d q"]:
        """`K W`."""
        if self.is_triangular:
            return triangular_product(self.whitener, W, upper=True)
        return self.whitener @ W

    @cached_property
    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest eigenvalue of B that were kept.

        Estimated in Krylov spaces from within, to a few per cent where B is large.
        """
        K, B = self.whitener, self.matrix
        largest = _largest_eigenvalue(lambda rows: rows @ B, B)
        inverse = _largest_eigenvalue(lambda rows: rows @ K.T @ K, K)
        return 1 / float(inverse), float(largest)

    @property
    def condition(self) -> float:
        """Ratio of the largest to the smallest eigenvalue of B that was kept (2-norm)."""
        smallest, largest = self.extremes
        return max(1.0, largest / smallest)

    @property
    def width(self) -> int:
        """The number of rows d of B."""
        return self.whitener.shape[0]

    @property
    def n_dropped(self) -> int:
        """How many directions were dropped because B does not see them."""
        return self.width - self.rank


def factor_metric(B: Float[Tensor, "d d"]) -> FactoredMetric:
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
    L = cholesky(scaled.T)
    if L is not None:
        inverse = triangular_inverse(L)
        # ‖B‖·‖L⁻¹‖² in the Frobenius norm bounds the condition number from above.
        if float(torch.linalg.norm(scaled) * inverse.square().sum()) < 0.1 / cutoff:
            whitener, factor = inverse.T / scale[:, None], L.T * scale
            return FactoredMetric(B, whitener, factor, len(B), is_triangular=True)
    values, vectors = eigh(scaled, overwrite=True)
    in_range = values > cutoff * values[-1]
    factor = (vectors[:, in_range] * values[in_range].sqrt()).T * scale
    # The whitener is the pseudo-inverse of the factor: scaled back alone, the eigenvectors would
    # leave the range of B.
    Q, R = torch.linalg.qr(factor.T)
    identity = torch.eye(len(R), dtype=B.dtype, device=B.device)
    whitener = Q @ torch.linalg.solve_triangular(R.T, identity, upper=False)
    return FactoredMetric(B, whitener, factor, len(R))


def _largest_eigenvalue(
    product: Callable[[Tensor], Tensor], like: Float[Tensor, "_ m"]
) -> Float[Tensor, ""]:
    """The largest eigenvalue of a positive semi-definite operator on m coordinates, from below.

    Args:
        product: multiplies rows by the operator.
        like: a tensor of m columns, for its type and device.
    """
    powers = [random_rows(like, 1)]
    for _ in range(_KRYLOV_STEPS):
        row = product(powers[-1])
        powers.append(row / row.norm())
    basis = torch.linalg.qr(torch.cat(powers).T).Q.T
    values: Tensor = torch.linalg.eigvalsh(product(basis) @ basis.T)
    return values[-1]


def random_rows(like: Float[Tensor, "_ m"], n: int) -> Float[Tensor, "n m"]:
    """Rows of fixed random numbers: products with few rows are faster than with columns."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(n, like.shape[1], generator=generator, dtype=like.dtype)
    return rows.to(like.device)
