"""The lines that tell what was read."""

import pandas as pd
import pytest

from ntpscore.text import describe_reading, load_text


def _frame(labels, **columns):
    texts = [f"text {i}" for i in range(len(labels))]
    return pd.DataFrame({"text": texts, **columns, "label": labels})


def test_columns_and_classes_are_told():
    texts = [f"what a day it was on {i}" for i in range(120)]
    frame = pd.DataFrame({"Review Text": texts, "Title": ["x"] * 120,
                          "Rating": ["bad"] * 61 + ["good"] * 59})  # fmt: skip
    lines = describe_reading(load_text(frame))
    assert lines[0] == "text = 'Review Text', label = 'Rating': 2 classes: bad 61, good 59"
    assert lines[1] == "120 of 120 rows of split 'train' of in-memory DataFrame"
    assert lines[2] == "not taken: 'Title' (--text-column takes it)"
    assert load_text(frame, text_column="Title").source.columns["text"] == "Title"


def test_eight_classes_are_told_at_most_and_how_many_more_there_are():
    labels = [f"c{i % 148:03}" for i in range(148 * 3)] + ["c007"]
    line = describe_reading(load_text(_frame(labels)))[0]
    assert line.endswith(": 148 classes: c007 4, c000 3, c001 3, c002 3, c003 3, c004 3, c005 3, "
                         "c006 3, and 140 more")  # fmt: skip


def test_pairs_templates_targets_and_labels_are_told():
    frame = _frame([1.5, 2.5], text_pair=["p", "q"])
    assert describe_reading(load_text(frame))[0] == (
        "text = 'text' + 'text_pair', label = 'label': numbers of mean 2 and standard deviation 0.5"
    )
    text = load_text(frame, template="{text}\n{text_pair}")
    assert describe_reading(text)[0].startswith(r"text = '{text}\n{text_pair}', label")
    frame = _frame([["a"], ["a", "b"]])
    assert "2 labels, any number a text: a 2, b 1" in describe_reading(load_text(frame))[0]
    frame = _frame([1.5, 2.5], other=[0.5, 1])
    text = load_text(frame, label_column="label,other")
    assert describe_reading(text)[0].endswith(": 2 targets: 'label', 'other'")


def test_rows_left_out_and_samples_are_told():
    frame = _frame(["a", "b", None, "a", "b", "a"])
    text = load_text(frame, skip_bad_rows=True, max_texts=4)
    assert describe_reading(text)[1].startswith("4 of 6 rows of split 'train'")
    assert describe_reading(text)[1].endswith("; left out: 1 without label")


@pytest.mark.parametrize("label", ["x" * 10_000, "a\x1b[31m\nb", "a, b", "\ud800"[:0] + "'quoted'"])
def test_what_users_wrote_is_cut_and_escaped(label):
    for lines in (describe_reading(load_text(_frame([label, "b"]))),):
        told = "\n".join(lines)
        assert len(told) < 400
        assert "\x1b" not in told
        assert all(line.isprintable() for line in lines)
