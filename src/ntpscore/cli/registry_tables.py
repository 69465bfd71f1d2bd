"""What is registered, as a table for people, JSON or CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ntpscore.cli.tables import LAYOUT
from ntpscore.errors import NtpscoreError
from ntpscore.files import to_json

_NUMBERS = {"width", "layers", "parameters", "classes", "train", "test"}
_WHOLE = {"name", *_NUMBERS}


def print_registry(
    records: list[dict[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    *,
    json: bool,
    csv: bool,
) -> None:
    """Print a table, or else records as JSON or CSV, on standard output.

    Args:
        records: everything that is registered, a mapping of the same keys per entry.
        rows: what the table shows of each entry, by heading; None is shown as a dash. What stands
            under "note" is numbered and comes below the table, for it is long.
        json: print the records as JSON.
        csv: print the records as CSV.

    Raises:
        NtpscoreError: both are wanted.
    """
    if json and csv:
        raise NtpscoreError("--json and --csv can't both have standard output: give one of them")
    if json:
        typer.echo(to_json(records), nl=False)
    elif csv:
        typer.echo(_to_csv(records), nl=False)
    else:
        _print_table(rows)


def _to_csv(records: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    notes = list(dict.fromkeys(row["note"] for row in rows if row["note"]))
    table = Table(**LAYOUT)
    for heading in rows[0]:
        justify: Any = "right" if heading in _NUMBERS else "left"
        table.add_column(heading, justify=justify, no_wrap=heading in _WHOLE, overflow="fold")
    for row in rows:
        note = notes.index(row["note"]) + 1 if row["note"] else None
        table.add_row(*(Text(_cell(value)) for value in {**row, "note": note}.values()))
    below = Table.grid(padding=(0, 1, 0, 0))
    for number, note in enumerate(notes, 1):
        below.add_row(str(number), Text(note))
    console = Console()
    console.print(table)
    console.print(below)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else str(value)
