"""What a score is worth: its level by chance and under shuffled labels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ntpscore.core.lapack import Tridiagonal

_RIDGES = 128


def retained_chance(
    N_centred: Float[Tensor, "d d"],
    M_centred: Float[Tensor, "d c"],
    fit: float,
    k: Int[Tensor, " q"],
) -> Float[Tensor, " q"]:
    """The mean of `retained` where V's k columns are drawn at random.

    For isotropic random V the projector `N^½ V (Vᵀ N V)⁻¹ Vᵀ N^½` has mean close to
    `N (N + γ I)⁻¹`, where γ makes its trace k: the chance level is the fit of the ridge regression
    with k effective degrees of freedom, relative to that of least squares. The approximation errs
    by about one over the number of directions that share k.

    Args:
        N_centred: (d, d) covariance of the mean token.
        M_centred: (d, c) its covariance with the labels.
        fit: what least squares explain of these, `tr M_centredᵀ N_centred⁺ M_centred`.
        k: how many random directions, each from 0 to d.

    Returns:
        One value in [0, 1] per entry of k; NaN where nothing is explained.

    Source:
        Dereziński, Liang, Liao, Mahoney 2020, "Precise expressions for random projections"
        (arXiv 2006.10653), theorem 1.
    """
    if not fit > 0:
        return k.new_full(k.shape, float("nan"), dtype=N_centred.dtype)
    form = Tridiagonal.of(N_centred, M_centred)
    # Eigenvalues below zero tell of what was lost where a large mean was taken off, too.
    eps = torch.finfo(form.values.dtype).eps
    rounding = torch.maximum(form.values[-1] * eps * len(form.values), -2 * form.values[0])
    values = form.values[form.values > rounding]
    # From half a degree of freedom to half of one less than all, as far as rounding allows.
    most, least = 2 * values.sum(), torch.maximum(0.5 / (1 / values).sum(), rounding)
    ridges = torch.logspace(float(most.log10()), float(least.log10()), _RIDGES).to(values)
    freedom = (values / (values + ridges[:, None])).sum(1)
    share = form.powers(ridges) / fit
    freedom = torch.cat([freedom, freedom.new_tensor([len(values)])])
    share = torch.cat([share, share.new_ones(1)])
    return interpolate(k.to(values.dtype), freedom, share).clamp(0.0, 1.0)


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


def shuffled_labels(
    n_texts: int,
    n_shuffles: int,
    seed: int,
    groups: Int[Tensor, " n"] | None = None,
    labels: Tensor | None = None,
) -> Int[Tensor, "P n"]:
    """P random reassignments of the labels to the texts, drawn beforehand from a seed.

    Shuffle p gives text i the label of text `result[p, i]`.

    Texts of a group (the same text again, or of one patient) are no independent ones, so that
    groups exchange their labels as wholes. Where each group has one label, any two groups may:
    under the null that a group's label says nothing of its texts, all assignments of labels to
    groups are equally likely, whatever the groups' sizes. (Shuffles then differ in how many texts
    have a class.) Else a group's labels are a row of them, and only groups of the same size
    exchange theirs, text by text, which is exact if labels are alike distributed in groups of a
    size. A group that is the only one of its size then keeps its labels, which makes the test
    conservative; see `share_kept`.

    Args:
        n_texts: n.
        n_shuffles: P.
        seed: the same seed draws the same, and fewer shuffles are the first of more.
        groups: (n,) numbers 0 … G − 1 in the order of their first texts; None where each text is a
            group of its own.
        labels: (n,) or (n, c), which tell whether each group has one label; None means they don't.
    """
    generator = torch.Generator().manual_seed(seed)
    if groups is None:
        groups = torch.arange(n_texts)
    groups = groups.cpu()
    blocks = _exchangeable(groups, labels)
    rows = []
    for _ in range(n_shuffles):
        source = torch.arange(n_texts)
        if blocks is None:
            first = _members(groups)[1]
            source = first[torch.randperm(len(first), generator=generator)][groups]
        else:
            for block in blocks:
                source[block] = block[torch.randperm(len(block), generator=generator)]
        rows.append(source)
    return torch.stack(rows) if rows else torch.empty(0, n_texts, dtype=torch.long)


def share_kept(groups: Int[Tensor, " n"], labels: Tensor) -> float:
    """The share of texts that keep their labels in all of `shuffled_labels`."""
    blocks = _exchangeable(groups.cpu(), labels)
    n_kept = sum(block.numel() for block in blocks or [] if len(block) == 1)
    return n_kept / len(groups)


def _members(
    groups: Int[Tensor, " n"],
) -> tuple[Int[Tensor, " n"], Int[Tensor, " G"], Int[Tensor, " G"]]:
    """Rows sorted by group, the first row of each group, and the groups' sizes."""
    order = torch.argsort(groups, stable=True)
    sizes = torch.bincount(groups)
    return order, order[sizes.cumsum(0) - sizes], sizes


def _exchangeable(
    groups: Int[Tensor, " n"], labels: Tensor | None
) -> "list[Int[Tensor, 'G m']] | None":
    """Rows of groups that may exchange labels, by size; None where all groups may."""
    order, first, sizes = _members(groups)
    if labels is not None:
        same = labels.cpu()[first[groups]] == labels.cpu()
        if bool(same.all()):
            return None
    starts = sizes.cumsum(0) - sizes
    return [
        order[starts[sizes == size][:, None] + torch.arange(size)]
        for size in sizes.unique().tolist()
    ]
