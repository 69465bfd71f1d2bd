"""The six scores against their definitions, their controls, and what leaves them equal."""

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_squared_error, r2_score
from torch import Tensor

from ntpscore.core.controls import shuffled_labels
from ntpscore.core.factored_metric import factor_metric
from ntpscore.core.geneig import lapack_vectors
from ntpscore.core.label_sets import CompletedBasis, LabelSets
from ntpscore.core.leading_blocks import columns_at
from ntpscore.core.moments import LayerMoments, Moments
from ntpscore.core.scores import (
    SCORES,
    LayerScores,
    ScoreName,
    map_layers,
    score_layer,
    score_moments,
)
from ntpscore.core.subspaces import solve_subspaces
from ntpscore.core.theory import solve_losses
from ntpscore.errors import MomentsError
from tests.reference import cases, exact, scores
from tests.reference import moments as literal
from tests.reference.cases import Case
from tests.support.feeding import (
    feed,
    gaps_after,
    layer_of,
    metric_condition,
    pad_texts,
    tolerance_at,
    twin_of,
)
from tests.tolerances import ROUNDING_SLACK, SCORE, SIGMAS, SQUARED_PAIR, conditioned

REGULAR = cases.regular_cases()
LARGE = cases.large_direction_cases()
ILL = cases.ill_conditioned_cases()
SINGULAR = cases.singular_cases()
INVERTIBLE = [*REGULAR, *LARGE, *ILL]
CENTRED_INVERTIBLE = [case for case in INVERTIBLE if "constant" not in case.name]
MONOTONE: tuple[ScoreName, ...] = ("supervised", "subspace", "retained")


def named(chosen: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", chosen, ids=[case.name for case in chosen])


def tolerances(moments: LayerMoments) -> Tensor:
    """(d,) what each k may be off: condition number over the gap behind the k-th eigenvalue."""
    gaps = gaps_after(solve_subspaces(moments).next_token.values)
    condition = metric_condition(moments)
    values = [tolerance_at(condition, float(gap)) for gap in gaps]
    return torch.tensor(values + values[-1:] * (moments.width - len(values)))


def label_gaps(moments: LayerMoments) -> Tensor:
    return gaps_after(solve_subspaces(moments).labels.values)


def four(m: literal.Moments) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return m.N, m.M, m.C0, m.C1


# Against 60 digits and against the definitions


@functools.cache
def judged(name: str) -> tuple[LayerMoments, LayerScores, exact.ExactMoments, exact.ExactPairs]:
    """A case's moments and scores, and its moments and pairs of 60 digits."""
    moments = layer_of(next(case for case in INVERTIBLE if case.name == name))
    found = score_layer(moments)
    judge = exact.exact_from_float(twin_of(moments))
    return moments, found, judge, exact.exact_pairs(judge, r=found.n_label_directions)


@named(INVERTIBLE)
def test_scores_equal_exact_ones(case: Case) -> None:
    moments, found, judge, pairs = judged(case.name)
    r = found.n_label_directions
    allowed, gaps = tolerances(moments), label_gaps(moments)
    for k in range(1, case.d + 1):
        tolerance = float(allowed[k - 1])
        for name, value in (
            ("expected", exact.exact_expected(judge, pairs, k) if k >= r else None),
            ("supervised", exact.exact_supervised(pairs, k)),
            ("subspace", exact.exact_subspace(pairs, k)),
        ):
            if value is not None:
                assert float(found.values[name][k - 1]) == pytest.approx(value, abs=tolerance)
        if k <= r:
            value = exact.exact_algorithm1(pairs, k)
            gap = float(gaps[k - 1])
            tolerance = max(tolerance, tolerance_at(metric_condition(moments), gap))
            assert float(found.values["algorithm1"][k - 1]) == pytest.approx(value, abs=tolerance)


@named(CENTRED_INVERTIBLE)
def test_centred_scores_equal_exact_ones(case: Case) -> None:
    moments, found, judge, pairs = judged(case.name)
    allowed = tolerances(moments)
    for k in range(1, case.d + 1):
        value = exact.exact_retained(judge, pairs, k)
        assert float(found.values["retained"][k - 1]) == pytest.approx(
            value, abs=float(allowed[k - 1])
        )
    assert found.r2 == pytest.approx(
        exact.exact_r2(judge), abs=conditioned(metric_condition(moments))
    )


@named(SINGULAR)
def test_scores_with_singular_metrics_equal_literal_ones(case: Case) -> None:
    moments = layer_of(case)
    found = score_layer(moments)
    m = twin_of(moments)
    r = scores.label_rank(m.N, m.M)
    assert found.n_label_directions == r
    assert found.rank_N == scores.metric_rank(m.N)
    assert found.rank_C0 == scores.metric_rank(m.C0)
    assert found.rank_N_centred == scores.metric_rank(literal.centred(m)[0])
    for k in range(1, case.d + 1):
        judges = {
            "supervised": scores.supervised(*four(m), k, r=r),
            "subspace": scores.subspace(*four(m), k, r=r),
            "retained": scores.retained(*four(m), m.mu, m.p, k),
        }
        if k >= r:
            judges["expected"] = scores.expected(*four(m), k, r=r)
        for name, value in judges.items():
            assert float(found.values[name][k - 1]) == pytest.approx(value, abs=1e-7), (name, k)


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.7, 0.95])
def test_smallest_first_with_full_label_rank_equals_literal(fraction: float) -> None:
    moments = layer_of(cases.many_targets_case(d=20))
    found = score_layer(moments).values["smallest_first"]
    m = twin_of(moments)
    k = round(20 * fraction)
    value = scores.smallest_first(*four(m), fraction + 1e-9)
    assert float(found[k - 1]) == pytest.approx(value, abs=SQUARED_PAIR)


@pytest.mark.parametrize("d", [6, 12])
def test_algorithm1_with_full_label_rank_equals_literal(d: int) -> None:
    moments = layer_of(cases.many_targets_case(d=d))
    found = score_layer(moments)
    m = twin_of(moments)
    for k in range(1, d + 1):
        judge = scores.algorithm1(*four(m), k)
        for name in ("algorithm1", "expected"):
            assert float(found.values[name][k - 1]) == pytest.approx(judge, abs=SQUARED_PAIR)


# The columns of U that carry no labels


def whole_bases(moments: LayerMoments) -> list[Tensor]:
    """All columns of U as the code completes them, for the labels and for every shuffle."""
    spaces = solve_subspaces(moments)
    K = spaces.N.whitener
    completed = CompletedBasis.of(LabelSets.of(moments, spaces.N, spaces.labels), spaces.N)
    unit = torch.eye(spaces.N.rank, dtype=K.dtype)
    bases = []
    for Y, YW in zip(completed.reflectors, completed.weighted, strict=True):
        bases.append(K @ (unit - YW @ Y.T))
    return bases


MANY_SHORT = cases.classification_case("few_pairs", seed=32, n=40, lengths=(1, 1))
# Three texts of two tokens among those of one: C0 has rank 3, N has rank 8.
FEW_PAIRS = MANY_SHORT._replace(
    texts=[np.hstack([X, X[::-1]]) if i < 3 else X for i, X in enumerate(MANY_SHORT.texts)]
)
BASIS_CASES = [
    REGULAR[0],  # r² = 9 > m = 8
    cases.classification_case("wide", seed=30, d=12, c=3),  # r² = 9 ≤ m = 12
    cases.classification_case("wide_two", seed=31, d=17, c=4),  # r² = 16 ≤ m = 17
    cases.empty_class_case(),
    cases.few_texts_case(),
    cases.few_texts_case(n=10),
    FEW_PAIRS,
    cases.one_class_case(),
]


@named(BASIS_CASES)
def test_arbitrary_columns_complete_an_orthonormal_basis(case: Case) -> None:
    moments = layer_of(case, shuffles=3)
    labels = [moments.M, *moments.M_shuffled]
    for U, M in zip(whole_bases(moments), labels, strict=True):
        unit = torch.eye(U.shape[1], dtype=U.dtype)
        assert float((U.T @ moments.N @ U - unit).abs().max()) < SQUARED_PAIR
        r = scores.label_rank(moments.N.numpy(), M.numpy())
        # Columns beyond the r-th see no label.
        assert float((M.T @ U[:, r:]).abs().max()) < 1e-7 * float((M.T @ U).abs().max())


@named(BASIS_CASES)
@pytest.mark.parametrize("shuffles", [0, 3])
def test_basis_dependent_scores_equal_pseudo_inverses_on_their_own_basis(
    case: Case, shuffles: int
) -> None:
    assert_pseudo_inverses_give_the_same(layer_of(case, shuffles=shuffles))


@named([*REGULAR, *LARGE])
def test_algorithm1_is_what_lapacks_solver_gives(case: Case) -> None:
    """The eigenvectors behind the labels' rank are rounding's choice: the same solver, the same."""
    moments = layer_of(case)
    found = score_layer(moments)
    m = twin_of(moments)
    # Of the very same bits: another order of the sums in M Mᵀ gives other vectors.
    U = scipy.linalg.eigh((moments.M @ moments.M.T).numpy(), m.N)[1][:, ::-1]
    V = solve_subspaces(moments).V.numpy()
    for k in range(found.n_label_directions + 1, case.d + 1):
        judge = scores.ntps(U[:, :k], V[:, :k])
        assert float(found.values["algorithm1"][k - 1]) == pytest.approx(judge, abs=SQUARED_PAIR)


@named(SINGULAR)
def test_lapacks_eigenvectors_are_served_where_the_metric_is_singular(case: Case) -> None:
    moments = layer_of(case)
    N = factor_metric(moments.N)
    U = N.unwhiten(lapack_vectors(moments.M, N))
    unit = torch.eye(N.rank, dtype=U.dtype)
    assert float((U.T @ moments.N @ U - unit).abs().max()) < SQUARED_PAIR
    r = scores.label_rank(moments.N.numpy(), moments.M.numpy())
    assert float((moments.M.T @ U[:, r:]).abs().max()) < 1e-7 * float((moments.M.T @ U).abs().max())


def test_shuffles_of_lower_label_rank_are_served() -> None:
    """Sets of fewer label directions share the arithmetic with those of more."""
    moments = layer_of(BASIS_CASES[1])
    M = moments.M
    one_direction = M[:, :1].expand(-1, 3)
    stacked = torch.stack([torch.zeros_like(M), one_direction, M.flip(0)])
    broken = replace(
        moments,
        M_shuffled=stacked,
        p_shuffled=moments.p.expand(3, 3),
        Y_shuffled_power=moments.YY.trace().expand(3),
    )
    assert_pseudo_inverses_give_the_same(broken)
    found = score_layer(broken)
    assert bool(found.shuffled["supervised"][0].isnan().all())
    for p, chosen in ((1, one_direction), (2, stacked[2])):
        alone = score_layer(replace(moments, M=chosen))
        for name in ("supervised", "subspace"):
            torch.testing.assert_close(
                found.shuffled[name][p], alone.values[name], rtol=0, atol=1e-7
            )


def assert_pseudo_inverses_give_the_same(moments: LayerMoments) -> None:
    found = score_layer(moments)
    spaces = solve_subspaces(moments)
    V, d = spaces.V.numpy(), moments.width
    for p, basis in enumerate(whole_bases(moments)):
        U = basis.numpy()
        sets = found.values if p == 0 else {n: v[p - 1] for n, v in found.shuffled.items()}
        for k in range(1, d + 1):
            k_u, k_v = (int(columns_at(d, X.shape[1])[k - 1]) for X in (U, V))
            found_one = float(sets["smallest_first"][k - 1])
            if k_u == 0 or k_v == 0:
                assert math.isnan(found_one)
                continue
            judge = scores.ntps(U[:, ::-1][:, :k_u], V[:, ::-1][:, :k_v])
            assert found_one == pytest.approx(judge, abs=SQUARED_PAIR)


@named([BASIS_CASES[0], BASIS_CASES[1], SINGULAR[0]])
@pytest.mark.parametrize("extra", [1, 3])
def test_expected_is_the_mean_over_random_completions(case: Case, extra: int) -> None:
    moments = layer_of(case)
    found = score_layer(moments)
    k = found.n_label_directions + extra
    m = twin_of(moments)
    sampled = scores.expected_monte_carlo(*four(m), k, rng=np.random.default_rng(extra), draws=1000)
    band = SIGMAS * sampled.standard_error + SQUARED_PAIR
    assert abs(float(found.values["expected"][k - 1]) - sampled.value) < band
    assert sampled.standard_error < 0.01


@named([*INVERTIBLE, *SINGULAR])
def test_expected_is_algorithm1_where_the_basis_is_given(case: Case) -> None:
    found = score_layer(layer_of(case))
    r = found.n_label_directions
    one, other = found.values["expected"], found.values["algorithm1"]
    assert torch.equal(one[:r], other[:r])
    # All columns of U together are no choice either.
    m = found.rank_N
    tolerance = conditioned(found.condition_N)
    torch.testing.assert_close(one[m - 1 :], other[m - 1 :], rtol=0, atol=tolerance)


def test_basis_dependence_begins_behind_the_labels() -> None:
    found = score_layer(layer_of(REGULAR[0]))
    assert found.n_label_directions == 3
    assert found.basis_dependent["algorithm1"].tolist() == [False] * 3 + [True] * 5
    assert found.basis_dependent["smallest_first"].tolist() == [True] * 7 + [False]
    for name in ("expected", *MONOTONE):
        assert not found.basis_dependent[name].any()
    full = score_layer(layer_of(cases.many_targets_case()))
    assert not any(flags.any() for flags in full.basis_dependent.values())


def test_equal_label_directions_are_basis_dependent() -> None:
    """With fewer texts than features Λ are the shares of the classes: here 4, 4 and 2 of ten."""
    case = cases.few_texts_case(n=10)
    labels = np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1, 0, 1]]
    found = score_layer(layer_of(case._replace(Y=labels)))
    values = solve_subspaces(layer_of(case._replace(Y=labels))).labels.values
    assert values.tolist() == pytest.approx([0.4, 0.4, 0.2])
    assert found.basis_dependent["expected"].tolist() == [True] + [False] * (case.d - 1)
    assert found.basis_dependent["algorithm1"][:3].tolist() == [True, False, False]
    assert not found.basis_dependent["supervised"].any()


# Chance


@named([REGULAR[0], SINGULAR[0], SINGULAR[1]])
def test_chance_is_the_share_of_columns(case: Case) -> None:
    found = score_layer(layer_of(case))
    d, rank = case.d, found.rank_C0
    used = torch.tensor([min(k, rank) / d for k in range(1, d + 1)], dtype=torch.float64)
    for name in ("algorithm1", "expected", "supervised", "subspace"):
        torch.testing.assert_close(found.chance[name], used, rtol=0, atol=SCORE)
    ascending = columns_at(d, rank).double() / d
    torch.testing.assert_close(found.chance["smallest_first"], ascending, rtol=0, atol=SCORE)
    assert set(found.chance) == set(SCORES)


CHANCE_EQUIVALENT = 0.01  # of the deterministic equivalent of `retained`, at d = 40


@pytest.mark.slow
@pytest.mark.parametrize("decay", [0.0, 1.5])
def test_chance_is_the_mean_score_of_random_directions(decay: float) -> None:
    """With C0 = I and a C1 of noise V is uniformly random, and everything else stays the same."""
    d, draws = 40, 50
    rng = np.random.default_rng(0)
    scale = np.arange(1, d + 1.0) ** -decay
    features = rng.standard_normal((300, d)) * scale
    weights = rng.standard_normal((d, 3)) / scale[:, None]
    Y = features @ weights + np.sqrt(d) * rng.standard_normal((300, 3))
    features, Y = torch.from_numpy(features), torch.from_numpy(Y)
    generator = torch.Generator().manual_seed(0)
    plain = LayerMoments(
        N=features.T @ features / 300,
        M=features.T @ Y / 300,
        C0=torch.eye(d, dtype=torch.float64),
        C1=torch.eye(d, dtype=torch.float64),
        mu=features.mean(0),
        p=Y.mean(0),
        YY=Y.T @ Y / 300,
        next_power=1.0,
        M_shuffled=torch.zeros(0, d, 3, dtype=torch.float64),
        p_shuffled=torch.zeros(0, 3, dtype=torch.float64),
        Y_shuffled_power=torch.zeros(0, dtype=torch.float64),
        n_texts=300,
    )
    found = []
    for _ in range(draws):
        noise = torch.randn(d, d, generator=generator, dtype=torch.float64)
        found.append(score_layer(replace(plain, C1=noise)))
    for name in SCORES:
        values = torch.stack([one.values[name] for one in found])
        error = values.std(0) / math.sqrt(draws)
        floor = CHANCE_EQUIVALENT if name == "retained" else ROUNDING_SLACK
        off = (values.mean(0) - found[0].chance[name]).abs()
        assert bool((off < SIGMAS * error + floor).all()), name


# Shuffled labels


@named([REGULAR[0], REGULAR[3], REGULAR[4], BASIS_CASES[1], LARGE[1], SINGULAR[0]])
def test_shuffled_scores_are_scores_of_the_shuffled_labels(case: Case) -> None:
    moments = layer_of(case, shuffles=3)
    found = score_layer(moments)
    allowed = tolerances(moments)
    for p, permutation in enumerate(shuffled_labels(len(case.texts), 3, 0).numpy()):
        alone = score_layer(layer_of(case._replace(Y=case.Y[permutation])))
        for name in ("expected", *MONOTONE):
            # Their directions come from Gram matrices and are good to half the digits.
            one, other = found.shuffled[name][p], alone.values[name]
            begin = alone.n_label_directions - 1 if name == "expected" else 0
            off = (one - other).abs()[begin:]
            assert bool((off < allowed[begin:].clamp(min=1e-7)).all()), name
        assert float(found.r2_shuffled[p]) == pytest.approx(alone.r2, abs=1e-7)
    for name in SCORES:
        assert found.shuffled[name].shape == (3, case.d)
    assert found.r2_shuffled.shape == (3,)


def test_shuffled_algorithm1_is_that_of_the_shuffled_labels_up_to_the_rank() -> None:
    case = cases.regression_case(seed=33, t=3)
    found = score_layer(layer_of(case, shuffles=3))
    for p, permutation in enumerate(shuffled_labels(len(case.texts), 3, 0).numpy()):
        alone = score_layer(layer_of(case._replace(Y=case.Y[permutation])))
        one, other = found.shuffled["algorithm1"][p], alone.values["algorithm1"]
        torch.testing.assert_close(one[:3], other[:3], rtol=0, atol=1e-6)
        assert bool(one[3:].isnan().all())


def test_without_shuffles_the_controls_are_empty() -> None:
    found = score_layer(layer_of(REGULAR[0]))
    assert found.r2_shuffled.shape == (0,)
    assert all(values.shape == (0, 8) for values in found.shuffled.values())


# Least squares


@named([*REGULAR, *LARGE])
def test_r2_and_mse_equal_least_squares(case: Case) -> None:
    moments = layer_of(case)
    found = score_layer(moments)
    features = literal.pooled_features(case.texts)
    fitted = LinearRegression().fit(features, case.Y).predict(features)
    tolerance = conditioned(metric_condition(moments))
    assert found.r2 == pytest.approx(
        r2_score(case.Y, fitted, multioutput="variance_weighted"), abs=tolerance
    )
    assert found.ols_mse == pytest.approx(mean_squared_error(case.Y, fitted), abs=tolerance)
    n, rank = len(case.texts), np.linalg.matrix_rank(features - features.mean(0))
    assert found.rank_N_centred == rank
    assert found.r2_adjusted == pytest.approx(
        1 - (1 - found.r2) * (n - 1) / (n - rank - 1), abs=tolerance
    )
    assert found.r2_chance == pytest.approx(rank / (n - 1))


def test_r2_of_meaningless_labels_is_r2_chance() -> None:
    case = cases.classification_case(seed=40, n=60, d=10, signal=0.0)
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((60, 200))
    found = score_layer(feed(case._replace(Y=Y)).layer(0))
    # 200 columns: the spread of r2 is about √(2·10·49)/59²/√200.
    assert found.r2 == pytest.approx(found.r2_chance, abs=SIGMAS * 7e-4)
    assert found.r2_chance == pytest.approx(10 / 59)


def test_next_token_r2_is_the_share_of_the_power_explained() -> None:
    case = REGULAR[0]
    found = score_layer(layer_of(case))
    rows = [X.T.cumsum(0)[:-1] for X in case.texts]
    following = np.vstack([X.T[1:] for X in case.texts])
    prefix = np.vstack(rows)
    fitted = prefix @ np.linalg.lstsq(prefix, following, rcond=None)[0]
    judge = 1 - np.sum((following - fitted) ** 2) / np.sum(following**2)
    assert found.next_token_r2 == pytest.approx(judge, abs=SCORE)


def test_next_token_k90_is_where_a_loop_over_eigenvalues_reaches_nine_tenths() -> None:
    for case in REGULAR:
        C0 = sum(S @ S.T for S in (X.cumsum(1)[:, :-1] for X in case.texts))
        C1 = sum(X.cumsum(1)[:, :-1] @ X[:, 1:].T for X in case.texts)
        values = scipy.linalg.eigh(C1 @ C1.T, C0, eigvals_only=True)[::-1]
        k, held = 0, 0.0
        while held < 0.9 * values.sum():
            held += values[k]
            k += 1
        assert score_layer(layer_of(case)).next_token_k90 == k


def test_next_token_k90_of_nothing_to_predict_is_zero() -> None:
    moments = replace(layer_of(REGULAR[0]), C1=torch.zeros_like(layer_of(REGULAR[0]).C1))
    assert score_layer(moments).next_token_k90 == 0


# Hard cases


def test_few_texts_fit_any_labels() -> None:
    found = score_layer(layer_of(cases.few_texts_case(), shuffles=2))
    assert found.rank_N == 7
    assert found.rank_N_centred == 6
    assert found.r2 == pytest.approx(1.0, abs=SQUARED_PAIR)
    assert found.r2_shuffled.tolist() == pytest.approx([1.0, 1.0], abs=SQUARED_PAIR)
    assert math.isnan(found.r2_adjusted)
    assert found.r2_chance == 1.0
    assert found.ols_mse == pytest.approx(0.0, abs=SQUARED_PAIR)


CONSTANT_TARGET = cases.regression_case("constant_target", t=1)._replace(Y=np.full((90, 1), 0.1))


@named([cases.one_class_case(), CONSTANT_TARGET])
def test_labels_that_never_vary_have_no_r2(case: Case) -> None:
    """0/0 is not a number; rounding must not stand in its place."""
    found = score_layer(layer_of(case, shuffles=2))
    for value in (found.r2, found.r2_adjusted, *found.r2_shuffled.tolist()):
        assert math.isnan(value)
    assert bool(found.values["retained"].isnan().all())
    assert bool(found.shuffled["retained"].isnan().all())
    assert bool(found.chance["retained"].isnan().all())
    assert found.n_label_directions == 1
    assert not found.values["supervised"].isnan().any()


def test_labels_of_zeros_have_no_score() -> None:
    found = score_layer(layer_of(REGULAR[3]._replace(Y=np.zeros((90, 2))), shuffles=2))
    assert found.n_label_directions == 0
    for name in ("supervised", "subspace", "retained"):
        assert bool(found.values[name].isnan().all()), name
        assert bool(found.shuffled[name].isnan().all()), name
    assert math.isnan(found.r2)


def test_a_label_column_that_never_varies_changes_no_r2() -> None:
    case = cases.regression_case()
    more = case._replace(Y=np.column_stack([case.Y, np.full(90, 0.7)]))
    plain, with_constant = score_layer(layer_of(case)), score_layer(layer_of(more))
    assert with_constant.r2 == pytest.approx(plain.r2, abs=SCORE)
    torch.testing.assert_close(
        with_constant.values["retained"], plain.values["retained"], rtol=0, atol=SCORE
    )


@pytest.mark.parametrize("value", [0.0, 0.1, 3.0, 1e3, 1e6])
def test_a_constant_coordinate_is_no_feature(value: float) -> None:
    """Its variance is rounding, which must not count as a direction."""
    case = cases.classification_case(seed=14)
    constant = cases.with_constant_column(case, value=value)
    found = score_layer(layer_of(constant))
    assert found.rank_N_centred == 7
    features = np.delete(literal.pooled_features(case.texts), 1, axis=1)
    fitted = LinearRegression().fit(features, case.Y).predict(features)
    assert found.r2 == pytest.approx(
        r2_score(case.Y, fitted, multioutput="variance_weighted"), abs=1e-10
    )


def test_identical_texts_are_refused() -> None:
    X = np.random.default_rng(0).standard_normal((8, 5))
    case = REGULAR[0]._replace(texts=[X] * 90)
    with pytest.raises(MomentsError, match="constant"):
        score_layer(layer_of(case))


@pytest.mark.parametrize("extra", [0, 1, 2, 3, 5, 8])
def test_texts_of_one_token_are_refused(extra: int) -> None:
    case = cases.one_token_case()
    hidden_states, mask = pad_texts(case, extra=extra)
    moments = Moments(1, case.d, case.c)
    moments.update(hidden_states[None], mask, torch.from_numpy(case.Y))
    with pytest.raises(MomentsError, match="single token"):
        score_layer(moments.layer(0))


def test_one_text_is_refused() -> None:
    case = REGULAR[0]._replace(texts=REGULAR[0].texts[1:2], Y=REGULAR[0].Y[1:2])
    with pytest.raises(MomentsError, match="a second moment is zero"):
        score_layer(layer_of(case))


def test_two_texts_are_scored() -> None:
    texts = [X for X in REGULAR[0].texts if X.shape[1] > 3][:2]
    found = score_layer(layer_of(REGULAR[0]._replace(texts=texts, Y=np.eye(3)[:2])))
    assert (found.rank_N, found.rank_N_centred, found.n_label_directions) == (2, 1, 2)
    assert found.r2 == pytest.approx(1.0, abs=SQUARED_PAIR)
    assert math.isnan(found.r2_adjusted)


@pytest.mark.parametrize("threads", [1, 2])
def test_score_moments_scores_every_layer(threads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden_states = torch.randn(3, 30, 4, 5, generator=generator)
    labels = torch.arange(30) % 2
    moments = Moments((0, 3, 7), 5, 2)
    moments.update(hidden_states, torch.ones(30, 4), labels)
    solved: list[int] = []
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        table = score_moments(moments, solved.append)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert sorted(solved) == [0, 3, 7]
    assert table.layers == (0, 3, 7)
    assert table.width == 5
    for layer, found in zip(table.layers, table.by_layer, strict=True):
        alone = score_layer(moments.layer(layer))
        for name in SCORES:
            torch.testing.assert_close(found.values[name], alone.values[name], equal_nan=True)
        assert found.r2 == alone.r2


@pytest.mark.parametrize(
    ("layers", "width", "threads", "expected"),
    [(2, 5, 2, 1), (1, 5, 2, 1), (2, 5, 1, 1), (1, 1025, 2, 2)],
)
def test_layers_share_the_cores(layers: int, width: int, threads: int, expected: int) -> None:
    """One thread for each of several layers, all for a single wide one."""
    moments = Moments(layers, width, 2)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert map_layers(moments, lambda _: torch.get_num_threads()) == [expected] * layers
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_score_moments_names_the_layer_that_fails() -> None:
    hidden_states = torch.randn(2, 6, 4, 5, generator=torch.Generator().manual_seed(0))
    hidden_states[1] = 0
    moments = Moments((0, 4), 5, 2)
    moments.update(hidden_states, torch.ones(6, 4), torch.arange(6) % 2)
    before = torch.get_num_threads()
    with pytest.raises(MomentsError, match=r"layer 4.*a second moment is zero"):
        score_moments(moments)
    assert torch.get_num_threads() == before


def test_a_moment_that_is_not_finite_is_refused() -> None:
    moments = layer_of(REGULAR[0])
    M = moments.M.clone()
    M[0, 0] = math.nan
    for broken in (replace(moments, M=M), replace(moments, C1=M @ M.T)):
        with pytest.raises(MomentsError, match="NaN or infinite"):
            score_layer(broken)


def test_conditions_and_residual_are_those_of_the_metrics() -> None:
    moments = layer_of(LARGE[1])
    found = score_layer(moments)
    for value, B in ((found.condition_N, moments.N), (found.condition_C0, moments.C0)):
        assert value == pytest.approx(factor_metric(B).condition)
        assert value == pytest.approx(np.linalg.cond(B.numpy()), rel=0.1)
    assert found.residual < SCORE


# Relations


def assert_equal_scores(
    one: LayerScores, other: LayerScores, allowed: Tensor, *, labels: Tensor | None = None
) -> None:
    """The scores that hang on no choice of basis are equal to `allowed`, k by k."""
    r = one.n_label_directions
    assert other.n_label_directions == r
    for name in ("expected", *MONOTONE):
        off = (one.values[name] - other.values[name]).abs()
        if name == "expected":
            # For k < r it takes the first k label directions, which may be close to a tie.
            off = off[r - 1 :]
            assert bool((off < allowed[r - 1 :]).all()), name
        else:
            assert bool((off < allowed).all()), name
    assert one.r2 == pytest.approx(other.r2, abs=float(allowed.min()))


random_cases = st.builds(
    lambda seed, d, c, n, classes: (
        cases.classification_case(seed=seed, d=d, n=n, c=c)
        if classes
        else cases.regression_case(seed=seed, d=d, n=n, t=c)
    ),
    seed=st.integers(0, 10_000),
    d=st.integers(2, 9),
    c=st.integers(2, 4),
    n=st.integers(30, 60),
    classes=st.booleans(),
)
fewer = settings(max_examples=10, deadline=None)


@fewer
@given(case=random_cases, seed=st.integers(0, 100))
def test_rotation_leaves_scores_equal(case: Case, seed: int) -> None:
    moments = layer_of(case)
    turn = cases.random_rotation(np.random.default_rng(seed), case.d)
    turned = case._replace(texts=[turn @ X for X in case.texts])
    one, other = score_layer(moments), score_layer(layer_of(turned))
    assert_equal_scores(one, other, tolerances(moments))


@named(SINGULAR)
def test_rotation_and_scaling_leave_scores_equal_where_metrics_are_singular(case: Case) -> None:
    moments = layer_of(case)
    turn = 1.7 * cases.random_rotation(np.random.default_rng(0), case.d)
    turned = case._replace(texts=[turn @ X for X in case.texts])
    one, other = score_layer(moments), score_layer(layer_of(turned))
    assert_equal_scores(one, other, torch.full((case.d,), 1e-7))


@fewer
@given(case=random_cases, scale=st.floats(1e-4, 1e4))
def test_scaling_leaves_scores_equal(case: Case, scale: float) -> None:
    moments = layer_of(case)
    scaled = case._replace(texts=[scale * X for X in case.texts])
    assert_equal_scores(score_layer(moments), score_layer(layer_of(scaled)), tolerances(moments))


@fewer
@given(case=random_cases, data=st.data())
def test_relabelling_classes_leaves_scores_equal(case: Case, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(case.c)))
    moments = layer_of(case)
    renamed = case._replace(Y=case.Y[:, order])
    assert_equal_scores(score_layer(moments), score_layer(layer_of(renamed)), tolerances(moments))


@fewer
@given(case=random_cases, seed=st.integers(0, 100))
def test_order_of_texts_leaves_scores_equal(case: Case, seed: int) -> None:
    moments = layer_of(case)
    order = np.random.default_rng(seed).permutation(len(case.texts))
    moved = case._replace(texts=[case.texts[i] for i in order], Y=case.Y[order])
    assert_equal_scores(score_layer(moments), score_layer(layer_of(moved)), tolerances(moments))


@fewer
@given(case=random_cases)
def test_doubling_texts_leaves_scores_equal(case: Case) -> None:
    moments = layer_of(case)
    twice = score_layer(layer_of(cases.with_duplicates(case)))
    assert_equal_scores(score_layer(moments), twice, tolerances(moments))


@fewer
@given(case=random_cases)
def test_scores_are_bounded_monotone_and_one_at_full_width(case: Case) -> None:
    check_bounds(case)


@named([*INVERTIBLE, *SINGULAR])
def test_scores_of_hard_cases_are_bounded_and_monotone(case: Case) -> None:
    check_bounds(case)


def check_bounds(case: Case) -> None:
    moments = layer_of(case, shuffles=2)
    found = score_layer(moments)
    tolerance = max(ROUNDING_SLACK, conditioned(metric_condition(moments)))
    for name in SCORES:
        every = torch.cat([found.values[name][None], found.shuffled[name]])
        known = every[~every.isnan()]
        assert len(known)
        assert float(known.min()) >= -tolerance
        assert float(known.max()) <= 1 + tolerance
        if name in MONOTONE:
            assert float(every.diff(dim=1).min()) >= -tolerance
        if found.rank_C0 == case.d:
            rows = 1 if name == "algorithm1" else 3  # its shuffles end at the labels' rank
            torch.testing.assert_close(
                every[:rows, -1], torch.ones(rows, dtype=every.dtype), rtol=0, atol=tolerance
            )
        assert float(found.chance[name].min()) >= 0
        assert float(found.chance[name].max()) <= 1


@fewer
@given(case=random_cases)
def test_retained_is_one_minus_excess_loss_over_fit(case: Case) -> None:
    moments = layer_of(case)
    centred = replace(moments, N=moments.N_centred, M=moments.M_centred)
    spaces = solve_subspaces(centred)
    excess = [solve_losses(centred, spaces, k).excess for k in range(1, spaces.V.shape[1] + 1)]
    share = 1 - torch.tensor(excess, dtype=torch.float64) / spaces.labels.values.sum()
    off = (share - score_layer(moments).values["retained"]).abs()
    assert bool((off < tolerances(moments)).all())
