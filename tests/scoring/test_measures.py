"""Measures of held-out estimates and their intervals, against scikit-learn, scipy and loops."""

import numpy as np
import pytest
from scipy.stats import binomtest, spearmanr
from sklearn.metrics import f1_score, mean_squared_error, r2_score

from ntpscore.scoring.measures import Measures, wilson
from ntpscore.text.groups import number_groups

N = 60
ROUNDING = 1e-12  # sums in another order


def measures(task, targets, groups=None):
    groups = np.arange(len(targets)) if groups is None else groups
    means = np.tile(targets.mean(0), (len(targets), 1))
    return Measures.of(task, targets, groups, means, seed=0)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_figures_of_classes_are_those_of_scikit_learn(rng):
    labels = rng.integers(0, 4, N)
    scores = np.eye(4)[labels] + rng.normal(size=(N, 4))
    targets = np.eye(4)[labels]
    rated = measures("classification", targets).rate(scores, scores)
    predicted = scores.argmax(1)
    assert rated["accuracy"] == pytest.approx((predicted == labels).mean(), rel=ROUNDING)
    assert rated["macro_f1"] == pytest.approx(
        f1_score(labels, predicted, average="macro"), rel=ROUNDING
    )
    assert rated["r2"] == pytest.approx(
        r2_score(targets, scores, multioutput="variance_weighted"), rel=1e-9
    )


def test_figures_of_labels_and_targets_are_those_of_scikit_learn_and_scipy(rng):
    labels = (rng.random((N, 3)) < 0.4).astype(float)
    scores = labels + rng.normal(size=(N, 3)) / 2
    rated = measures("multilabel", labels).rate(scores, scores)
    assigned = scores > 0.5
    assert rated["accuracy"] == pytest.approx((assigned == labels).mean(), rel=ROUNDING)
    assert rated["macro_f1"] == pytest.approx(
        f1_score(labels, assigned, average="macro"), rel=ROUNDING
    )
    targets = rng.normal(size=(N, 2))
    scores = targets + rng.normal(size=(N, 2))
    rated = measures("regression", targets).rate(scores, scores)
    assert rated["mse"] == pytest.approx(mean_squared_error(targets, scores), rel=ROUNDING)
    assert rated["spearman"] == pytest.approx(
        np.mean([spearmanr(targets[:, i], scores[:, i])[0] for i in range(2)]), rel=1e-9
    )
    for name in ("mse", "spearman", "r2"):
        assert rated[f"{name}_low"] < rated[name] < rated[f"{name}_high"]


@pytest.mark.parametrize(("right", "n"), [(0, 10), (7, 10), (700, 1000), (10, 10)])
def test_wilson_is_that_of_scipy(right, n):
    expected = binomtest(right, n).proportion_ci(method="wilson")
    # z is rounded to seven digits.
    np.testing.assert_allclose(wilson(right, n), (expected.low, expected.high), atol=1e-6)


@pytest.mark.slow
def test_resamples_draw_whole_groups_and_give_the_intervals_of_a_loop(rng):
    groups = np.repeat(np.arange(N // 2), 2)
    labels = np.repeat(rng.integers(0, 2, N // 2), 2)
    targets = np.eye(2)[labels]
    scores = targets + rng.normal(size=(N, 2))
    found = measures("classification", targets, groups)
    assert (found.weights[:, ::2] == found.weights[:, 1::2]).all()
    assert (found.weights[:, ::2].sum(1) == N // 2).all()
    rated = found.rate(scores, scores)
    right = scores.argmax(1) == labels
    loop, f1 = [], []
    for weights in found.weights:
        rows = np.repeat(np.arange(N), weights.astype(int))
        loop.append(right[rows].mean())
        f1.append(f1_score(labels[rows], scores.argmax(1)[rows], average="macro"))
    for name, values in (("accuracy", loop), ("macro_f1", f1)):
        low, high = np.quantile(values, [0.025, 0.975])
        assert rated[f"{name}_low"] == pytest.approx(low, rel=1e-9)
        assert rated[f"{name}_high"] == pytest.approx(high, rel=1e-9)


def test_standard_error_of_paired_differences_counts_groups(rng):
    a, b = rng.random(N), rng.random(N)
    mean, se = measures("regression", np.zeros((N, 1))).difference(a, b)
    assert mean == pytest.approx((a - b).mean())
    assert se == pytest.approx((a - b).std(ddof=1) / np.sqrt(N), rel=ROUNDING)
    twice = measures("regression", np.zeros((2 * N, 1)), np.tile(np.arange(N), 2))
    assert twice.difference(np.tile(a, 2), np.tile(b, 2)) == pytest.approx((mean, se))


def test_majority_is_what_is_said_without_looking(rng):
    labels = np.array([0] * 30 + [1] * 20 + [2] * 10)
    assert measures("classification", np.eye(3)[labels]).majority() == {"accuracy": 0.5}
    assert measures("regression", rng.normal(size=(N, 1))).majority() == {"r2": 0.0}
    indicators = np.column_stack([labels == 0, labels >= 0, labels == 2]).astype(float)
    said = np.tile([0.0, 1.0, 0.0], (N, 1))
    assert measures("multilabel", indicators).majority() == {
        "accuracy": pytest.approx((said == indicators).mean()),
        "macro_f1": pytest.approx(
            f1_score(indicators, said, average="macro", zero_division=0), rel=ROUNDING
        ),
    }


def test_groups_are_numbered_in_the_order_they_come():
    np.testing.assert_array_equal(number_groups(["b", "a", "b"]), [0, 1, 0])
