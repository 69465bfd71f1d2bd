"""Figures of a split against loops, and their intervals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntpscore.adapt import Evaluation, evaluate
from ntpscore.errors import DataError
from tests.reference.adapt import literal
from tests.tolerances import SCORE, SIGMAS


def some_classes(n: int = 60, c: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(c, size=n)
    outputs = rng.normal(size=(n, c)) + 1.5 * np.eye(c)[labels]
    return outputs, labels


def test_classes_against_loops() -> None:
    outputs, labels = some_classes()
    train = np.array([2, 2, 1, 0, 2])
    found = evaluate(outputs, labels, task="classification", split="dev", train_labels=train)
    predicted = [max(range(3), key=lambda c: row[c]) for row in outputs]
    assert found.split == "dev"
    assert found.n == 60
    assert found.accuracy == pytest.approx(
        sum(a == b for a, b in zip(predicted, labels, strict=True)) / 60
    )
    assert found.majority_accuracy == pytest.approx(sum(labels == 2) / 60)
    assert found.macro_f1 == pytest.approx(literal.macro_f1(labels.tolist(), predicted))
    losses = [literal.cross_entropy(z, y) for z, y in zip(outputs, labels, strict=True)]
    assert found.loss == pytest.approx(sum(losses) / 60, rel=SCORE)
    assert found.r2 is None
    assert found.mse is None


def test_least_squares_of_classes_has_r2_and_mse_of_one_hot_columns() -> None:
    outputs, labels = some_classes()
    found = evaluate(
        outputs, labels, task="classification", split="x", train_labels=labels, kind="targets"
    )
    one_hot = np.array([[float(label == c) for c in range(3)] for label in labels])
    assert found.mse == pytest.approx(((outputs - one_hot) ** 2).mean(), rel=SCORE)
    spread = ((one_hot - one_hot.mean(0)) ** 2).sum()
    assert found.r2 == pytest.approx(1 - ((outputs - one_hot) ** 2).sum() / spread, rel=SCORE)
    assert found.loss == found.mse
    assert found.accuracy is not None


def test_regression_has_r2_and_mse_with_intervals_around_them() -> None:
    rng = np.random.default_rng(0)
    labels = rng.normal(size=(200, 2))
    outputs = labels + 0.5 * rng.normal(size=(200, 2))
    found = evaluate(outputs, labels, task="regression", split="x", train_labels=labels)
    assert found.accuracy is None
    assert found.majority_accuracy is None
    for value, interval in ((found.r2, found.r2_interval), (found.mse, found.mse_interval)):
        assert value is not None
        assert interval is not None
        assert interval[0] < value < interval[1]


def test_multilabel_counts_labels_and_thresholds_at_zero_or_one_half() -> None:
    labels = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    logits = np.array([[0.6, -1.0, -2.0], [0.2, 3.0, -1.0]])
    train = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    found = evaluate(logits, labels, task="multilabel", split="x", train_labels=train)
    assert found.accuracy == pytest.approx(5 / 6)
    assert found.majority_accuracy == pytest.approx(4 / 6)
    # The third class never occurs: F1 of the first is 2/3, of the second 1.
    assert found.macro_f1 == pytest.approx((2 / 3 + 1) / 2)
    loss = sum(
        math.log(1 + math.exp(-z if y else z))
        for z, y in zip(logits.ravel(), labels.ravel(), strict=True)
    )
    assert found.loss == pytest.approx(loss / 6)
    targets = evaluate(
        logits, labels, task="multilabel", split="x", train_labels=train, kind="targets"
    )
    assert targets.accuracy == pytest.approx(1.0)


def test_multilabel_without_any_label_has_no_f1() -> None:
    nothing = np.zeros((2, 2))
    found = evaluate(nothing - 1, nothing, task="multilabel", split="x", train_labels=nothing)
    assert found.macro_f1 is None
    assert found.accuracy == 1.0


def test_interval_of_accuracy_is_that_of_a_binomial() -> None:
    labels = np.zeros(400, dtype=int)
    outputs = np.zeros((400, 2))
    outputs[:300, 0], outputs[300:, 1] = 1.0, 1.0
    found = evaluate(
        outputs, labels, task="classification", split="x", train_labels=labels, bootstrap=4000
    )
    assert found.accuracy_interval is not None
    low, high = found.accuracy_interval
    sd = math.sqrt(0.75 * 0.25 / 400)
    # The standard error of a 2.5 % quantile of 4000 normal values is 0.042 sd; steps are 1/400.
    slack = SIGMAS * 0.042 * sd + 1 / 400
    assert low == pytest.approx(0.75 - 1.96 * sd, abs=slack)
    assert high == pytest.approx(0.75 + 1.96 * sd, abs=slack)


@given(seed=st.integers(0, 2**32 - 1))
def test_bootstrap_is_the_seeds_and_leaves_the_global_generator(seed: int) -> None:
    outputs, labels = some_classes(n=20)
    arguments = {"task": "classification", "split": "x", "train_labels": labels, "bootstrap": 20}
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one = evaluate(outputs, labels, seed=seed, **arguments)
    assert one == evaluate(outputs, labels, seed=seed, **arguments)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert one.accuracy_interval[0] <= one.accuracy <= one.accuracy_interval[1]


def test_without_bootstrap_there_is_no_interval_and_constant_targets_have_no_r2() -> None:
    labels = np.ones((5, 1))
    found = evaluate(
        labels + 1, labels, task="regression", split="x", train_labels=labels, bootstrap=0
    )
    assert found.mse == 1.0
    assert found.mse_interval is None
    assert found.r2 is None
    assert found.r2_interval is None


@pytest.mark.parametrize(
    ("outputs", "labels", "task", "message"),
    [
        (np.zeros((3, 2)), np.zeros(4, dtype=int), "classification", "4 labels don't fit"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), "classification", "0 labels"),
        (np.full((3, 2), np.nan), np.zeros(3, dtype=int), "classification", "text 0 of split 'x'"),
        (np.zeros((3, 2)), np.full(3, 2), "classification", "class indices run from 2 to 2"),
        (np.zeros((3, 2)), np.zeros((3, 1)), "regression", "don't fit 2 outputs"),
    ],
)
def test_what_does_not_fit_is_refused(
    outputs: np.ndarray, labels: np.ndarray, task: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(outputs, labels, task=task, split="x", train_labels=labels)


def test_evaluation_survives_json() -> None:
    import json
    from dataclasses import asdict

    outputs, labels = some_classes()
    found = evaluate(outputs, labels, task="classification", split="x", train_labels=labels)
    assert Evaluation.from_record(json.loads(json.dumps(asdict(found)))) == found
