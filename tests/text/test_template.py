import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntpscore.errors import DataError
from ntpscore.text import load_text
from ntpscore.text.template import parse_template

FRAME = pd.DataFrame({"question": ["why", "how"], "n 2": [3, 4], "label": ["a", "b"]})


def test_template_builds_the_text():
    template = "{{Q}} {question}\nN: {n 2} {question}!"
    text = load_text(FRAME, template=template)
    assert text.texts == ["{Q} why\nN: 3 why!", "{Q} how\nN: 4 how!"]
    assert text.source.template == template
    assert text.source.columns == {"label": "label"}


texts = st.text(alphabet="{}[].!:\n aé")


@given(texts, texts)
def test_template_leaves_what_a_column_holds_untouched(fixed, value):
    template = fixed.replace("{", "{{").replace("}", "}}") + "{a}"
    assert parse_template(template).fill((value,)) == fixed + value


@pytest.mark.parametrize(
    "template",
    ["{a.b}", "{a[0]}", "{a!r}", "{a:>10}", "{a:{b}}", "{a.__class__}", "x {a!s:5} {b}"],
)
def test_template_reaches_into_nothing(template):
    with pytest.raises(DataError, match=r"only \{column\} is allowed"):
        parse_template(template)


@pytest.mark.parametrize("template", ["{}", "{0}", "a {12} b"])
def test_template_with_positions_is_refused(template):
    with pytest.raises(DataError, match="field without a name"):
        parse_template(template)


@pytest.mark.parametrize("template", ["{", "}", "{a", "a}", "{a}{"])
def test_template_with_unmatched_braces_is_refused(template):
    with pytest.raises(DataError, match="can't be read"):
        parse_template(template)


@pytest.mark.parametrize("template", ["", "no field", "{{a}}"])
def test_template_without_field_is_refused(template):
    with pytest.raises(DataError, match="has no field"):
        parse_template(template)


def test_template_with_an_unknown_field_lists_the_columns():
    with pytest.raises(DataError, match=r"no column 'x', which the template.*'question', 'n 2'"):
        load_text(FRAME, template="{x}")


@pytest.mark.parametrize("option", ["text_column", "pair_column"])
def test_template_excludes_text_columns(option):
    with pytest.raises(DataError, match="--template names the text's columns itself"):
        load_text(FRAME, template="{question}", **{option: "question"})


def test_template_needs_every_column_in_every_row():
    frame = FRAME.assign(question=["why", ""])
    with pytest.raises(DataError, match="row 2: no text in column 'question'"):
        load_text(frame, template="{n 2}: {question}")
