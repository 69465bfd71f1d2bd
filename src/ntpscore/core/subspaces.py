"""The two subspaces of a layer: V, which next-token prediction uses, and U, which labels need."""

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

# Orthonormal bases by Cholesky factors lose as many digits as the condition number of C0 has.
_SAFE_CONDITION = 1e10


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
        belong to the last k; both Q are arbitrary in the signs of their columns.
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


# A column whose part outside the span of those before it is below this share of its length is
# taken as dependent: above float64 rounding amplified by condition numbers up to 1e10 under the
# root, below what any well-posed column keeps.
_DEPENDENT = 1e-11
_BLOCK = 64


def nested_coordinates(
    columns: Float[Tensor, "m q"], targets: Float[Tensor, "m t"]
) -> Float[Tensor, "q t"]:
    """Coordinates of targets in an orthonormal basis nested in the spans of leading columns.

    The squared norm of the projection of `targets[:, j]` on the span of the first k columns is the
    sum of squares of the first k rows of column j of the result. A column that depends on those
    before it adds nothing: its row is zero.
    """
    m, q = columns.shape
    lead = columns[:, : min(m, q)]
    reflectors, tau = torch.geqrf(lead)
    pivots = reflectors.diagonal().abs()
    if bool((pivots > _DEPENDENT * lead.norm(dim=0)).all()):
        coordinates = torch.ormqr(reflectors, tau, targets, transpose=True)
        rows = targets.new_zeros(q, targets.shape[1])
        rows[: len(tau)] = coordinates[: len(tau)]
        return rows
    return _nested_coordinates_with_dependence(columns, targets)


def nested_coordinates_from_inverse(
    T: Float[Tensor, "m m"], targets: Float[Tensor, "m t"]
) -> Float[Tensor, "m t"]:
    """`nested_coordinates` of `F V` for a full V = QR, from T = Qᵀ F⁻¹.

    The first k columns of `F V` are orthogonal to `F⁻ᵀ` times Q's other columns, so what they leave
    of a target is its part in the span of those.
    """
    return nested_coordinates(T.flip(0).T, targets).flip(0)


def _nested_coordinates_with_dependence(columns: Tensor, targets: Tensor) -> Tensor:
    """`nested_coordinates` by block Gram-Schmidt, twice over, skipping dependent columns."""
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
