"""Values as people read them."""

import math

import pytest

from ntpscore.report.blocks import Facts, Table, in_words, number, sentence


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (math.nan, "–"), (math.inf, "–"), ("a < b", "a < b"), (1234567, "1,234,567"),
        (0.12345, "0.123"), (-0.5, "-0.500"), (2.0, "2"), (0.00012345, "0.00012"), (1234.56789,
        "1,234.568"), (0, "0"),
    ],
)  # fmt: skip
def test_number_is_short_and_nothing_is_a_dash(value: float | str | None, text: str) -> None:
    assert number(value) == text


def test_facts_leave_out_what_is_not_there() -> None:
    items = {"a": None, "b": {"x": 1, "y": [True, "z"]}, "c": 0, "d": [], "e": False}
    assert Facts(items).texts == {"b": "x: 1; y: yes, z", "c": "0", "e": "no"}
    assert in_words(["a", 0.5]) == "a, 0.500"
    assert sentence("macro-F1") == "Macro-F1"


def test_columns_of_long_text_are_broken_and_numbers_are_not() -> None:
    table = Table("t", ("a", "b", "c"), [["name", 1, "x" * 40], ["other", 2, None]])
    assert table.classes == ["name", "", "name text"]
    assert table.cells[1] == ["other", "2", "–"]
    assert not table.is_long
