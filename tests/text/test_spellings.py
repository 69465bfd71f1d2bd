"""Spellings of one label are one class, said so; --exact-labels keeps them apart."""

import unicodedata

import pandas as pd
import pytest

from ntpscore.errors import DataError
from ntpscore.text import describe_reading, load_splits, load_text
from ntpscore.text.spellings import spelling_key


def _frame(labels):
    return pd.DataFrame({"text": [f"text {i}" for i in range(len(labels))], "label": labels})


NFD = unicodedata.normalize("NFD", "Café")


@pytest.mark.parametrize(
    "spellings",
    [
        ["Yes", "yes", "YES"],
        ["Yes", "Yes ", " Yes", "Yes\u00a0", "\ufeffYes", "Yes\u200b"],
        ["very good", "very  good", "very\tgood", "very\u00a0good", "very good "],
        ["Café", NFD, "café"],
        ["don't know", "don’t know", "don`t know", "don´t know"],
        ['the "one"', "the “one”", "the „one“"],
        ["e-mail", "e–mail", "e‑mail"],
        ["straße", "STRASSE"],
        ["ｙｅｓ", "yes"],
        ["so\u00adcial", "social"],
    ],
)
def test_spellings_of_one_label_are_one_class(write_file, spellings):
    labels = [*spellings, spellings[0], "other", "other"]
    path = write_file("a.jsonl", _frame(labels).to_json(orient="records", lines=True))
    for data in (_frame(labels), path):
        text = load_text(data)
        name = spellings[0].strip()
        assert text.class_counts() == {name: len(labels) - 2, "other": 2}
        told = "\n".join(describe_reading(text))
        assert "--exact-labels keeps them apart" in told or "are left out" in told
        exact = load_text(data, exact_labels=True)
        assert set(exact.classes) == {*spellings, "other"}
        assert exact.source.reading.merged == {}


def test_merged_spellings_are_recorded_and_named():
    text = load_text(_frame(["Yes", "yes", "yes", "No", "NO", "maybe"]))
    assert text.classes == ("No", "maybe", "yes")
    assert text.source.reading.merged == {"yes": ("Yes", "yes"), "No": ("No", "NO")}
    (warning,) = text.source.reading.warnings
    for spelling in ("'Yes'", "'yes'", "'No'", "'NO'"):
        assert spelling in warning


def test_labels_of_lists_are_merged_too():
    text = load_text(_frame([["Bug", "ui"], ["bug "], ["UI", "ui", "Bug"]]))
    assert text.classes == ("Bug", "ui")
    assert text.labels.tolist() == [[1, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize(
    "labels", [["a", "b"], ["C", "C++"], ["1", "01"], ["😀", "😡"], ["", "\u200b", "a", "b"][2:]]
)
def test_other_labels_stay_apart(labels):
    text = load_text(_frame(labels * 2))
    assert len(text.classes) == len(labels)
    assert text.source.reading.warnings == ()


def test_one_class_that_spellings_make_names_them_and_the_hint_helps():
    frame = _frame(["Yes", "yes", "YES"])
    with pytest.raises(DataError, match=r"two classes; all 3 rows have label 'Yes' .*'yes', 'YES'"):
        load_text(frame)
    assert len(load_text(frame, exact_labels=True).classes) == 3


def test_classes_in_a_fixed_order_are_as_they_are():
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "A"])}
    )
    data = datasets.Dataset.from_dict({"text": ["x", "y"], "label": [1, 0]}, features=features)
    assert load_text(data).classes == ("a", "A")


def test_spellings_of_a_test_split_are_those_of_train():
    frame = pd.concat([
        _frame(["Yes", "No"]).assign(split="train"),
        _frame(["yes", "no ", "No"]).assign(split="test"),
    ])  # fmt: skip
    train, test = load_splits(frame)
    assert test.classes == train.classes == ("No", "Yes")
    assert test.labels.tolist() == [1, 0, 0]
    assert any("'no', 'yes' for 'No', 'Yes'" in w for w in test.source.reading.warnings)
    with pytest.raises(DataError, match="which the split 'train' lacks"):
        load_splits(frame, exact_labels=True)


def test_key_of_characters_nobody_sees_is_the_label_itself():
    assert spelling_key("\u200b") == "\u200b"
