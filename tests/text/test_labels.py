import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntpscore.errors import DataError
from ntpscore.text import load_text


def _load(labels, **options):
    """Load texts with these labels, or with several label columns if a dict is given."""
    columns = labels if isinstance(labels, dict) else {"label": pd.Series(labels, dtype=object)}
    if len(columns) > 1:
        options["label_column"] = ",".join(columns)
    n_rows = len(next(iter(columns.values())))
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(n_rows)]} | columns)
    return load_text(frame, **options)


def _load_csv(write_file, cells, **options):
    return load_text(
        write_file("a.csv", "text,label\n" + "".join(f"t,{cell}\n" for cell in cells)), **options
    )


@pytest.mark.parametrize(
    ("labels", "classes", "indices"),
    [
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        ([10, 9, -1], ("-1", "9", "10"), [2, 1, 0]),
        ([True, False, True], ("false", "true"), [1, 0, 1]),
    ],
)
def test_classes_are_sorted(labels, classes, indices):
    text = _load(labels)
    assert text.task == "classification"
    assert text.classes == classes
    assert text.labels.tolist() == indices
    assert text.target_mean is text.target_sd is None


def test_one_class_only_is_refused():
    message = "at least two classes; all 3 rows have label 'x'"
    with pytest.raises(DataError, match=message):
        _load(["x", "x", "x"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b", 1], "row 1 has the string 'a', .*row 3 the int 1"),
        ([0, 1, True], "row 1 has the int 0, .*row 3 the truth value True"),
        ([0.5, "a", 1], "row 1 has the float 0.5, .*row 2 the string 'a'"),
        ([["a"], "a"], "row 1 has the list"),
        ([["a"], ["b", 1]], "row 1 has the string 'a', .*row 2 the int 1"),
    ],
)
def test_labels_of_mixed_kinds_are_refused_with_the_first_rows(labels, message):
    with pytest.raises(DataError, match=message):
        _load(labels)


@pytest.mark.parametrize("label", [{"a": 1}, pd.Timestamp(0)])
def test_labels_of_other_types_are_refused(label):
    with pytest.raises(DataError, match="the task 'auto' needs strings, numbers"):
        _load([label, label])


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        ("classification", [0.5, 1.5]),
        ("classification", [float("inf"), 1.0]),
        ("classification", [["a", "b"], ["b"]]),
        ("regression", ["a", "b"]),
        ("regression", [True, False]),
        ("regression", [["a"], ["b"]]),
        ("multilabel", ["a", "b"]),
        ("multilabel", [0, 1]),
        ("multilabel", [0.5, 1.5]),
    ],
)
def test_labels_unfit_for_the_task_are_refused(task, labels):
    with pytest.raises(DataError, match=f"row 1: the label .*; the task '{task}' needs"):
        _load(labels, task=task)


def test_whole_floats_are_classes_if_asked_for():
    text = _load([10.0, 2.0, 2.0], task="classification")
    assert text.classes == ("2", "10")
    assert text.labels.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("labels", "task"),
    [([1.0, 2.5, 4.0], "auto"), ([1, 2.5, 4], "auto"), ([1, 2, 6], "regression")],
)
def test_regression_targets_are_standardised(labels, task):
    text = _load(labels, task=task)
    values = np.array(labels, dtype=float)
    assert text.task == "regression"
    assert text.classes == ("label",)
    assert text.target_mean == (values.mean(),)
    assert text.target_sd == (values.std(),)
    assert text.labels.shape == (3, 1)
    np.testing.assert_allclose(text.labels[:, 0] * values.std() + values.mean(), values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20).filter(lambda v: np.ptp(v) > 1e-3))
def test_regression_targets_have_mean_zero_and_deviation_one(labels):
    text = _load(labels, task="regression")
    # The mean of n numbers of size m is exact to m times the rounding unit.
    assert abs(text.labels.mean()) <= 1e-14 * max(map(abs, labels)) / text.target_sd[0]
    assert text.labels.std() == pytest.approx(1)


@pytest.mark.parametrize("value", [0.1, 0.0, 1e-200])
def test_constant_target_is_refused(value):
    with pytest.raises(DataError, match=r"the target 'label' is .* in all 3 rows"):
        _load([value] * 3)


def test_target_whose_spread_underflows_is_refused():
    with pytest.raises(DataError, match="needs labels that differ"):
        _load([1e-200, 2e-200])


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), 1e200, 10**400])
def test_target_that_is_not_finite_is_refused(value):
    with pytest.raises(DataError, match=r"row 2: the target 'label' is .*not finite"):
        _load([0.5, value, 0.7])


def test_target_that_is_nan_is_missing():
    with pytest.raises(DataError, match="row 2: no label"):
        _load([0.5, float("nan"), 0.7])


@pytest.mark.parametrize("labels", [[["b", "a"], [], ["a", "a"]], [[2, 1], [], [1]]])
def test_lists_are_multilabel_and_may_be_empty(labels):
    text = _load(labels)
    assert text.task == "multilabel"
    assert text.classes in {("a", "b"), ("1", "2")}
    assert text.labels.dtype == np.float64
    assert text.labels.tolist() == [[1, 1], [0, 0], [1, 0]]


@pytest.mark.parametrize(
    "labels",
    [
        [[1, 0, 0], [1, 0, 1]],
        [[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]],
        [[True, False, False], [True, False, True]],
    ],
)
def test_lists_of_zeros_and_ones_of_one_length_are_a_matrix(labels):
    text = _load(labels)
    assert text.classes == ("0", "2")  # nobody has class 1
    assert text.labels.tolist() == [[1, 0], [1, 1]]


def test_lists_of_one_label_each_are_classes():
    for labels in ([[1], [0], [1]], [["b"], ["a"], ["b"]], [[1.0], [0.0], [1.0]] * 2):
        text = _load(labels)
        assert text.task == "classification"
        assert text.labels.tolist() == [1, 0, 1] * (len(labels) // 3)
        assert "--task multilabel" in text.source.reading.guesses[0]


def test_lists_of_one_zero_or_one_are_class_numbers_if_lists_are_asked_for():
    text = _load([[1], [0], [1]], task="multilabel")
    assert text.labels.tolist() == [[0, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize("labels", [[[0.5, 1.0]], [[True], [False, True]], [[["a"]], [["b"]]]])
def test_lists_of_anything_else_are_refused(labels):
    with pytest.raises(DataError, match="row 1: a list of labels must hold strings or integers"):
        _load(labels)


@pytest.mark.parametrize("labels", [[[], []], [["a", "a"], ["a"]], [["a", "b"], ["b", "a"]]])
def test_multilabel_that_tells_no_rows_apart_is_refused(labels):
    with pytest.raises(DataError, match="needs labels that differ: all 2 rows"):
        _load(labels)


def test_list_with_a_missing_label_is_refused():
    with pytest.raises(DataError, match="row 2: no label"):
        _load([["a"], ["b", None]])


@pytest.mark.parametrize("b", [[1, 0, 0], [True, False, False]])
def test_columns_of_zeros_and_ones_are_multilabel(b):
    text = _load({"a": [0, 1, 1], "b": b})
    assert text.task == "multilabel"
    assert text.classes == ("a", "b")
    assert text.labels.tolist() == [[0, 1], [1, 0], [1, 0]]
    assert text.source.columns["label"] == "a,b"


def test_columns_of_floats_are_targets():
    text = _load({"a": [0.5, 1.5], "b": [1, 4]})
    assert text.task == "regression"
    assert text.classes == ("a", "b")
    assert text.target_mean == (1.0, 2.5)
    assert text.target_sd == (0.5, 1.5)
    assert text.labels.tolist() == [[-1, -1], [1, 1]]


def test_columns_of_whole_floats_are_multilabel_if_asked_for():
    text = _load({"a": [0.0, 1.0], "b": [1.0, 1.0]}, task="multilabel")
    assert text.labels.tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize(
    ("columns", "task", "message"),
    [
        ({"a": [0, 1], "b": [0, 2]}, "auto", "row 2: the label column 'b' holds 2"),
        ({"a": [0, 1], "b": ["x", "y"]}, "auto", "label column 'b' holds a string"),
        ({"a": [0, 1], "b": [0, 1]}, "classification", "don't suit the task 'classification'"),
        ({"a": [0.5, 1], "b": [True, False]}, "regression", "don't suit the task 'regression'"),
        ({"a": [0.5, 1], "b": [0.5, 0.5]}, "auto", "the target 'b' is 0.5 in all 2 rows"),
    ],
)
def test_columns_unfit_for_the_task_are_refused(columns, task, message):
    with pytest.raises(DataError, match=message):
        _load(columns, task=task)


@pytest.mark.parametrize(
    ("cells", "task", "classes"),
    [
        (["10", "9", "-1", "0"], "classification", ("-1", "0", "9", "10")),
        (["007", "7", "8"], "classification", ("007", "7", "8")),
        (["0.37", "1", "-2e-3", ".5"], "regression", ("label",)),
        (["True", "False"], "classification", ("False", "True")),
    ],
)
def test_csv_labels_are_recognised(write_file, cells, task, classes):
    text = _load_csv(write_file, cells)
    assert (text.task, text.classes) == (task, classes)


def test_csv_label_of_more_digits_than_an_integer_may_have_is_a_name(write_file):
    digits = "1" * 5000
    assert _load_csv(write_file, ["2", digits]).classes == (digits, "2")


def test_csv_labels_of_numbers_and_names_are_refused_unless_classes_are_asked_for(write_file):
    cells = ["joy", "0.5", "911"]
    with pytest.raises(DataError, match=r"line 3: the label '0.5' is a number, but 'joy' .*line 2"):
        _load_csv(write_file, cells)
    assert _load_csv(write_file, cells, task="classification").classes == ("0.5", "911", "joy")


@pytest.mark.parametrize(
    "cells", [["1", "", "0"], ["0.5", " ", "1"], ["a", "", "b"], ["1.", "nan", "2"]]
)
def test_csv_label_that_is_blank_is_missing(write_file, cells):
    with pytest.raises(DataError, match="line 3: no label"):
        _load_csv(write_file, cells)


def test_csv_target_that_is_infinite_is_refused(write_file):
    with pytest.raises(DataError, match="line 3: the target 'label' is inf: not finite"):
        _load_csv(write_file, ["0.5", "inf", "2"])


def test_csv_labels_of_other_splits_have_no_say(write_file):
    path = write_file("a.csv", "text,label,split\na,1,train\nb,0,train\nc,?,test\n")
    assert load_text(path).classes == ("0", "1")
