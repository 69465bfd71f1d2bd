"""A table of rows with named columns that can say where each row stands."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ntpscore.errors import DataError

_LONGEST_SHOWN = 60  # characters
_MOST_QUOTED = 20


@dataclass(frozen=True)
class Table:
    """Rows with named columns, read one column at a time, since few of them are needed.

    Attributes:
        id: What the table is called in messages and results: a hub id, or a path as given.
        names: The columns' names.
        n_rows: How many rows there are.
        read_column: The values of the column of that name, n_rows of them.
        lines: The line of the file on which each row starts, counted from 1, if rows are lines.
        class_orders: For columns whose classes have a fixed order: their names in that order.
            Such a column holds names.
        untyped: Whether every value is a string, as in CSV, so that numbers must be recognised.
        split: The split all rows belong to, if the source says so.
        revision: The commit of the hub, if it's from the hub.
        n_malformed: Rows that could not be read and were left out.
    """

    id: str
    names: tuple[str, ...]
    n_rows: int
    read_column: Callable[[str], list[Any]]
    lines: Sequence[int] | None = None
    class_orders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    untyped: bool = False
    split: str | None = None
    revision: str | None = None
    n_malformed: int = 0

    def __post_init__(self) -> None:
        """Check the names and that there are rows.

        Raises:
            DataError: two columns have one name, or there is no row.
        """
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise DataError(
                f"{self.id}: two columns are called {quoted(twice)}: rename one of them"
            )
        if self.n_rows == 0:
            of_split = f" in split {self.split!r}" if self.split else ""
            why = f": all {self.n_malformed} are malformed" if self.n_malformed else ""
            raise DataError(f"{self.id} has no rows{of_split}{why}")

    def place(self, row: int) -> str:
        """Where a row stands, for messages.

        Args:
            row: Its index, counted from 0.
        """
        if self.lines is not None:
            return f"{self.id}, line {self.lines[row]}"
        of_split = f" of split {self.split!r}" if self.split else ""
        return f"{self.id}, row {row + 1}{of_split}"


def is_missing(value: Any) -> bool:
    """Whether a value stands for none: None, NaN, or a string of white space alone."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, float) and math.isnan(value))


def shown(value: Any) -> str:
    """A user's value for a message: quoted, control characters escaped, cut if it is long."""
    return _cut(repr(value), _LONGEST_SHOWN)


def quoted(names: Sequence[str]) -> str:
    """Names for a message, quoted and with commas, the first few if they are many."""
    told = ", ".join(map(shown, names[:_MOST_QUOTED]))
    return told if len(names) <= _MOST_QUOTED else f"{told} and {len(names) - _MOST_QUOTED} more"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 2]}…{text[-1]}"
