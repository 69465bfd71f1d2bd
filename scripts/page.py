"""Tables that scripts write into pages of `docs`."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def write_between(page: Path, marks: tuple[str, str], table: str) -> None:
    """Put a table between two marks of a page."""
    text = page.read_text(encoding="utf-8")
    between = re.compile(f"{re.escape(marks[0])}.*{re.escape(marks[1])}", re.DOTALL)
    new = f"{marks[0]}\n{table}\n{marks[1]}"
    page.write_text(between.sub(lambda _: new, text), encoding="utf-8")
