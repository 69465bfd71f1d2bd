"""A ranking as tables for people."""

import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ntpscore.cli.tables import LAYOUT, number, print_costs
from ntpscore.core.score_names import SCORES
from ntpscore.metrics import METRICS
from ntpscore.plain_text import plain_record
from ntpscore.rank.result import CONSENSUS, RankResult
from ntpscore.scoring.summary import NAMES, show

_HEADINGS = {
    "last": "the last layer",
    "best": "the layer with the largest r2_adjusted",
    "chosen": "the layer that was asked for",
}
_WIDE = 140  # characters, from which on all metrics fit side by side
_PER_TABLE = 7
Row = dict[str, Any]


def print_ranking(result: RankResult, folder: Path | None, console: Console) -> None:
    """Print which model is best, the metrics that were asked for, and where it was saved."""
    result = RankResult(plain_record(result.record))
    record = result.record
    data = record["data"]
    console.print(
        f"{len(record['models'])} models on {data['id']} ({data['n_texts']:,} texts)",
        markup=False,
        highlight=False,
    )
    console.print(_standings(record["standings"]))
    if record["rows"]:
        _print_metrics(result, console)
    print_costs(console, [f"{record['seconds']:.0f} s"], record, folder)


def _standings(rows: list[Row]) -> Table:
    """A row per model: what it reaches on texts left aside, where, and what it costs."""
    measure = rows[0]["measure"]
    table = Table(
        title=f"{NAMES[measure]} of a frozen readout on texts left aside",
        title_justify="left",
        caption="models of one rank can't be told apart on these texts (paired, 95 %)",
        caption_justify="left",
        **LAYOUT,
    )
    table.add_column("")
    table.add_column("model", overflow="fold", max_width=26)
    headings = (measure.replace("_", "-"), "95 %", "layer", "LoRA", "params", "seconds")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        rank = "–" if row["rank"] is None else f"{row['rank']}{'=' if row['tied'] else ''}"
        token = "" if row["pooling"] in (None, "mean") else f" {row['pooling']}"
        table.add_row(
            rank,
            Text(row["model"]),
            show(row["accuracy"], measure),
            _interval(row["accuracy_low"], row["accuracy_high"], measure),
            "–" if row["layer"] is None else f"{row['layer']}{token}",
            show(row["lora_accuracy"], "accuracy"),
            _size(row["parameters"]),
            f"{row['seconds']:.0f}",
        )
    return table


def _interval(low: float | None, high: float | None, measure: str) -> str:
    if low is None or high is None:
        return "–"
    return f"{show(low, measure).removesuffix(' %')}–{show(high, measure).removesuffix(' %')}"


def _size(parameters: int) -> str:
    return f"{parameters / 1e9:.1f}B" if parameters >= 1e9 else f"{parameters / 1e6:.0f}M"


def _print_metrics(result: RankResult, console: Console) -> None:
    """Every metric of every model with its rank, then what was left undefined."""
    record = result.record
    rivals = [CONSENSUS, *(name for name, metric in METRICS.items() if not metric.baseline)]
    n_tables = 1 if console.width >= _WIDE else math.ceil(len(rivals) / _PER_TABLE)
    per_table = math.ceil(len(rivals) / n_tables)
    baselines = [name for name, metric in METRICS.items() if metric.baseline]
    by_place: dict[str, dict[str, dict[str, Row]]] = {}
    for row in record["rows"]:
        by_place.setdefault(row["at"], {}).setdefault(row["model"], {})[row["metric"]] = row
    layer_at = {model["name"]: model.get("layer_at") for model in record["models"]}
    for at, models in by_place.items():
        layers = {name: layer_at[name][at] for name in models}
        for start in range(0, len(rivals), per_table):
            part = rivals[start : start + per_table]
            console.print(_table(_HEADINGS[at], models, part, layers))
        console.print(_table(f"baselines, {_HEADINGS[at]}", models, baselines, layers))
    first = next(iter(by_place.values()))
    console.print(_table("next-token scores, each where it says most", first, list(SCORES), None))
    console.print(Text(_remarks(by_place), style="dim"))


def _table(
    title: str,
    models: dict[str, dict[str, Row]],
    metrics: list[str],
    layers: dict[str, int | None] | None,
) -> Table:
    """Rows = models, columns = metrics; in each cell the value above its rank."""
    table = Table(title=title, title_justify="left", show_lines=False, **LAYOUT)
    table.add_column("model", overflow="fold")
    if layers is not None:
        table.add_column("layer", justify="right", no_wrap=True)
    for metric in metrics:
        table.add_column(metric.replace("_", "_\n"), justify="right", no_wrap=True)
    for name, rows in models.items():
        cells = [_cell(rows[metric], with_layer=layers is None) for metric in metrics]
        layer = [] if layers is None else ["–" if layers[name] is None else str(layers[name])]
        table.add_row(Text(name), *layer, *cells)
    return table


def _cell(row: Row, *, with_layer: bool) -> str:
    rank = "–" if row["rank"] is None else f"{row['rank']}{'=' if row['tied'] else ''}"
    value = row["value"]
    shown = "inf" if value is None and row["rank"] is not None else _short(value)
    if with_layer and row["layer"] is not None:
        return f"{shown}\n@{row['layer']}\n{rank}"
    return f"{shown}\n{rank}"


def _short(value: float | None) -> str:
    """A number in few characters."""
    if value is None or (abs(value) < 100 and value != int(value)):
        return number(value)
    return f"{value:.0f}" if abs(value) < 1e5 else f"{value:.2g}"


def _remarks(by_place: dict[str, dict[str, dict[str, Row]]]) -> str:
    explained = (
        "below each value its rank, = where tied; consensus: mean rank over the metrics that are "
        "defined for every model, without baselines and next-token scores"
    )
    reasons: dict[str, list[str]] = {}
    for models in by_place.values():
        for rows in models.values():
            for row in rows.values():
                if row["reason"] is not None and row["metric"] not in reasons.setdefault(
                    row["reason"], []
                ):
                    reasons[row["reason"]].append(row["metric"])
    undefined = [f"{', '.join(metrics)}: {reason}" for reason, metrics in reasons.items()]
    return "\n".join([explained, *undefined])
