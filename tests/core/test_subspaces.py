"""V and U of a layer, and coordinates nested in leading columns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ntpscore.core import subspaces
from ntpscore.core.subspaces import NestedBasis, solve_subspaces
from ntpscore.errors import MomentsError
from tests.reference import cases, exact, scores
from tests.reference.cases import Case
from tests.support.feeding import (
    feed,
    gaps_after,
    layer_of,
    metric_condition,
    tolerance_at,
    twin_of,
)
from tests.tolerances import SCORE, SQUARED_PAIR, conditioned

REGULAR = cases.regular_cases()
INVERTIBLE = [*REGULAR, *cases.large_direction_cases(), *cases.ill_conditioned_cases()]
SINGULAR = cases.singular_cases()


def named(chosen: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", chosen, ids=[case.name for case in chosen])


def projector(basis: Tensor) -> np.ndarray:
    Q = torch.linalg.qr(basis).Q
    return (Q @ Q.T).numpy()


@named(INVERTIBLE)
def test_projectors_equal_exact_ones(case: Case) -> None:
    moments = layer_of(case)
    spaces = solve_subspaces(moments)
    pairs = exact.exact_pairs(exact.exact_from_float(twin_of(moments)), r=spaces.labels.rank)
    condition = metric_condition(moments)
    gaps = gaps_after(spaces.next_token.values)
    for k in range(1, case.d + 1):
        judge = exact.exact_projector_v(pairs, k)
        tolerance = tolerance_at(condition, float(gaps[k - 1]))
        assert np.abs(projector(spaces.V[:, :k]) - judge).max() < tolerance
        Q_k = spaces.Q[:, :k]
        assert np.abs((Q_k @ Q_k.T).numpy() - judge).max() < tolerance
    difference = projector(spaces.U) - exact.exact_projector_u(pairs, spaces.labels.rank)
    assert np.abs(difference).max() < conditioned(condition)


@named(SINGULAR)
def test_projectors_of_singular_metrics_equal_factored_ones(case: Case) -> None:
    moments = layer_of(case)
    spaces = solve_subspaces(moments)
    twin = scores.factored_u_v(*(getattr(moments, name).numpy() for name in ("N", "M", "C0", "C1")))
    assert spaces.V.shape == twin.V.shape
    assert spaces.N.rank == twin.U.shape[1]
    for k in range(1, spaces.V.shape[1] + 1):
        assert np.abs(projector(spaces.V[:, :k]) - scores.projector(twin.V[:, :k])).max() < 1e-6
    r = spaces.labels.rank
    assert np.abs(projector(spaces.U) - scores.projector(twin.U[:, :r])).max() < SQUARED_PAIR


@named([*INVERTIBLE, *SINGULAR])
def test_vectors_are_orthonormal_in_their_metrics(case: Case) -> None:
    moments = layer_of(case)
    spaces = solve_subspaces(moments)
    tolerance = max(SQUARED_PAIR, conditioned(metric_condition(moments)))
    for basis, metric in ((spaces.V, moments.C0), (spaces.U, moments.N)):
        unit = torch.eye(basis.shape[1], dtype=basis.dtype)
        assert float((basis.T @ metric @ basis - unit).abs().max()) < tolerance
    Q = spaces.Q
    assert float((Q.T @ Q - torch.eye(Q.shape[1])).abs().max()) < SCORE


def test_one_token_texts_have_no_autoregressive_subspace() -> None:
    # Without padding the sums are zero to the last digit.
    case = cases.one_token_case()
    with pytest.raises(MomentsError, match="every text has a single token"):
        solve_subspaces(feed(case).layer(0))


@named([*INVERTIBLE, *SINGULAR])
def test_nested_products_hold_the_whitener_in_both_nested_bases(case: Case) -> None:
    moments = layer_of(case)
    spaces = solve_subspaces(moments)
    K = spaces.N.whitener
    condition = metric_condition(moments)
    for rows, V in zip(spaces.nested_products, (spaces.V, spaces.V.flip(1)), strict=True):
        assert rows.shape == (V.shape[1], K.shape[1])
        judge = (torch.linalg.qr(V).Q.T @ K).square().cumsum(0)
        off = (rows.square().cumsum(0) - judge).abs() / K.square().sum(0)
        assert float(off.max()) < conditioned(condition)


@pytest.mark.parametrize("condition", [1e2, 1e6, 1e9, 1e11, 1e13])
def test_nested_products_hold_as_many_digits_as_the_condition_leaves(condition: float) -> None:
    d = 40
    turn = torch.linalg.qr(random_matrix(d, d)).Q
    C0 = (turn * torch.logspace(0, -float(np.log10(condition)), d, dtype=torch.float64)) @ turn.T
    C0 = (C0 + C0.T) / 2
    moments = replace(layer_of(cases.classification_case(d=d, n=200)), C0=C0)
    spaces = solve_subspaces(moments)
    assert spaces.next_token.metric.condition > 0.5 * condition
    K = spaces.N.whitener
    for rows, V in zip(spaces.nested_products, (spaces.V, spaces.V.flip(1)), strict=True):
        judge = (torch.linalg.qr(V).Q.T @ K).square().cumsum(0)
        off = (rows.square().cumsum(0) - judge).abs() / K.square().sum(0)
        assert float(off.max()) < conditioned(condition)


# Nested coordinates


def assert_nested(columns: Tensor, targets: Tensor, tolerance: float = SCORE) -> Tensor:
    """Compare every leading span with a least-squares fit of its own; the rows are returned."""
    rows = NestedBasis.of(columns).coordinates(targets)
    assert rows.shape == (columns.shape[1], targets.shape[1])
    kept = rows.square().cumsum(0).numpy()
    size = float(targets.square().sum(0).max())
    lengths = columns.norm(dim=0)
    unit = (columns / torch.where(lengths > 0, lengths, 1.0)).numpy()
    for k in range(1, columns.shape[1] + 1):
        left, singular, _ = np.linalg.svd(unit[:, :k], full_matrices=False)
        basis = left[:, singular > 1e-9]
        judge = np.sum((basis.T @ targets.numpy()) ** 2, axis=0)
        np.testing.assert_allclose(kept[k - 1], judge, rtol=0, atol=tolerance * size)
    return rows


def random_matrix(rows: int, columns: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("m", "q"), [(9, 1), (9, 4), (9, 9), (9, 14), (1, 3), (90, 75)])
def test_nested_coordinates_equal_one_fit_per_k(m: int, q: int) -> None:
    assert_nested(random_matrix(m, q), random_matrix(m, 3, 1))


@pytest.mark.parametrize(("m", "q"), [(9, 1), (9, 4), (9, 9), (90, 75)])
def test_by_cholesky_where_condition_allows_it(m: int, q: int) -> None:
    columns, targets = random_matrix(m, q), random_matrix(m, 3, 1)
    condition = float(torch.linalg.cond(columns)) ** 2
    by_root, by_reflectors = NestedBasis.of(columns, condition), NestedBasis.of(columns)
    assert by_root.root is not None
    assert by_reflectors.root is None
    torch.testing.assert_close(
        by_root.coordinates(targets).square(), by_reflectors.coordinates(targets).square(),
        rtol=0, atol=conditioned(condition) * float(targets.square().sum(0).max()),
    )  # fmt: skip


def test_dependent_columns_have_no_cholesky_factor_whatever_is_said() -> None:
    columns = random_matrix(9, 4)
    columns[:, 2] = 0.0
    basis = NestedBasis.of(columns, 1.0)
    assert basis.root is None
    assert not basis.coordinates(random_matrix(9, 2, 1))[2].any()


@pytest.mark.parametrize(
    ("source", "place"),
    [([0], [1]), ([0, 1], [2, 3]), ([2], [7]), ([0, 3], [5, 8])],
)
def test_a_repeated_column_adds_nothing(source: list[int], place: list[int]) -> None:
    columns = random_matrix(12, 9)
    columns[:, place] = 3.0 * columns[:, source]
    rows = assert_nested(columns, random_matrix(12, 2, 1))
    assert not rows[place].any()
    others = [j for j in range(9) if j not in place]
    assert bool(rows[others].any(1).all())


def test_zero_columns_add_nothing() -> None:
    columns = random_matrix(8, 6)
    columns[:, [0, 3]] = 0.0
    rows = assert_nested(columns, random_matrix(8, 2, 1))
    assert not rows[[0, 3]].any()
    assert not NestedBasis.of(torch.zeros(8, 3).double()).coordinates(random_matrix(8, 2)).any()


def test_no_targets_and_no_columns_are_served() -> None:
    assert NestedBasis.of(random_matrix(4, 3)).coordinates(random_matrix(4, 0)).shape == (3, 0)
    assert NestedBasis.of(random_matrix(4, 0)).coordinates(random_matrix(4, 2)).shape == (0, 2)


def test_dependent_columns_in_later_blocks_add_nothing() -> None:
    """Columns are taken 64 at a time: combinations reach back over the blocks."""
    columns = random_matrix(100, 160)
    columns[:, 70] = columns[:, 3] - 2 * columns[:, 69]
    columns[:, 66] = columns[:, 65]
    columns[:, 120:130] = columns[:, :10] + columns[:, 64:74]
    rows = assert_nested(columns, random_matrix(100, 2, 1))
    assert not rows[[66, 70, *range(120, 130)]].any()
    # 100 independent columns are complete; what follows adds nothing.
    assert not rows[112:].any()
    kept = rows.square().sum(0)
    torch.testing.assert_close(kept, random_matrix(100, 2, 1).square().sum(0), rtol=SCORE, atol=0)


@pytest.mark.parametrize("size", [1e-8, 1e8])
def test_length_of_columns_does_not_matter(size: float) -> None:
    columns = random_matrix(10, 7)
    columns[:, 5] = columns[:, 2]
    targets = random_matrix(10, 3, 1)
    scaled = columns * torch.logspace(0, float(np.log10(size)), 7, dtype=torch.float64)
    one, other = (NestedBasis.of(of).coordinates(targets) for of in (columns, scaled))
    torch.testing.assert_close(one.square(), other.square(), rtol=0, atol=SCORE * 10)


def test_a_column_nearly_in_the_span_is_kept() -> None:
    columns = random_matrix(10, 4)
    columns[:, 2] = columns[:, 0] + 1e-6 * columns[:, 2]
    columns[:, 3] = columns[:, 1]  # so that the careful path is taken
    rows = NestedBasis.of(columns).coordinates(random_matrix(10, 2, 1))
    assert bool(rows[2].any())
    assert not rows[3].any()
    alone = NestedBasis.of(columns[:, :3]).coordinates(random_matrix(10, 2, 1))
    torch.testing.assert_close(rows[:3].square(), alone.square(), rtol=0, atol=1e-8)


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(1, 8),
    q=st.integers(1, 10),
    rank=st.integers(1, 8),
    seed=st.integers(0, 10_000),
)
def test_nested_coordinates_of_any_rank_equal_one_fit_per_k(
    m: int, q: int, rank: int, seed: int
) -> None:
    """Small integers, so that dependence is exact."""
    rng = np.random.default_rng(seed)
    rank = min(rank, m)
    columns = rng.integers(-3, 4, (m, rank)) @ rng.integers(-2, 3, (rank, q))
    targets = torch.from_numpy(rng.standard_normal((m, 2)))
    assert_nested(torch.from_numpy(columns.astype(np.float64)), targets, 1e-9)


@named([*REGULAR, *SINGULAR])
def test_nested_bases_are_the_same_where_cholesky_fails(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces = solve_subspaces(layer_of(case))
    again = replace(spaces)  # the same, with nothing kept
    expected = spaces.nested_products

    monkeypatch.setattr(subspaces, "cholesky", lambda gram: None)
    found = again.nested_products
    assert not torch.equal(found[0], expected[0])
    for got, one in zip(found, expected, strict=True):
        scale = float(one.abs().max())
        # The signs of the rows are arbitrary.
        np.testing.assert_allclose(got.abs() / scale, one.abs() / scale, rtol=0, atol=SCORE)
