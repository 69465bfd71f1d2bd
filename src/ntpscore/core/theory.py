"""The paper's theorems about a layer: its losses in closed form, and bounds on the excess loss."""

from dataclasses import dataclass

from ntpscore.core.moments import LayerMoments
from ntpscore.core.probe import NestedFits
from ntpscore.core.subspaces import Subspaces


@dataclass(frozen=True)
class Losses:
    """What next tokens and labels lose by linear maps, as means over texts.

    Attributes:
        k: how many of V's columns the losses are of.
        next_token: `L(V_k)`, the squared error of next tokens from `V_kᵀ S_i`, summed over a text.
        probe: `L*(U)`, the least squared error of labels from the mean token, without intercept.
        excess: `ΔL = L*(V_k) − L*(U)`, what labels lose where the probe sees only `V_kᵀ x̄`.
        excess_lower: `λ_min(N) Λ_min ‖U‖² (1 − NTPS(U, V_k))`; 0 where N is singular.
        excess_upper: `λ_max(N) Λ_max ‖U‖² (1 − NTPS(U, V_k))`. The bounds are as good as
            `FactoredMetric.extremes`: to a few per cent.
    """

    k: int
    next_token: float
    probe: float
    excess: float
    excess_lower: float
    excess_upper: float


def solve_losses(
    moments: LayerMoments,
    spaces: Subspaces,
    k: int | None = None,
    fits: NestedFits | None = None,
) -> Losses:
    """Theorem 1's losses and Theorem 2's excess loss with its bounds.

    U are the r label-carrying columns, for which alone the proof of Theorem 2 holds; V may have
    more columns than U.

    Args:
        moments: of the layer.
        spaces: its subspaces, from `solve_subspaces`.
        k: how many of V's columns; None means half of them.
        fits: the probe's, as far as V sees them, if they were made before: they spare a basis.

    Source:
        Theorem 1, eqs. 2, 6, 29; Theorem 2, with the constants of its proof (eqs. 34-36).
    """
    Lambda, N = spaces.labels.values, spaces.N
    T = spaces.nested_products[0]
    k = (len(T) + 1) // 2 if k is None else k
    excess = None if fits is None else fits.excess(k)
    if excess is None:
        fit = spaces.coordinates(N.whiten(moments.M)).square().sum(1)
        # Complete coordinates also tell what is left, and nothing needs to cancel.
        excess = fit[k:].sum() if spaces.is_full else Lambda.sum() - fit[:k].sum()
    inside = (T[:k] @ spaces.labels.whitened).square().sum()
    outside = float(spaces.U.square().sum() - inside)
    least, most = N.extremes
    smallest, largest = (float(Lambda[-1]), float(Lambda[0])) if len(Lambda) else (0.0, 0.0)
    return Losses(
        k=k,
        next_token=moments.next_power - float(spaces.next_token.values[:k].sum()),
        probe=float(moments.YY.trace() - Lambda.sum()),
        excess=float(excess),
        excess_lower=0.0 if N.n_dropped else least * smallest * max(0.0, outside),
        excess_upper=most * largest * max(0.0, outside),
    )
