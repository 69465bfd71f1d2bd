"""A ranking as an article."""

from typing import Any

from ntpscore.plain_text import plain_record
from ntpscore.rank.result import RankResult
from ntpscore.report.blocks import Article, Block, Figure, Section, Table, number, sentence
from ntpscore.report.common import data_section, provenance
from ntpscore.report.figures import Ends, Valued, draw_points, draw_values
from ntpscore.scoring.summary import NAMES, show

# What a model loses more on a text than the best, by what is measured.
_BEHIND = {
    "accuracy": "texts wrong more often than by the first",
    "macro_f1": "labels wrong more often than by the first",
    "r2": "squared error more than by the first (standard deviations)",
}


def rank_article(result: RankResult, folder: str) -> Article:
    """All of a ranking.

    Args:
        result: what was found.
        folder: where it is.
    """
    record: dict[str, Any] = plain_record(result.record)
    rows = record["standings"]
    measure = rows[0]["measure"]
    name = NAMES.get(measure, measure)
    judged = [row for row in rows if row["accuracy"] is not None]
    first = judged[0] if judged else None
    headline = None
    if first is not None:
        headline = (f"{name}, {first['model']}", *Ends.of(first, "accuracy"))
    sections = [
        Section("The answer", _answer(record, judged, name, is_share=measure != "r2")),
        Section("Accuracy against cost", _cost(judged, name, is_share=measure != "r2")),
        Section("Pairs", _pairs(judged, measure)),
        Section("Metrics", _metrics(record)),
        data_section(record["data"]),
        provenance(record, [model for model in record["models"] if model["error"] is None]),
    ]
    title = f"{len(record['models'])} models on {record['data']['id']}"
    return Article(title, "ntpscore rank", folder, sections, headline)


def _answer(
    record: dict[str, Any], judged: list[dict[str, Any]], name: str, *, is_share: bool
) -> list[Block]:
    columns = {
        "model": "model", "rank": "rank", "accuracy": name, "accuracy_low": "low",
        "accuracy_high": "high", "layer": "layer", "pooling": "pooling",
        "lora_accuracy": "LoRA (forecast)", "parameters": "parameters", "seconds": "seconds",
    }  # fmt: skip
    rows = [row | {"rank": _rank(row)} for row in record["standings"]]
    blocks: list[Block] = []
    if judged:
        same = [row["model"] for row in judged if row["rank"] == judged[0]["rank"]]
        best = f"{judged[0]['model']}: {name} {show(judged[0]['accuracy'], judged[0]['measure'])}"
        tied = "" if len(same) == 1 else f"; {', '.join(same[1:])} can't be told from it"
        blocks.append(f"The best frozen readout is that of {best}{tied}.")
        title = f"{sentence(name)} on texts left aside, with intervals"
        blocks.append(draw_values(title, name, _values(judged), percent=is_share))
    blocks.append(Table.of("Models, the best first; = can't be told apart", columns, rows))
    blocks += [f"Not ranked: {m['name']}: {m['error']}" for m in record["models"] if m["error"]]
    return blocks + [
        f"{row['model']}: {row['reason']}." for row in record["standings"] if row["reason"]
    ]


def _values(judged: list[dict[str, Any]]) -> list[Valued]:
    """Frozen readouts, and forecasts where there are any."""
    values = []
    for row in judged:
        values.append(Valued(row["model"], Ends.of(row, "accuracy"), "frozen, 95 %"))
        if row["lora_accuracy"] is not None:
            ends = Ends(row["lora_accuracy"], row.get("lora_low"), row.get("lora_high"))
            values.append(Valued(row["model"], ends, "LoRA (forecast), 80 %"))
    return values


def _rank(row: dict[str, Any]) -> str:
    return "–" if row["rank"] is None else f"{row['rank']}{'=' if row['tied'] else ''}"


def _cost(judged: list[dict[str, Any]], name: str, *, is_share: bool) -> list[Block]:
    if not judged:
        return []

    def against(axis: str, key: str) -> Figure:
        points = [Valued(row["model"], Ends.of(row, "accuracy"), x=row[key]) for row in judged]
        summary = "; ".join(f"{point.name}: {point.x:,.0f}" for point in points)
        return draw_points(
            f"{sentence(name)} by {axis}", axis, name, points, percent=is_share, log=True,
            alt=f"{axis.capitalize()}: {summary}.",
        )  # fmt: skip

    return [against("seconds of the run", "seconds"), against("parameters", "parameters")]


def _pairs(judged: list[dict[str, Any]], measure: str) -> list[Block]:
    """What each model loses more than the first, with paired intervals."""
    rows = [
        Valued(row["model"], Ends.of(row, "behind"))
        for row in judged
        if row.get("behind") is not None
    ]
    if not rows:
        return []
    explanation = (
        f"What each model loses beside {judged[0]['model']} on the very same texts; where the 95 % "
        "interval holds 0 the two can't be told apart."
    )
    title = f"Beside the first, {judged[0]['model']}, with paired 95 % intervals"
    return [explanation, draw_values(title, _BEHIND[measure], rows, percent=measure != "r2")]


def _metrics(record: dict[str, Any]) -> list[Block]:
    """A row per metric, a column per model, for each place."""
    found: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for row in record["rows"]:
        by_metric = found.setdefault(row["at"], {}).setdefault(row["metric"], {})
        by_metric[row["model"]] = row
    blocks: list[Block] = []
    for place, metrics in found.items():
        models = list(dict.fromkeys(name for rows in metrics.values() for name in rows))
        rows = [
            [metric, *(_value(by_model[name]) for name in models), _remark(by_model)]
            for metric, by_model in metrics.items()
        ]
        caption = f"Metrics at the layer: {place}; value (rank)"
        blocks.append(Table(caption, ("metric", *models, "remark"), rows))
    return blocks


def _value(row: dict[str, Any]) -> str:
    if row["rank"] is None:
        return "–"
    # JSON has no infinity; what has a rank has a value.
    value = "inf" if row["value"] is None else number(row["value"])
    return f"{value} ({_rank(row)})"


def _remark(by_model: dict[str, dict[str, Any]]) -> str:
    return "; ".join(dict.fromkeys(row["reason"] for row in by_model.values() if row["reason"]))
