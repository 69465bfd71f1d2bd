import pandas as pd
import pytest

from ntpscore.errors import DataError
from ntpscore.text import load_text


def _frame(*names):
    """Two rows whose cells say their column and row; label columns are classes."""
    return pd.DataFrame({name: [f"{name} 1", f"{name} 2"] for name in names})


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (("text", "label"), {"text": "text", "label": "label"}),
        (("Label", "SENTENCE", "idx"), {"text": "SENTENCE", "label": "Label"}),
        (("text", "title", "intent"), {"text": "text", "label": "intent"}),
        (("tweet", "sentiment", "label"), {"text": "tweet", "label": "label"}),
        (
            ("premise", "hypothesis", "label"),
            {"text": "premise", "pair": "hypothesis", "label": "label"},
        ),
        (
            ("Question1", "question2", "class"),
            {"text": "Question1", "pair": "question2", "label": "class"},
        ),
        (
            ("id", "qid1", "question1", "question2", "is_duplicate"),
            {"text": "question1", "pair": "question2", "label": "is_duplicate"},
        ),
        (
            ("text", "text_pair", "title", "label"),
            {"text": "text", "pair": "text_pair", "label": "label"},
        ),
        (("text", "sentence1", "sentence2", "label"), {"text": "text", "label": "label"}),
    ],
)
def test_columns_of_usual_names_are_found(names, used):
    assert load_text(_frame(*names)).source.columns == used


def test_named_columns_are_used():
    frame = _frame("text", "body", "more", "label", "kind")
    text = load_text(frame, text_column="body", label_column="kind")
    assert text.source.columns == {"text": "body", "label": "kind"}
    text = load_text(frame, text_column="body", pair_column="more")
    assert text.texts[0] == "body 1\nmore 1"
    text = load_text(frame, pair_column="more")
    assert text.source.columns == {"text": "text", "pair": "more", "label": "label"}


def test_pair_is_joined_by_a_line_break():
    text = load_text(_frame("sentence1", "sentence2", "label"))
    assert text.texts == ["sentence1 1\nsentence2 1", "sentence1 2\nsentence2 2"]


def test_named_text_column_leaves_the_pair_out():
    text = load_text(_frame("sentence1", "sentence2", "label"), text_column="sentence2")
    assert text.texts == ["sentence2 1", "sentence2 2"]


def test_absent_label_column_is_refused_with_the_columns_and_the_option():
    with pytest.raises(DataError, match=r"--label-column.*'text', 'kind'"):
        load_text(_frame("text", "kind"))


@pytest.mark.parametrize(
    "names", [("text", "intent", "topic"), ("text", "label", "LABEL"), ("text", "coarse_label",
    "fine_label")]
)  # fmt: skip
def test_ambiguous_label_column_is_refused(names):
    found = ", ".join(map(repr, names[1:]))
    with pytest.raises(DataError, match=f"{found} could each be the label.*--label-column"):
        load_text(_frame(*names))


@pytest.mark.parametrize(
    "names", [("title", "content"), ("premise", "question"), ("sentence1", "sentence2", "title")]
)
def test_ambiguous_text_column_is_refused(names):
    with pytest.raises(DataError, match=r"could each be the text.*--text-column.*--template"):
        load_text(_frame(*names, "label"))


def test_absent_text_column_is_refused_with_the_columns():
    with pytest.raises(DataError, match=r"for the text.*--text-column.*'words', 'label'"):
        load_text(_frame("words", "label"))


@pytest.mark.parametrize("role", ["text", "pair", "label"])
def test_named_column_that_is_absent_is_refused(role):
    with pytest.raises(DataError, match=f"no column 'x', which --{role}-column asks for"):
        load_text(_frame("text", "label"), **{f"{role}_column": "x"})


def test_label_column_named_twice_is_refused():
    with pytest.raises(DataError, match="names a column twice"):
        load_text(_frame("text", "a"), label_column="a, a")


def test_label_column_with_a_comma_in_its_name_is_one_column():
    assert load_text(_frame("text", "a,b"), label_column="a,b").source.columns["label"] == "a,b"


def test_split_column_keeps_the_rows_of_the_split():
    frame = _frame("text", "label").loc[[0, 1, 0, 1]].assign(Split=["train"] * 2 + ["test"] * 2)
    frame["text"] = list("abcd")
    train, test = load_text(frame), load_text(frame, split="test")
    assert (train.texts, test.texts) == (["a", "b"], ["c", "d"])
    assert train.source.columns["split"] == "Split"
    assert train.source.n_rows == 2


def test_unknown_split_is_refused_with_those_there_are():
    frame = _frame("text", "label").assign(split=["train", "test"])
    with pytest.raises(DataError, match="no split 'dev': column 'split' says 'test', 'train'"):
        load_text(frame, split="dev")


def test_split_is_refused_where_no_column_tells():
    with pytest.raises(DataError, match="all its rows count as 'train': there is no split 'test'"):
        load_text(_frame("text", "label"), split="test")


def test_row_without_split_is_refused_or_counted():
    frame = pd.concat([_frame("text", "label")] * 2).assign(split=["train", None, "test", "train"])
    with pytest.raises(DataError, match="row 2: no split in column 'split'"):
        load_text(frame)
    assert load_text(frame, skip_bad_rows=True).source.skipped == {"without split": 1}
