"""JSON as pandas, hubs and people write it."""

import json

import pandas as pd
import pytest

from ntpscore.errors import DataError
from ntpscore.text import load_text
from tests.support.text_rows import ROWS

TEXTS = [row["text"] for row in ROWS]


def _lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        json.dumps({"data": ROWS}),
        json.dumps({"version": "1.0", "rows": ROWS, "empty": []}),
        _lines(ROWS),
        "\n" + _lines(ROWS),
        json.dumps({"text": TEXTS, "label": [row["label"] for row in ROWS]}),
        *(pd.DataFrame(ROWS).to_json(orient=o) for o in ("columns", "records", "split", "table")),
    ],
)
def test_json_of_every_layout_is_read(write_file, content):
    text = load_text(write_file("a.json", content))
    assert text.texts == TEXTS
    assert text.classes == ("bad", "good")


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson"])
def test_lines_and_a_list_in_a_file_of_lines_are_read(write_file, name):
    for content in (_lines(ROWS), json.dumps(ROWS), json.dumps(ROWS, indent=1)):
        assert load_text(write_file(name, content)).texts == TEXTS


def test_rows_under_several_keys_are_refused(write_file):
    with pytest.raises(DataError, match="several lists of objects, under 'one', 'two'"):
        load_text(write_file("a.json", json.dumps({"one": ROWS, "two": ROWS})))


def test_splits_under_their_names_are_read(write_file):
    path = write_file("a.json", json.dumps({"train": ROWS, "dev": ROWS[:2]}))
    assert load_text(path).texts == TEXTS
    assert load_text(path, split="dev").texts == TEXTS[:2]


def test_key_that_is_there_twice_matters_only_if_it_is_used(write_file):
    rows = ['{"text": "a", "x": 1, "x": 2, "label": 1}', '{"text": "b", "label": 0}']
    assert load_text(write_file("a.jsonl", "\n".join(rows))).texts == ["a", "b"]
    with pytest.raises(DataError, match="line 1: an object has the key 'x' twice"):
        load_text(write_file("a.jsonl", "\n".join(rows)), label_column="x")


def test_number_among_texts_is_text(write_file):
    rows = [*ROWS, {"text": 404, "label": "bad"}, {"text": 2.5, "label": "good"}]
    text = load_text(write_file("a.jsonl", _lines(rows)))
    assert text.texts[-2:] == ["404", "2.5"]
    assert text.source.reading.guesses == ("numbers in 'text' are read as text (2 of 5 rows)",)


def test_column_of_numbers_is_no_text_and_the_hint_helps(write_file):
    rows = [{"text": i, "note": f"n {i}", "label": i % 2} for i in range(4)]
    path = write_file("a.jsonl", _lines(rows))
    with pytest.raises(DataError, match=r"holds 0 of type int.*--text-column"):
        load_text(path)
    assert load_text(path, text_column="note").texts[0] == "n 0"
