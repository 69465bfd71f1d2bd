"""A result as tables for people."""

import math
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ntpscore.scoring.result import ScoreResult

_SHADES = " ░▒▓█"
_MOST_ROWS = 16
LAYOUT: dict[str, Any] = {"box": SIMPLE, "padding": (0, 1, 0, 0), "pad_edge": False}
_TERMS = (
    "layer 0 is the embedding; k/d: the share of next-token directions that are kept; chance: of "
    "random directions; shuffled: with labels at random, sd their spread, z how many of it away; "
    "p: how often labels at random do as well, the choice of layer and k counted in; r2: the fit "
    "of these very texts, not of new ones"
)
# From dark blue over green to yellow, as a terminal's 256 colours have it.
_COLOURS = (17, 18, 24, 30, 36, 42, 78, 114, 150, 186, 228)


def print_result(
    result: "ScoreResult", folder: Path | None, console: Console, *, scores: bool
) -> None:
    """Print what was found, and on demand the scores behind it, all warnings and the seconds.

    The folder is where it was saved, to be named; None if nowhere.
    """
    record = result.record
    console.print(str(result), markup=False, highlight=False, soft_wrap=True)
    if scores:
        console.print()
        if "until" in record:
            console.print(Text(describe_until(record["until"])))
        if not record["model"].get("reads_both_ways"):
            console.print(best_table(result))
            console.print(layer_map(result))
            if not record["unsaid"]:  # with so few texts the losses are rounding
                console.print(theory_table(result))
            console.print(Text(_TERMS, style="dim"))
        for line in record["unsaid"]:
            console.print(Text(line))
        print_warnings(console, record)
        print_costs(console, [describe_seconds(record["seconds"])], record, folder)
    elif folder is not None:
        console.print(
            f"saved in {folder}; the six scores by layer: ntpscore show {folder} --scores",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


def describe_until(until: dict[str, Any]) -> str:
    """A line on how many texts were read, and how well the scores of all are known from them."""
    if not until["stopped"]:
        return f"--until {until['half_width']:g} was not reached: all {until['of']} texts were read"
    waited_for = {name: until["scores"][name] for name in until["waited_for"]}
    scores = ", ".join(
        f"{name} {number(score['value'])} ± {number((score['high'] - score['low']) / 2)}"
        for name, score in waited_for.items()
    )
    return (
        f"read {until['n_texts']} of {until['of']} texts; all of them would give, on layer "
        f"{until['layer']} at k = {until['k']}: {scores} ({until['coverage']:.0%} intervals)"
    )


def print_warnings(console: Console, record: dict[str, Any]) -> None:
    """Print the warnings of a result, a line each."""
    for warning in record["warnings"]:
        console.print(Text(f"warning: {warning}", style="yellow"))


def describe_seconds(seconds: dict[str, float]) -> str:
    """The seconds of a run, and those of the stages that took any."""
    spent = {stage: s for stage, s in seconds.items() if s and stage != "total"}
    stages = ", ".join(f"{stage} {one:.1f}" for stage, one in spent.items())
    return f"{seconds['total']:.1f} s ({stages})"


def print_costs(
    console: Console, costs: list[str], record: dict[str, Any], folder: Path | None
) -> None:
    """Print what a run cost, and where its result is, as the last line of a table."""
    parts = [*costs, f"peak memory {record['peak_memory_bytes'] / 1e9:.1f} GB"]
    if folder is not None:
        parts.append(f"saved in {folder}")
    console.print(Text("; ".join(parts), style="dim"))


def number(value: float | None, digits: int = 3) -> str:
    """A number for a table; a dash where there is none, or NaN."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def short(value: float | None, digits: int = 2) -> str:
    """A number of any size, with so many digits; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}g}"


def text_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    names: int = 1,
    bold: Container[int] = (),
    **layout: Any,
) -> Table:
    """A table for people.

    Args:
        headings: one per column.
        rows: their texts.
        names: how many columns, the first ones, are names, set to the left.
        bold: the places of the rows that stand out.
        layout: title and caption.
    """
    table = Table(**LAYOUT, **layout)
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i < names else "right", no_wrap=True)
    for i, row in enumerate(rows):
        table.add_row(*row, style="bold" if i in bold else None)
    return table


def best_table(result: "ScoreResult") -> Table:
    """Per score the layer and k where labels add most, with its controls."""
    digits = {"k_fraction": 2, "value": 3, "chance": 3, "shuffled_mean": 3, "shuffled_sd": 3,
              "z": 1, "p": 2}  # fmt: skip
    note = "* basis-dependent: beyond the labels' rank the value is the solver's choice"
    return text_table(
        ("score", "layer", "k", "k/d", "value", "chance", "shuffled", "sd", "z", "p"),
        [
            [
                name + (" *" if best["basis_dependent"] else ""),
                str(best["layer"]),
                str(best["k"]),
                *(number(best[column], places) for column, places in digits.items()),
            ]
            for name, best in result.best.items()
        ],
        title="where each score exceeds its shuffles most",
        title_justify="left",
        caption=note if any(best["basis_dependent"] for best in result.best.values()) else None,
        caption_justify="left",
    )


def layer_map(result: "ScoreResult") -> Table:
    """By layer: r2 with its controls, and a heat map of `retained` over the grid of k."""
    frame = result.table()
    retained = frame[frame["score"] == "retained"].pivot_table(
        index="layer", columns="k", values="value", dropna=False
    )
    rows = result.record["layers"]
    top, shown = _shown_layers(rows)
    table = Table(title="the fit of all texts by layer", title_justify="left", **LAYOUT)
    for heading in ("layer", "r2", "adjusted", "shuffled", "ols_mse"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("retained, k/d 0.05 to 0.95", no_wrap=True)
    for i in shown:
        row = rows[i]
        table.add_row(
            str(row["layer"]),
            number(row["r2"]),
            number(row["r2_adjusted"]),
            number(row["r2_shuffled_mean"]),
            number(row["ols_mse"], 4),
            heat_line(retained.loc[row["layer"]].to_numpy()),
            style="bold" if i == top else None,
        )
    return table


def _shown_layers(rows: list[dict[str, Any]]) -> tuple[int, list[int]]:
    """The place of the layer that fits best, and those of the layers a table has room for."""
    step = math.ceil(len(rows) / _MOST_ROWS)
    adjusted = [row["r2_adjusted"] for row in rows]
    top = max(range(len(rows)), key=lambda i: -math.inf if adjusted[i] is None else adjusted[i])
    return top, sorted({*range(0, len(rows), step), top, len(rows) - 1})


def theory_table(result: "ScoreResult") -> Table:
    """Theorem 2's bounds beside what they bound, the excess loss of the first half of V."""
    rows = result.record["layers"]
    _, shown = _shown_layers(rows)
    return text_table(
        ("layer", "k", "lower bound", "excess loss", "upper bound", "upper/lower"),
        [
            [
                str(row["layer"]),
                str(row["loss_k"]),
                *(short(row[f"excess_loss{end}"]) for end in ("_lower", "", "_upper")),
                short(
                    row["excess_loss_upper"] / row["excess_loss_lower"]
                    if row["excess_loss_lower"] and row["excess_loss_upper"]
                    else None,
                    digits=1,
                ),
            ]
            for row in (rows[i] for i in shown)
        ],
        title="Theorem 2: what labels lose where the probe sees half of V alone",
        title_justify="left",
    )


def heat_line(values: Iterable[float]) -> Text:
    """Values in [0, 1] as a line of shaded blocks, coloured where the terminal has colours."""
    line = Text()
    for value in values:
        if math.isnan(value):
            line.append("·")
            continue
        share = min(max(float(value), 0.0), 1.0)
        shade = _SHADES[round(share * (len(_SHADES) - 1))]
        line.append(shade, style=f"color({_COLOURS[round(share * (len(_COLOURS) - 1))]})")
    return line
