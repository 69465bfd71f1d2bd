"""What a score is worth: its level by chance and under shuffled labels."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

_RIDGES = 256
_KRYLOV_STEPS = 12
_KRYLOV_TRIAL = 2
_KRYLOV_CHANGE = 3e-3
_ORTHONORMAL = 1e-8


def retained_chance(
    N_centred: Float[Tensor, "d d"],
    M_centred: Float[Tensor, "d c"],
    k: Int[Tensor, " q"],
    inverse: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, " q"]:
    """The mean of `retained` where V's k columns are drawn at random.

    For isotropic random V the projector `N^½ V (Vᵀ N V)⁻¹ Vᵀ N^½` has mean close to
    `N (N + γ I)⁻¹`, where γ makes its trace k: the chance level is the fit of the ridge regression
    with k effective degrees of freedom, relative to that of least squares. The approximation errs
    by about one over the number of directions that share k.

    Args:
        N_centred: (d, d) covariance of the mean token.
        M_centred: (d, c) its covariance with the labels.
        k: how many random directions, each from 0 to d.
        inverse: multiplies rows by the inverse of N_centred, if it has one at hand; spares its
            eigenvectors.

    Returns:
        One value in [0, 1] per entry of k.

    Source:
        Dereziński, Liang, Liao, Mahoney 2020, "Precise expressions for random projections"
        (arXiv 2006.10653), theorem 1.
    """
    measure = None if inverse is None else _krylov_measure(N_centred, M_centred, inverse)
    if measure is None:
        values, vectors = torch.linalg.eigh(N_centred)
        seen = values > values[-1] * torch.finfo(values.dtype).eps * len(values)
        values = values[seen]
        places, power = values, (vectors[:, seen].T @ M_centred).square().sum(1)
    else:
        values = torch.linalg.eigvalsh(N_centred)
        places, power = measure
    fit = (power / places).sum()
    ridges = _ridges(values)
    freedom = (values / (values + ridges[:, None])).sum(1)
    kept = (power / (places + ridges[:, None])).sum(1) / torch.where(fit > 0, fit, float("nan"))
    return interpolate(k.to(values.dtype), freedom, kept).clamp(0.0, 1.0)


def _ridges(values: Float[Tensor, " m"]) -> Float[Tensor, " g"]:
    """γ from far above the largest to far below the smallest value, so that k runs 0 … rank."""
    ends = torch.log10(torch.stack([values[-1] * 1e4 * len(values), values[0] * 1e-4]))
    return torch.logspace(float(ends[0]), float(ends[1]), _RIDGES).to(values)


def _krylov_measure(
    N: Float[Tensor, "d d"], M: Float[Tensor, "d c"], inverse: Callable[[Tensor], Tensor]
) -> tuple[Float[Tensor, " q"], Float[Tensor, " q"]] | None:
    """Places and weights w with `Σ w / (place + γ)` close to `tr Mᵀ (N + γ I)⁻¹ M` for every γ ≥ 0.

    They are the Ritz values of N in the space that powers of N and of its inverse make of M, which
    reaches both ends of the spectrum.

    Returns:
        None where the space would be too large, is exhausted, or has not converged: the last steps
        changed the sum, relative to that for γ = 0, by more than three thousandths.
    """
    d, c = M.shape
    # A larger space costs as much as the eigenvectors.
    if 4 * (2 * _KRYLOV_STEPS + 1) * c > d:
        return None
    up = down = basis = torch.linalg.qr(M).Q.T
    for _ in range(_KRYLOV_STEPS):
        up = _orthonormal_rows(up @ N, basis)
        basis = torch.cat([basis, up])
        down = _orthonormal_rows(inverse(down), basis)
        basis = torch.cat([basis, down])
    projected, targets = basis @ N @ basis.T, basis @ M

    def measure(q: int) -> tuple[Tensor, Tensor]:
        """Of the first q rows of the basis."""
        places, vectors = torch.linalg.eigh(projected[:q, :q])
        return places, (vectors.T @ targets[:q]).square().sum(1)

    places, power = measure(len(basis))
    fewer_places, fewer_power = measure(len(basis) - _KRYLOV_TRIAL * 2 * c)
    ridges = _ridges(places)[:, None]
    change = (power / (places + ridges)).sum(1) - (fewer_power / (fewer_places + ridges)).sum(1)
    off = basis @ basis.T - torch.eye(len(basis), dtype=N.dtype, device=N.device)
    converged = change.abs().max() <= _KRYLOV_CHANGE * (power / places).sum()
    # A NaN fails the comparisons.
    return (places, power) if bool(converged & (off.abs().max() < _ORTHONORMAL)) else None


def _orthonormal_rows(
    rows: Float[Tensor, "c d"], basis: Float[Tensor, "q d"]
) -> Float[Tensor, "c d"]:
    """An orthonormal basis of what rows add to the span of an orthonormal one."""
    for _ in range(2):
        rows = torch.linalg.qr((rows - rows @ basis.T @ basis).T).Q.T
    return rows


def interpolate(
    x: Float[Tensor, " q"], knots: Float[Tensor, " g"], heights: Float[Tensor, " g"]
) -> Float[Tensor, " q"]:
    """Piecewise linear interpolation on ascending knots, from (0, 0), constant beyond the last."""
    knots = torch.cat([knots.new_zeros(1), knots])
    heights = torch.cat([heights.new_zeros(1), heights])
    right = torch.searchsorted(knots, x).clamp(1, len(knots) - 1)
    left = right - 1
    share = ((x - knots[left]) / (knots[right] - knots[left])).clamp(0.0, 1.0)
    return heights[left] + share * (heights[right] - heights[left])


def shuffled_labels(n_texts: int, n_shuffles: int, seed: int) -> Int[Tensor, "P n"]:
    """P random permutations of the texts, drawn beforehand from a seed.

    Shuffle p gives text i the label of text `result[p, i]`.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randperm(n_texts, generator=generator) for _ in range(n_shuffles)]
    return torch.stack(rows) if rows else torch.empty(0, n_texts, dtype=torch.long)
