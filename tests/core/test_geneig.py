"""The generalized eigenproblem against 60 digits, and on metrics without an inverse."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from ntpscore.core import geneig
from ntpscore.core.factored_metric import FactoredMetric, factor_metric, relative_cutoff
from ntpscore.core.geneig import generalized_eigen, label_directions, lapack_vectors
from ntpscore.core.label_sets import LabelSets
from ntpscore.core.probe import Centring
from ntpscore.errors import MomentsError
from tests.reference import cases, exact
from tests.reference.cases import Case
from tests.support.feeding import gaps_after, layer_of, metric_condition, tolerance_at, twin_of
from tests.tolerances import EPS, SCORE, conditioned

REGULAR = cases.regular_cases()
LARGE = cases.large_direction_cases()
ILL = cases.ill_conditioned_cases()
SINGULAR = cases.singular_cases()
INVERTIBLE = [*REGULAR, *LARGE, *ILL]

CONDITION_SHARE = 0.1  # the Krylov spaces end within a few per cent of both ends, from below


def named(chosen: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", chosen, ids=[case.name for case in chosen])


def random_metric(values: Tensor, seed: int = 0) -> Tensor:
    """A symmetric matrix with these eigenvalues and random eigenvectors."""
    generator = torch.Generator().manual_seed(seed)
    d = len(values)
    Q = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    B = (Q * values) @ Q.T
    return (B + B.T) / 2


def assert_identities(metric: FactoredMetric, B: Tensor, tolerance: float = 1e-9) -> None:
    K, F = metric.whitener, metric.factor
    assert K.shape == (len(B), metric.rank)
    assert F.shape == (metric.rank, len(B))
    assert metric.width == len(B)
    assert metric.n_dropped == len(B) - metric.rank
    unit = torch.eye(metric.rank, dtype=B.dtype)
    assert float((K.T @ B @ K - unit).abs().max()) < tolerance
    assert float((F @ K - unit).abs().max()) < tolerance
    diagonal = B.diagonal().sqrt()
    scale = torch.where(diagonal > 0, diagonal, 1.0)
    assert float(((F.T @ F - B) / scale[:, None] / scale).abs().max()) < tolerance
    # The whitener stays in the range of B: what B does not see is not in it.
    range_of_B = torch.linalg.qr(F.T).Q
    outside = K - range_of_B @ (range_of_B.T @ K)
    assert float(outside.norm() / K.norm()) < tolerance


# Against 60 digits


@named(INVERTIBLE)
def test_eigenvalues_equal_exact_ones(case: Case) -> None:
    moments = layer_of(case)
    solved = generalized_eigen(moments.C1, moments.C0)
    values, _ = exact.generalized_eigen(
        exact.to_mp(moments.C1.numpy()), exact.to_mp(moments.C0.numpy())
    )
    judge = torch.tensor([float(value) for value in values], dtype=torch.float64)
    tolerance = conditioned(metric_condition(moments))
    assert float((solved.values - judge).abs().max()) < tolerance * float(judge[0])
    assert solved.metric.n_dropped == 0


@named(INVERTIBLE)
def test_eigenvectors_solve_the_problem_and_span_the_exact_ones(case: Case) -> None:
    moments = layer_of(case)
    solved = generalized_eigen(moments.C1, moments.C0)
    V = solved.vectors
    condition = metric_condition(moments)
    unit = torch.eye(case.d, dtype=V.dtype)
    assert float((V.T @ moments.C0 @ V - unit).abs().max()) < conditioned(condition)
    assert float((solved.whitened.T @ solved.whitened - unit).abs().max()) < SCORE
    pairs = exact.exact_pairs(exact.exact_from_float(twin_of(moments)))
    gaps = gaps_after(solved.values)
    Q = torch.linalg.qr(V).Q.numpy()
    for k in range(1, case.d + 1):
        difference = Q[:, :k] @ Q[:, :k].T - exact.exact_projector_v(pairs, k)
        assert np.abs(difference).max() < tolerance_at(condition, float(gaps[k - 1])), k


@named([*INVERTIBLE, *SINGULAR])
def test_residual_is_rounding_and_values_descend(case: Case) -> None:
    moments = layer_of(case)
    solved = generalized_eigen(moments.C1, moments.C0)
    assert 0 <= solved.residual < 100 * EPS * case.d
    assert bool((solved.values.diff() <= 0).all())
    assert bool((solved.values >= 0).all())


def test_residual_of_no_signal_is_zero() -> None:
    solved = generalized_eigen(torch.zeros(4, 2, dtype=torch.float64), torch.eye(4).double())
    assert solved.residual == 0
    assert not solved.values.any()
    assert solved.vectors.shape == (4, 4)


@named(INVERTIBLE)
def test_label_directions_equal_exact_ones(case: Case) -> None:
    moments = layer_of(case)
    metric = factor_metric(moments.N)
    found = label_directions(moments.M, metric)
    pairs = exact.exact_pairs(exact.exact_from_float(twin_of(moments)), r=found.rank)
    condition = metric_condition(moments)
    judge = torch.tensor([float(value) for value in pairs.lam_u[: found.rank]], dtype=torch.float64)
    assert found.rank == np.linalg.matrix_rank(moments.M.numpy() / case.Y.std(), rtol=1e-9)
    assert float((found.values - judge).abs().max()) < conditioned(condition) * float(judge[0])
    U = metric.whitener @ found.whitened
    P = torch.linalg.qr(U).Q
    difference = (P @ P.T).numpy() - exact.exact_projector_u(pairs, found.rank)
    assert np.abs(difference).max() < conditioned(condition)


@named([*INVERTIBLE, *SINGULAR])
def test_label_sets_of_shuffles_equal_their_directions(case: Case) -> None:
    moments = layer_of(case, shuffles=3)
    metric = factor_metric(moments.N)
    labels = label_directions(moments.M, metric)
    sets = LabelSets.of(moments, metric, labels)
    assert len(sets.whitened) == len(sets.ranks) == 4
    assert torch.equal(sets.whitened[0, :, : labels.rank], labels.whitened)
    half = max(math.sqrt(EPS), conditioned(metric_condition(moments)))  # as its docstring says
    for M, quick, rank in zip(
        moments.M_shuffled, sets.whitened[1:], sets.ranks[1:].tolist(), strict=True
    ):
        slow = label_directions(M, metric)
        assert rank == slow.rank
        assert not quick[:, rank:].any()
        apart = quick @ quick.T - slow.whitened @ slow.whitened.T
        assert float(apart.abs().max()) < half


def test_labels_without_signal_have_no_direction() -> None:
    metric = factor_metric(torch.eye(4).double())
    assert label_directions(torch.zeros(4, 2).double(), metric).rank == 0
    moments = layer_of(REGULAR[0], shuffles=1)
    moments = replace(moments, M=0 * moments.M, M_shuffled=0 * moments.M_shuffled)
    metric = factor_metric(moments.N)
    sets = LabelSets.of(moments, metric, label_directions(moments.M, metric))
    assert sets.ranks.tolist() == [0, 0]
    assert not sets.whitened.any()


@pytest.mark.parametrize(("share", "rank"), [(1e-7, 2), (1e-17, 1)])
def test_a_weak_label_direction_counts_but_rounding_does_not(share: float, rank: int) -> None:
    M = torch.zeros(6, 2, dtype=torch.float64)
    M[0, 0], M[3, 1] = 1.0, share
    assert label_directions(M, factor_metric(torch.eye(6).double())).rank == rank


def test_more_label_columns_than_directions_are_capped() -> None:
    generator = torch.Generator().manual_seed(0)
    M = torch.randn(2, 3, 7, generator=generator, dtype=torch.float64)
    metric = factor_metric(torch.eye(3).double())
    assert label_directions(M[0], metric).rank == 3
    wide = cases.regression_case(seed=0, d=3, n=40, t=7)
    moments = layer_of(wide, shuffles=2)
    metric = factor_metric(moments.N)
    sets = LabelSets.of(moments, metric, label_directions(moments.M, metric))
    assert sets.ranks.tolist() == [3, 3, 3]


# Singular metrics


@named([*REGULAR, *LARGE, *ILL])
def test_metric_of_full_rank_has_an_inverse(case: Case) -> None:
    moments = layer_of(case)
    tolerance = conditioned(metric_condition(moments))
    for B in (moments.N, moments.C0):
        assert factor_metric(B).n_dropped == 0
        assert_identities(factor_metric(B), B, tolerance)


@pytest.mark.parametrize(
    ("case", "rank"),
    [(SINGULAR[0], 7), (SINGULAR[1], 7), (SINGULAR[2], 7)],
    ids=[case.name for case in SINGULAR],
)
def test_metric_of_few_texts_or_a_zero_column_is_factored_on_its_range(
    case: Case, rank: int
) -> None:
    N = layer_of(case).N
    metric = factor_metric(N)
    assert metric.rank == rank
    assert_identities(metric, N)


@pytest.mark.parametrize("scale", [1.0, 1e10, 1e-10])
def test_duplicated_columns_are_dropped(scale: float) -> None:
    features = np.random.default_rng(0).standard_normal((40, 5))
    features = np.column_stack([features, features[:, :2] * scale, features[:, 0] - features[:, 1]])
    B = torch.from_numpy(features.T @ features / 40)
    metric = factor_metric(B)
    assert (metric.rank, metric.n_dropped) == (5, 3)
    # Rounding of the root of the condition number, 1e10 where the copies are 1e10 times as long.
    assert_identities(metric, B, max(1e-9, 100 * EPS * scale))


@pytest.mark.parametrize("rank", [1, 3, 19])
def test_random_metric_of_low_rank_is_factored_on_its_range(rank: int) -> None:
    values = torch.zeros(20, dtype=torch.float64)
    values[:rank] = torch.logspace(0, -3, rank, dtype=torch.float64)
    B = random_metric(values)
    metric = factor_metric(B)
    assert metric.rank == rank
    assert_identities(metric, B)


def test_a_direction_is_dropped_below_the_cutoff_only() -> None:
    for factor, rank in ((10.0, 5), (0.1, 4)):
        # Unit diagonal before and after, so that the cutoff applies as it stands.
        eigenvalue = factor * relative_cutoff(5)
        B = torch.eye(5, dtype=torch.float64)
        B[0, 1] = B[1, 0] = 1 - 2 * eigenvalue
        assert factor_metric(B).rank == rank


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_moments_that_are_not_finite_are_refused(value: float) -> None:
    B = torch.eye(3, dtype=torch.float64)
    B[1, 2] = value
    with pytest.raises(MomentsError, match="NaN or infinite"):
        factor_metric(B)
    with pytest.raises(MomentsError, match="NaN or infinite"):
        generalized_eigen(B, torch.eye(3).double())
    with pytest.raises(MomentsError, match="NaN or infinite"):
        generalized_eigen(torch.eye(3).double(), B)


def test_a_zero_metric_is_refused() -> None:
    with pytest.raises(MomentsError, match="a second moment is zero"):
        factor_metric(torch.zeros(3, 3, dtype=torch.float64))


# Conditioning


@pytest.mark.parametrize("d", [8, 60, 200])
@pytest.mark.parametrize("spectrum", ["flat", "steep", "uniform", "spike", "texts"])
def test_condition_is_near_the_true_one(spectrum: str, d: int) -> None:
    B = {
        "flat": lambda: random_metric(torch.ones(d).double()),
        "steep": lambda: random_metric(torch.logspace(4, -4, d, dtype=torch.float64)),
        "uniform": lambda: random_metric(torch.linspace(0.1, 1, d, dtype=torch.float64)),
        "spike": lambda: random_metric(
            torch.cat([torch.tensor([1e6]), torch.ones(d - 1)]).double()
        ),
        "texts": lambda: torch.from_numpy(
            np.cov(np.random.default_rng(0).standard_normal((4 * d, d)).T)
        ),
    }[spectrum]()
    true = float(np.linalg.cond(B.numpy()))
    estimate = factor_metric(B).condition
    assert (1 - CONDITION_SHARE) * true <= estimate <= (1 + 1e-6) * true


@pytest.mark.parametrize("rank", [5, 30])
def test_condition_of_a_singular_metric_is_that_of_its_range(rank: int) -> None:
    values = torch.zeros(40, dtype=torch.float64)
    values[:rank] = torch.logspace(0, -4, rank, dtype=torch.float64)
    estimate = factor_metric(random_metric(values)).condition
    assert (1 - CONDITION_SHARE) * 1e4 <= estimate <= (1 + 1e-6) * 1e4


@pytest.mark.parametrize("scale", [1e10, 1e-10, 3e5])
def test_scale_of_coordinates_changes_no_eigenvalue_and_no_rank(scale: float) -> None:
    """A few coordinates with huge values must not hide the others."""
    moments = layer_of(REGULAR[0])
    S = torch.ones(8, dtype=torch.float64)
    S[[1, 4]] = scale
    plain = generalized_eigen(moments.C1, moments.C0)
    C0, C1 = moments.C0 * S[:, None] * S, moments.C1 * S[:, None]
    scaled = generalized_eigen(C1, C0)
    assert scaled.metric.n_dropped == 0
    tolerance = conditioned(metric_condition(moments))
    assert float((scaled.values - plain.values).abs().max()) < tolerance * float(plain.values[0])
    back = scaled.vectors * S[:, None]
    overlap = (back.T @ moments.C0 @ plain.vectors).abs()
    assert float((overlap - torch.eye(8)).abs().max()) < 10 * tolerance
    assert scaled.metric.condition > 1e9


# From a second moment to its covariance


def centring_of(case: Case) -> tuple[Centring | None, FactoredMetric, Tensor]:
    moments = layer_of(case)
    N = factor_metric(moments.N)
    return Centring.of(N, moments.mu, moments.N_centred), N, moments.N_centred


@named([case for case in INVERTIBLE if "constant" not in case.name])
def test_a_stretched_whitener_whitens_the_covariance(case: Case) -> None:
    centring, N, covariance = centring_of(case)
    assert centring is not None
    unit = torch.eye(case.d, dtype=N.matrix.dtype)
    K = centring.unwhiten(unit)
    torch.testing.assert_close(centring.whiten(unit), K.T)
    tolerance = conditioned(metric_condition(layer_of(case)))
    assert float((K.T @ covariance @ K - unit).abs().max()) < tolerance
    assert factor_metric(covariance).rank == case.d


@pytest.mark.parametrize("size", [0.0, 1.0, 1e2, 1e3])
def test_centring_takes_any_size_of_the_mean(size: float) -> None:
    covariance = random_metric(torch.logspace(0, -2, 12, dtype=torch.float64))
    mu = size * torch.linspace(-1, 1, 12, dtype=torch.float64)
    N = factor_metric(covariance + torch.outer(mu, mu))
    centring = Centring.of(N, mu, covariance)
    assert centring is not None
    unit = torch.eye(12, dtype=N.matrix.dtype)
    K = centring.unwhiten(unit)
    tolerance = conditioned(1e2 * max(1.0, 10 * size**2))
    assert float((K.T @ covariance @ K - unit).abs().max()) < tolerance


@named(
    [
        *SINGULAR,
        cases.with_constant_column(REGULAR[0], value=0.1),
        cases.with_constant_column(REGULAR[0], value=1e6),
        cases.few_texts_case(n=8),  # N has rank 8, its covariance 7
    ]
)
def test_a_covariance_without_an_inverse_is_not_centred_so(case: Case) -> None:
    centring, N, covariance = centring_of(case)
    if centring is not None:
        assert N.rank == factor_metric(covariance).rank == case.d
    if factor_metric(covariance).rank < case.d:
        assert centring is None


def by_eigenvectors(N: Tensor) -> FactoredMetric:
    values, vectors = torch.linalg.eigh(N)
    roots = values.sqrt()
    return FactoredMetric(N, vectors / roots, (vectors * roots).T, len(N))


def test_where_lapack_refuses_the_problem_is_solved_on_the_range(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    N = random_metric(torch.linspace(1.0, 3.0, 6, dtype=torch.float64))
    M = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    metric = by_eigenvectors(N)
    expected = lapack_vectors(M, metric)
    monkeypatch.setattr(geneig, "cholesky", lambda _: None)
    found = lapack_vectors(M, metric)
    assert not torch.equal(found, expected)
    # Both are orthonormal, and the same up to sign where eigenvalues differ; condition 3.
    torch.testing.assert_close(
        found.T @ found, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(found[:, :2].abs(), expected[:, :2].abs(), rtol=0, atol=1e-10)


def test_lapacks_choice_is_scipys_whatever_factor_the_metric_has() -> None:
    N = random_metric(torch.linspace(1.0, 3.0, 6, dtype=torch.float64))
    M = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    theirs = torch.from_numpy(scipy.linalg.eigh(M @ M.T, N)[1]).flip(1)
    by_cholesky = factor_metric(N)
    assert by_cholesky.is_triangular
    for metric in (by_cholesky, by_eigenvectors(N)):
        # Condition 3, so that nothing but rounding differs.
        U = metric.unwhiten(lapack_vectors(M, metric))
        torch.testing.assert_close(U, theirs, rtol=0, atol=1e-13)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_lapacks_choice_is_that_of_the_unscaled_metric(scale: float) -> None:
    """Scaled by powers of two for its factor, N has the very factor that LAPACK gives."""
    S = torch.logspace(0, float(np.log10(scale)), 50, dtype=torch.float64)
    N = random_metric(torch.linspace(1.0, 3.0, 50, dtype=torch.float64)) * S[:, None] * S
    N = (N + N.T) / 2
    metric = factor_metric(N)
    assert metric.is_triangular
    assert torch.equal(metric.factor.T, torch.from_numpy(scipy.linalg.cholesky(N, lower=True)))


def test_label_sets_of_more_labels_than_width_equal_their_directions() -> None:
    moments = layer_of(REGULAR[0], shuffles=2)
    generator, d = torch.Generator().manual_seed(0), moments.width
    M = torch.randn(3, d, 2 * d + 1, generator=generator, dtype=torch.float64)
    M[2, :, 1:] = 0  # of rank 1
    c = M.shape[2]
    moments = replace(
        moments, M=M[0], M_shuffled=M[1:], p=M.new_zeros(c), YY=M.new_zeros(c, c),
        p_shuffled=M.new_zeros(2, c),
    )  # fmt: skip
    metric = factor_metric(moments.N)
    sets = LabelSets.of(moments, metric, label_directions(M[0], metric))
    assert sets.whitened.shape == (3, metric.rank, metric.rank)
    assert sets.ranks.tolist() == [metric.rank, metric.rank, 1]
    for one, quick, rank in zip(M[1:], sets.whitened[1:], sets.ranks[1:].tolist(), strict=True):
        slow = label_directions(one, metric).whitened
        assert not quick[:, rank:].any()
        signs = (quick[:, :rank] * slow).sum(0).sign()
        assert float((quick[:, :rank] * signs - slow).abs().max()) < math.sqrt(EPS)
