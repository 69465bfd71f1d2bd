"""The paper's theorems as functions: closed-form maps, losses, and bounds on the excess loss."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ntpscore.core.moments import LayerMoments
from ntpscore.core.subspaces import Subspaces, coordinates_by_complement, nested_coordinates


def next_token_map(
    V: Float[Tensor, "d k"], C0: Float[Tensor, "d d"], C1: Float[Tensor, "d d"]
) -> Float[Tensor, "k d"]:
    """W, the best linear map from `Vᵀ S_i` to the next token.

    Args:
        V: (d, k) encoder, of full column rank in C0.
        C0: (d, d) second moment of the prefix sums.
        C1: (d, d) cross moment of prefix sum and next token.

    Source:
        Theorem 1, eq. 6: `W = (Vᵀ C0 V)⁻¹ Vᵀ C1`.
    """
    W: Tensor = torch.linalg.solve(V.T @ C0 @ V, V.T @ C1)
    return W


def probe_map(
    U: Float[Tensor, "d k"], N: Float[Tensor, "d d"], M: Float[Tensor, "d c"]
) -> Float[Tensor, "k c"]:
    """Z, the best linear map from `Uᵀ x̄` to the labels.

    Args:
        U: (d, k) encoder, of full column rank in N.
        N: (d, d) second moment of the mean token.
        M: (d, c) cross moment of mean token and labels.

    Source:
        Theorem 1, eq. 7: `Z = (Uᵀ N U)⁻¹ Uᵀ M`.
    """
    Z: Tensor = torch.linalg.solve(U.T @ N @ U, U.T @ M)
    return Z


def next_token_loss(V: Float[Tensor, "d k"], moments: LayerMoments) -> float:
    """The mean over texts of the squared error of predicting next tokens from `Vᵀ S_i`.

    Args:
        V: (d, k) encoder.
        moments: of the layer.

    Source:
        Eq. 2 with the W of eq. 6: `E[Σ ‖x_{i+1}‖²] − tr(C1ᵀ V W)`.
    """
    W = next_token_map(V, moments.C0, moments.C1)
    return moments.next_power - float((moments.C1 * (V @ W)).sum())


def probe_loss(encoder: Float[Tensor, "d k"], moments: LayerMoments) -> float:
    """The mean over texts of the squared error of predicting labels from `encoderᵀ x̄`.

    Args:
        encoder: (d, k), U or V.
        moments: of the layer.

    Source:
        Eq. 29: `tr E[Y Yᵀ] − tr(Mᵀ V (Vᵀ N V)⁻¹ Vᵀ M)`.
    """
    Z = probe_map(encoder, moments.N, moments.M)
    return float(moments.YY.diagonal().sum() - (moments.M * (encoder @ Z)).sum())


@dataclass(frozen=True)
class ExcessLoss:
    """What the labels lose when the probe sees only `V_kᵀ x̄`, for every k = 1 … m.

    Attributes:
        exact: (m,) `ΔL = L*(V_k) − L*(U)`.
        lower: (m,) `λ_min(N) Λ_min ‖U‖² (1 − NTPS(U, V_k))`.
        upper: (m,) `λ_max(N) Λ_max ‖U‖² (1 − NTPS(U, V_k))`.
    """

    exact: Float[Tensor, " m"]
    lower: Float[Tensor, " m"]
    upper: Float[Tensor, " m"]


def excess_loss(moments: LayerMoments, spaces: Subspaces) -> ExcessLoss:
    """The excess loss of the autoregressive encoder and Theorem 2's bounds on it.

    U are the r label-carrying columns, for which alone the theorem's proof holds; V may have more
    columns than U. On a singular N, λ_min and with it the lower bound are zero.

    Args:
        moments: of the layer.
        spaces: its subspaces, from `solve_subspaces`.

    Source:
        Theorem 2, with the constants of its proof (eqs. 34-36).
    """
    Lambda = spaces.labels.values
    T = spaces.nested_products[0]
    fit = spaces.N.whiten(moments.M)
    if len(T) == spaces.N.rank == spaces.N.width:
        coordinates = coordinates_by_complement(T, fit)
    else:
        coordinates = nested_coordinates(spaces.N.factor @ spaces.Q, fit)
    kept = coordinates.square().sum(1).cumsum(0)
    inside = (T @ spaces.labels.whitened).square().sum(1).cumsum(0)
    outside = (spaces.U.square().sum() - inside).clamp(min=0.0)
    eigenvalues = torch.linalg.eigvalsh(moments.N)
    least = eigenvalues[0].clamp(min=0.0) if spaces.N.n_dropped == 0 else eigenvalues.new_zeros(())
    return ExcessLoss(
        exact=Lambda.sum() - kept,
        lower=least * Lambda[-1] * outside,
        upper=eigenvalues[-1] * Lambda[0] * outside,
    )
