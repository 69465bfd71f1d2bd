"""What a command prints on standard output: JSON or CSV for programs, tables for people."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from ntpscore.errors import NtpscoreError
from ntpscore.options import check_options, option

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Output:
    """In what form a command prints what it found.

    Attributes:
        json: the record, or the rows as a list of objects.
        csv: the rows.
        raw: write no `'` before text in CSV that a spreadsheet would run.
    """

    json: bool = option(False, "Print JSON, and nothing else.")
    csv: bool = option(False, "Print CSV, and nothing else.")
    raw: bool = option(False, "With --csv: no ' before text that a spreadsheet would run.")

    def __post_init__(self) -> None:
        check_options(self)
        if self.json and self.csv:
            raise NtpscoreError(
                "--json and --csv can't both have standard output: give one of them"
            )
        if self.raw and not self.csv:
            raise NtpscoreError("--raw says how CSV is written: give --csv too")

    def show(
        self,
        tables: Callable[[Console], None],
        *,
        record: dict[str, Any] | None = None,
        rows: "Callable[[], pd.DataFrame] | None" = None,
    ) -> None:
        """Print in the form that was asked for.

        Args:
            tables: prints for people.
            record: for JSON; the rows if None.
            rows: for CSV.
        """
        from ntpscore.files import to_csv, to_json, without_nan
        from ntpscore.progress import PlainConsole

        if self.json:
            content = rows().to_dict(orient="records") if record is None and rows else record
            typer.echo(to_json(without_nan(content)), nl=False)
        elif self.csv and rows is not None:
            typer.echo(to_csv(rows(), raw=self.raw), nl=False)
        else:
            tables(PlainConsole())
