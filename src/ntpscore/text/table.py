"""A table of rows with named columns that can say where each row stands."""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from ntpscore.errors import DataError

_LONGEST_SHOWN = 60  # characters
_LONGEST_CAUSE = 500
LONGEST_PATH = 500  # characters
_MOST_QUOTED = 20


@dataclass(frozen=True)
class Table:
    """Rows with named columns, read one column at a time, since few of them are needed.

    Attributes:
        id: What the table is called in messages and results: a hub id, or a path as given.
        names: The columns' names; two columns of one name are in nobody's way until one is asked
            for.
        n_rows: How many rows there are.
        read_column: The values of the column of that name, n_rows of them.
        lines: The line of the file on which each row starts, counted from 1, if rows are lines.
        place_row: Says where a row stands, in place of `id` and `lines`.
        class_orders: For columns whose classes have a fixed order: their names in that order.
            Such a column holds names.
        split: The split all rows belong to, if the source says so.
        revision: The commit of the hub, if it's from the hub.
        left_out: Rows that could not be read and were left out, by reason.
        guesses: What was guessed about the file and how to choose otherwise.
        warnings: What may be wrong with the file.
        hint: What to say where no column has a usual name.
        other_splits: Opens each split there is beside this one.
    """

    id: str
    names: tuple[str, ...]
    n_rows: int
    read_column: Callable[[str], list[Any]]
    lines: Sequence[int] | None = None
    place_row: Callable[[int], str] | None = None
    class_orders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    split: str | None = None
    revision: str | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    guesses: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    hint: str = ""
    other_splits: "Mapping[str, Callable[[], Table]]" = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.n_rows == 0:
            of_split = f" in split {shown(self.split)}" if self.split else ""
            why = f": all {sum(self.left_out.values())} are malformed" if self.left_out else ""
            raise DataError(f"{self.id} has no rows{of_split}{why}")

    @property
    def split_column(self) -> str | None:
        """The column that tells the split of each row."""
        return next((name for name in self.names if name.lower() == "split"), None)

    def column(self, name: str) -> list[Any]:
        """The values of a column."""
        if self.names.count(name) > 1:
            raise DataError(f"{self.id}: two columns are called {shown(name)}: rename one of them")
        return self.read_column(name)

    def place(self, row: int) -> str:
        """Where the row of that index, counted from 0, stands, for messages."""
        if self.place_row is not None:
            return self.place_row(row)
        if self.lines is not None:
            return f"{self.id}, line {self.lines[row]}"
        of_split = f" of split {shown(self.split)}" if self.split else ""
        return f"{self.id}, row {row + 1}{of_split}"


def join_tables(tables: Sequence[Table], table_id: str) -> Table:
    """The rows of several tables, one after the other, called `table_id` together.

    Each column that is used must be in all of them.
    """
    ends = list(accumulate(table.n_rows for table in tables))

    def place_row(row: int) -> str:
        part = bisect_right(ends, row)
        return tables[part].place(row - ends[part] + tables[part].n_rows)

    def read_column(name: str) -> list[Any]:
        for table in tables:
            if name not in table.names:
                raise DataError(
                    f"{table.id} has no column {shown(name)}, which {tables[0].id} has: the files "
                    "that are read together must have the same columns"
                )
        return [value for table in tables for value in table.column(name)]

    orders = {
        name: order
        for name, order in tables[0].class_orders.items()
        if all(table.class_orders.get(name) == order for table in tables)
    }
    left_out: Counter[str] = Counter()
    for table in tables:
        left_out.update(table.left_out)
    return Table(
        table_id,
        tables[0].names,
        ends[-1],
        read_column,
        place_row=place_row,
        class_orders=orders,
        left_out=left_out,
        guesses=tuple(dict.fromkeys(guess for table in tables for guess in table.guesses)),
        warnings=tuple(warning for table in tables for warning in table.warnings),
        hint=tables[0].hint,
    )


def name_columns(header: Sequence[Any]) -> tuple[str, ...]:
    """Names from the cells of a header: without blanks around, nameless ones by their number."""
    names = ("" if is_missing(cell) else str(cell).strip().strip("\ufeff\u200b") for cell in header)
    return tuple(name or f"column {number}" for number, name in enumerate(names, start=1))


def is_missing(value: Any) -> bool:
    """Whether a value stands for none: None, NaN, or a string of white space alone."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, float) and math.isnan(value))


def cause_of(error: BaseException) -> str:
    """What a library says of a damaged file, cut if it quotes the file at length."""
    text = str(error)
    return text if len(text) <= _LONGEST_CAUSE else f"{text[:_LONGEST_CAUSE]}…"


def shown(value: Any, longest: int = _LONGEST_SHOWN) -> str:
    """A user's value for a message: quoted, control characters escaped, cut if it is long."""
    try:
        text = repr(value[:longest] if isinstance(value, str) else value)
    except ValueError:  # a number of thousands of digits
        return f"a {type(value).__name__}"
    is_cut = isinstance(value, str) and len(value) > longest
    if len(text) > longest or is_cut:
        return f"{text[: longest - 2]}…{text[-1]}"
    return text


def quoted(names: Sequence[str]) -> str:
    """Names for a message, quoted and with commas, the first few if they are many."""
    listed = ", ".join(map(shown, names[:_MOST_QUOTED]))
    return (
        listed if len(names) <= _MOST_QUOTED else f"{listed} and {len(names) - _MOST_QUOTED} more"
    )
