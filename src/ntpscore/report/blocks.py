"""What a page is made of: articles of sections of paragraphs, facts, commands, tables, figures."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# What a cell of a table may be.
Cell = str | float | None
# Rows, and characters of a cell.
_LONG, _WIDE = 25, 28


@dataclass(frozen=True)
class Table:
    """Rows of names, then values.

    Attributes:
        caption: what it is of.
        columns: headings.
        rows: a cell for each column; numbers as they are.
        names: how many columns, the first ones, hold text.
        digits: behind the point.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    names: int = 1
    digits: int = 3

    @classmethod
    def of(
        cls,
        caption: str,
        columns: Mapping[str, str],
        records: Iterable[Mapping[Any, Any]],
        *,
        names: int = 1,
        digits: int = 3,
    ) -> "Table":
        """A row for each record, of what it has under the keys whose headings are given."""
        rows = [[record.get(key) for key in columns] for record in records]
        return cls(caption, list(columns.values()), rows, names, digits)

    @property
    def is_long(self) -> bool:
        """Whether it gets a place of its own height, to be scrolled in."""
        return len(self.rows) > _LONG

    @property
    def classes(self) -> list[str]:
        """Of each column: text, names that are not to be broken, or numbers."""
        wide = [
            any(isinstance(row[i], str) and len(str(row[i])) > _WIDE for row in self.rows)
            for i in range(len(self.columns))
        ]
        return [
            "name text" if is_wide else "name" if i < self.names else ""
            for i, is_wide in enumerate(wide)
        ]

    @property
    def cells(self) -> list[list[str]]:
        """The rows as text."""
        return [[number(cell, self.digits) for cell in row] for row in self.rows]


@dataclass(frozen=True)
class Figure:
    """A picture that plotly draws; its text is shown as text, see `page.figure_json`.

    Attributes:
        title: what it shows.
        alt: what is to be seen, for those who can't see it.
        data: plotly's traces; a colour `--name` is one of the style sheet's.
        layout: plotly's, beside what all figures share.
        table: the same figures as text.
        height: in pixels.
        is_small: several stand side by side.
    """

    title: str
    alt: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    table: Table
    height: int = 340
    is_small: bool = False


@dataclass(frozen=True)
class Facts:
    """Terms and what they are; those without are left out."""

    items: dict[str, Any]

    @property
    def texts(self) -> dict[str, str]:
        """The items as text."""
        return {name: in_words(item) for name, item in self.items.items() if item not in _NOTHING}


@dataclass(frozen=True)
class Command:
    """A command line to be copied."""

    line: str


Block = str | Table | Figure | Facts | Command
_NOTHING: tuple[Any, ...] = (None, "", [], {}, ())


@dataclass(frozen=True)
class Section:
    """A heading, and what stands below it."""

    title: str
    blocks: list[Block]


@dataclass(frozen=True)
class Article:
    """All of one result.

    Attributes:
        title: its heading.
        kind: what command made it.
        folder: where it is.
        sections: those without blocks are left out.
        headline: what it comes to: the best value, its name and the ends of its interval.
    """

    title: str
    kind: str
    folder: str
    sections: list[Section]
    headline: tuple[str, Cell, Cell, Cell] | None = None
    shown: list[Section] = field(init=False)

    @property
    def headline_cells(self) -> list[str]:
        """The headline as text."""
        return [number(cell) for cell in self.headline or ("–", None, None, None)]

    def __post_init__(self) -> None:
        """Leave out what is empty."""
        object.__setattr__(self, "shown", [section for section in self.sections if section.blocks])


def number(value: Cell, digits: int = 3) -> str:
    """A value for people; a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or value.is_integer():
        return f"{value:,.0f}"
    # So many places behind the point, or as many digits where nothing would be left of them.
    return f"{value:,.{digits}f}" if abs(value) >= 10**-digits else f"{value:.2g}"


def sentence(text: str) -> str:
    """The text with its first letter as at the start of a sentence."""
    return text[:1].upper() + text[1:]


def in_words(value: Any) -> str:
    """A fact in words: lists and records in one line."""
    if isinstance(value, dict):
        return "; ".join(f"{name}: {in_words(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value)
