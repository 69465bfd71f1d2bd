"""Every metric against its literal twin, its invariances and its errors."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from ntpscore.errors import MetricError, MomentsError, NtpscoreError
from ntpscore.metrics import METRICS
from ntpscore.metrics.alpha_req import alpha_req
from ntpscore.metrics.baselines import (
    majority_share,
    model_size,
    n_classes,
    ridge_accuracy,
    ridge_error,
)
from ntpscore.metrics.gbc import gbc
from ntpscore.metrics.h_score import h_score, h_score_shrunk
from ntpscore.metrics.inputs import deal_out
from ntpscore.metrics.lda import _distances, lda
from ntpscore.metrics.leep import leep
from ntpscore.metrics.log_me import log_me
from ntpscore.metrics.n_leep import n_leep
from ntpscore.metrics.nearest_neighbours import nearest_neighbours
from ntpscore.metrics.ols_r2 import r2, r2_adjusted
from ntpscore.metrics.rank_me import rank_me
from ntpscore.metrics.ridge_cv import hold_out, ridge_cv
from ntpscore.metrics.trans_rate import trans_rate
from tests.reference import metrics as reference
from tests.reference import ridge
from tests.support.metric_cases import SHAPES, make_features, make_moments
from tests.tolerances import BRUTE_FORCE_EVIDENCE, EPS, METRIC, METRIC_FROM_MOMENTS, SIGMAS

shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def evaluate(name: str, X: Any, labels: Any) -> float:
    """A metric of features and labels, whatever it is computed from."""
    metric = METRICS[name]
    if metric.needs == "moments":
        return metric.function(make_moments(X, labels))
    if metric.needs == "labels":
        return metric.function(labels)
    return metric.function(X, labels)


ON_FEATURES = [name for name, m in METRICS.items() if m.needs in {"moments", "features"}]
OF_CLASSES = {
    "h_score", "h_score_shrunk", "leep", "n_leep", "trans_rate", "gbc", "nearest_neighbours", "lda",
    "ridge_accuracy", "ridge_error", "n_classes", "majority_share",
}  # fmt: skip
OF_ANY_LABELS = {"r2", "r2_adjusted", "ridge_cv", "log_me", "rank_me", "alpha_req"}


# -- literal twins --------------------------------------------------------------------------------


@shapes
def test_h_score_is_the_trace_of_between_over_total(shape: tuple[int, int]) -> None:
    X, y = make_features(*shape)
    assert h_score(make_moments(X, y)) == pytest.approx(
        reference.h_score(X, y), rel=METRIC_FROM_MOMENTS
    )


def test_h_score_is_a_weighted_r2_of_one_hot_labels() -> None:
    X, y = make_features(60, 7, c=4, separation=0.3)
    shares = np.bincount(y) / 60
    weighted = reference.r2(X, np.eye(4)[y] / np.sqrt(shares))
    assert h_score(make_moments(X, y)) == pytest.approx(3 * weighted, rel=METRIC_FROM_MOMENTS)


def test_h_score_with_fewer_texts_than_features_sees_no_labels() -> None:
    X, y = make_features(20, 33, c=4)
    shuffled = np.random.default_rng(1).permutation(y)
    assert h_score(make_moments(X, y)) == pytest.approx(3.0, rel=METRIC_FROM_MOMENTS)
    assert h_score(make_moments(X, shuffled)) == pytest.approx(3.0, rel=METRIC_FROM_MOMENTS)
    assert h_score_shrunk(X, y) > h_score_shrunk(X, shuffled) + 0.1


@shapes
def test_h_score_shrunk_uses_ledoit_and_wolf(shape: tuple[int, int]) -> None:
    X, y = make_features(*shape)
    centred = X - X.mean(0)
    assert reference.ledoit_wolf_shrinkage(centred) == pytest.approx(
        ledoit_wolf_shrinkage(X), rel=METRIC
    )
    assert h_score_shrunk(X, y) == pytest.approx(reference.h_score_shrunk(X, y), rel=METRIC)


@shapes
def test_log_me_is_the_largest_marginal_likelihood(shape: tuple[int, int]) -> None:
    X, y = make_features(*shape, separation=0.4)
    Y = np.eye(3)[y]
    assert log_me(make_moments(X, y)) == pytest.approx(
        reference.log_me(X, Y), abs=BRUTE_FORCE_EVIDENCE
    )


@shapes
def test_log_me_of_targets_is_the_largest_marginal_likelihood(shape: tuple[int, int]) -> None:
    X, _ = make_features(*shape)
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(shape[1], 2)) / shape[1] ** 0.5
    Y = X @ weights + rng.normal(size=(shape[0], 2))
    assert log_me(make_moments(X, Y)) == pytest.approx(
        reference.log_me(X, Y), abs=BRUTE_FORCE_EVIDENCE
    )


@shapes
def test_evidence_by_texts_and_by_features_agree(shape: tuple[int, int]) -> None:
    X, y = make_features(*shape)
    target = (y == 0).astype(float)
    for alpha, beta in [(0.1, 2.0), (3.0, 0.5), (50.0, 20.0)]:
        assert reference.log_evidence_n(X, target, alpha, beta) == pytest.approx(
            reference.log_evidence_d(X, target, alpha, beta), rel=METRIC
        )


@shapes
def test_log_me_is_never_below_any_evidence(shape: tuple[int, int]) -> None:
    X, y = make_features(*shape, separation=0.2)
    target = (y == 0).astype(float)
    best = log_me(make_moments(X, target[:, None]))
    for alpha in np.logspace(-6, 6, 25):
        for beta in np.logspace(-2, 4, 13):
            evidence = reference.log_evidence_n(X, target, alpha, beta) / len(X)
            assert evidence <= best + BRUTE_FORCE_EVIDENCE


def test_log_me_of_useless_features_is_that_of_noise_alone() -> None:
    n = 50
    X = np.zeros((n, 2))
    X[:, 0] = np.tile([1.0, -1.0], n // 2)
    X[:, 1] = np.repeat([1.0, -1.0], n // 2)
    target = X[:, 0] * X[:, 1]  # orthogonal to both
    expected = -0.5 * math.log(2 * math.pi) - 0.5
    assert log_me(make_moments(X, target[:, None])) == pytest.approx(expected, rel=METRIC)


def test_log_me_without_noise_has_no_bound() -> None:
    X, _ = make_features(30, 4)
    assert log_me(make_moments(X, X[:, :1] - X[:, 1:2])) == math.inf


@pytest.mark.parametrize("cond", [1e1, 1e4])
def test_log_me_of_texts_that_occur_twice_has_no_bound(cond: float) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(64, 64)) * np.logspace(0, -math.log10(cond), 64)
    X = X @ np.linalg.qr(rng.normal(size=(64, 64)))[0]
    Y = rng.normal(size=(64, 1))
    assert math.isfinite(log_me(make_moments(X, Y)))
    X[-3:], Y[-3:] = X[:3], Y[:3]
    assert log_me(make_moments(X, Y)) == math.inf
    Y[-3:] += 0.1  # now there is noise
    assert math.isfinite(log_me(make_moments(X, Y)))


def test_log_me_with_as_many_texts_as_directions_reaches_the_limit_of_no_noise() -> None:
    X = np.diag([1.0, 2.0, 3.0, 4.0])
    target = np.diag(X).copy()  # every direction has the size it should have
    limit = -0.5 * math.log(2 * math.pi) - 0.5 - np.log(np.diag(X)).sum() / 4
    assert log_me(make_moments(X, target[:, None])) == pytest.approx(limit, rel=METRIC)
    target[:3] = 0.0  # w² is 1 along one direction of four
    limit += 0.5 * math.log(4)
    assert log_me(make_moments(X, target[:, None])) == pytest.approx(limit, rel=20 * EPS)


def test_leep_by_explicit_counts_in_any_chunks() -> None:
    rng = np.random.default_rng(0)
    theta = rng.dirichlet(np.full(11, 0.2), size=40)
    theta[:, 3] = 0.0
    theta /= theta.sum(1, keepdims=True)
    y = np.concatenate([np.arange(4), rng.integers(0, 4, 36)])
    expected = reference.leep(theta, y)
    assert leep([theta], y) == pytest.approx(expected, rel=METRIC)
    assert leep([theta[:7], theta[7:8], theta[8:]], y) == pytest.approx(expected, rel=METRIC)


def test_leep_of_certain_sources_is_minus_the_conditional_entropy() -> None:
    source = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    y = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    expected = 0.5 * (0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert leep([np.eye(2)[source]], y) == pytest.approx(expected, rel=METRIC)


@pytest.mark.parametrize("shape", [(60, 7), (30, 40)])
def test_n_leep_is_leep_of_a_mixture_of_principal_components(shape: tuple[int, int]) -> None:
    X, y = make_features(*shape, separation=0.2, spread=0.5)
    X = X - X.mean(0)
    coordinates, shares = reference.principal_components(X / X.std())
    kept = next(i for i in range(1, 99) if shares[:i].sum() > 0.8)
    assert PCA(0.8, svd_solver="full").fit(X).n_components_ == kept
    assert shares[:kept].sum() < 0.9  # 90 % would be other components
    mixture = GaussianMixture(15, random_state=0).fit(coordinates[:, :kept])
    theta = reference.gaussian_posteriors(
        coordinates[:, :kept], mixture.weights_, mixture.means_, mixture.covariances_
    )
    assert n_leep(X, y) == pytest.approx(reference.leep(theta, y), rel=1e-5, abs=1e-9)


@shapes
def test_trans_rate_is_a_difference_of_coding_rates(shape: tuple[int, int]) -> None:
    X, y = make_features(*shape)
    assert trans_rate(X, y) == pytest.approx(reference.trans_rate(X, y), rel=METRIC)


@pytest.mark.parametrize("shape", [(60, 7), (200, 80)])
def test_gbc_sums_bhattacharyya_coefficients_of_pairs(shape: tuple[int, int]) -> None:
    X, y = make_features(*shape, separation=0.1, spread=0.3)
    expected = reference.gbc(X, y)
    assert expected < -1e-6
    assert gbc(X, y) == pytest.approx(expected, rel=METRIC)


def test_gbc_of_classes_without_variance_takes_the_limit() -> None:
    X = np.array([[0.0, 1.0], [0.0, 1.0], [5.0, 1.0], [5.0, 1.0]])
    assert gbc(X, np.array([0, 0, 1, 1])) == 0.0  # points apart
    assert gbc(X, np.array([0, 1, 0, 1])) == pytest.approx(-2.0)  # the same in both
    assert gbc(X, np.array([0, 1, 1, 2])) == 0.0  # single texts overlap with none


@shapes
def test_nearest_neighbours_by_loops(shape: tuple[int, int]) -> None:
    X, y = make_features(*shape, separation=0.3)
    assert nearest_neighbours(X, y) == pytest.approx(
        reference.nearest_neighbours(X, y, deal_out(y))
    )


def test_nearest_neighbours_is_that_of_scikit_learn_where_no_vote_is_equal() -> None:
    X, y = make_features(80, 6, c=2, separation=0.3)
    centred = X - X.mean(0)
    theirs = KNeighborsClassifier(5, metric="cosine", algorithm="brute")
    predicted = cross_val_predict(theirs, centred, y, cv=PredefinedSplit(deal_out(y)))
    accuracy = (predicted == y).mean()
    assert 0.5 < accuracy < 1
    assert nearest_neighbours(X, y) == pytest.approx(accuracy)


@shapes
def test_lda_is_fitted_to_the_other_folds(shape: tuple[int, int]) -> None:
    X, y = make_features(*shape, separation=0.3)
    assert lda(X, y) == pytest.approx(reference.lda(X, y, deal_out(y)))


def test_lda_is_scikit_learns_where_classes_balance() -> None:
    y = np.arange(40) % 2
    folds = deal_out(y)
    for seed in range(10):
        X = np.random.default_rng(seed).normal(size=(40, 6)) + 0.4 * y[:, None]
        right = 0
        for fold in range(10):
            train, test = folds != fold, folds == fold
            means = np.stack([X[train & (y == label)].mean(0) for label in range(2)])
            shrinkage = ledoit_wolf_shrinkage((X - means[y])[train], assume_centered=True)
            theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
            right += (theirs.fit(X[train], y[train]).predict(X[test]) == y[test]).sum()
        assert lda(X, y) == pytest.approx(right / 40), seed


def test_lda_counts_a_class_of_one_text_as_an_error() -> None:
    X, y = make_features(40, 5, c=2, separation=8.0)
    assert lda(X, y) == 1.0
    lonely = np.append(y, 2)
    assert lda(np.vstack([X, 30 + X[:1]]), lonely) == pytest.approx(40 / 41)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lda", "nearest_neighbours", "ridge_accuracy"])
def test_accuracy_without_signal_is_that_of_chance(name: str) -> None:
    y = np.arange(80) % 5
    values = [
        evaluate(name, np.random.default_rng(seed).normal(size=(80, 10)), y) for seed in range(20)
    ]
    assert np.mean(values) == pytest.approx(0.2, abs=SIGMAS * np.std(values) / 20**0.5)


@shapes
def test_rank_me_from_moments_is_that_of_singular_values(shape: tuple[int, int]) -> None:
    X, y = make_features(*shape)
    assert rank_me(make_moments(X, y)) == pytest.approx(
        reference.rank_me(X), rel=METRIC_FROM_MOMENTS
    )


def test_rank_me_counts_equal_directions() -> None:
    assert rank_me(make_moments(3 * np.eye(6), np.arange(6))) == pytest.approx(6.0)


@shapes
def test_alpha_req_is_a_weighted_line_through_the_spectrum(shape: tuple[int, int]) -> None:
    X, y = make_features(*shape)
    assert alpha_req(make_moments(X, y)) == pytest.approx(
        reference.alpha_req(X), rel=METRIC_FROM_MOMENTS
    )


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_alpha_req_finds_the_exponent_of_a_power_law(alpha: float) -> None:
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(np.column_stack([np.ones(50), rng.normal(size=(50, 20))]))[0][:, 1:]
    X = directions * np.arange(1, 21) ** (-alpha / 2)
    assert alpha_req(make_moments(X, np.arange(50) % 2)) == pytest.approx(alpha, rel=1e-8)


def test_r2_is_that_of_least_squares_on_labels_of_any_kind() -> None:
    X, y = make_features(60, 7, separation=0.3)
    targets = np.random.default_rng(2).normal(size=(60, 2)) + X[:, :2]
    for labels, Y in [(y, np.eye(3)[y]), (targets, targets)]:
        expected = reference.r2(X, Y)
        moments = make_moments(X, labels)
        assert r2(moments) == pytest.approx(expected, rel=METRIC_FROM_MOMENTS)
        adjusted = 1 - (1 - expected) * 59 / 52
        assert r2_adjusted(moments) == pytest.approx(adjusted, rel=METRIC_FROM_MOMENTS)


def test_r2_adjusted_is_not_defined_without_spare_texts() -> None:
    X, y = make_features(20, 33)
    moments = make_moments(X, y)
    assert r2(moments) == pytest.approx(1.0)
    with pytest.raises(MetricError, match="20 texts span 19 dimensions"):
        r2_adjusted(moments)


@shapes
def test_ridge_cv_is_that_of_refits_without_each_fold(shape: tuple[int, int]) -> None:
    X, y = make_features(*shape, separation=0.3)
    Y, folds = np.eye(3)[y], deal_out(y)
    held_out = hold_out(X, y)
    predicted = ridge.held_out_predictions(ridge.standardise(X), Y, folds, held_out.penalty)
    others = np.stack([Y[folds != fold].mean(0) for fold in folds])
    expected = 1 - ((Y - predicted) ** 2).sum() / ((Y - others) ** 2).sum()
    assert ridge_cv(X, y) == held_out.r2 == pytest.approx(expected, rel=1e-7)
    right = ((predicted + Y.mean(0) - others).argmax(1) == y).mean()
    assert ridge_accuracy(X, y) == pytest.approx(right)
    assert ridge_error(X, y) == pytest.approx(1 - right)


def test_baselines_of_the_data_and_of_the_model() -> None:
    y = np.array([4, 4, 4, 7, 9])
    assert n_classes(y) == 3
    assert majority_share(y) == pytest.approx(0.6)
    tied = nn.Linear(5, 3, bias=False)
    assert model_size(nn.Sequential(nn.Linear(2, 3), tied, tied)) == 2 * 3 + 3 + 15


# -- relations ------------------------------------------------------------------------------------


# Where the mixture of n_leep ends hangs on its start, and so on last digits and row numbers.
STANDARDISED = {"ridge_cv", "ridge_accuracy", "ridge_error"}
# Another order deals texts out to other folds.
HELD_OUT = {*STANDARDISED, "lda", "nearest_neighbours"}
STEADY = [name for name in ON_FEATURES if name != "n_leep"]


@pytest.mark.parametrize("name", STEADY)
@given(seed=st.integers(0, 10**6), wide=st.booleans())
@settings(max_examples=6, deadline=None)
def test_metric_ignores_rotation_order_and_names_of_classes(
    name: str, seed: int, wide: bool
) -> None:
    n, d = (40, 50) if wide else (40, 6)
    X, y = make_features(n, d, seed=seed, separation=0.3)
    if name == "r2_adjusted" and wide:
        return
    rng = np.random.default_rng(seed)
    value = evaluate(name, X, y)
    assert math.isfinite(value)
    assert evaluate(name, X, np.array([2, 0, 1])[y]) == pytest.approx(value, rel=1e-6, abs=1e-8)
    if name not in STANDARDISED:
        rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
        assert evaluate(name, X @ rotation, y) == pytest.approx(value, rel=1e-6, abs=1e-8)
    if name not in HELD_OUT:
        order = rng.permutation(n)
        assert evaluate(name, X[order], y[order]) == pytest.approx(value, rel=1e-6, abs=1e-8)


def test_n_leep_ignores_names_of_classes_and_scale_but_not_its_seed() -> None:
    X, y = make_features(60, 6, separation=0.3)
    value = n_leep(X, y)
    assert n_leep(X, y) == value
    assert n_leep(X, np.array([2, 0, 1])[y]) == pytest.approx(value, rel=METRIC)
    assert n_leep(4 * X, y) == pytest.approx(value, rel=METRIC)  # 4 changes no last digit
    assert len({round(n_leep(X, y, seed=seed), 6) for seed in range(5)}) > 1


@pytest.mark.parametrize("name", STEADY)
@given(scale=st.floats(0.01, 100.0))
@settings(max_examples=4, deadline=None)
def test_metric_ignores_the_scale_of_features(name: str, scale: float) -> None:
    X, y = make_features(40, 6, separation=0.3)
    value = evaluate(name, X, y)
    assert evaluate(name, scale * X, y) == pytest.approx(value, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", sorted(OF_CLASSES & set(ON_FEATURES)))
@given(seed=st.integers(0, 10**6))
@settings(max_examples=5, deadline=None)
def test_metric_prefers_classes_that_are_apart(name: str, seed: int) -> None:
    merit = METRICS[name].merit
    together = evaluate(name, *make_features(60, 6, seed=seed, separation=0.0))
    apart = evaluate(name, *make_features(60, 6, seed=seed, separation=20.0))
    if name == "ridge_error":
        assert apart < together
    else:
        assert merit(apart) > merit(together)


@given(seed=st.integers(0, 10**6), n=st.integers(10, 50), d=st.integers(2, 30))
@settings(max_examples=10, deadline=None)
def test_values_stay_in_their_ranges(seed: int, n: int, d: int) -> None:
    X, y = make_features(n, d, c=3, seed=seed, separation=0.5)
    moments = make_moments(X, y)
    slack = 1e-9
    assert -slack <= h_score(moments) <= min(2, d) + slack
    assert -slack <= h_score_shrunk(X, y) <= 2 + slack
    assert -slack <= r2(moments) <= 1
    assert 1 - slack <= rank_me(moments) <= min(n, d) + slack
    assert alpha_req(moments) >= 0
    assert trans_rate(X, y) >= -slack
    assert -6 - slack <= gbc(X, y) <= 0
    assert ridge_cv(X, y) <= 1
    for accuracy in (nearest_neighbours(X, y), lda(X, y), ridge_accuracy(X, y)):
        assert 0 <= accuracy <= 1
    shares = np.bincount(y) / n
    theta = np.random.default_rng(seed).dirichlet(np.ones(4), size=n)
    assert (shares * np.log(shares)).sum() - 0.5 <= leep([theta], y) <= 0


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(OF_CLASSES - {"leep"}))
@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_metric_of_classes_refuses_other_labels(name: str, kind: str) -> None:
    X, _ = make_features(40, 6)
    rng = np.random.default_rng(0)
    labels = rng.normal(size=(40, 2)) if kind == "regression" else rng.integers(0, 2, (40, 3)) * 1.0
    with pytest.raises(MetricError, match="needs one class per text"):
        evaluate(name, X, labels)


@pytest.mark.parametrize("name", sorted(OF_CLASSES - {"leep"}))
def test_metric_of_classes_refuses_a_single_class(name: str) -> None:
    X, _ = make_features(20, 4)
    with pytest.raises(MetricError, match="needs at least two classes, got 1"):
        evaluate(name, X, np.zeros(20, dtype=np.int64))


@pytest.mark.parametrize("name", sorted(OF_ANY_LABELS))
@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_metric_of_any_labels_takes_them(name: str, kind: str) -> None:
    X, _ = make_features(40, 6)
    rng = np.random.default_rng(0)
    labels = rng.normal(size=(40, 2)) if kind == "regression" else rng.integers(0, 2, (40, 3)) * 1.0
    assert math.isfinite(evaluate(name, X, labels))


@pytest.mark.parametrize("name", ON_FEATURES)
@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_metric_of_features_that_never_differ_is_an_error(name: str, constant: float) -> None:
    X, y = np.full((20, 4), constant), np.arange(20) % 2
    if name in {"rank_me", "log_me"} and constant:
        assert math.isfinite(evaluate(name, X, y))  # they look at uncentred features
    elif name == "nearest_neighbours":
        assert 0 <= evaluate(name, X, y) <= 1
    else:
        with pytest.raises((MetricError, MomentsError)):
            evaluate(name, X, y)


@pytest.mark.parametrize("name", [n for n in ON_FEATURES if METRICS[n].needs == "features"])
def test_metric_refuses_bad_features(name: str) -> None:
    X, y = make_features(30, 4)
    broken = X.copy()
    broken[3, 1] = np.nan
    with pytest.raises(MetricError, match="features of text 3 are NaN"):
        evaluate(name, broken, y)
    with pytest.raises(MetricError, match="29 labels don't fit 30 texts"):
        evaluate(name, X, y[1:])
    with pytest.raises(MetricError, match="must be a matrix"):
        evaluate(name, X[0], y)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([np.full((6, 3), 0.5)], "add up to one"),
        ([np.full(3, 1 / 3)], "add up to one"),
        ([np.full((4, 2), 0.5)], "4 source distributions don't fit 6 labels"),
        ([np.full((7, 2), 0.5)], "more source distributions than the 6 labels"),
        ([], "0 source distributions don't fit"),
    ],
)
def test_leep_refuses_what_is_no_distribution(source: list[np.ndarray], message: str) -> None:
    with pytest.raises(MetricError, match=message):
        leep(source, np.array([0, 1, 0, 1, 0, 1]))


def test_leep_refuses_other_labels() -> None:
    with pytest.raises(MetricError, match="needs one class per text"):
        leep([np.full((6, 2), 0.5)], np.ones((6, 1)))


def test_a_shrunk_covariance_that_stays_singular_is_an_error() -> None:
    X = np.outer([1.0, -1.0, 1.0, -1.0], [1.0, 1.0])  # Ledoit and Wolf see no reason to shrink
    y = np.array([0, 0, 1, 1])
    with pytest.raises(MetricError, match="shrunk covariance of the features is singular"):
        h_score_shrunk(X, y)
    with pytest.raises(MetricError, match="lda needs a covariance that can be inverted"):
        _distances(X, X, y, 2)


def test_lda_of_a_single_text_that_differs_is_an_error() -> None:
    X = np.repeat([[0.0, 0.0], [3.0, 1.0]], 5, axis=0)
    y = np.repeat([0, 1], 5)
    with pytest.raises(MetricError, match="differ within their classes"):
        lda(X, y)
    X[7] = [3.0, 2.0]
    with pytest.raises(MetricError, match="lda needs"):
        lda(X, y)


def test_lda_takes_features_of_width_one() -> None:
    X, y = make_features(30, 1, c=2, separation=3.0)
    assert lda(X, y) == pytest.approx(reference.lda(X, y, deal_out(y)))


def test_n_leep_refuses_more_clusters_than_texts() -> None:
    X, y = make_features(14, 3)
    with pytest.raises(MetricError, match="15 in all"):
        n_leep(X, y)


def test_log_me_refuses_a_label_column_of_zeros() -> None:
    X, y = make_features(20, 3)
    with pytest.raises(MetricError, match="zero everywhere"):
        log_me(make_moments(X, np.column_stack([y == 0, np.zeros(20)]).astype(float)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((30, 1)), "never differ"),
        (np.full((30, 1), np.nan), "NaN"),
        (np.linspace(0, 1, 30), "integers of shape"),
    ],
)
def test_ridge_refuses_bad_labels(labels: np.ndarray, message: str) -> None:
    X, _ = make_features(30, 3)
    with pytest.raises(MetricError, match=message):
        ridge_cv(X, labels)


def test_r2_refuses_labels_that_never_differ() -> None:
    X, _ = make_features(30, 3)
    with pytest.raises(MetricError, match="never differ"):
        r2(make_moments(X, np.zeros((30, 1))))


# -- registry -------------------------------------------------------------------------------------


def test_registry_names_every_function_by_its_own_name() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name == metric.function.__name__
        assert metric.reference
    assert set(METRICS) == OF_CLASSES | OF_ANY_LABELS | {"model_size"}
    assert issubclass(MetricError, NtpscoreError)


def test_merit_is_higher_for_the_better_value() -> None:
    assert METRICS["r2"].merit(0.7) > METRICS["r2"].merit(0.6)
    assert METRICS["n_classes"].merit(2) > METRICS["n_classes"].merit(3)
    assert METRICS["alpha_req"].merit(1.1) > METRICS["alpha_req"].merit(0.8)
    assert METRICS["alpha_req"].merit(0.9) > METRICS["alpha_req"].merit(1.3)


@pytest.mark.parametrize("name", ["nearest_neighbours", "lda", "ridge_accuracy"])
def test_repeated_texts_are_not_judged_by_their_own_repetitions(name: str) -> None:
    rng = np.random.default_rng(5)
    X = np.repeat(rng.normal(size=(80, 30)), 6, axis=0)
    y = np.repeat(rng.permutation(80) % 2, 6)
    metric = METRICS[name]
    assert metric.in_folds
    # Coin tosses: three standard errors of 80 independent texts above one half.
    assert metric.function(X, y, groups=np.repeat(np.arange(80), 6)) < 0.5 + 3 * 0.5 / 80**0.5
    assert metric.function(X, y) > 0.72
