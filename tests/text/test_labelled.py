import dataclasses
import hashlib
import json

import pytest

from ntpscore.errors import DataError
from ntpscore.text import load_text
from tests.support.text_rows import ROWS


def _with(**cells):
    """Three good rows and then a fourth with those cells."""
    return [*ROWS, {"text": "a", "label": "bad"} | cells]


@pytest.mark.parametrize("text", [None, "", " \n\t", float("nan")])
def test_row_without_text_is_refused_or_counted(write_jsonl, text):
    path = write_jsonl(_with(text=text))
    with pytest.raises(DataError, match=r"rows.jsonl, line 4: no text .*--skip-bad-rows"):
        load_text(path)
    kept = load_text(path, skip_bad_rows=True)
    assert kept.source.skipped == {"without text": 1}
    assert (len(kept), kept.source.n_rows) == (3, 4)


@pytest.mark.parametrize("label", [None, "", "  ", float("nan")])
def test_row_without_label_is_refused_or_counted(write_jsonl, label):
    path = write_jsonl(_with(label=label))
    with pytest.raises(DataError, match="line 4: no label in column 'label'"):
        load_text(path)
    assert load_text(path, skip_bad_rows=True).source.skipped == {"without label": 1}


def test_row_that_lacks_the_keys_is_refused(write_jsonl):
    for row in ({"text": "a"}, {"label": "a"}):
        with pytest.raises(DataError, match=r"line 4: no (text|label)"):
            load_text(write_jsonl([*ROWS, row]))


def test_second_text_must_be_there(write_jsonl):
    rows = [{"premise": "a", "hypothesis": "b", "label": 1}, {"premise": "a", "label": 0}]
    with pytest.raises(DataError, match="line 2: no text in column 'hypothesis'"):
        load_text(write_jsonl(rows))


@pytest.mark.parametrize(("text", "kind"), [({"a": 1}, "dict"), (["a"], "list")])
def test_text_that_is_no_string_is_refused_even_if_bad_rows_are_skipped(write_jsonl, text, kind):
    for skip in (False, True):
        with pytest.raises(DataError, match=f"line 4: column 'text' holds .* of type {kind}"):
            load_text(write_jsonl(_with(text=text)), skip_bad_rows=skip)


def test_half_a_surrogate_pair_is_refused_or_counted(write_jsonl):
    path = write_jsonl(_with(text="a\ud800b"))
    with pytest.raises(DataError, match="line 4: column 'text' holds half a surrogate pair"):
        load_text(path)
    assert load_text(path, skip_bad_rows=True).source.skipped == {"broken text": 1}


def test_malformed_lines_are_counted_if_bad_rows_are_skipped(write_file):
    lines = [*map(json.dumps, ROWS), "{", "[]", '{"text": "a"}']
    text = load_text(write_file("a.jsonl", "\n".join(lines)), skip_bad_rows=True)
    assert text.source.skipped == {"malformed JSON line": 2, "without label": 1}
    assert text.source.n_rows == len(text) + 3 == 6


def test_file_of_bad_rows_alone_is_refused(write_file):
    with pytest.raises(DataError, match="has no rows: all 2 are malformed"):
        load_text(write_file("a.jsonl", "{\n{"), skip_bad_rows=True)
    with pytest.raises(DataError, match="no row of split 'train' is left: 1 without text"):
        load_text(write_file("a.jsonl", '{"text": "", "label": 1}'), skip_bad_rows=True)


def test_bad_rows_of_other_splits_do_not_matter(write_jsonl):
    rows = [row | {"split": "train"} for row in ROWS]
    rows += [{"text": "", "label": 3, "split": "test"}]
    assert load_text(write_jsonl(rows)).classes == ("bad", "good")


def test_content_hash_is_that_of_text_and_label_as_json_lines(write_jsonl):
    lines = [json.dumps([row["text"], [row["label"]]]) + "\n" for row in ROWS]
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert load_text(write_jsonl(ROWS)).source.content_hash == expected


def test_source_is_plain_json(write_jsonl):
    path = write_jsonl(ROWS)
    source = load_text(path).source
    assert json.loads(json.dumps(dataclasses.asdict(source))) == {
        "id": path,
        "revision": None,
        "content_hash": source.content_hash,
        "configuration": None,
        "split": "train",
        "n_rows": 3,
        "skipped": {},
        "columns": {"text": "text", "label": "label"},
        "template": None,
        "reading": {
            "guesses": [],
            "warnings": [],
            "merged": {},
            "not_taken": {},
            "exact_labels": False,
            "repeated": 0,
            "contradicting": 0,
        },
    }


def test_class_counts_are_in_the_order_of_the_classes(write_jsonl):
    assert load_text(write_jsonl(ROWS)).class_counts() == {"bad": 2, "good": 1}
    rows = [{"text": "a", "labels": ["y", "x"]}, {"text": "b", "labels": ["y"]}]
    assert load_text(write_jsonl(rows)).class_counts() == {"x": 1, "y": 2}
    rows = [{"text": "a", "score": 0.5}, {"text": "b", "score": 1.5}]
    with pytest.raises(DataError, match="no classes"):
        load_text(write_jsonl(rows)).class_counts()


@pytest.mark.parametrize("options", [{"task": "ranking"}, {"max_texts": 0}, {"max_texts": -3}])
def test_wrong_options_are_refused(write_jsonl, options):
    with pytest.raises(DataError, match=r"no task 'ranking'|max_texts must be at least 1"):
        load_text(write_jsonl(ROWS), **options)
