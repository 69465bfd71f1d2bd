"""The two subspaces of a layer: V, which next-token prediction uses, and U, which labels need."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ntpscore.core.factored_metric import FactoredMetric, factor_metric
from ntpscore.core.geneig import (
    GeneralizedEigen,
    LabelDirections,
    generalized_eigen,
    label_directions,
)
from ntpscore.core.lapack import cholesky, gram_triangle, triangular_product
from ntpscore.core.moments import LayerMoments

# Orthonormal bases by Cholesky factors lose as many digits as condition numbers have.
_SAFE_CONDITION = 1e10
# A column whose part outside the span of those before it is below this share of its length is
# taken as dependent: above float64 rounding amplified by condition numbers up to 1e10 under the
# root, below what any well-posed column keeps.
_DEPENDENT = 1e-11
_BLOCK = 64


@dataclass(frozen=True)
class NestedBasis:
    """An orthonormal basis whose first k vectors span the first k columns of a matrix.

    A column that depends on those before it adds nothing to the basis.

    Attributes:
        columns: (m, q) the matrix.
        reflectors: of its QR factorisation, with their weights; None where columns depend on
            others.
        root: (q, q) lower triangular, `root rootᵀ = columnsᵀ columns`, in place of these where it
            holds enough digits.
    """

    columns: Float[Tensor, "m q"]
    reflectors: tuple[Float[Tensor, "m p"], Float[Tensor, " p"]] | None = None
    root: Float[Tensor, "q q"] | None = None

    @classmethod
    def of(cls, columns: Float[Tensor, "m q"], condition: float = math.inf) -> "NestedBasis":
        """That of these columns.

        Args:
            columns: (m, q).
            condition: of `columnsᵀ columns`, if it is known.
        """
        if condition < _SAFE_CONDITION:
            root = cholesky(gram_triangle(columns))
            if root is not None:
                return cls(columns, root=root)
        lead = columns[:, : min(columns.shape)]
        packed, tau = torch.geqrf(lead)
        pivots = packed.diagonal().abs()
        independent = bool((pivots > _DEPENDENT * lead.norm(dim=0)).all())
        return cls(columns, (packed, tau) if independent else None)

    def coordinates(self, targets: Float[Tensor, "m t"]) -> Float[Tensor, "q t"]:
        """Coordinates of targets.

        The squared norm of the projection of `targets[:, j]` on the span of the first k columns is
        the sum of squares of the first k rows of column j of the result. The row of a column that
        depends on others is zero.
        """
        if self.root is not None:
            return triangular_product(self.root, self.columns.T @ targets, inverse=True)
        if self.reflectors is None:
            return _coordinates_with_dependence(self.columns, targets)
        packed, tau = self.reflectors
        rows = targets.new_zeros(self.columns.shape[1], targets.shape[1])
        rows[: len(tau)] = torch.ormqr(packed, tau, targets, transpose=True)[: len(tau)]
        return rows


@dataclass(frozen=True)
class Subspaces:
    """The autoregressive and the perception subspace of one layer.

    Attributes:
        next_token: the eigenpairs of (C1 C1ᵀ, C0).
        V: (d, m) its vectors, largest eigenvalue first; its first k columns are V_k.
        N: the metric of the mean token.
        labels: the label-carrying eigenpairs of (M Mᵀ, N).
    """

    next_token: GeneralizedEigen
    V: Float[Tensor, "d m"]
    N: FactoredMetric
    labels: LabelDirections

    @cached_property
    def Q(self) -> Float[Tensor, "d m"]:
        """(d, m) orthonormal; its first k columns span what the first k of V span."""
        Q: Tensor = torch.linalg.qr(self.V).Q
        return Q

    @cached_property
    def nested_products(self) -> tuple[Float[Tensor, "v m"], Float[Tensor, "v m"]]:
        """`Qᵀ K` for the whitener K of N, where Q is nested in V's first and in V's last columns.

        (v, m) where the first k rows belong to the first k columns of V, and (v, m) where they
        belong to the last k; both Q are arbitrary in the signs of their columns, and orthonormal.
        """
        V, K = self.V, self.N.whitener
        if self.next_token.metric.condition < _SAFE_CONDITION:
            # V = Q R with Rᵀ R = Vᵀ V, so that Qᵀ K = R⁻ᵀ Vᵀ K.
            gram = gram_triangle(V)
            first, last = cholesky(gram), cholesky(gram.T.flip(0, 1))
            if first is not None and last is not None:
                VK = self.N.whiten(V).T
                return (
                    triangular_product(first, VK, inverse=True),
                    triangular_product(last, VK.flip(0), inverse=True),
                )
        both = [torch.ormqr(*torch.geqrf(X), K, transpose=True) for X in (V, V.flip(1))]
        return both[0][: V.shape[1]], both[1][: V.shape[1]]

    def coordinates(self, whitened: Float[Tensor, "m t"]) -> Float[Tensor, "v t"]:
        """Coordinates in a basis of N's whitened space, whose first k vectors span `F V_k`.

        Args:
            whitened: `Kᵀ X`, for X in the range of N.
        """
        if self.is_full:
            return self._basis.coordinates(whitened).flip(0)
        return self._basis.coordinates(whitened)

    @property
    def is_full(self) -> bool:
        """Whether V and N are of full rank."""
        return self.V.shape[1] == self.N.rank == self.N.width

    @cached_property
    def _basis(self) -> NestedBasis:
        """That of `F V`, last vector first where V is full."""
        if self.is_full:
            # The first k columns of F V = K⁻¹ Q R are orthogonal to Kᵀ times Q's other columns,
            # whose span is therefore what they leave.
            return NestedBasis.of(self.nested_products[0].flip(0).T)
        return NestedBasis.of(self.N.factor @ self.Q)

    @property
    def U(self) -> Float[Tensor, "d r"]:
        """(d, r) the label-carrying columns of U, `Uᵀ N U = I`."""
        return self.N.unwhiten(self.labels.whitened)


def solve_subspaces(moments: LayerMoments) -> Subspaces:
    """Solve both generalized eigenproblems of a layer.

    Raises:
        MomentsError: a moment is not finite, or C0 or N is zero.

    Source:
        Next Token Perception Score, theorem 1.
    """
    next_token = generalized_eigen(moments.C1, moments.C0)
    N = factor_metric(moments.N)
    return Subspaces(
        next_token=next_token,
        V=next_token.vectors,
        N=N,
        labels=label_directions(moments.M, N),
    )


def _coordinates_with_dependence(columns: Tensor, targets: Tensor) -> Tensor:
    """`NestedBasis.coordinates` by block Gram-Schmidt, twice over, skipping dependent columns."""
    m, q = columns.shape
    basis = columns.new_zeros(m, 0)
    rows = targets.new_zeros(q, targets.shape[1])
    for start in range(0, q, _BLOCK):
        block = columns[:, start : start + _BLOCK]
        lengths = block.norm(dim=0)
        for _ in range(2):
            block = block - basis @ (basis.T @ block)
        fresh = columns.new_zeros(m, 0)
        for j in range(block.shape[1]):
            rest = block[:, j]
            for _ in range(2):
                rest = rest - fresh @ (fresh.T @ rest)
                rest = rest - basis @ (basis.T @ rest)
            length = rest.norm()
            if float(length) > _DEPENDENT * float(lengths[j]):
                direction = rest / length
                rows[start + j] = direction @ targets
                fresh = torch.cat([fresh, direction[:, None]], 1)
        basis = torch.cat([basis, fresh], 1)
        if basis.shape[1] >= m:
            break
    return rows
