"""The paper's theorems about a layer: its losses in closed form, and bounds on the excess loss."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ntpscore.core.moments import LayerMoments
from ntpscore.core.subspaces import Subspaces


@dataclass(frozen=True)
class Losses:
    """What next tokens and labels lose by linear maps, for every number k = 1 … m of V's columns.

    All are means over texts.

    Attributes:
        next_token: (m,) `L(V_k)`, the squared error of next tokens from `V_kᵀ S_i`, summed over the
            text.
        probe: `L*(U)`, the least squared error of labels from the mean token, without intercept.
        excess: (m,) `ΔL = L*(V_k) − L*(U)`, what labels lose where the probe sees only `V_kᵀ x̄`.
        excess_lower: (m,) `λ_min(N) Λ_min ‖U‖² (1 − NTPS(U, V_k))`; 0 where N is singular.
        excess_upper: (m,) `λ_max(N) Λ_max ‖U‖² (1 − NTPS(U, V_k))`.

    The bounds are as good as `FactoredMetric.extremes`: to a few per cent.
    """

    next_token: Float[Tensor, " m"]
    probe: float
    excess: Float[Tensor, " m"]
    excess_lower: Float[Tensor, " m"]
    excess_upper: Float[Tensor, " m"]


def solve_losses(moments: LayerMoments, spaces: Subspaces) -> Losses:
    """Theorem 1's losses and Theorem 2's excess loss with its bounds.

    U are the r label-carrying columns, for which alone the proof of Theorem 2 holds; V may have
    more columns than U.

    Args:
        moments: of the layer.
        spaces: its subspaces, from `solve_subspaces`.

    Source:
        Theorem 1, eqs. 2, 6, 29; Theorem 2, with the constants of its proof (eqs. 34-36).
    """
    Lambda, N = spaces.labels.values, spaces.N
    T = spaces.nested_products[0]
    still_explained = spaces.nested_fit(N.whiten(moments.M), N, T).square().sum(1).cumsum(0)
    inside = (T @ spaces.labels.whitened).square().sum(1).cumsum(0)
    outside = (spaces.U.square().sum() - inside).clamp(min=0.0)
    least, most = N.extremes
    least = least if N.n_dropped == 0 else 0.0
    smallest, largest = (Lambda[-1], Lambda[0]) if len(Lambda) else (0.0, 0.0)
    return Losses(
        next_token=moments.next_power - spaces.next_token.values.cumsum(0),
        probe=float(moments.YY.trace() - Lambda.sum()),
        excess=Lambda.sum() - still_explained,
        excess_lower=least * smallest * outside,
        excess_upper=most * largest * outside,
    )
