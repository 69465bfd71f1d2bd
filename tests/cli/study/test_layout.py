"""Tables of a study as text."""

import io

from ntpscore.cli.study.layout import print_blocks, signed
from ntpscore.cli.tables import number, text_table


def test_a_table_is_as_wide_as_it_is_and_a_text_is_not_wrapped() -> None:
    file = io.StringIO()
    table = text_table(["name", "value"], [["a" * 150, "1.000"], ["b", "–"]], title="what it is")
    print_blocks([table, "words " * 40], file)
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert f" {'a' * 150}  1.000" in lines
    assert f" b{' ' * 155}–" in lines
    assert ("words " * 40).rstrip() in lines
    assert any(line.strip() == "what it is" for line in lines)


def test_numbers_that_are_not_known_are_dashes() -> None:
    assert [number(0.12345), number(2.0, 0), number(float("nan"))] == ["0.123", "2", "–"]
    assert [signed(0.5), signed(-0.126), signed(float("nan"))] == ["+0.50", "-0.13", "–"]
