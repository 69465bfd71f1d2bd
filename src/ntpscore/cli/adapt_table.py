"""A result of adapt as a table for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ntpscore.adapt.evaluation import Evaluation, Interval
from ntpscore.adapt.methods import METHODS
from ntpscore.adapt.result import HEAD, AdaptResult
from ntpscore.cli.tables import (
    describe_seconds,
    number,
    print_costs,
    print_warnings,
    text_table,
)
from ntpscore.plain_text import plain_record

_MOST_ROWS = 16


def print_adapt_result(result: AdaptResult, folder: Path | None, console: Console) -> None:
    """Print how good a method is on both splits, warnings and timings, and where it was saved."""
    result = AdaptResult(plain_record(result.record))
    record = result.record
    model, train = record["model"], record["data"]["train"]
    where = f"{', '.join(record['targets'])} of all layers" if "targets" in record else "all layers"
    if METHODS[record["method"]].is_frozen:
        # Results of earlier versions have the mean token of their last layer on top.
        layer, pooling = record.get("layer", record["layers"][-1]), record.get("pooling", "mean")
        where = f"layer {layer}, {pooling} token"
    steps = f", {record['samples_seen']} seen in {record['steps']} steps" if record["steps"] else ""
    console.print(
        f"{record['method']} ({where}) of {model['id']} on {train['id']}: {train['n_texts']} texts "
        f"fitted{steps}",
        markup=False,
        highlight=False,
    )
    console.print(_evaluations(result))
    for name, by_layer in (("fits", _fits), ("candidates", _candidates)):
        if len(record.get(name, ())) > 1:
            console.print(by_layer(record))
    print_warnings(console, record)
    trainable = f"{record['trainable_parameters']} trainable parameters"
    print_costs(console, [describe_seconds(record["seconds"]), trainable], record, folder)
    if folder is not None and (folder / HEAD).exists():
        console.print(
            f"label new texts with it: ntpscore predict {folder} TEXTS --out labels.csv",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


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
    return text_table(("split", *columns), zip(rows, *columns.values(), strict=True))


def _fits(record: dict[str, Any]) -> Table:
    """Least squares by layer; the one with the least cross-validated error in bold."""
    headings = ("layer", "rank", "penalty", "mse", "r2", "cv mse", "test accuracy", "test R²")
    rows = {
        row["layer"]: [
            str(row["layer"]),
            "–" if row["rank"] is None else str(row["rank"]),
            f"{row['penalty']:.2g}",
            number(row["mse"], 4),
            number(row["r2"]),
            number(row["cross_validated_mse"], 4),
            number((row["test"] or {}).get("accuracy")),
            number((row["test"] or {}).get("r2")),
        ]
        for row in record["fits"]
    }
    return _by_layer("by layer", headings, rows, record["best_layer"])


def _candidates(record: dict[str, Any]) -> Table:
    """What was cross-validated by layer and pooling; the one that was taken in bold."""
    poolings = list(dict.fromkeys(row["pooling"] for row in record["candidates"]))
    title = f"held out in cross-validation of the train split, by {' and '.join(poolings)} token"
    by_layer: dict[int, dict[str, dict[str, Any]]] = {}
    for row in record["candidates"]:
        by_layer.setdefault(row["layer"], {})[row["pooling"]] = row
    names = {"accuracy": "accuracy", "r2": "R²"}
    figures = [
        (pooling, name)
        for pooling in poolings
        for name in names
        if any(row["pooling"] == pooling and row[name] is not None for row in record["candidates"])
    ]
    headings = ("layer", *(f"{pooling}: {names[name]}" for pooling, name in figures))
    rows = {
        layer: [str(layer), *(number(row.get(p, {}).get(name)) for p, name in figures)]
        for layer, row in by_layer.items()
    }
    return _by_layer(title, headings, rows, record["layer"])


def _by_layer(
    title: str, headings: Sequence[str], rows: dict[int, list[str]], best: int | None
) -> Table:
    """A row per layer, or every so many of them; with the first, the best and the last."""
    step = -(-len(rows) // _MOST_ROWS)
    shown = {
        layer: cells
        for i, (layer, cells) in enumerate(rows.items())
        if i % step == 0 or layer == best or i == len(rows) - 1
    }
    bold = [i for i, layer in enumerate(shown) if layer == best]
    layout = {"title": title, "title_justify": "left"}
    return text_table(headings, shown.values(), names=0, bold=bold, **layout)


def _interval(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval[0]:.2f}–{interval[1]:.2f}"
