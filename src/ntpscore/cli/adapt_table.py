"""A result of adapt as a table for people."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ntpscore.adapt.evaluation import Evaluation, Interval
from ntpscore.adapt.result import FROZEN, AdaptResult
from ntpscore.cli.tables import LAYOUT, describe_seconds, number, print_costs, print_warnings

_MOST_ROWS = 16


def print_adapt_result(result: AdaptResult, folder: Path | None, console: Console) -> None:
    """Print how good a method is on both splits, warnings and timings.

    Args:
        result: what to print.
        folder: where it was saved, to be named; None if nowhere.
        console: where to print.
    """
    record = result.record
    model, train = record["model"], record["data"]["train"]
    layers = record["layers"]
    where = f"layer {layers[-1]}" if record["method"] in FROZEN else "all layers"
    steps = f", {record['samples_seen']} seen in {record['steps']} steps" if record["steps"] else ""
    console.print(
        f"{record['method']} ({where}) of {model['id']} on {train['id']}: {train['n_texts']} texts "
        f"fitted{steps}",
        markup=False,
        highlight=False,
    )
    console.print(_evaluations(result))
    if len(record.get("fits", ())) > 1:
        console.print(_layers(result))
    print_warnings(console, record)
    trainable = f"{record['trainable_parameters']} trainable parameters"
    print_costs(console, [describe_seconds(record["seconds"]), trainable], record, folder)


def _evaluations(result: AdaptResult) -> Table:
    """A row per split; columns that say nothing here are left out, to fit into 80 characters."""
    found = [("", result.train), ("", result.test)]
    converged: dict[str, Any] = result.record.get("converged", {})
    for name in ("train", "test") if converged else ():
        record = converged[name]
        found.append((" (converged)", None if record is None else Evaluation.from_record(record)))
    rows = [(one.split + remark, one) for remark, one in found if one is not None]
    with_classes = any(one.accuracy is not None for _, one in rows)
    columns = {
        "texts": [str(one.n) for _, one in rows],
        "accuracy": [number(one.accuracy) for _, one in rows],
        "95 %": [_interval(one.accuracy_interval) for _, one in rows],
        "majority": [number(one.majority_accuracy) for _, one in rows],
        "macro-F1": [number(one.macro_f1) for _, one in rows],
        "R²": [number(one.r2) for _, one in rows],
        "R², 95 %": ["–" if with_classes else _interval(one.r2_interval) for _, one in rows],
        "MSE": [number(one.mse, 4) for _, one in rows],
        "loss": [number(one.loss if one.mse is None else None, 4) for _, one in rows],
    }
    shown = {name: cells for name, cells in columns.items() if any(cell != "–" for cell in cells)}
    table = Table(**LAYOUT)
    table.add_column("split", no_wrap=True)
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    for i, (split, _) in enumerate(rows):
        table.add_row(split, *(cells[i] for cells in shown.values()))
    return table


def _layers(result: AdaptResult) -> Table:
    """Least squares by layer; the layer with the least cross-validated error in bold."""
    rows = result.record["fits"]
    best = result.record["best_layer"]
    step = -(-len(rows) // _MOST_ROWS)
    table = Table(title="by layer", title_justify="left", **LAYOUT)
    for heading in ("layer", "rank", "ridge", "mse", "r2", "gcv", "test accuracy", "test R²"):
        table.add_column(heading, justify="right", no_wrap=True)
    for i, row in enumerate(rows):
        if i % step and row["layer"] != best and i != len(rows) - 1:
            continue
        test = row["test"] or {}
        table.add_row(
            str(row["layer"]),
            str(row["rank"]),
            f"{row['ridge']:.2g}",
            number(row["mse"], 4),
            number(row["r2"]),
            number(row["gcv"], 4),
            number(test.get("accuracy")),
            number(test.get("r2")),
            style="bold" if row["layer"] == best else None,
        )
    return table


def _interval(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval[0]:.2f}–{interval[1]:.2f}"
