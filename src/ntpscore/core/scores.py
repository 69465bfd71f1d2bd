"""The six scores of a layer, for every k at once.

One factorisation V = QR nests all subspaces span(V_k): with `T = Qᵀ K` (K an N-orthonormal
basis) every projection norm that a score needs is a sum over a leading block of squares.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ntpscore.core.controls import retained_chance
from ntpscore.core.geneig import lapack_vectors
from ntpscore.core.label_sets import CompletedBasis, LabelSets, orthonormalised
from ntpscore.core.leading_blocks import columns_at, leading_squares
from ntpscore.core.moments import LayerMoments, Moments
from ntpscore.core.probe import LeastSquares
from ntpscore.core.published import score_published
from ntpscore.core.score_names import SCORES, ScoreName
from ntpscore.core.side_by_side import side_by_side
from ntpscore.core.subspaces import Subspaces, solve_subspaces
from ntpscore.core.theory import Losses, solve_losses
from ntpscore.errors import MomentsError

# Solving a layer takes about so many (d, d) matrices at its peak, and so many of the shape of the
# labels' moments; layers are solved together as far as this much memory goes.
_SOLVE_MATRICES, _SOLVE_LABELS = 40, 12
_SOLVE_BYTES = 4 * 10**9
# Up to this width a single layer too is solved with one thread: torch's and SciPy's, which wait
# busily for work of their own, would stand in each other's way.
_NARROW = 1024
Solved = TypeVar("Solved")


@dataclass(frozen=True)
class LayerScores:
    """Every score of one layer for every k = 1 … d (index k − 1).

    Attributes:
        values: (d,) per score; `published` only where the moments have what it needs.
        chance: (d,) per score, its mean where V's directions are drawn at random.
        shuffled: (P, d) per score, the score under each label permutation. NaN of `published`, and
            of `algorithm1` behind the labels' rank, each of which would take a further
            eigenproblem of the whole width for each permutation.
        basis_dependent: (d,) per score, whether the value hangs on an arbitrary choice of basis.
        n_label_directions: r, the numerical rank of M.
        r2: the centred in-sample R² of ordinary least squares on this layer.
        r2_adjusted: r2 corrected for the number of features; NaN where n ≤ rank + 1, n being the
            number of groups of texts.
        r2_chance: the mean r2 of labels that have nothing to do with the features.
        r2_shuffled: (P,) r2 under each label permutation.
        ols_mse: mean squared error per label column of ordinary least squares with intercept, in
            sample.
        rank_N: numerical rank of N; rank_C0, rank_N_centred likewise.
        condition_N: 2-norm condition number of N on its numerical range; condition_C0 likewise.
        residual: relative residual of the autoregressive eigenproblem.
        next_token_r2: share of the next token's power that a linear map of the prefix sum explains
            in sample, `tr(Λ_V) / E[Σ ‖x_{i+1}‖²]`.
        next_token_k90: the smallest k whose columns of V hold 90 % of that, `tr(Λ_V)`; 0 if there
            is nothing to hold.
        losses: what the paper's theorems are about.
    """

    values: dict[ScoreName, Float[Tensor, " d"]]
    chance: dict[ScoreName, Float[Tensor, " d"]]
    shuffled: dict[ScoreName, Float[Tensor, "P d"]]
    basis_dependent: dict[ScoreName, Bool[Tensor, " d"]]
    n_label_directions: int
    r2: float
    r2_adjusted: float
    r2_chance: float
    r2_shuffled: Float[Tensor, " P"]
    ols_mse: float
    rank_N: int
    rank_N_centred: int
    rank_C0: int
    condition_N: float
    condition_C0: float
    residual: float
    next_token_r2: float
    next_token_k90: int
    losses: Losses


def score_layer(moments: LayerMoments, spaces: Subspaces | None = None) -> LayerScores:
    """All six scores of one layer for every k, with chance level and label-shuffle control.

    Args:
        moments: the second moments of the layer.
        spaces: its subspaces, if `solve_subspaces` was called before.

    Returns:
        The scores; entries are NaN where a score is not defined (no label direction at all, or
        zero columns of U or V in `smallest_first` and `published`).

    Raises:
        MomentsError: a moment is not finite, or N or C0 is zero.

    Source:
        Next Token Perception Score, algorithm 1 and theorem 2.
    """
    spaces = spaces or solve_subspaces(moments)
    d, m_V, m_N = moments.width, spaces.V.shape[1], spaces.N.rank
    label_sets = LabelSets.of(moments, spaces.N, spaces.labels)
    K = spaces.N.whitener
    T, T_ascending = spaces.nested_products

    k = torch.arange(1, d + 1, device=T.device)
    used_V = k.clamp(max=m_V)
    fraction_V, fraction_N = (columns_at(d, m).to(k) for m in (m_V, m_N))
    completed = CompletedBasis.of(label_sets, spaces.N)
    # The first columns are those of the smallest eigenvalues.
    smallest_first = completed.reversed().ratios(T_ascending.flip(1), fraction_V, fraction_N)
    smallest_first = torch.where(fraction_V > 0, smallest_first, float("nan"))

    directions = label_sets.split(T @ label_sets.joined)  # (sets, m_V, r)
    per_column = directions.square()
    # A whole orthonormal basis keeps lengths and angles.
    U = directions if spaces.is_full else label_sets.split(spaces.N.unwhiten(label_sets.joined))
    U_norms = U.square().sum(1)  # (sets, r)
    inside = _pad(per_column.sum(2).cumsum(1), d)
    supervised = inside / U_norms.sum(1, keepdim=True)
    all_inside = _pad(T.square().sum(1).cumsum(0)[None], d)
    all_norm = K.square().sum()
    r = label_sets.ranks[:, None]
    share = ((k - r).to(T.dtype) / (m_N - r).clamp(min=1)).clamp(0.0, 1.0)
    expected = (inside + share * (all_inside - inside)) / (
        U_norms.sum(1, keepdim=True) * (1 - share) + share * all_norm
    )
    # Up to the labels' own rank the columns of U are given, behind it they are the solver's choice.
    leading = per_column.cumsum(1).cumsum(2)[:, used_V - 1, k.clamp(max=U.shape[2]) - 1]
    leading = leading / U_norms.cumsum(1)[:, k.clamp(max=U.shape[2]) - 1]
    expected = torch.where(k <= r, leading, expected)
    chosen = torch.full_like(leading, float("nan"))
    chosen[0] = _solvers_choice(moments, spaces, used_V, k.clamp(max=m_N))
    algorithm1 = torch.where(k <= r, leading, chosen)
    cosines = orthonormalised(directions, U, label_sets.ranks)
    subspace = _pad(cosines.square().sum(2).cumsum(1), d) / r

    probe = LeastSquares.of(moments, spaces.N)
    explained = probe.explained[:, None]
    fits = probe.seen_by(spaces)
    # Of labels that never differ nothing is explained, and nothing can be retained.
    retained = _pad(fits.explained, d) / torch.where(probe.r2[:, None] > 0, explained, float("nan"))
    by_name: dict[ScoreName, Tensor] = {
        "algorithm1": algorithm1,
        "smallest_first": smallest_first,
        "expected": expected,
        "supervised": supervised,
        "subspace": subspace,
        "retained": retained.clamp(max=1.0),
    }
    columns_chance = used_V.to(T.dtype) / d
    chance: dict[ScoreName, Tensor] = dict.fromkeys(SCORES, columns_chance)
    chance["smallest_first"] = fraction_V.to(T.dtype) / d
    chance["retained"] = torch.where(
        retained[0].isnan(),
        float("nan"),
        retained_chance(moments.N_centred, moments.M_centred, float(explained[0]), used_V),
    )
    basis_dependent = _basis_dependence(spaces, k, fraction_N)
    if moments.published is not None:
        value, chance["published"] = (x.to(T.device) for x in score_published(moments.published))
        by_name["published"] = torch.full_like(leading, float("nan"))
        by_name["published"][0] = value
        basis_dependent["published"] = torch.ones_like(k, dtype=torch.bool)
    return LayerScores(
        values={name: values[0] for name, values in by_name.items()},
        chance=chance,
        shuffled={name: values[1:] for name, values in by_name.items()},
        basis_dependent=basis_dependent,
        n_label_directions=spaces.labels.rank,
        r2=float(probe.r2[0]),
        r2_adjusted=probe.r2_adjusted,
        r2_chance=probe.r2_chance,
        r2_shuffled=probe.r2[1:],
        ols_mse=probe.mse,
        rank_N=m_N,
        rank_N_centred=probe.rank,
        rank_C0=m_V,
        condition_N=spaces.N.condition,
        condition_C0=spaces.next_token.metric.condition,
        residual=spaces.next_token.residual,
        next_token_r2=(
            float(spaces.next_token.values.sum()) / moments.next_power
            if moments.next_power
            else float("nan")
        ),
        next_token_k90=_columns_that_hold(spaces.next_token.values, 0.9),
        losses=solve_losses(moments, spaces, fits=fits),
    )


def _basis_dependence(
    spaces: Subspaces, k: Int[Tensor, " d"], smallest: Int[Tensor, " d"]
) -> dict[ScoreName, Bool[Tensor, " d"]]:
    """Where each score hangs on a choice; `smallest_first` has `smallest` columns of U."""
    rank, columns = spaces.labels.rank, spaces.N.rank
    nowhere = torch.zeros_like(k, dtype=torch.bool)
    tied = nowhere.clone()
    tied[:rank] = spaces.labels.is_tied(spaces.N.condition)
    by_name: dict[ScoreName, Tensor] = dict.fromkeys(SCORES, nowhere)
    by_name["expected"] = tied
    by_name["algorithm1"] = tied | (k > rank) & (rank < columns)
    # Ascending, U's arbitrary columns come first: all of them are safe only together.
    by_name["smallest_first"] = (smallest < columns) & (rank < columns)
    return by_name


def _solvers_choice(
    moments: LayerMoments, spaces: Subspaces, rows: Int[Tensor, " d"], columns: Int[Tensor, " d"]
) -> Float[Tensor, " d"]:
    """`‖P U‖² / ‖U‖²` over so many columns of V and of LAPACK's U, for each step."""
    whitened = lapack_vectors(moments.M, spaces.N)
    products = spaces.nested_products[0] @ whitened
    U = products if spaces.is_full else spaces.N.unwhiten(whitened)
    norms = U.square().sum(0).cumsum(0)[columns - 1]
    return leading_squares(products, rows, columns) / norms


def _columns_that_hold(values: Float[Tensor, " m"], share: float) -> int:
    """How many of the leading eigenvalues, in falling order, reach this share of their sum."""
    held = values.cumsum(0)
    if not len(values) or held[-1] <= 0:
        return 0
    return int((held < share * held[-1]).sum()) + 1


def _pad(sums: Float[Tensor, "s m"], d: int) -> Float[Tensor, "s d"]:
    """Cumulated sums for k = 1 … d: beyond the last column nothing is added."""
    last = sums[:, -1:].expand(-1, d - sums.shape[1])
    return torch.cat([sums, last], 1)


@dataclass(frozen=True)
class ScoreTable:
    """The scores of all layers, for every k.

    Attributes:
        layers: hidden-state indices.
        width: d.
        by_layer: the scores of each layer, in the order of `layers`.
    """

    layers: tuple[int, ...]
    width: int
    by_layer: tuple[LayerScores, ...]

    @property
    def names(self) -> tuple[ScoreName, ...]:
        """The scores that it holds."""
        return tuple(self.by_layer[0].values)


def score_moments(
    moments: Moments,
    on_layer: Callable[[int], None] | None = None,
    layers: Sequence[int] | None = None,
    device: torch.device | None = None,
) -> ScoreTable:
    """All six scores of every layer in `moments`, for every k.

    Args:
        moments: accumulated sums of at least one text.
        on_layer: called with the hidden-state index of each layer when it is solved.
        layers: only these of them.
        device: where they are solved; None means where the sums are.

    Raises:
        MomentsError: no text was added, or a layer's moments can't be solved; the message names
            the layer.
    """

    def solve(layer: int) -> LayerScores:
        try:
            scores = score_layer(moments.layer(layer).to(device or moments.device))
        except MomentsError as error:
            raise MomentsError(f"layer {layer}: {error}") from error
        if on_layer is not None:
            on_layer(layer)
        return scores

    layers = moments.layers if layers is None else tuple(layers)
    by_layer = map_layers(moments, solve, layers, device)
    return ScoreTable(layers, moments.width, tuple(by_layer))


def join_tables(tables: Sequence[ScoreTable]) -> ScoreTable:
    """One table of the layers of several, in rising order."""
    by_layer = {
        layer: scores
        for table in tables
        for layer, scores in zip(table.layers, table.by_layer, strict=True)
    }
    layers = tuple(sorted(by_layer))
    return ScoreTable(layers, tables[0].width, tuple(by_layer[layer] for layer in layers))


def map_layers(
    moments: Moments,
    solve: Callable[[int], Solved],
    layers: Sequence[int] | None = None,
    device: torch.device | None = None,
) -> list[Solved]:
    """What a function makes of each layer in `moments`, by hidden-state index, on the device.

    Layers are independent: on a processor as many are solved at once as fit into memory.
    """
    fitting = _SOLVE_BYTES // solve_bytes(moments.width, moments.n_outputs, moments.n_shuffles)
    layers = moments.layers if layers is None else layers
    workers = max(1, min(torch.get_num_threads(), len(layers), fitting))
    alone = workers < 2 and moments.width > _NARROW
    if alone or (device or moments.device).type != "cpu":
        return [solve(layer) for layer in layers]
    return list(side_by_side(solve, layers, workers))


def solve_bytes(width: int, n_outputs: int, n_shuffles: int) -> int:
    """Bytes that solving one layer takes at its peak, its moments not counted."""
    labels = _SOLVE_LABELS * width * (1 + n_shuffles) * n_outputs
    return 8 * (_SOLVE_MATRICES * width**2 + labels + n_outputs**2)
