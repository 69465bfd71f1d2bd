"""A result of adapt as a table for people."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from ntpscore.adapt.evaluation import Evaluation, Interval
from ntpscore.adapt.methods import METHODS
from ntpscore.adapt.result import AdaptResult
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
    where = f"layer {layers[-1]}" if METHODS[record["method"]].is_frozen else "all layers"
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
    rows = {e.split: e for e in (result.train, result.test) if e is not None}
    converged = result.record.get("converged", {})
    for record in filter(None, (converged.get("train"), converged.get("test"))):
        rows[f"{record['split']} (converged)"] = Evaluation.from_record(record)
    with_classes = any(e.accuracy is not None for e in rows.values())
    columns = {
        "texts": [str(e.n) for e in rows.values()],
        "accuracy": [number(e.accuracy) for e in rows.values()],
        "95 %": [_interval(e.accuracy_interval) for e in rows.values()],
        "majority": [number(e.majority_accuracy) for e in rows.values()],
        "macro-F1": [number(e.macro_f1) for e in rows.values()],
        "R²": [number(e.r2) for e in rows.values()],
        "R², 95 %": [_interval(None if with_classes else e.r2_interval) for e in rows.values()],
        "MSE": [number(e.mse, 4) for e in rows.values()],
        "loss": [number(e.loss if e.mse is None else None, 4) for e in rows.values()],
    }
    columns = {name: cells for name, cells in columns.items() if set(cells) != {"–"}}
    table = Table("split", **LAYOUT)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for split, *cells in zip(rows, *columns.values(), strict=True):
        table.add_row(split, *cells)
    return table


def _layers(result: AdaptResult) -> Table:
    """Least squares by layer; the layer with the least cross-validated error in bold."""
    rows = result.record["fits"]
    best = result.record["best_layer"]
    step = -(-len(rows) // _MOST_ROWS)
    table = Table(title="by layer", title_justify="left", **LAYOUT)
    for heading in ("layer", "rank", "penalty", "mse", "r2", "cv mse", "test accuracy", "test R²"):
        table.add_column(heading, justify="right", no_wrap=True)
    for i, row in enumerate(rows):
        if i % step and row["layer"] != best and i != len(rows) - 1:
            continue
        test = row["test"] or {}
        table.add_row(
            str(row["layer"]),
            "–" if row["rank"] is None else str(row["rank"]),
            f"{row['penalty']:.2g}",
            number(row["mse"], 4),
            number(row["r2"]),
            number(row["cross_validated_mse"], 4),
            number(test.get("accuracy")),
            number(test.get("r2")),
            style="bold" if row["layer"] == best else None,
        )
    return table


def _interval(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval[0]:.2f}–{interval[1]:.2f}"
