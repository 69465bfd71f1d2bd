"""What is registered, as a table for people, JSON or CSV."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ntpscore.cli.output import Output
from ntpscore.cli.tables import LAYOUT

if TYPE_CHECKING:
    import pandas as pd

_NUMBERS = {"width", "layers", "parameters", "classes", "train", "test"}
_WHOLE = {"name", "hub id", *_NUMBERS}
_LONG = {"hub id", "columns"}


def print_registry(
    entries: Iterable[Any], headings: Sequence[str], output: Output, **cells: Callable[[Any], Any]
) -> None:
    """Print a table, or else records as JSON or CSV.

    Args:
        entries: what is registered.
        headings: which fields of an entry the table shows; None is shown as a dash. What stands
            under "note" is numbered and comes below the table, for it is long.
        output: the form.
        cells: what the table shows under a heading that is no field.
    """

    def frame() -> "pd.DataFrame":
        import pandas as pd

        return pd.DataFrame([entry.record() for entry in entries], dtype=object)

    fields = {heading: attrgetter(heading.replace(" ", "_")) for heading in headings} | cells
    rows = [{heading: fields[heading](entry) for heading in headings} for entry in entries]
    output.show(lambda console: _print_table(rows, console), rows=frame)


def _print_table(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """One table, or where it is wider than the console a second one of what is longest."""
    notes = list(dict.fromkeys(row["note"] for row in rows if row["note"]))
    numbered = [
        {**row, "note": notes.index(row["note"]) + 1 if row["note"] else None} for row in rows
    ]
    whole = _table(numbered, list(rows[0]))
    if console.measure(whole, options=console.options.update(width=1000)).maximum <= console.width:
        console.print(whole)
    else:
        console.print(_table(numbered, [name for name in rows[0] if name not in _LONG]))
        console.print(_table(numbered, ["name", *(name for name in rows[0] if name in _LONG)]))
    below = Table.grid(padding=(0, 1, 0, 0))
    for number, note in enumerate(notes, 1):
        below.add_row(str(number), Text(note))
    console.print(below)


def _table(rows: Sequence[Mapping[str, Any]], headings: Sequence[str]) -> Table:
    table = Table(**LAYOUT)
    for heading in headings:
        justify: Any = "right" if heading in _NUMBERS else "left"
        table.add_column(heading, justify=justify, no_wrap=heading in _WHOLE, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row[heading])) for heading in headings))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else str(value)
