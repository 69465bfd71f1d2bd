"""Columns are guessed by name and length; doubtful ones are asked about."""

import pandas as pd
import pytest

from ntpscore.errors import DataError
from ntpscore.text import load_text

LONG = "a sentence of some length, as reviews have"


def _frame(**columns):
    return pd.DataFrame({**columns, "label": ["a", "b"]})


@pytest.mark.parametrize(
    ("columns", "taken", "not_taken"),
    [
        ({"Title": "short", "Review Text": LONG}, "Review Text", ["Title"]),
        ({"title": "short", "content": LONG}, "content", ["title"]),
        ({"headline": LONG, "body": LONG * 9}, "body", ["headline"]),
        ({"comment_text": LONG, "comment_id": "x1"}, "comment_text", []),
        ({"reviewBody": LONG, "review": 5}, "reviewBody", []),
        ({"text": "short", "content": LONG}, "text", ["content"]),
        ({"tweet text": LONG, "tweet_date": "2001"}, "tweet text", []),
        ({"Content": LONG, "title": ""}, "Content", []),
    ],
)
def test_longest_text_is_taken_and_the_others_are_named(columns, taken, not_taken):
    text = load_text(_frame(**{name: [value] * 2 for name, value in columns.items()}))
    assert text.source.columns["text"] == taken
    assert list(text.source.reading.not_taken) == not_taken
    for name in not_taken:
        other = load_text(_frame(**{n: [v] * 2 for n, v in columns.items()}), text_column=name)
        assert other.source.columns["text"] == name


@pytest.mark.parametrize("name", ["star_rating", "Overall Sentiment", "reviewRating"])
def test_label_is_found_by_the_last_word_of_its_name(name):
    frame = pd.DataFrame({"text": ["x", "y"], name: ["a", "b"], "rating_count": [3, 4]})
    assert load_text(frame).source.columns["label"] == name


def test_label_columns_that_were_not_taken_are_named():
    frame = _frame(text=["x", "y"], sentiment=["p", "n"])
    assert load_text(frame).source.reading.not_taken == {"sentiment": "--label-column"}


def test_column_that_is_there_twice_is_in_the_way_only_if_it_is_asked_for():
    frame = pd.DataFrame([["a", 1, 2, "x"], ["b", 3, 4, "y"]], columns=["text", "n", "n", "label"])
    assert load_text(frame).texts == ["a", "b"]
    with pytest.raises(DataError, match="two columns are called 'n'"):
        load_text(frame, label_column="n")
