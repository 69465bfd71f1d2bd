"""The tables of `ntpscore study`, for people."""

import math

import pandas as pd
from rich.console import Console
from rich.table import Table


def print_published(table: pd.DataFrame) -> None:
    """Print the correlations of the published points.

    Args:
        table: as `correlate_published` returns it.
    """
    without = str(table["without"].iloc[-1])
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("model", "outcome"):
        shown.add_column(name, no_wrap=True)
    for name in ("n", "r", "95 %", "p", "headroom", "given it"):
        shown.add_column(name, justify="right", no_wrap=True)
    last = None
    for row in table.itertuples():
        model = str(row.model).rpartition("/")[2]
        shown.add_row(
            "" if model == last else model,
            "" if row.without else str(row.outcome),
            str(row.n),
            _signed(row.r),
            f"{_signed(row.low)} … {_signed(row.high)}",
            f"{row.p:.3f}",
            _signed(row.r_headroom),
            _signed(row.r_given_headroom),
        )
        last = model
    console = Console()
    console.print(shown)
    lines = [
        "",
        "Spearman's r of the published score with each outcome over the data sets; every second",
        f"line leaves out those with {without!r} in their name. headroom: r of one minus the",
        "probe's accuracy with the LoRA gain; given it: r of the score with the gain, headroom",
        "held fixed. The authors chose layer and k for each r: neither p nor interval allows for",
        "that.",
        "",
        "Mean over models of r with the LoRA gain:",
    ]
    for omitted, part in table[table["outcome"] == "lora_gain"].groupby("without"):
        lines.append(
            f"  {'without ' + str(omitted) if omitted else 'all data sets'}: score "
            f"{_signed(part['r'].mean())}, headroom {_signed(part['r_headroom'].mean())}, score "
            f"given headroom {_signed(part['r_given_headroom'].mean())}"
        )
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _signed(value: object) -> str:
    number = float(value)  # type: ignore[arg-type]
    return "–" if math.isnan(number) else f"{number:+.2f}"
