"""How the tables of a study are printed for people."""

import math
from collections.abc import Iterable, Sequence
from typing import IO

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from ntpscore.cli.tables import LAYOUT

# More than any table needs.
_UNLIMITED = 10_000


def text_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None,
    names: int = 1,
) -> Table:  # fmt: skip
    """A table for people.

    Args:
        headings: one per column.
        rows: their texts.
        title: above the table.
        names: how many columns, the first ones, are names, set to the left.
    """
    table = Table(title=title, **LAYOUT)
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i < names else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def print_blocks(blocks: Iterable[Table | str], file: IO[str] | None = None) -> None:
    """Print tables and texts, each as wide as it is: a number cut short can't be read.

    Args:
        blocks: one below the other.
        file: where to; standard output if None.
    """
    console = Console(file=file, width=None if file is None else 1)
    usual = console.width
    for block in blocks:
        if isinstance(block, str):
            console.print(block, markup=False, highlight=False, soft_wrap=True)
            continue
        endless = console.options.update(max_width=_UNLIMITED)
        console.width = max(usual, Measurement.get(console, endless, block).maximum)
        console.print(block)
        console.width = usual


def decimals(value: float, digits: int = 3) -> str:
    """A number with so many decimals; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float) -> str:
    """A correlation with its sign; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:+.2f}"
