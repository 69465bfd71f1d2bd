"""The six scores of a layer, for every k at once.

One factorisation V = QR nests all subspaces span(V_k): with `T = Qᵀ K` (K an N-orthonormal
basis) every projection norm that a score needs is a sum over a leading block of squares.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ntpscore.core.controls import retained_chance
from ntpscore.core.geneig import (
    Centring,
    LabelDirections,
    Metric,
    factor_metric,
    label_directions_of_each,
)
from ntpscore.core.grouping import adjusted_r2
from ntpscore.core.moments import LayerMoments, Moments
from ntpscore.core.subspaces import (
    Subspaces,
    coordinates_by_complement,
    nested_coordinates,
    solve_subspaces,
)
from ntpscore.core.tridiagonal import hold_scipy_threads
from ntpscore.errors import MomentsError

# Solving a layer takes about so many (d, d) matrices at its peak; layers are solved together as
# far as this much memory goes.
_SOLVE_MATRICES = 40
_SOLVE_BYTES = 4 * 10**9
ScoreName = Literal["algorithm1", "published", "expected", "supervised", "subspace", "retained"]
SCORES: tuple[ScoreName, ...] = get_args(ScoreName)
Solved = TypeVar("Solved")


@dataclass(frozen=True)
class LayerScores:
    """Every score of one layer for every k = 1 … d (index k − 1).

    Attributes:
        values: (d,) per score.
        chance: (d,) per score, its mean where V's directions are drawn at random.
        shuffled: (P, d) per score, the score under each label permutation.
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


def score_layer(moments: LayerMoments, spaces: Subspaces | None = None) -> LayerScores:
    """All six scores of one layer for every k, with chance level and label-shuffle control.

    Args:
        moments: the second moments of the layer.
        spaces: its subspaces, if `solve_subspaces` was called before.

    Returns:
        The scores; entries are NaN where a score is not defined (no label direction at all, or
        zero columns of U or V in `published`).

    Raises:
        MomentsError: a moment is not finite, or N or C0 is zero.

    Source:
        Next Token Perception Score, algorithm 1 and theorem 2.
    """
    spaces = spaces or solve_subspaces(moments)
    d, m_V, m_N = moments.width, spaces.V.shape[1], spaces.N.rank
    label_sets = _LabelSets.of(moments, spaces.N, spaces.labels)
    K = spaces.N.whitener
    T, T_ascending = spaces.nested_products

    k = torch.arange(1, d + 1, device=T.device)
    used_V = k.clamp(max=m_V)
    fraction_V, fraction_N = k * m_V // d, k * m_N // d
    completed = _Completed.of(label_sets, spaces.N)
    algorithm1 = completed.ratios(T, used_V, k.clamp(max=m_N))
    # Ascending order: the first columns are those of the smallest eigenvalues.
    published = completed.reversed().ratios(T_ascending.flip(1), fraction_V, fraction_N)
    published = torch.where(fraction_V > 0, published, float("nan"))

    directions = label_sets.split(T @ label_sets.joined)  # (sets, m_V, r)
    per_column = directions.square()
    U = label_sets.split(spaces.N.unwhiten(label_sets.joined))  # (sets, d, r)
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
    expected = torch.where(k <= r, algorithm1, expected)
    cosines = _orthonormalised(directions, U, label_sets.ranks)
    subspace = _pad(cosines.square().sum(2).cumsum(1), d) / r

    N_centred = moments.N_centred
    probe = _Probe.of(moments, spaces, N_centred)
    by_name: dict[ScoreName, Tensor] = {
        "algorithm1": algorithm1,
        "published": published,
        "expected": expected,
        "supervised": supervised,
        "subspace": subspace,
        "retained": probe.retained,
    }
    columns_chance = used_V.to(T.dtype) / d
    chance: dict[ScoreName, Tensor] = dict.fromkeys(SCORES, columns_chance)
    chance["published"] = fraction_V.to(T.dtype) / d
    chance["retained"] = torch.where(
        probe.retained[0].isnan(),
        float("nan"),
        retained_chance(N_centred, moments.M_centred, used_V, full_rank=probe.rank == d),
    )
    nowhere = torch.zeros(d, dtype=torch.bool, device=T.device)
    rank = int(label_sets.ranks[0])
    basis_dependent = dict.fromkeys(SCORES, nowhere)
    basis_dependent["algorithm1"] = (k > rank) & (rank < m_N)
    # Ascending, U's arbitrary columns come first: all m_N of them are safe only together.
    basis_dependent["published"] = (fraction_N < m_N) & (rank < m_N)
    chance_r2 = moments.chance_r2(probe.rank)
    variance = float(moments.Y_variances[0])
    r2 = float(probe.r2[0])
    return LayerScores(
        values={name: values[0] for name, values in by_name.items()},
        chance=chance,
        shuffled={name: values[1:] for name, values in by_name.items()},
        basis_dependent=basis_dependent,
        n_label_directions=rank,
        r2=r2,
        r2_adjusted=adjusted_r2(r2, chance_r2),
        r2_chance=chance_r2,
        r2_shuffled=probe.r2[1:],
        ols_mse=variance * max(0.0, 1 - r2) / moments.M.shape[1],
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
    )


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
class _LabelSets:
    """The label directions of the labels themselves (first) and of every shuffle.

    Sets with fewer directions than the largest are filled up with zero columns.
    """

    whitened: Float[Tensor, "sets m r"]
    ranks: Int[Tensor, " sets"]

    @classmethod
    def of(cls, moments: LayerMoments, N: Metric, labels: LabelDirections) -> "_LabelSets":
        every = [labels, *label_directions_of_each(moments.M_shuffled, N)]
        r = max([1, *(found.rank for found in every)])
        whitened = moments.M.new_zeros(len(every), N.rank, r)
        for i, found in enumerate(every):
            whitened[i, :, : found.rank] = found.whitened
        ranks = torch.tensor([found.rank for found in every], device=moments.M.device)
        return cls(whitened, ranks)

    @property
    def joined(self) -> Float[Tensor, "m sets_r"]:
        """All sets side by side, so that one product serves all."""
        return self.whitened.permute(1, 0, 2).reshape(self.whitened.shape[1], -1)

    def split(self, products: Float[Tensor, "q sets_r"]) -> Float[Tensor, "sets q r"]:
        """Undo `joined` on a product with it."""
        sets, _, r = self.whitened.shape
        return products.view(-1, sets, r).permute(1, 0, 2)


def _orthonormalised(
    directions: Float[Tensor, "sets v r"], U: Float[Tensor, "sets d r"], ranks: Int[Tensor, " sets"]
) -> Float[Tensor, "sets v r"]:
    """`Qᵀ B` from `Qᵀ U`, B orthonormal with the span of the first `ranks` columns of U.

    The other columns come out as zeros.
    """
    used = torch.arange(U.shape[2], device=U.device) < ranks[:, None]
    R = torch.linalg.qr(U, mode="r").R
    R.diagonal(dim1=1, dim2=2)[~used] = 1.0
    products: Tensor = torch.linalg.solve_triangular(R, directions, upper=True, left=False)
    return products * used[:, None, :]


@dataclass(frozen=True)
class _Completed:
    """All of U: label directions, then a completion to an N-orthonormal basis, per label set.

    The completion is the one that Householder's reflectors of the label directions give, `K H`
    with `H = I − Y W Yᵀ`: as arbitrary as any other, and never formed, since H differs from the
    identity by rank r.
    """

    reflectors: Float[Tensor, "sets m r"]
    weighted: Float[Tensor, "sets m r"]
    norms: Float[Tensor, "sets m"]

    @classmethod
    def of(cls, label_sets: _LabelSets, N: Metric) -> "_Completed":
        """Reflectors Y, products Y W, and the squared lengths of all columns of U = K H."""
        packed, tau = torch.geqrf(label_sets.whitened)
        Y = torch.tril(packed, diagonal=-1)
        Y.diagonal(dim1=1, dim2=2).fill_(1.0)
        # A reflector with tau = 0 is the identity.
        Y = Y * (tau != 0)[:, None, :]
        gram = Y.transpose(1, 2) @ Y
        inverse_W = torch.triu(gram, 1) + torch.diag_embed(
            torch.where(tau != 0, 1 / torch.where(tau != 0, tau, 1.0), 1.0)
        )
        W = torch.linalg.solve_triangular(
            inverse_W, torch.eye(Y.shape[2], dtype=Y.dtype, device=Y.device), upper=True
        )
        weighted = Y @ W
        KX = N.unwhiten(weighted.permute(1, 0, 2).reshape(N.rank, -1))
        KKX = label_sets.split(N.whiten(KX))  # (sets, m, r)
        KX = label_sets.split(KX)  # (sets, d, r)
        squares = ((Y @ (KX.transpose(1, 2) @ KX)) * Y).sum(2)
        norms = N.whitener.square().sum(0) - 2 * (KKX * Y).sum(2) + squares
        return cls(Y, weighted, norms)

    def reversed(self) -> "_Completed":
        """The same columns of U, last one first, for products with K's columns in that order."""
        return _Completed(self.reflectors.flip(1), self.weighted.flip(1), self.norms.flip(1))

    def ratios(
        self,
        T: Float[Tensor, "v m"],
        rows: Int[Tensor, " d"],
        columns: Int[Tensor, " d"],
    ) -> Float[Tensor, "sets d"]:
        """`‖P U‖² / ‖U‖²` over the leading rows of T and columns of U, for each step.

        Args:
            T: (v, m) `Qᵀ K`, Q an orthonormal basis whose vectors enter one by one.
            rows: (d,) how many rows of T have entered at each step.
            columns: (d,) how many columns of U have.
        """
        stairs = _Stairs.of(T, rows, columns)
        Y = self.reflectors
        sets, m, r = Y.shape
        joined = self.weighted.permute(1, 0, 2).reshape(m, sets * r)
        Z = (T @ joined).view(-1, sets, r).permute(1, 0, 2)  # (sets, v, r): Qᵀ K (I − H) = Z Yᵀ
        # Where a shuffle has so many directions the expanded square is no less work.
        plain = 1 if r * r <= m else sets
        inside = [stairs.sums(T, z, y)[None] for z, y in zip(Z[:plain], Y, strict=False)]
        if plain < sets:
            inside.append(stairs.sums_of_many(T, Z[1:], Y[1:]))
        norms = _entered(self.norms, columns)
        ratios: Tensor = torch.cat(inside) / torch.where(norms > 0, norms, float("nan"))
        return ratios


# So few rows of a matrix stay in a core's cache while they are worked on.
_ROWS = 64


@dataclass(frozen=True)
class _Stairs:
    """Leading blocks of a (v, m) matrix, from step to step with more rows and columns.

    Attributes:
        rows: (d,) how many rows the block of each step has.
        columns: (d,) how many columns.
        row_steps: (v,) the step at which each row enters.
        column_steps: (m,) the step at which each column enters.
        depths: (v,) how many columns have entered when each row does: their entries in the row come
            in with the row, the others with their columns.
        bands: for a few rows at a time the first, the one behind the last, and their least and
            largest depth.
    """

    rows: Int[Tensor, " d"]
    columns: Int[Tensor, " d"]
    row_steps: Int[Tensor, " v"]
    column_steps: Int[Tensor, " m"]
    depths: Int[Tensor, " v"]
    bands: list[tuple[int, int, int, int]]

    @classmethod
    def of(cls, T: Tensor, rows: Int[Tensor, " d"], columns: Int[Tensor, " d"]) -> "_Stairs":
        """Stairs in a matrix of T's shape."""
        v, m = T.shape
        row_steps = torch.searchsorted(rows, torch.arange(1, v + 1, device=T.device))
        column_steps = torch.searchsorted(columns, torch.arange(1, m + 1, device=T.device))
        depths = torch.searchsorted(column_steps, row_steps, right=True)
        ends = depths.tolist()
        bands = [
            (start, min(start + _ROWS, v), ends[start], ends[min(start + _ROWS, v) - 1])
            for start in range(0, v, _ROWS)
        ]
        return cls(rows, columns, row_steps, column_steps, depths, bands)

    def _gather(
        self, by_row: Float[Tensor, "v ..."], by_column: Float[Tensor, "m ..."]
    ) -> Float[Tensor, "d ..."]:
        """Sums over each block from those over the entries that come in with a row or column."""
        sums = by_row.new_zeros(len(self.rows), *by_row.shape[1:])
        sums.index_add_(0, self.row_steps, by_row).index_add_(0, self.column_steps, by_column)
        return sums.cumsum(0)

    def _with_row(self, start: int, stop: int, low: int, high: int) -> Bool[Tensor, "rows columns"]:
        """Of a band's columns between its least and largest depth, what comes in with its row."""
        between = torch.arange(low, high, device=self.depths.device)
        return between < self.depths[start:stop, None]

    def sums(
        self, T: Float[Tensor, "v m"], Z: Float[Tensor, "v r"], Y: Float[Tensor, "m r"]
    ) -> Float[Tensor, " d"]:
        """Sums of the squares of `T − Z Yᵀ` in each block."""
        by_row, by_column = T.new_zeros(len(T)), T.new_zeros(T.shape[1])
        for start, stop, low, high in self.bands:
            squares = torch.addmm(T[start:stop], Z[start:stop], Y.T, alpha=-1).square_()
            edge = squares[:, low:high]
            with_row = edge * self._with_row(start, stop, low, high)
            by_row[start:stop] = squares[:, :low].sum(1) + with_row.sum(1)
            by_column[low:high] += (edge - with_row).sum(0)
            by_column[high:] += squares[:, high:].sum(0)
        return self._gather(by_row, by_column)

    def sums_of_many(
        self, T: Float[Tensor, "v m"], Z: Float[Tensor, "P v r"], Y: Float[Tensor, "P m r"]
    ) -> Float[Tensor, "P d"]:
        """Sums of the squares of `T − Z Yᵀ` in each block for many Z and Y, without forming them.

        The square is expanded; the mixed term needs one product with T for all together, the last
        one cumulated r × r products.
        """
        P, m, r = Y.shape
        # Sums over the r products of each are quickest with P as the last dimension.
        Y_joined = Y.permute(1, 2, 0).reshape(m, r * P)
        Z_joined = Z.permute(1, 2, 0).reshape(-1, r * P)
        plain_row, plain_column = T.new_zeros(len(T)), T.new_zeros(m)
        mixed_row, mixed_column = torch.empty_like(Z_joined), torch.zeros_like(Y_joined)
        for start, stop, low, high in self.bands:
            left, edge, right = T[start:stop].tensor_split((low, high), dim=1)
            with_row = edge * self._with_row(start, stop, low, high)
            with_column = edge - with_row
            plain_row[start:stop] = left.square().sum(1) + with_row.square().sum(1)
            plain_column[low:high] += with_column.square().sum(0)
            plain_column[high:] += right.square().sum(0)
            z = Z_joined[start:stop]
            mixed_row[start:stop] = (left @ Y_joined[:low]).addmm_(with_row, Y_joined[low:high])
            mixed_column[low:high].addmm_(with_column.T, z)
            mixed_column[high:].addmm_(right.T, z)
        mixed = self._gather(
            mixed_row.mul_(Z_joined).view(-1, r, P).sum(1),
            mixed_column.mul_(Y_joined).view(-1, r, P).sum(1),
        ).T
        last = [self._squared_updates(z, y) for z, y in zip(Z, Y, strict=True)]
        return self._gather(plain_row, plain_column) - 2 * mixed + torch.stack(last)

    def _squared_updates(self, Z: Float[Tensor, "v r"], Y: Float[Tensor, "m r"]) -> Tensor:
        """(d,) sums of the squares of `Z Yᵀ` in each block."""
        one, other = torch.triu_indices(Z.shape[1], Z.shape[1], device=Z.device)
        Z, Y = Z.T.contiguous(), Y.T.contiguous()
        of_rows = _entered(Z[one] * Z[other], self.rows)
        of_columns = _entered(Y[one] * Y[other], self.columns)
        # Pairs of different columns stand for both orders.
        weights = torch.where(one == other, 1.0, 2.0).to(Z)
        return weights @ (of_rows * of_columns)


def _entered(
    terms: Float[Tensor, "*sets q"], counts: Int[Tensor, " d"]
) -> Float[Tensor, "*sets d"]:
    """Sums over the leading counts[k] terms, for each k."""
    sums = torch.nn.functional.pad(terms.cumsum(-1), (1, 0))
    return sums[..., counts]


@dataclass(frozen=True)
class _Probe:
    """The linear probe with intercept, of the labels (first) and of every shuffle.

    Attributes:
        retained: (sets, d) share of the probe's fit that the first k columns of V keep.
        r2: (sets,).
        rank: numerical rank of the centred N.
    """

    retained: Float[Tensor, "sets d"]
    r2: Float[Tensor, " sets"]
    rank: int

    @classmethod
    def of(
        cls, moments: LayerMoments, spaces: Subspaces, N_centred: Float[Tensor, "d d"]
    ) -> "_Probe":
        """Fit the labels and every shuffle.

        Args:
            moments: of the layer.
            spaces: its subspaces.
            N_centred: `moments.N_centred`, which others need too.
        """
        M = torch.cat([moments.M_centred[None], moments.M_shuffled_centred])
        sets, d, c = M.shape
        joined = M.permute(1, 0, 2).reshape(d, sets * c)
        T = spaces.nested_products[0]
        centring = Centring.of(spaces.N, moments.mu, N_centred)
        if centring is not None and len(T) == d:
            rank = d
            fit = centring.stretch(spaces.N.whiten(joined).T).T
            coordinates = coordinates_by_complement(centring.stretch(T), fit)
        else:
            N = factor_metric(N_centred)
            rank = N.rank
            fit = N.whiten(joined)
            coordinates = nested_coordinates(N.factor @ spaces.Q, fit)
        explained = fit.view(-1, sets, c).square().sum((0, 2))
        kept = coordinates.view(-1, sets, c).square().sum(2).T.cumsum(1)
        # Of labels that never differ nothing is explained, and nothing can be retained.
        variances = moments.Y_variances
        variances = torch.where(variances > 0, variances, float("nan"))
        r2 = (explained / variances).clamp(max=1.0)
        retained = _pad(kept, d) / torch.where(r2 > 0, explained, float("nan"))[:, None]
        return cls(retained.clamp(max=1.0), r2, rank)


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


GRID_STEPS = 20


def grid_of_k(width: int) -> list[int]:
    """The paper's grid k/d = 0.05, 0.10, …, 0.95, rounded down, without repeats and zeros."""
    return sorted({step * width // GRID_STEPS for step in range(1, GRID_STEPS)} - {0}) or [1]


def score_moments(moments: Moments, on_layer: Callable[[int], None] | None = None) -> ScoreTable:
    """All six scores of every layer in `moments`, for every k.

    Args:
        moments: accumulated sums of at least one text.
        on_layer: called with the hidden-state index of each layer when it is solved.

    Raises:
        MomentsError: no text was added, or a layer's moments can't be solved; the message names
            the layer.
    """

    def solve(layer: int) -> LayerScores:
        try:
            scores = score_layer(moments.layer(layer))
        except MomentsError as error:
            raise MomentsError(f"layer {layer}: {error}") from error
        if on_layer is not None:
            on_layer(layer)
        return scores

    by_layer = map_layers(moments, solve)
    return ScoreTable(moments.layers, moments.width, tuple(by_layer))


def map_layers(moments: Moments, solve: Callable[[int], Solved]) -> list[Solved]:
    """What a function makes of each layer in `moments`, by hidden-state index.

    Layers are independent: on a processor several are solved at once, one thread each, since the
    eigensolvers gain little from more.
    """
    threads = torch.get_num_threads()
    fitting = _SOLVE_BYTES // solve_bytes(moments.width)
    workers = min(threads, len(moments.layers), fitting)
    if workers < 2 or moments.device.type != "cpu":
        with hold_scipy_threads(moments.width, threads):
            return [solve(layer) for layer in moments.layers]
    try:
        with (
            hold_scipy_threads(moments.width, 1),
            ThreadPoolExecutor(workers, initializer=_use_one_thread) as pool,
        ):
            return list(pool.map(solve, moments.layers))
    finally:
        torch.set_num_threads(threads)


def solve_bytes(width: int) -> int:
    """Bytes that solving one layer takes at its peak, its moments not counted."""
    return _SOLVE_MATRICES * 8 * width**2


def _use_one_thread() -> None:
    torch.set_num_threads(1)
