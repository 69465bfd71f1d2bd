"""The twins against each other, against hand-worked numbers, and against 60 digits."""

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
from mpmath import mp
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_squared_error, r2_score

from tests.reference import cases, exact, moments, scores, theory
from tests.reference.cases import Case
from tests.tolerances import (
    LEAST_SQUARES,
    MOMENTS_FLOAT64,
    ROUNDING_SLACK,
    SCORE,
    SIGMAS,
    SQUARED_PAIR,
    conditioned,
)

Array = NDArray[np.float64]
Score = Callable[[Array, Array, Array, Array, int], float]

REGULAR = cases.regular_cases()
LARGE = cases.large_direction_cases()
ILL = cases.ill_conditioned_cases()
SINGULAR = cases.singular_cases()
INVERTIBLE = [case for case in REGULAR if "constant" not in case.name]
"""Regular cases whose centred N has an inverse too."""


def named(chosen: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", chosen, ids=[case.name for case in chosen])


def mostly_slow(chosen: list[Case]) -> pytest.MarkDecorator:
    """One case quick, since each takes long in 60 digits."""
    first, *rest = chosen
    marked = [pytest.param(case, id=case.name, marks=pytest.mark.slow) for case in rest]
    return pytest.mark.parametrize("case", [pytest.param(first, id=first.name), *marked])


def moments_of(case: Case) -> moments.Moments:
    return _moments_by_name(case.name)


@functools.cache
def _moments_by_name(name: str) -> moments.Moments:
    case = next(c for c in REGULAR + LARGE + ILL + SINGULAR if c.name == name)
    return moments.moments_of_texts(case.texts, case.Y)


@functools.cache
def exact_by_name(name: str) -> tuple[exact.ExactMoments, exact.ExactPairs]:
    case = next(c for c in REGULAR + LARGE + ILL if c.name == name)
    m = exact.exact_moments(case.texts, case.Y)
    return m, exact.exact_pairs(m)


def four(m: moments.Moments) -> tuple[Array, Array, Array, Array]:
    return m.N, m.M, m.C0, m.C1


def metric_condition(m: moments.Moments) -> float:
    return float(max(np.linalg.cond(m.N), np.linalg.cond(m.C0)))


# Cases


def test_case_names_are_distinct() -> None:
    names = [case.name for case in REGULAR + LARGE + ILL + SINGULAR]
    assert len(set(names)) == len(names)


@named(REGULAR)
def test_regular_cases_are_well_conditioned(case: Case) -> None:
    assert metric_condition(moments_of(case)) < 1e3


@named(LARGE)
def test_large_direction_cases_have_condition_1e6(case: Case) -> None:
    assert 1e6 < metric_condition(moments_of(case)) < 1e9


@named(ILL)
def test_ill_conditioned_cases_have_condition_1e10(case: Case) -> None:
    m = moments_of(case)
    assert np.linalg.cond(m.N) > 1e10
    assert np.linalg.cond(m.C0) > 1e10


@named(SINGULAR)
def test_singular_cases_have_a_singular_metric(case: Case) -> None:
    assert scores.metric_rank(moments_of(case).N) < case.d


def test_classification_case_has_texts_of_one_token() -> None:
    lengths = [X.shape[1] for X in REGULAR[0].texts]
    assert min(lengths) == 1
    assert max(lengths) > 5


# Moments


def test_moments_equal_hand_worked_numbers() -> None:
    texts = [np.array([[1.0, 2.0, 3.0]]), np.array([[5.0]])]
    Y = np.array([[1.0, 0.0], [0.0, 1.0]])
    m = moments.moments_of_texts(texts, Y)
    # Prefix sums 1, 3 of the first text meet the tokens 2, 3; the second text has no pair.
    assert m.C0[0, 0] == (1 + 9) / 2
    assert m.C1[0, 0] == (1 * 2 + 3 * 3) / 2
    assert m.token_trace == (4 + 9) / 2
    assert m.N[0, 0] == (4 + 25) / 2
    assert m.M.tolist() == [[1.0, 2.5]]
    assert m.mu.tolist() == [3.5]
    assert m.p.tolist() == [0.5, 0.5]


def test_shift_matrices_equal_equations_21_and_22() -> None:
    L1, L2 = moments.shift_matrices(3)
    assert L1.tolist() == [[1, 1], [0, 1], [0, 0]]
    assert L2.tolist() == [[0, 0], [1, 0], [0, 1]]


def assert_same_moments(a: moments.Moments, b: moments.Moments) -> None:
    token = math.sqrt(float(np.max(np.diag(a.N))))
    label = math.sqrt(float(np.max(np.diag(a.YY))))
    scale = {"N": token**2, "M": token * label, "mu": token, "p": label, "YY": label**2}
    for name in ("N", "M", "C0", "C1", "mu", "p", "YY"):
        one, other = getattr(a, name), getattr(b, name)
        size = scale.get(name, float(np.max(np.abs(one))))
        assert np.max(np.abs(one - other)) <= MOMENTS_FLOAT64 * size, name
    assert a.token_trace == pytest.approx(b.token_trace, rel=MOMENTS_FLOAT64)


@named(REGULAR + LARGE + ILL + SINGULAR)
def test_moments_with_shift_matrices_equal_token_loop(case: Case) -> None:
    assert_same_moments(moments_of(case), moments.moments_token_loop(case.texts, case.Y))


@mostly_slow(REGULAR[:2] + LARGE)
def test_moments_equal_exact_sums(case: Case) -> None:
    m, e = moments_of(case), exact_by_name(case.name)[0]
    rounded = moments.Moments(
        exact.to_numpy(e.N),
        exact.to_numpy(e.M),
        exact.to_numpy(e.C0),
        exact.to_numpy(e.C1),
        exact.to_numpy(e.mu)[:, 0],
        exact.to_numpy(e.p)[:, 0],
        exact.to_numpy(e.YY),
        float(e.token_trace),
        m.n,
    )
    assert_same_moments(rounded, m)


def test_moments_of_repeated_texts_are_the_same() -> None:
    case = REGULAR[0]
    twice = cases.with_duplicates(case)
    assert_same_moments(moments_of(case), moments.moments_of_texts(twice.texts, twice.Y))


def test_moments_of_one_token_texts_have_no_pairs() -> None:
    case = cases.one_token_case()
    m = moments.moments_of_texts(case.texts, case.Y)
    assert not m.C0.any()
    assert not m.C1.any()
    assert m.token_trace == 0
    assert scores.metric_rank(m.N) == case.d
    with pytest.raises(ValueError, match="C0 is zero"):
        scores.supervised(*four(m), 1)


def test_moments_of_an_empty_text_are_refused() -> None:
    with pytest.raises(ValueError, match="without tokens"):
        moments.moments_of_texts([np.zeros((2, 0))], np.ones((1, 1)))


# Eigenproblems


def test_ntps_equals_hand_worked_cosines() -> None:
    U = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    V = np.array([[1.0], [1.0], [0.0]])
    # P is 1/2 on the plane's diagonal: |P u1|² = 4/2 and |P u2|² = 1/2, over 4 + 1.
    assert scores.ntps(U, V) == pytest.approx(0.5, abs=SCORE)
    assert scores.ntps(U[:, :1], V) == pytest.approx(0.5, abs=SCORE)
    assert scores.ntps(U, U) == pytest.approx(1.0, abs=SCORE)


@named(REGULAR)
def test_literal_eigenvectors_solve_both_pairs(case: Case) -> None:
    m = moments_of(case)
    pairs = scores.algorithm1_u_v(*four(m))
    for A, B, vectors, values in (
        (m.M @ m.M.T, m.N, pairs.U, pairs.lam_u),
        (m.C1 @ m.C1.T, m.C0, pairs.V, pairs.lam_v),
    ):
        assert np.all(np.diff(values) <= 0)
        assert np.max(np.abs(vectors.T @ B @ vectors - np.eye(case.d))) < SQUARED_PAIR
        residual = A @ vectors - B @ vectors * values
        assert np.max(np.abs(residual)) < SQUARED_PAIR * np.max(np.abs(A))


@named(REGULAR)
def test_literal_and_factored_solvers_agree(case: Case) -> None:
    m = moments_of(case)
    literal, factored = scores.algorithm1_u_v(*four(m)), scores.factored_u_v(*four(m))
    r = scores.label_rank(m.N, m.M)
    assert np.max(np.abs(literal.lam_u - factored.lam_u)) < SQUARED_PAIR * literal.lam_u[0]
    assert np.max(np.abs(literal.lam_v - factored.lam_v)) < SQUARED_PAIR * literal.lam_v[0]
    for k in range(1, case.d + 1):
        P_literal = scores.projector(literal.V[:, :k])
        assert np.max(np.abs(P_literal - scores.projector(factored.V[:, :k]))) < SQUARED_PAIR
    for k in range(1, r + 1):
        assert scores.algorithm1(*four(m), k) == pytest.approx(
            scores.expected(*four(m), k), abs=SQUARED_PAIR
        )


@mostly_slow(REGULAR + LARGE + ILL)
def test_projectors_on_v_equal_exact_ones(case: Case) -> None:
    m = moments_of(case)
    _, pairs = exact_by_name(case.name)
    V = scores.factored_u_v(*four(m)).V
    for k in range(1, case.d + 1):
        difference = scores.projector(V[:, :k]) - exact.exact_projector_v(pairs, k)
        assert np.max(np.abs(difference)) < conditioned(metric_condition(m))


@mostly_slow(LARGE[1:] + ILL[1:])
def test_exact_pairs_of_rounded_moments_differ_by_condition(case: Case) -> None:
    # No solver can be closer to the texts than this: the rounding is in the moments already.
    m = moments_of(case)
    _, from_texts = exact_by_name(case.name)
    from_float = exact.exact_pairs(exact.exact_from_float(m), r=from_texts.r)
    worst = 0.0
    for k in range(1, case.d):
        P_texts = exact.exact_projector_v(from_texts, k)
        P_float = exact.exact_projector_v(from_float, k)
        worst = max(worst, float(np.max(np.abs(P_texts - P_float))))
    assert SCORE < worst < conditioned(metric_condition(m))


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("classification", 3),
        ("imbalanced", 4),
        ("regression", 2),
        ("multilabel", 3),
        ("many_targets", 6),
        ("empty_class", 2),
        ("large_rotated_1e+03", 3),
        ("ill_rotated_1e+05", 3),
        ("few_texts", 2),
    ],
)
def test_label_rank_counts_classes_with_texts(name: str, rank: int) -> None:
    m = _moments_by_name(name)
    assert scores.label_rank(m.N, m.M) == rank


@named(INVERTIBLE)
def test_centred_labels_have_one_rank_less_for_classes_only(case: Case) -> None:
    m = moments_of(case)
    N_c, M_c, _ = moments.centred(m)
    lost = 1 if case.labels is not None else 0
    assert scores.label_rank(N_c, M_c) == scores.label_rank(m.N, m.M) - lost


@named([SINGULAR[0], SINGULAR[2]])
def test_eigenvalues_with_fewer_texts_than_dimensions_are_class_shares(case: Case) -> None:
    # n independent texts fit any labels, so Mᵀ N⁺ M = E[YYᵀ] = diag(p̄): with two equal shares even
    # the first columns of U are arbitrary.
    m = moments_of(case)
    pairs = scores.factored_u_v(*four(m))
    assert pairs.lam_u[: case.c] == pytest.approx(np.sort(m.p)[::-1], abs=SQUARED_PAIR)


def test_label_columns_of_classes_contain_the_label_free_direction() -> None:
    # One-hot rows sum to 1, so M 1 = μ: N⁻¹ μ lies in span(U_r) whatever the labels are.
    m = moments_of(REGULAR[0])
    shuffled = np.random.default_rng(0).permutation(REGULAR[0].Y)
    for Y in (REGULAR[0].Y, shuffled):
        M = moments.moments_of_texts(REGULAR[0].texts, Y).M
        U_r = scores.factored_u_v(m.N, M, m.C0, m.C1).U[:, : scores.label_rank(m.N, M)]
        direction = np.linalg.solve(m.N, m.mu)
        rest = direction - scores.projector(U_r) @ direction
        assert np.linalg.norm(rest) < SCORE * np.linalg.norm(direction)


@named(REGULAR)
def test_label_gram_equals_columns_of_u(case: Case) -> None:
    m = moments_of(case)
    r = scores.label_rank(m.N, m.M)
    U_r = scores.factored_u_v(*four(m)).U[:, :r]
    assert np.max(np.abs(U_r @ U_r.T - scores.label_gram(m.N, m.M, r))) < SCORE * np.sum(U_r**2)


# Scores


@mostly_slow(REGULAR + LARGE + ILL)
def test_scores_equal_exact_ones(case: Case) -> None:
    m = moments_of(case)
    e, pairs = exact_by_name(case.name)
    tolerance = conditioned(metric_condition(m))
    assert scores.label_rank(m.N, m.M) == pairs.r
    for k in range(1, case.d + 1):
        for twin, judge in (
            (scores.expected(*four(m), k), exact.exact_expected(e, pairs, k)),
            (scores.supervised(*four(m), k), exact.exact_supervised(pairs, k)),
            (scores.subspace(*four(m), k), exact.exact_subspace(pairs, k)),
            (scores.subspace_from_bases(*four(m), k), exact.exact_subspace(pairs, k)),
        ):
            assert twin == pytest.approx(judge, abs=tolerance)


@mostly_slow(INVERTIBLE + LARGE + ILL)
def test_centred_scores_equal_exact_ones(case: Case) -> None:
    m = moments_of(case)
    e, pairs = exact_by_name(case.name)
    tolerance = conditioned(metric_condition(m))
    assert scores.r2(m.N, m.M, m.mu, m.p, m.YY) == pytest.approx(exact.exact_r2(e), abs=tolerance)
    for k in range(1, case.d + 1):
        judge = exact.exact_retained(e, pairs, k)
        assert scores.retained(*four(m), m.mu, m.p, k) == pytest.approx(judge, abs=tolerance)


@mostly_slow(REGULAR)
def test_literal_algorithm1_equals_exact_up_to_rank(case: Case) -> None:
    m = moments_of(case)
    _, pairs = exact_by_name(case.name)
    for k in range(1, pairs.r + 1):
        judge = exact.exact_algorithm1(pairs, k)
        assert scores.algorithm1(*four(m), k) == pytest.approx(judge, abs=SQUARED_PAIR)


def test_exact_algorithm1_refuses_an_arbitrary_basis() -> None:
    _, pairs = exact_by_name("classification")
    with pytest.raises(ValueError, match="depends on the basis"):
        exact.exact_algorithm1(pairs, pairs.r + 1)


def test_exact_eigenvectors_hold_to_45_digits() -> None:
    e, pairs = exact_by_name("ill_rotated_1e+05")
    with mp.workdps(exact.DIGITS):
        G = pairs.V.T * e.C0 * pairs.V - mp.eye(pairs.V.cols)
        R = e.C1 * (e.C1.T * pairs.V) - e.C0 * pairs.V * mp.diag(pairs.lam_v)
        scale = max(abs(x) for x in e.C1) ** 2
        # 60 digits less the 10 to 11 of cond(C0).
        assert max(abs(x) for x in G) < 1e-45
        assert max(abs(x) for x in R) < 1e-45 * scale


@pytest.mark.parametrize("k", [3, 4, 6])
def test_expected_with_full_label_rank_is_algorithm1(k: int) -> None:
    m = _moments_by_name("many_targets")
    assert scores.expected(*four(m), k) == pytest.approx(
        scores.algorithm1(*four(m), k), abs=SQUARED_PAIR
    )


@named([REGULAR[0], REGULAR[3], cases.empty_class_case()])
def test_expected_rest_equals_null_space_basis(case: Case) -> None:
    m = moments_of(case)
    r = scores.label_rank(m.N, m.M)
    basis = scores.completion_basis(m.N, m.M, r)
    R = np.linalg.inv(m.N) - scores.label_gram(m.N, m.M, r)
    assert np.max(np.abs(m.M.T @ basis)) < SCORE
    assert np.max(np.abs(basis.T @ m.N @ basis - np.eye(case.d - r))) < SCORE
    assert np.max(np.abs(basis @ basis.T - R)) < SCORE * np.max(np.abs(R))


@named([REGULAR[0], REGULAR[3], LARGE[0], SINGULAR[0]])
@pytest.mark.parametrize("extra", [1, 3])
def test_expected_equals_monte_carlo(case: Case, extra: int) -> None:
    m = moments_of(case)
    k = scores.label_rank(m.N, m.M) + extra
    sampled = scores.expected_monte_carlo(*four(m), k, rng=np.random.default_rng(extra), draws=1500)
    # A completed basis does not vary with the draw, hence the floor.
    band = SIGMAS * sampled.standard_error + SCORE
    assert abs(scores.expected(*four(m), k) - sampled.value) < band
    assert sampled.standard_error < 0.01


@named(REGULAR)
@pytest.mark.parametrize(
    "score", [scores.expected, scores.supervised, scores.subspace, scores.algorithm1]
)
def test_score_is_one_at_full_width(case: Case, score: Score) -> None:
    assert score(*four(moments_of(case)), case.d) == pytest.approx(1.0, abs=SCORE)


@named(INVERTIBLE)
def test_retained_is_one_at_full_width(case: Case) -> None:
    m = moments_of(case)
    assert scores.retained(*four(m), m.mu, m.p, case.d) == pytest.approx(1.0, abs=SCORE)


@named(REGULAR + LARGE + SINGULAR)
def test_nested_scores_never_fall_with_k(case: Case) -> None:
    m = moments_of(case)
    values = np.array(
        [
            (
                scores.supervised(*four(m), k),
                scores.subspace(*four(m), k),
                scores.retained(*four(m), m.mu, m.p, k),
            )
            for k in range(1, case.d + 1)
        ]
    )
    assert np.all(np.diff(values, axis=0) >= -conditioned(1e7))
    assert np.all(values >= -ROUNDING_SLACK)
    assert np.all(values <= 1 + conditioned(1e7))


@named(REGULAR)
def test_subspace_two_formulas_agree(case: Case) -> None:
    m = moments_of(case)
    for k in range(1, case.d + 1):
        assert scores.subspace(*four(m), k) == pytest.approx(
            scores.subspace_from_bases(*four(m), k), abs=SCORE
        )


def test_subspace_counts_missing_angles_as_right_angles() -> None:
    m = _moments_by_name("imbalanced")
    pairs = scores.factored_u_v(*four(m))
    angle = scipy.linalg.subspace_angles(pairs.U[:, :4], pairs.V[:, :1])
    assert len(angle) == 1
    assert scores.subspace(*four(m), 1) == pytest.approx(np.cos(angle[0]) ** 2 / 4, abs=SCORE)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_chance_level_of_projection_scores_is_k_over_d(k: int) -> None:
    m = moments_of(REGULAR[0])
    d, draws = REGULAR[0].d, 2000
    rng = np.random.default_rng(k)
    U_r = scores.factored_u_v(*four(m)).U[:, :3]
    Q_u = np.linalg.qr(U_r)[0]
    values = np.zeros((draws, 2))
    for draw in range(draws):
        Q_v = np.linalg.qr(rng.standard_normal((d, k)))[0]
        values[draw, 0] = scores.ntps(U_r, Q_v)
        values[draw, 1] = np.sum((Q_u.T @ Q_v) ** 2) / 3
    errors = values.std(axis=0) / math.sqrt(draws)
    assert np.all(np.abs(values.mean(axis=0) - k / d) < SIGMAS * errors)


def test_retained_chance_is_not_k_over_d() -> None:
    m = _moments_by_name("large_axis_1e+03")
    sampled = scores.retained_chance(m.N, m.M, m.mu, m.p, 2, rng=np.random.default_rng(0))
    assert abs(sampled.value - 2 / 8) > SIGMAS * sampled.standard_error


@named(INVERTIBLE)
def test_retained_three_definitions_agree(case: Case) -> None:
    m = moments_of(case)
    features = moments.pooled_features(case.texts)
    V = scores.factored_u_v(*four(m)).V
    for k in range(1, case.d + 1):
        value = scores.retained(*four(m), m.mu, m.p, k)
        by_vectors = scores.retained_by_eigenvectors(*four(m), m.mu, m.p, k)
        by_fits = theory.retained_from_features(features, case.Y, V[:, :k])
        assert value == pytest.approx(by_vectors, abs=SCORE)
        assert value == pytest.approx(by_fits, abs=LEAST_SQUARES)


@named(INVERTIBLE)
def test_retained_is_one_minus_excess_loss_over_fit(case: Case) -> None:
    m = moments_of(case)
    N_c, M_c, _ = moments.centred(m)
    features = moments.pooled_features(case.texts)
    pairs = scores.factored_u_v(N_c, M_c, m.C0, m.C1)
    U_r = pairs.U[:, : scores.label_rank(N_c, M_c)]
    for k in range(1, case.d + 1):
        V_k = pairs.V[:, :k]
        excess = theory.excess_loss_from_features(features, case.Y, U_r, V_k, intercept=True)
        value = scores.retained(*four(m), m.mu, m.p, k)
        assert value == pytest.approx(1 - excess / np.sum(pairs.lam_u), abs=LEAST_SQUARES)


@named([*SINGULAR, cases.with_constant_column(cases.classification_case(seed=14))])
def test_retained_with_singular_covariance_equals_fits_on_features(case: Case) -> None:
    m = moments_of(case)
    features = moments.pooled_features(case.texts)
    V = scores.factored_u_v(*four(m)).V
    for k in range(1, case.d + 1):
        assert scores.retained(*four(m), m.mu, m.p, k) == pytest.approx(
            theory.retained_from_features(features, case.Y, V[:, :k]), abs=SQUARED_PAIR
        )


@named(REGULAR + LARGE)
def test_r2_and_mse_equal_fits_on_features(case: Case) -> None:
    m = moments_of(case)
    features = moments.pooled_features(case.texts)
    fitted = LinearRegression().fit(features, case.Y).predict(features)
    by_library = r2_score(case.Y, fitted, multioutput="variance_weighted")
    closed = scores.r2(m.N, m.M, m.mu, m.p, m.YY)
    tolerance = conditioned(metric_condition(m))
    assert closed == pytest.approx(theory.r2_from_features(features, case.Y), abs=tolerance)
    assert closed == pytest.approx(by_library, abs=tolerance)
    mse = scores.ols_mse(m.N, m.M, m.mu, m.p, m.YY)
    assert mse == pytest.approx(theory.ols_mse_from_features(features, case.Y), abs=tolerance)
    assert mse == pytest.approx(mean_squared_error(case.Y, fitted), abs=tolerance)


@named([SINGULAR[0], SINGULAR[2]])
def test_r2_is_one_with_fewer_texts_than_dimensions(case: Case) -> None:
    m = moments_of(case)
    assert scores.r2(m.N, m.M, m.mu, m.p, m.YY) == pytest.approx(1.0, abs=SQUARED_PAIR)


def test_r2_of_one_class_is_refused() -> None:
    case = cases.one_class_case()
    m = moments.moments_of_texts(case.texts, case.Y)
    with pytest.raises(ValueError, match="does not vary"):
        scores.r2(m.N, m.M, m.mu, m.p, m.YY)


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.7, 0.95])
def test_smallest_first_with_full_label_rank_equals_exact(fraction: float) -> None:
    m = _moments_by_name("many_targets")
    _, pairs = exact_by_name("many_targets")
    k = scores.share_columns(6, fraction)
    assert scores.smallest_first(*four(m), fraction) == pytest.approx(
        exact.exact_smallest_first(pairs, k, k), abs=SCORE
    )


def test_smallest_first_counts_columns_of_each_rank() -> None:
    m = _moments_by_name("few_texts")
    pairs = scores.factored_u_v(*four(m))
    rank_u, rank_v = pairs.U.shape[1], pairs.V.shape[1]
    assert rank_u == 7
    assert rank_v > rank_u
    U, V = pairs.U[:, rank_u - int(0.95 * rank_u) :], pairs.V[:, rank_v - int(0.95 * rank_v) :]
    # 6 of 7 columns: all 5 arbitrary ones and one of the two that carry labels.
    assert scores.smallest_first(*four(m), 0.95) == pytest.approx(
        scores.ntps(U, V), abs=SQUARED_PAIR
    )
    assert math.isnan(scores.smallest_first(*four(m), 0.05))


def test_smallest_first_columns_depend_on_how_the_fraction_is_written() -> None:
    assert scores.share_columns(180, 7 * 0.05) == 63
    assert scores.share_columns(180, float(np.arange(0.05, 1.0, 0.05)[6])) == 63
    assert scores.share_columns(180, 0.35) == 62


def test_full_width_score_is_below_one_when_c0_is_singular() -> None:
    # The last token of a text enters x̄ but no prefix sum, so range(N) may leave range(C0).
    case = cases.classification_case("tiny", seed=20, d=12, n=4, c=2, lengths=(2, 3))
    m = moments.moments_of_texts(case.texts, case.Y)
    assert scores.metric_rank(m.C0) < case.d
    assert scores.supervised(*four(m), case.d) < 0.99


# Theorem 1


@named(REGULAR)
@pytest.mark.parametrize("k", [1, 3])
def test_theorem1_losses_equal_losses_over_texts(case: Case, k: int) -> None:
    m = moments_of(case)
    pairs = scores.factored_u_v(*four(m))
    V, U = pairs.V[:, :k], pairs.U[:, :k]
    W, Z = theory.next_token_weights(m.C0, m.C1, V), theory.label_weights(m.N, m.M, U)
    token_loss = theory.next_token_loss_from_texts(case.texts, V, W)
    label_loss = theory.label_loss_from_texts(case.texts, case.Y, U, Z)
    assert theory.next_token_loss(m.C0, m.C1, m.token_trace, V) == pytest.approx(
        token_loss, rel=LEAST_SQUARES
    )
    assert theory.label_loss(m.N, m.M, m.YY, U) == pytest.approx(label_loss, rel=LEAST_SQUARES)
    assert token_loss == pytest.approx(m.token_trace - np.sum(pairs.lam_v[:k]), rel=LEAST_SQUARES)
    assert label_loss == pytest.approx(np.trace(m.YY) - np.sum(pairs.lam_u[:k]), rel=LEAST_SQUARES)


def test_theorem1_weights_cannot_be_improved() -> None:
    case, rng = REGULAR[0], np.random.default_rng(0)
    m = moments_of(case)
    V, U = rng.standard_normal((case.d, 3)), rng.standard_normal((case.d, 2))
    W, Z = theory.next_token_weights(m.C0, m.C1, V), theory.label_weights(m.N, m.M, U)
    best_token = theory.next_token_loss_from_texts(case.texts, V, W)
    best_label = theory.label_loss_from_texts(case.texts, case.Y, U, Z)
    for _ in range(10):
        dW, dZ = 0.01 * rng.standard_normal(W.shape), 0.01 * rng.standard_normal(Z.shape)
        assert theory.next_token_loss_from_texts(case.texts, V, W + dW) > best_token
        assert theory.label_loss_from_texts(case.texts, case.Y, U, Z + dZ) > best_label


@pytest.mark.parametrize("k", [1, 2, 5])
def test_theorem1_no_directions_beat_the_eigenvectors(k: int) -> None:
    case, rng = REGULAR[0], np.random.default_rng(k)
    m = moments_of(case)
    pairs = scores.factored_u_v(*four(m))
    best_token = theory.next_token_loss(m.C0, m.C1, m.token_trace, pairs.V[:, :k])
    best_label = theory.label_loss(m.N, m.M, m.YY, pairs.U[:, :k])
    for size in (0.01, 0.1, 10.0):
        for _ in range(20):
            change = size * rng.standard_normal((case.d, k))
            V, U = pairs.V[:, :k] + change, pairs.U[:, :k] + change
            assert theory.next_token_loss(m.C0, m.C1, m.token_trace, V) > best_token
            # From k = r on every fit is perfect in U's sense, so equal losses are possible.
            assert theory.label_loss(m.N, m.M, m.YY, U) >= best_label - ROUNDING_SLACK


# Theorem 2


@named(REGULAR)
def test_theorem2_formula_equals_difference_of_fits(case: Case) -> None:
    m = moments_of(case)
    features = moments.pooled_features(case.texts)
    pairs = scores.factored_u_v(*four(m))
    r = scores.label_rank(m.N, m.M)
    U_r, lam_r = pairs.U[:, :r], pairs.lam_u[:r]
    for k in range(1, case.d + 1):
        V_k = pairs.V[:, :k]
        by_fits = theory.excess_loss_from_features(features, case.Y, U_r, V_k)
        by_formula = theory.excess_loss(m.N, U_r, lam_r, V_k)
        assert by_formula == pytest.approx(by_fits, abs=LEAST_SQUARES * np.trace(m.YY))


@named(REGULAR + LARGE)
def test_theorem2_bounds_hold(case: Case) -> None:
    m = moments_of(case)
    features = moments.pooled_features(case.texts)
    rng = np.random.default_rng(0)
    pairs = scores.factored_u_v(*four(m))
    r = scores.label_rank(m.N, m.M)
    U_r, lam_r = pairs.U[:, :r], pairs.lam_u[:r]
    slack = ROUNDING_SLACK * float(np.trace(m.YY)) + conditioned(metric_condition(m))
    # 1 − NTPS is a difference of numbers near 1; λ_max Λ_max ‖U‖² multiplies its rounding.
    slack += ROUNDING_SLACK * np.linalg.norm(m.N, 2) * float(lam_r[0]) * float(np.sum(U_r**2))
    for k in range(1, case.d + 1):
        for V in (pairs.V[:, :k], rng.standard_normal((case.d, k))):
            excess = theory.excess_loss_from_features(features, case.Y, U_r, V)
            bounds = theory.theorem2_bounds(m.N, U_r, lam_r, V)
            assert bounds.lower - slack <= excess <= bounds.upper + slack


def test_theorem2_bounds_are_tight_when_metric_and_fit_are_flat() -> None:
    # With N = I and equal Λ both constants are the same number, so ΔL is pinned from both sides.
    N, U, lam = np.eye(4), np.eye(4)[:, :2], np.array([0.3, 0.3])
    V = np.array([[1.0], [0.0], [1.0], [0.0]])
    bounds = theory.theorem2_bounds(N, U, lam, V)
    assert bounds.lower == pytest.approx(0.3 * 2 * (1 - 0.25), abs=SCORE)
    assert bounds.upper == pytest.approx(bounds.lower, abs=SCORE)
    assert theory.excess_loss(N, U, lam, V) == pytest.approx(bounds.lower, abs=SCORE)


def test_theorem2_lower_bound_fails_with_fewer_columns_than_the_rank() -> None:
    # N = I, M = diag(√.5, √.4): V = e2 loses only .1 against U = e1, yet is orthogonal to it. The
    # proof drops Λ_2 from the loss of V, so it needs U to have all rank(M) columns.
    features = 2.0 * np.vstack([np.eye(2), -np.eye(2)]) / math.sqrt(2)
    Y = features @ np.diag([math.sqrt(0.5), math.sqrt(0.4)])
    N, M = features.T @ features / 4, features.T @ Y / 4
    assert np.allclose(N, np.eye(2), atol=SCORE)
    U, lam = np.eye(2)[:, :1], np.array([0.5])
    V = np.eye(2)[:, 1:]
    assert np.allclose(M @ M.T @ U, N @ U * lam, atol=SCORE)
    excess = theory.excess_loss_from_features(features, Y, U, V)
    bounds = theory.theorem2_bounds(N, U, lam, V)
    assert excess == pytest.approx(0.1, abs=SCORE)
    assert bounds.lower == pytest.approx(0.5, abs=SCORE)
    assert theory.excess_loss(N, U, lam, V) == pytest.approx(0.5, abs=SCORE)
