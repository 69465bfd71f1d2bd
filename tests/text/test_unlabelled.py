"""Texts without labels: every row keeps its place."""

import io
from pathlib import Path

import datasets
import pandas as pd
import pytest

from ntpscore.errors import DataError
from ntpscore.text.options import TextOptions
from ntpscore.text.unlabelled import load_unlabelled, read_lines

FRAME = pd.DataFrame({"text": ["one", "two", "three"], "split": ["train", "test", "test"]})


def test_all_rows_or_those_of_a_split(tmp_path: Path) -> None:
    assert load_unlabelled(FRAME) == ["one", "two", "three"]
    assert load_unlabelled(FRAME, split="test") == ["two", "three"]
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    assert load_unlabelled(tmp_path / "a.csv", split="train") == ["one"]
    with pytest.raises(DataError, match="no split 'dev'"):
        load_unlabelled(FRAME, split="dev")
    splits = datasets.DatasetDict(
        {name: datasets.Dataset.from_dict({"text": [name]}) for name in ("train", "test")}
    )
    assert load_unlabelled(splits, split="test") == ["test"]


def test_columns_are_those_that_are_named_then_those_that_were_fitted() -> None:
    frame = pd.DataFrame({"a": ["x", "y"], "b": ["1 z", "2 z"], "label": [0, 1]})
    fitted = {"text": "a", "pair": "b"}
    assert load_unlabelled(frame, columns=fitted) == ["x\n1 z", "y\n2 z"]
    assert load_unlabelled(frame, TextOptions(text_column="b"), columns=fitted) == ["1 z", "2 z"]
    assert load_unlabelled(frame, template="{b}/{a}") == ["1 z/x", "2 z/y"]
    named = TextOptions(template="<{a}>")
    assert load_unlabelled(frame, named, template="{b}/{a}") == ["<x>", "<y>"]
    with pytest.raises(DataError, match=r"what was fitted had 'a', 'b': say which columns"):
        load_unlabelled(frame.rename(columns={"a": "text"}), columns=fitted)
    with pytest.raises(DataError, match="has no column 'c', which the template asks for"):
        load_unlabelled(frame, template="{c}")


def test_a_label_is_not_looked_at() -> None:
    frame = pd.DataFrame({"text": ["one", "two"], "label": [None, object()]})
    assert load_unlabelled(frame) == ["one", "two"]


def test_a_row_without_text_stops_or_is_none(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["one", None, "three"]})
    with pytest.raises(DataError, match=r"row 2: no text in column 'text'\. --skip-bad-rows gives"):
        load_unlabelled(frame)
    assert load_unlabelled(frame, TextOptions(skip_bad_rows=True)) == ["one", None, "three"]
    # Where it can't be told which rows were lost, none could be given its label.
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{half\n{"text": "three"}\n')
    with pytest.raises(DataError, match="1 malformed JSON line: mend them"):
        load_unlabelled(tmp_path / "a.jsonl", TextOptions(skip_bad_rows=True))


@pytest.mark.parametrize("encoding", [None, "utf-16", "latin-1"])
def test_lines_are_texts(encoding: str | None) -> None:
    content = "one\ncafé\r\n\u00a0three\x0bx".encode(encoding or "utf-8")
    stream = io.BytesIO(content)
    assert list(read_lines(stream, encoding=encoding)) == ["one", "café", "\u00a0three\x0bx"]
    # Whoever owns the stream closes it.
    assert not stream.closed


def test_lines_are_read_as_they_are_wanted() -> None:
    lines = read_lines(io.BytesIO(b"one\n\nthree\n"))
    assert next(lines) == "one"
    with pytest.raises(DataError, match="line 2 of standard input is blank"):
        next(lines)
    assert list(read_lines(io.BytesIO(b"one\n\n"), skip_bad_rows=True)) == ["one", None]
    assert list(read_lines(io.BytesIO(b""))) == []
    with pytest.raises(DataError, match=r"after line 0: .*utf-8.* see --encoding"):
        list(read_lines(io.BytesIO(b"caf\xe9\n")))
