"""How the tables of a study are printed for people."""

import math
from collections.abc import Iterable
from typing import IO

from rich.measure import Measurement
from rich.table import Table

from ntpscore.progress import PlainConsole

# More than any table needs.
_UNLIMITED = 10_000


def print_blocks(blocks: Iterable[Table | str], file: IO[str] | None = None) -> None:
    """Print tables and texts, each as wide as it is: a number cut short can't be read."""
    console = PlainConsole(file=file, width=None if file is None else 1)
    usual = console.width
    for block in blocks:
        if isinstance(block, str):
            console.print(block, soft_wrap=True)
            continue
        endless = console.options.update(max_width=_UNLIMITED)
        console.width = max(usual, Measurement.get(console, endless, block).maximum)
        console.print(block)
        console.width = usual


def signed(value: float) -> str:
    """A correlation with its sign; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:+.2f}"
