"""The generalized symmetric eigenproblem `A Aᵀ v = λ B v`, safe where B is singular."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ntpscore.core.factored_metric import (
    EPS,
    FactoredMetric,
    check_finite,
    factor_metric,
    random_rows,
)
from ntpscore.core.lapack import (
    cholesky,
    eigh_in_place,
    generalized_eigh,
    gram_triangle,
    triangular_product,
)

# However bad the conditioning, a direction with this share of the labels is one.
_LOOSEST_RANK = 1e-4
_RANDOM_ROWS = 2


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
    metric: FactoredMetric
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
    values, vectors = eigh_in_place(gram_triangle(reduced.T))
    values, vectors = values.flip(0).clamp(min=0.0), vectors.flip(1)
    # ‖G W − W Λ‖ = ‖G − W Λ Wᵀ‖, without a product of two (m, m) matrices.
    rows = random_rows(vectors, _RANDOM_ROWS)
    image = rows @ reduced @ reduced.T
    norm = torch.linalg.norm(image)
    off = torch.linalg.norm(image - (rows @ vectors * values) @ vectors.T)
    residual = float(off / torch.where(norm > 0, norm, 1.0))
    return GeneralizedEigen(values, vectors, metric, residual)


def lapack_vectors(M: Float[Tensor, "d c"], metric: FactoredMetric) -> Float[Tensor, "m m"]:
    """All generalized eigenvectors of (M Mᵀ, N), as LAPACK's solver hands them out, largest first.

    Behind the rank of M the eigenvalues are zero, and which basis of that space comes out is up to
    the solver. `scipy.linalg.eigh` stands for whatever an implementation of the paper would call;
    where N is not positive definite and it refuses, the problem is solved on N's numerical range.

    Args:
        M: (d, c) cross moment of features and labels.
        metric: N, factored.

    Returns:
        `F U`, their whitened coordinates, orthonormal.
    """
    L: Tensor | None = None
    # By columns it has the numbers of LAPACK's own, also where N was factored before: there it was
    # scaled by powers of two, which rounds nothing.
    if metric.is_triangular:
        L = metric.factor.T
    elif not metric.n_dropped:
        L = cholesky(metric.matrix.T)
    if L is not None:
        vectors = generalized_eigh((M @ M.T).cpu(), L.cpu())[1].to(M.device)
        if not metric.is_triangular:  # else F is Lᵀ
            vectors = metric.factor @ triangular_product(L, vectors, transpose=True, inverse=True)
        return vectors.flip(1)
    reduced = metric.whiten(M)
    choice: Tensor = torch.linalg.eigh(reduced @ reduced.T)[1]
    return choice.flip(1)


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

    def is_tied(self, condition: float) -> Bool[Tensor, " r"]:
        """(r,) whether cutting behind each direction cuts a group of equal Λ, in any order.

        With no more texts than features Λ are the shares of the classes, so that classes of one
        size tie.

        Args:
            condition: of N, by which the rounding of Λ is amplified.
        """
        rounding = min(4 * EPS * len(self.whitened) * condition**0.5, _LOOSEST_RANK)
        falls = -self.values.diff(append=self.values.new_zeros(1))
        tied: Tensor = falls <= rounding * self.values[:1]
        return tied


def label_directions(M: Float[Tensor, "d c"], metric: FactoredMetric) -> LabelDirections:
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
    floor = EPS * max(reduced.shape) * metric.condition**0.5
    rank = int((singular > min(floor, _LOOSEST_RANK) * singular[0]).sum())
    return LabelDirections(singular[:rank].square(), vectors[:, :rank])
