"""What label cells stand for: numbers, lists, truth values, nothing; in files and frames alike."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from ntpscore.errors import DataError
from ntpscore.text import describe_reading, load_text
from ntpscore.text.cells import parse_list


def _frame(labels, name="label"):
    return pd.DataFrame({"text": [f"text {i}" for i in range(len(labels))], name: labels})


def _in_three_formats(tmp_path, frame):
    """The frame itself and the paths of it in a file of strings and one of types."""
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    return [frame, str(tmp_path / "a.csv"), str(tmp_path / "a.jsonl")]


def _everywhere(tmp_path, frame):
    """The frame itself and the paths of it in every format."""
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_csv(tmp_path / "semicolons.csv", index=False, sep=";")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_json(tmp_path / "a.json", orient="records")
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_excel(tmp_path / "a.xlsx", index=False)
    names = "a.csv", "a.tsv", "semicolons.csv", "a.jsonl", "a.json", "a.parquet", "a.xlsx"
    return [frame, *(str(tmp_path / name) for name in names)]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([0.0, 1.0] * 6, ("0", "1")),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 5.0] * 2, ("1", "2", "3", "4", "5")),
        ([-1.0, 0.0, 1.0] * 4, ("-1", "0", "1")),
        ([*map(float, range(30))] * 5, tuple(map(str, range(30)))),
    ],
)
def test_whole_floats_of_few_values_are_classes_in_every_format(tmp_path, labels, classes):
    for data in _everywhere(tmp_path, _frame(labels)):
        text = load_text(data)
        assert (text.task, text.classes) == ("classification", classes)
        if isinstance(data, pd.DataFrame) or ".json" not in data:  # pandas' JSON has integers
            told = "\n".join(describe_reading(text))
            assert "--task regression takes them as numbers" in told or ".xlsx" in str(data)
        assert load_text(data, task="regression").task == "regression"


def test_classes_that_a_missing_label_made_floats_are_classes_in_every_format(tmp_path):
    frame = _frame([10, 2, None])
    for data in _everywhere(tmp_path, frame):
        with pytest.raises(DataError, match="no label"):
            load_text(data)
        text = load_text(data, skip_bad_rows=True)
        assert (text.task, text.classes) == ("classification", ("2", "10"))


@pytest.mark.parametrize(
    "labels",
    [[0.0, 1.0, 0.5] * 4, [float(i) for i in range(12)], [i * 7.0 for i in range(30)] * 5],
)
def test_other_floats_are_targets_in_every_format(tmp_path, labels):
    for data in _everywhere(tmp_path, _frame(labels)):
        if isinstance(data, str) and labels[2] != 0.5:
            continue  # JSON and Excel have integers here
        assert load_text(data).task == "regression"
    assert load_text(_frame(labels)).task == "regression"


def test_many_whole_numbers_as_classes_are_warned_of_and_the_hint_helps():
    frame = _frame(list(range(40)))
    (warning,) = load_text(frame).source.reading.warnings
    assert "40 whole numbers in 'label' are taken for classes (--task regression" in warning
    assert load_text(frame, task="regression").source.reading.warnings == ()


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["4,5", "1,25", "3"], [4.5, 1.25, 3]),
        (["75%", "80%", "2.5 %"], [75, 80, 2.5]),
        (["75 %", "80 %", "75 %", "80 %"], [75, 80, 75, 80]),
        (["$1,250.50", "-$3", "$ 7"], [1250.5, -3, 7]),
        (["4,50 €", "12 €", "1.000,5\u00a0€"], [4.5, 12, 1000.5]),
        (["7,5 %", "8 %", "-1 %"], [7.5, 8, -1]),
        (["1.234,5", "2,5", "3"], [1234.5, 2.5, 3]),
        (["1,234.5", "2.5", "3"], [1234.5, 2.5, 3]),
        (["1,234", "12,345", "3"], [1234, 12345, 3]),
        (["1 000", "2\u00a0500", "3"], [1000, 2500, 3]),
        (["1\u202f000,5", "2 500", "3,25"], [1000.5, 2500, 3.25]),
        (["1'000.5", "2’500", "3"], [1000.5, 2500, 3]),
        (["\u22124,5", "1,5", "0"], [-4.5, 1.5, 0]),
        (["0,125", "0,250", "1,500"], [0.125, 0.25, 1.5]),
        (["0.5", "1e-3", "-2"], [0.5, 0.001, -2]),
        (["+4,5", "1,5", ",5"], [4.5, 1.5, 0.5]),
    ],
)
def test_numbers_are_read_in_every_format_and_said(tmp_path, cells, values):
    for data in _in_three_formats(tmp_path, _frame(cells)):
        text = load_text(data)
        assert text.task == "regression"
        read = text.labels[:, 0] * text.target_sd[0] + text.target_mean[0]
        np.testing.assert_allclose(read, values, rtol=1e-12, atol=1e-12 * max(map(abs, values)))
        if cells[0] != "0.5":
            assert any("are read as numbers" in line for line in text.source.reading.guesses)


def test_numbers_of_another_form_are_names_if_asked_for(tmp_path):
    frame = _frame(["4,5", "75", "4,5"])
    assert load_text(frame, task="classification").classes == ("4,5", "75")
    assert load_text(frame, label_separator=",").classes == ("4", "5", "75")


def test_one_cell_that_is_no_number_keeps_all_names():
    assert load_text(_frame(["4,5", "1,2", "many"])).classes == ("1,2", "4,5", "many")


@pytest.mark.parametrize(
    "write",
    [
        str,
        json.dumps,
        lambda items: str(tuple(items)) if len(items) > 1 else str(list(items)),
        lambda items: str(np.array(items)),
        lambda items: f"[{', '.join(items)}]" if len(items) > 1 else str(items),
    ],
)
def test_lists_written_as_text_are_lists(tmp_path, write):
    lists = [["a", "b c"], ["b c"], ["a"], ["a", "d"]] * 3
    for data in _everywhere(tmp_path, _frame([write(items) for items in lists])):
        text = load_text(data)
        assert (text.task, text.classes) == ("multilabel", ("a", "b c", "d"))
        assert text.labels[:4].tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0], [1, 0, 1]]
        assert any("are read as lists" in line for line in text.source.reading.guesses)


@pytest.mark.parametrize("rows", [["[1, 0, 1]", "[0, 1, 0]"], ["[1 0 1]", "[0 1 0]"],
                                  ["[1. 0. 1.]", "[0. 1. 0.]"]])  # fmt: skip
def test_rows_of_a_matrix_written_as_text_are_a_matrix(tmp_path, rows):
    for data in _everywhere(tmp_path, _frame(rows * 6)):
        text = load_text(data)
        assert text.classes == ("0", "1", "2")
        assert text.labels[:2].tolist() == [[1, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize("text", ["a", "[", "(a)", "[a]", "{'a': 1}", "[a,]", "[1, 2", "()()"])
def test_what_is_no_list_is_none(text):
    assert parse_list(text) is None


@pytest.mark.parametrize("cells", [["1", "2", "unknown"], ["True", "False", "1", "0"]])
def test_whole_numbers_among_names_are_warned_of(cells):
    text = load_text(_frame(cells * 3))
    assert len(text.classes) == len(cells)
    assert "are numbers, as '1', and others are not" in text.source.reading.warnings[0]
    assert load_text(_frame(cells * 3), task="classification").source.reading.warnings == ()


def test_lists_among_names_are_warned_of():
    (warning, *_) = load_text(_frame(["['a', 'b']", "a", "b"])).source.reading.warnings
    assert "are lists, as \"['a', 'b']\", and others are not" in warning


@pytest.mark.parametrize("separator", ["#", "|", ";", ",", "/", "||", "&", "+"])
def test_separator_is_named_and_the_hint_helps(separator):
    labels = ["a", "b", f"a{separator}b", f"a {separator} c", f"b{separator}c", "c"] * 2
    text = load_text(_frame(labels))
    assert text.task == "classification"
    (warning,) = text.source.reading.warnings
    hint = re.search(r"--label-separator '(.*?)'", warning)[1]
    assert hint == separator
    assert "reads 3 labels instead of" in warning
    text = load_text(_frame(labels), label_separator=hint)
    assert (text.task, text.classes) == ("multilabel", ("a", "b", "c"))
    assert text.labels[:4].tolist() == [[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize(
    "labels",
    [
        ["sports/football", "sports/tennis", "politics/us"],
        ["R&D", "sales", "law"],
        ["a/b", "c/d", "e/f"],
        ["yes, always", "no, never"],
    ],
)
def test_names_with_a_separator_in_them_are_not_warned_of(labels):
    assert load_text(_frame(labels * 4)).source.reading.warnings == ()


def test_labels_that_are_all_joined_are_warned_of():
    (warning,) = load_text(_frame(["a|b", "b|c", "a|c"] * 4)).source.reading.warnings
    assert "--label-separator '|' reads 3 labels instead of 3 classes" in warning


def test_separator_that_no_label_has_is_warned_of_and_what_is_no_text_is_refused():
    text = load_text(_frame(["a", "b"]), label_separator="#")
    assert "no label of 'label' has '#' in it" in text.source.reading.warnings[0]
    assert text.task == "classification"
    with pytest.raises(DataError, match="--label-separator splits strings"):
        load_text(_frame([["a"], ["b"]]), label_separator="#")
    with pytest.raises(DataError, match="must not be blank"):
        load_text(_frame(["a", "b"]), label_separator=" ")


NAMES = [
    "nan",
    "NA",
    "null",
    "none",
    "n/a",
    "-",
    "None",
    "NaN",
    "N/A",
    " NULL ",
    "<NA>",
    "#N/A",
    "",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("others", [["a", "b"], ["1", "0"], ["0.5", "1.5"], ["4,5", "1,5"]])
def test_names_of_nothing_are_missing_and_the_hint_helps(tmp_path, name, others):
    frame = _frame([name, *others * 3, name])
    for data in _in_three_formats(tmp_path, frame):
        with pytest.raises(DataError, match=r"no label .*in 2 rows.*--skip-bad-rows") as error:
            load_text(data)
        assert "--task classification" not in str(error.value)
        text = load_text(data, skip_bad_rows=True)
        assert text.source.skipped == {"without label": 2}
        assert len(text) == 6
        if others == ["a", "b"]:
            assert text.classes == ("a", "b")


@pytest.mark.parametrize("name", NAMES[:-1])
def test_names_of_nothing_are_classes_if_this_is_said(tmp_path, name):
    for data in _in_three_formats(tmp_path, _frame([name, "a"] * 3)):
        classes = load_text(data, keep_missing_names=True).classes
        assert set(classes) == {"a", name.strip()}


def test_keeping_names_is_offered_only_where_others_are_names():
    with pytest.raises(DataError, match="--keep-missing-names"):
        load_text(_frame(["none", "a", "b"]))
    with pytest.raises(DataError) as error:
        load_text(_frame(["none", "1", "0"]))
    assert "--keep-missing-names" not in str(error.value)


def test_a_class_named_by_the_data_set_is_no_missing_label(tmp_path):
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["none", "hate"])}
    )
    data = datasets.Dataset.from_dict({"text": ["x", "y"], "label": [0, 1]}, features=features)
    assert load_text(data).classes == ("none", "hate")


@pytest.mark.parametrize(
    ("yes", "no"),
    [("TRUE", "FALSE"), ("true", "False"), ("yes", "no"), ("Y", "N"), ("x", ""), ("X", " "),
     ("1", "0"), ("1.0", "0.0"), ("ja", "nein"), ("oui", "non"), ("✓", ""), ("t", "f"),
     ("1", ""), ("yes", ""), (True, False), (1.0, 0.0), (1, None), ("x", "-")],
)  # fmt: skip
def test_truth_values_in_several_columns_are_labels_in_every_format(tmp_path, yes, no):
    flags = {"toxic": [1, 0, 0, 1, 0, 1], "insult": [0, 0, 1, 1, 0, 0]}
    frame = pd.DataFrame({"comment_text": [f"text {i}" for i in range(6)]})
    for name, column in flags.items():
        frame[name] = [yes if flag else no for flag in column]
    for data in _everywhere(tmp_path, frame):
        text = load_text(data, label_column="toxic,insult")
        assert (text.task, text.classes) == ("multilabel", ("toxic", "insult"))
        assert text.labels.T.tolist() == list(flags.values())


def test_truth_values_of_which_some_are_missing_are_not_guessed():
    frame = _frame(["yes", "no", None, "yes"], "a").assign(b=["no", "yes", "no", "yes"])
    with pytest.raises(DataError, match="row 3: no label in column 'a'"):
        load_text(frame, label_column="a,b")


def test_numbers_as_text_among_numbers_are_numbers():
    text = load_text(_frame([1, "0", "1", 0]))
    assert text.classes == ("0", "1")


@pytest.mark.parametrize("inner", ["a", 3, 2.0, True])
def test_lists_of_one_label_are_classes_in_every_format(tmp_path, inner):
    other = {"a": "b", 3: 4, 2.0: 5.0, True: False}[inner]
    frame = _frame([[inner], [other]] * 4)
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.assign(label=frame["label"].map(str)).to_csv(tmp_path / "a.csv", index=False)
    names = "a.jsonl", "a.parquet", "a.csv"
    for data in (frame, *(str(tmp_path / name) for name in names)):
        text = load_text(data)
        assert text.task == "classification"
        assert len(text.classes) == 2
        if inner is not True:  # a list of truth values is a row of a matrix
            assert load_text(data, task="multilabel").task == "multilabel"
