"""A result of `score` as an article."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ntpscore.errors import OutputError
from ntpscore.plain_text import plain_record
from ntpscore.report.blocks import Article, Block, Command, Section, Table, sentence
from ntpscore.report.common import (
    confusion,
    data_section,
    heat_of_scores,
    label_table,
    lines_by_pooling,
    provenance,
)
from ntpscore.report.figures import Ends, Line, Valued, draw_lines, draw_values
from ntpscore.scoring.advice import next_command
from ntpscore.scoring.result import ScoreResult
from ntpscore.scoring.summary import (
    NAMES,
    describe_forecast,
    describe_layers,
    describe_more_labels,
    reached,
    show,
)

Record = dict[str, Any]
_CONTROLS = {"chance": "chance", "shuffled_mean": "shuffled", "shuffled_sd": "± shuffled"}


def score_article(result: ScoreResult, folder: str) -> Article:
    """All of a result of `score`.

    Args:
        result: what was found.
        folder: where it is.
    """
    record: Record = plain_record(result.record)
    accuracy = record.get("accuracy") or {}
    has_readouts = accuracy.get("frozen") is not None
    headline = None
    if has_readouts:
        frozen = reached(record)[2]
        name = f"{NAMES[accuracy['measure']]}, {frozen.name}"
        headline = (name, frozen.value, frozen.low, frozen.high)
    sections = [
        Section("The answer", _answer(record, has_readouts=has_readouts)),
        Section("By layer", _by_layer(record) if has_readouts else []),
        Section("More labels", _learning_curve(record)),
        Section("Mistakes", mistakes(record.get("mistakes"))),
        data_section(record["data"], accuracy.get("n_groups")),
    ]
    if not record["model"].get("reads_both_ways"):
        sections += [
            Section("Scores by layer and k", _scores(result)),
            Section("Theory", _theory(record["layers"])),
        ]
    sections += [
        Section("Controls", _controls(record)),
        provenance(record, [record["model"]]),
    ]
    title = f"{record['model']['id']} on {record['data']['id']}"
    return Article(title, "ntpscore score", folder, sections, headline)


def _answer(record: Record, *, has_readouts: bool) -> list[Block]:
    blocks: list[Block] = [record["advice"]]
    if not has_readouts:
        return blocks
    measure = record["accuracy"]["measure"]
    if (command := next_command(record)) is not None:
        blocks.append(Command(command))
    rows = reached(record)
    summary = "; ".join(f"{row.name} {show(row.value, measure)}" for row in rows)
    blocks.append(draw_values(
        f"{sentence(NAMES[measure])} on texts left aside, with 95 % intervals", NAMES[measure],
        [Valued(row.name + _coverage(row.coverage), Ends(*row[1:4])) for row in rows],
        percent=_is_share(measure), alt=f"{summary}.",
    ))  # fmt: skip
    blocks.append("Frozen: one linear map, by ridge regression, of a layer's hidden states.")
    if record.get("forecast"):
        blocks.append(describe_forecast(record["forecast"]))
        blocks.append(f"The forecast rests on {record['forecast']['evidence']}.")
    layers = describe_layers(record["accuracy"], record["model"]["layers"])
    return [*blocks, *filter(None, (describe_more_labels(record), layers))]


def _coverage(coverage: float | None) -> str:
    return "" if coverage is None else f", {coverage:.0%} interval".replace("%", " %")


def _is_share(measure: str) -> bool:
    return measure in ("accuracy", "macro_f1")


def _by_layer(record: Record) -> list[Block]:
    accuracy, measure = record["accuracy"], record["accuracy"]["measure"]
    rows = accuracy["readouts"]
    lines = lines_by_pooling(rows, measure)
    ends = sorted({row["layer"] for row in rows})
    for row, dash in zip(reached(record)[:2], ("dot", "dash"), strict=True):
        if row.value is not None:
            x = [ends[0], ends[-1]]
            lines.append(Line(row.name, x, [Ends(row.value)] * 2, dash=dash, markers=False))
    best = accuracy["best"]
    return [draw_lines(
        f"{sentence(NAMES[measure])} of every layer on texts left aside, with 95 % bands",
        "layer", NAMES[measure], lines, percent=_is_share(measure),
        alt=f"The largest held-out R² is that of layer {best['layer']}, {best['pooling']} token.",
    )]  # fmt: skip


def _learning_curve(record: Record) -> list[Block]:
    curve = record.get("learning_curve")
    if curve is None or not curve["points"]:
        return []
    measure, points = curve["measure"], curve["points"]
    lines = [
        Line("measured", [p["trained_on"] for p in points], [Ends(p[measure]) for p in points])
    ]
    summary = describe_more_labels(record)
    if curve["gain"] is not None:
        a, b, c = (curve["curve"][name] for name in "abc")
        n = points[-1]["texts"]
        x = np.unique(np.geomspace(points[0]["trained_on"], n + curve["more"], 40))
        y = [Ends(float(accuracy)) for accuracy in 1 - a - b * x**-c]
        lines.append(Line("power law", x.round(1).tolist(), y, dash="dash", markers=False))
        now = 1 - a - b * n**-c
        more = Ends(*(now + curve[name] for name in ("gain", "low", "high")))
        x_more = [float(n), float(n + curve["more"])]
        lines.append(Line("with more labels, 95 %", x_more, [Ends(now, now, now), more]))
    return [summary, draw_lines(
        "Learning curve on texts left aside", "texts fitted to", NAMES[measure], lines,
        percent=_is_share(measure), alt=summary,
    )]  # fmt: skip


def mistakes(found: Record | None) -> list[Block]:
    """Which class is taken for which, and the most telling mistakes."""
    if not found:
        return []
    blocks: list[Block] = [
        "By the frozen readout that was chosen and fitted without the text in question."
    ]
    if "confusion" in found:
        blocks += confusion(found["confusion"])
    if "by_label" in found:
        counts = found["by_label"].items()
        blocks.append(label_table({k: (n["have"], n["said"], n["right"]) for k, n in counts}))
    has_confidence = any(row["confidence"] is not None for row in found["texts"])
    keys = ["text", "true", "said"] + ["confidence"] * has_confidence
    records = [r | {key: _labels(r[key]) for key in ("true", "said")} for r in found["texts"]]
    what = "the most confident ones" if has_confidence else "those farthest off"
    columns, names = dict(zip(keys, keys, strict=True)), 3 if has_confidence else 1
    return [*blocks, Table.of(f"Mistakes: {what}", columns, records, names=names, digits=2)]


def _labels(labels: Sequence[Any]) -> str:
    return ", ".join(n if isinstance(n, str) else f"{n:.4g}" for n in labels) or "none"


def _scores(result: ScoreResult) -> list[Block]:
    try:
        frame = result.table()
    except OutputError:
        return []
    blocks: list[Block] = []
    for name in frame["score"].unique():
        rows = frame[frame["score"] == name]
        if rows["value"].notna().any():
            blocks.append(heat_of_scores(name, "score", rows, _CONTROLS, limits=(0, 1)))
    columns = {
        "score": "score", "layer": "layer", "k": "k", "k_fraction": "k/d", "value": "value",
        "chance": "chance", "shuffled_mean": "shuffled", "shuffled_sd": "sd", "z": "z", "p": "p",
    }  # fmt: skip
    records = [{**best, "score": name} for name, best in plain_record(result.best).items()]
    best = Table.of("Where each score exceeds its shuffles most", columns, records)
    return [*blocks, best] if blocks else []


def _theory(rows: Sequence[Record]) -> list[Block]:
    known = [row for row in rows if row.get("next_token_loss") is not None]
    if not known:
        return []
    x = [row["layer"] for row in known]

    def line(name: str, *keys: str) -> Line:
        # A logarithm has no place for a bound of 0.
        return Line(name, x, [Ends(*(row[key] or None for key in keys)) for row in known])

    bounds = line("excess loss, between its bounds", "excess_loss", "excess_loss_lower",
                  "excess_loss_upper")  # fmt: skip
    columns = {"layer": "layer", "loss_k": "k", "excess_loss_lower": "lower bound",
               "excess_loss": "excess loss", "excess_loss_upper": "upper bound"}  # fmt: skip
    second = draw_lines(
        "Theorem 2: what labels lose where the probe sees half of V alone",
        "layer", "excess loss", [bounds], log=True,
        alt="The excess loss of each layer, in a band from its lower to its upper bound.",
    )  # fmt: skip
    return [
        draw_lines(
            "Theorem 1: what next tokens lose by half of V, and labels by U, per text",
            "layer", "squared error",
            [line("next tokens, L(V_k)", "next_token_loss"), line("labels, L*(U)", "probe_loss")],
            log=True, alt="Both losses of each layer, on a logarithmic scale.",
        ),
        replace(second, table=Table.of(second.title, columns, known)),
    ]  # fmt: skip


def _controls(record: Record) -> list[Block]:
    rows = record["layers"]
    x = [row["layer"] for row in rows]

    def spread(row: Record) -> Ends:
        mean, sd = row["r2_shuffled_mean"], row["r2_shuffled_sd"]
        return Ends(mean) if mean is None or sd is None else Ends(mean, mean - sd, mean + sd)

    lines = [
        Line("fit of these texts", x, [Ends(row["r2"]) for row in rows]),
        Line("adjusted", x, [Ends(row["r2_adjusted"]) for row in rows]),
        Line("shuffled labels ± sd", x, [spread(row) for row in rows], dash="dash"),
        Line("chance", x, [Ends(row["r2_chance"]) for row in rows], dash="dot", markers=False),
    ]
    columns = {
        "layer": "layer", "rank_N": "rank of N", "dropped_N": "dropped",
        "condition_N": "condition of N", "rank_C0": "rank of C0", "dropped_C0": "dropped of C0",
        "condition_C0": "condition of C0", "residual": "residual",
    }  # fmt: skip
    compact = [{key: _compact(row[key]) for key in columns} for row in rows]
    return [
        *record["unsaid"],
        draw_lines(
            "The fit of all texts (r2) beside its controls", "layer", "R²",
            [line for line in lines if any(ends.value is not None for ends in line.y)],
            alt="R² in sample, adjusted for the width, with shuffled labels and by chance.",
        ),
        Table.of("The numerics of each layer", columns, compact),
    ]  # fmt: skip


def _compact(value: float | None) -> Any:
    return f"{value:.2g}" if isinstance(value, float) else value
