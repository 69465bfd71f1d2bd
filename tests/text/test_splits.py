"""A test split in the coding of the train split, and texts held out."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntpscore.errors import DataError
from ntpscore.text import hold_out_texts, load_splits, load_text, recode_labels
from ntpscore.text.files import read_file
from tests.support.labelled_texts import make_rows, write_rows


def frame(rows: list[tuple[object, str]]) -> pd.DataFrame:
    texts = [f"text {i}" for i in range(len(rows))]
    return pd.DataFrame({"text": texts, "label": [row[0] for row in rows],
                         "split": [row[1] for row in rows]})  # fmt: skip


def test_test_split_has_the_class_indices_of_train() -> None:
    data = frame([("a", "train"), ("b", "train"), ("c", "train"), ("c", "test"), ("b", "test")])
    train, test = load_splits(data)
    assert train.classes == test.classes == ("a", "b", "c")
    assert test.labels.tolist() == [2, 1]
    assert test.class_counts() == {"a": 0, "b": 1, "c": 1}
    assert test.source.split == "test"


def test_a_class_that_train_lacks_is_named() -> None:
    data = frame([("a", "train"), ("b", "train"), ("c", "dev"), ("d", "dev"), ("a", "dev")])
    with pytest.raises(DataError, match=r"'dev' has the classes 'c', 'd', which .*'train' lacks"):
        load_splits(data, test_split="dev")


def test_targets_have_the_units_of_train() -> None:
    data = frame([(1.0, "train"), (3.0, "train"), (5.0, "test"), (2.5, "test")])
    train, test = load_splits(data)
    assert (train.target_mean, train.target_sd) == ((2.0,), (1.0,))
    np.testing.assert_allclose(test.labels, [[3.0], [0.5]])
    assert test.target_mean == train.target_mean


def test_multilabel_has_the_columns_of_train() -> None:
    data = frame([(["a", "c"], "train"), (["b"], "train"), (["c"], "test"), (["b"], "test")])
    train, test = load_splits(data)
    assert train.classes == test.classes == ("a", "b", "c")
    assert test.labels.tolist() == [[0, 0, 1], [0, 1, 0]]


def test_tasks_must_agree() -> None:
    classes = load_text(frame([("a", "train"), ("b", "train")]))
    targets = load_text(frame([(1.0, "train"), (2.0, "train")]))
    with pytest.raises(DataError, match="for regression, not classification"):
        recode_labels(targets, classes)
    pair = pd.DataFrame({"text": ["x", "y"], "p": [1.0, 2.5], "q": [2.5, 1.0]})
    both, one = load_text(pair, label_column="p,q"), load_text(pair, label_column="p")
    with pytest.raises(DataError, match="lacks a target"):
        recode_labels(one, both)


@pytest.mark.parametrize("with_split_column", [True, False])
def test_a_missing_test_split_says_how_to_ask_for_one(
    tmp_path: Path, with_split_column: bool
) -> None:
    rows = [row for row in make_rows(20) if row["split"] == "train"]
    if not with_split_column:
        rows = [{"text": row["text"], "label": row["label"]} for row in rows]
    path = write_rows(tmp_path / "train.jsonl", rows)
    with pytest.raises(DataError, match=r"no test split 'test'.*--test-split.*--hold-out 0\.2"):
        load_splits(path)
    with pytest.raises(DataError, match="no test split 'dev'"):
        load_splits(path, test_split="dev")


def test_a_data_set_without_the_split_says_the_same() -> None:
    import datasets

    whole = datasets.Dataset.from_dict({"text": ["x", "y"], "label": ["a", "b"]})
    with pytest.raises(DataError, match="--hold-out"):
        load_splits(datasets.DatasetDict({"train": whole}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hold_out": 0.2, "test_split": "test"}, "not both"),
        ({"test_split": "train"}, "both fitted and tested"),
        ({"hold_out": 0.0}, "between 0 and 1"),
        ({"hold_out": 1.0}, "between 0 and 1"),
        ({"hold_out": float("nan")}, "between 0 and 1"),
    ],
)
def test_options_that_contradict_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_splits(frame([("a", "train"), ("b", "train"), ("a", "test")]), **options)


@pytest.mark.parametrize("kind", ["alone", "column", "beside", "folder"])
def test_each_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    rows = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(10)]
    marked = [{**row, "split": ("train", "test")[i // 6]} for i, row in enumerate(rows)]
    write_rows(tmp_path / "reviews.jsonl", marked if kind == "column" else rows)
    (tmp_path / "both").mkdir()
    write_rows(tmp_path / "both" / "train.jsonl", rows[:6])
    write_rows(tmp_path / "both" / "test.jsonl", rows[6:])
    path = {"beside": "both/train.jsonl", "folder": "both"}.get(kind, "reviews.jsonl")
    read: list[str] = []

    def count(path: Path, *arguments: object, **options: object) -> object:
        read.append(path.name)
        return read_file(path, *arguments, **options)

    monkeypatch.setattr("ntpscore.text.folders.read_file", count)
    splits = load_splits(tmp_path / path, otherwise=0.4)
    assert list(map(len, splits)) == [6, 4]
    assert read == (["reviews.jsonl"] if "both" not in path else ["train.jsonl", "test.jsonl"])


def test_samples_of_both_splits(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "d.jsonl", make_rows(100))
    train, test = load_splits(path, max_texts=30, max_test_texts=10)
    assert (len(train), len(test)) == (30, 10)


@given(share=st.floats(0.01, 0.99), seed=st.integers(0, 100))
def test_held_out_texts_are_every_text_once_and_stratified(share: float, seed: int) -> None:
    text = load_text(frame([(c, "train") for c in "aaaaaaaaaaabbbbbbbccd"]))
    train, test = hold_out_texts(text, share, seed)
    assert sorted(train.texts + test.texts) == sorted(text.texts)
    assert train.classes == test.classes == ("a", "b", "c", "d")
    assert test.source.split == "held out"
    for name, n in Counter("aaaaaaaaaaabbbbbbbccd").items():
        held = test.class_counts()[name]
        assert held == (0 if n == 1 else min(max(round(share * n), 1), n - 1))
        assert train.class_counts()[name] == n - held
    labels = dict(zip(text.texts, text.labels, strict=True))
    assert all(labels[t] == y for t, y in zip(test.texts, test.labels, strict=True))
    again = hold_out_texts(text, share, seed)
    assert again.test.texts == test.texts
    assert again.train.source.content_hash == train.source.content_hash != text.source.content_hash


def test_hold_out_of_targets_and_labels() -> None:
    targets = load_text(frame([(float(i), "train") for i in range(10)]))
    train, test = hold_out_texts(targets, 0.3, 0)
    assert (len(train), len(test)) == (7, 3)
    assert train.target_mean == test.target_mean == (4.5,)
    labels = load_text(frame([(["a"], "train"), (["a", "b"], "train"), (["b"], "train")] * 3))
    train, test = hold_out_texts(labels, 0.2, 0)
    assert (len(train), len(test)) == (7, 2)
    # All texts of one class each: nothing can be held out.
    single = load_text(frame([("a", "train"), ("b", "train")]))
    with pytest.raises(DataError, match="leaves nothing to test"):
        hold_out_texts(single, 0.5, 0)


def test_what_is_held_out_is_hashed_as_if_read(tmp_path: Path) -> None:
    text = load_text(frame([("a", "train"), ("b", "train"), ("a", "train"), ("b", "train")]))
    train, _ = hold_out_texts(text, 0.5, 0)
    rows = [{"text": t, "label": train.classes[y]}
            for t, y in zip(train.texts, train.labels, strict=True)]  # fmt: skip
    same = load_text(write_rows(tmp_path / "same.jsonl", rows))
    assert same.source.content_hash == train.source.content_hash
