"""Sections that several kinds of results have: mistakes, the data, how it was made."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ntpscore.report.blocks import Block, Command, Facts, Figure, Section, Table, number
from ntpscore.report.figures import Ends, Line, draw_bars, draw_heat

# Classes that a picture has room for: those with most mistakes.
_MOST_CLASSES = 30
# What a page has elsewhere, or what means nothing to a reader.
_HIDDEN = {"schema_version", "kind", "text", "classes"}


def confusion(counts: Mapping[str, Mapping[str, int]]) -> list[Block]:
    """Which class is taken for which: a heat map, and its table by class.

    Args:
        counts: by class, how many of its texts are put into which.
    """
    classes = list(counts)
    wrong = {
        name: sum(n for said, n in row.items() if said != name)
        + sum(other.get(name, 0) for true, other in counts.items() if true != name)
        for name, row in counts.items()
    }
    chosen = set(sorted(classes, key=lambda name: -wrong[name])[:_MOST_CLASSES])
    shown = [name for name in classes if name in chosen]
    rows: list[list[Any]] = []
    for name, row in counts.items():
        texts, right = sum(row.values()), row.get(name, 0)
        said = sum(other.get(name, 0) for other in counts.values())
        others = {other: n for other, n in row.items() if other != name}
        most = max(others, key=others.__getitem__, default=None)
        instead = "" if most is None else f"{most} ({others[most]})"
        recall, precision = (right / of if of else None for of in (texts, said))
        rows.append([name, instead, texts, right, recall, precision])
    shares = [
        [counts[true].get(said, 0) / max(sum(counts[true].values()), 1) for said in shown]
        for true in shown
    ]
    hover = [
        [f"true: {true}\nsaid: {said}\n{counts[true].get(said, 0)} texts" for said in shown]
        for true in shown
    ]
    part = "" if len(shown) == len(classes) else f", the {len(shown)} with most mistakes"
    right = sum(row.get(name, 0) for name, row in counts.items())
    total = sum(sum(row.values()) for row in counts.values())
    columns = ("class", "most often taken for", "texts", "right", "recall", "precision")
    return [draw_heat(
        f"Which class is taken for which (share of the class's texts{part})",
        ("said", "true"), (shown, shown), shares, hover=hover, limits=(0, 1), top_down=True,
        unit="share of the class",
        alt=f"{right} of {total} texts are on the diagonal, put into their class.",
        table=Table("By class", columns, rows, names=2),
    )]  # fmt: skip


def lines_by_pooling(rows: Sequence[Mapping[str, Any]], measure: str) -> list[Line]:
    """A line over the layers for each pooling, the mean token where none is named."""
    by_pooling: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_pooling.setdefault(row.get("pooling", "mean"), []).append(row)
    return [
        Line(f"{pooling} token", [r["layer"] for r in own], [Ends.of(r, measure) for r in own])
        for pooling, own in by_pooling.items()
    ]


def label_table(counts: Mapping[str, tuple[int, int, int]]) -> Table:
    """By label, how many texts have it, are said to, and both, with recall and precision."""
    rows = [
        [name, have, said, both, *(both / of if of else None for of in (have, said))]
        for name, (have, said, both) in counts.items()
    ]
    columns = ("label", "have it", "said to", "both", "recall", "precision")
    return Table("By label", columns, rows)


def data_section(
    data: Mapping[str, Any], groups: int | None = None, title: str = "The data"
) -> Section:
    """What the texts are, and what was left out.

    Args:
        data: as a record has it.
        groups: independent ones.
        title: of the section.
    """
    reading = data.get("reading", {})
    n, counts = data["n_texts"], data.get("class_counts")
    facts = Facts({
        "data": data["id"], "split": data.get("split"), "task": data.get("task"),
        "texts": n, "rows of the split": data.get("n_rows"),
        "left out": data.get("skipped") or "no row was skipped",
        "not drawn into the sample": _not_drawn(data),
        "repeat an earlier text": reading.get("repeated"),
        "texts whose repetitions have other labels": reading.get("contradicting"),
        "independent groups": groups,
        "tokens": data.get("n_tokens"), "tokens per text": data.get("lengths"),
        "cut to the length limit": data.get("truncated"),
        "columns": data.get("columns"), "template": data.get("template"),
        "spellings merged": reading.get("merged"), "columns not taken": reading.get("not_taken"),
        "guessed": reading.get("guesses"), "target means": data.get("target_mean"),
        "target deviations": data.get("target_sd"), "revision": data.get("revision"),
        "content hash": data.get("content_hash"),
    })  # fmt: skip
    blocks: list[Block] = [facts]
    if counts:
        ends = min(counts.values()), max(counts.values())
        blocks.append(draw_bars(
            "Texts by class", "texts", counts,
            alt=f"{len(counts)} classes, of {ends[0]} to {ends[1]} texts.",
        ))  # fmt: skip
    return Section(title, blocks)


def _not_drawn(data: Mapping[str, Any]) -> int | None:
    rows = data.get("n_rows")
    return None if rows is None else rows - sum(data["skipped"].values()) - data["n_texts"]


def provenance(record: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> Section:
    """How it was made: command, versions, model, settings, seconds, memory, warnings."""
    seconds = record["seconds"]
    stages = seconds if isinstance(seconds, Mapping) else {"total": seconds}
    facts: dict[str, Any] = {
        "versions": record.get("versions"),
        "seconds": ", ".join(
            f"{stage} {number(taken, 1)}" for stage, taken in stages.items() if taken
        ),
        "peak memory": f"{record['peak_memory_bytes'] / 1e9:.1f} GB",
    }
    command = record.get("command")
    blocks: list[Block] = [Command(command)] if command else ["It was called from Python."]
    blocks += [f"Warning: {line}" for line in record.get("warnings", [])]
    blocks += [Facts(facts), *(Facts(_shown(model)) for model in models)]
    settings = _shown(record.get("settings") or record.get("config") or {})
    return Section("How it was made", [*blocks, Facts(settings)])


def _shown(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in _HIDDEN}


def heat_of_scores(
    title: str,
    unit: str,
    frame: Any,
    columns: Mapping[str, str],
    *,
    limits: tuple[float, float],
    diverging: bool = False,
    alt: str = "",
) -> Figure:
    """Layer by k/d of a table with the columns layer, k_fraction and value.

    Args:
        title: what it shows.
        unit: what the values are.
        frame: the table.
        columns: what else each cell has: the column's name, and in words.
        limits: of the colours.
        diverging: the middle of the colours is 0.
        alt: before the largest value.
    """
    wide = {
        name: frame.pivot_table(index="layer", columns="k_fraction", values=name, dropna=False)
        for name in ("value", *columns)
    }
    values = wide["value"]
    layers, shares = list(values.index), list(values.columns)
    words = ("value", *columns.values())
    cells = [
        [[number(float(table.iat[i, j])) for table in wide.values()] for j in range(len(shares))]
        for i in range(len(layers))
    ]
    hover = [
        ["\n".join([
            f"layer {layer}, k/d {share:.2f}",
            *(f"{word} {cell}" for word, cell in zip(words, cells[i][j], strict=True)),
        ]) for j, share in enumerate(shares)]
        for i, layer in enumerate(layers)
    ]  # fmt: skip
    columns_of_k = [f"{share:.2f}" for share in shares]

    def as_text(value: str, *rest: str) -> str:
        return f"{value} ({'; '.join(rest)})" if rest else value

    also = "" if not columns else f" ({'; '.join(columns.values())})"
    table = Table(
        f"{title}: value{also}, layers by k/d", ("layer", *columns_of_k),
        [
            [str(layer), *(as_text(*cell) for cell in row)]
            for layer, row in zip(layers, cells, strict=True)
        ],
    )  # fmt: skip
    place = np.unravel_index(np.nanargmax(np.abs(values.to_numpy(float))), values.shape)
    most = f"farthest from 0 at layer {layers[place[0]]}, k/d {shares[place[1]]:.2f}: "
    return draw_heat(
        title, ("k/d", "layer"), (columns_of_k, list(map(str, layers))),
        [[None if np.isnan(v) else float(v) for v in row] for row in values.to_numpy(float)],
        alt=f"{alt} {most}{number(float(values.iat[place]))}.".strip(), hover=hover, table=table,
        limits=limits, diverging=diverging, is_small=True, unit=unit,
    )  # fmt: skip
