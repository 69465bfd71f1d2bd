"""What a result says, in at most 25 lines of 80 characters."""

import html
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ntpscore.plain_text import plain_record
from ntpscore.scoring.advice import next_command

WIDTH, LINES = 80, 25
NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "r2": "share of variance (R²)"}
MAJORITY = {"accuracy": "most frequent class", "macro_f1": "most frequent", "r2": "the mean"}
_COLUMNS = {"regression": "targets", "multilabel": "labels"}
_LABEL = 38


def summarise(record: Mapping[str, Any]) -> str:
    """What was run, held-out accuracy, more labels, advice and the next command.

    Args:
        record: of a result.
    """
    record = plain_record(record)
    lines = [*_wrap(_run(record)), ""]
    accuracy = record.get("accuracy")
    if accuracy is not None and accuracy["frozen"] is not None:
        lines += accuracy_lines(record)
        lines += _wrap(describe_more_labels(record))
        lines += _wrap(describe_layers(accuracy, record["model"]["layers"]))
    lines += ["", *_wrap(record["advice"])]
    if accuracy is not None and (command := next_command(record)) is not None:
        lines.append(f"  {command}")  # not to be broken: it is copied
    lines.append("")
    ends = [_costs(record)]
    warnings = [line for one in record["warnings"] for line in _wrap(f"warning: {one}")]
    room = LINES - len(lines) - len(ends)
    if len(warnings) > room:
        rest = "warning: … all warnings are in result.json and under --scores"
        warnings = [*warnings[: max(room - 1, 0)], rest]
    return "\n".join([*lines, *warnings, *ends])


def summarise_html(record: Mapping[str, Any]) -> str:
    """`summarise`, with the held-out figures of every readout as a table below it."""
    accuracy = record.get("accuracy") or {}
    text = f"<pre>{html.escape(summarise(record))}</pre>"
    if not accuracy.get("readouts"):
        return text
    measure = accuracy["measure"]
    head = "".join(
        f"<th>{name}</th>" for name in ("layer", "token", html.escape(NAMES[measure]), "95 %")
    )
    rows = "".join(
        f"<tr><td>{row['layer']}</td><td>{row['pooling']}</td><td>{show(row[measure], measure)}"
        f"</td><td>{show(row[f'{measure}_low'], measure)} to "
        f"{show(row[f'{measure}_high'], measure)}</td></tr>"
        for row in accuracy["readouts"]
    )
    return (
        f"{text}<details><summary>by layer</summary><table><tr>{head}</tr>{rows}</table></details>"
    )


class Reached(NamedTuple):
    """A value of the headline measure; without an interval `low` and `high` are None.

    Attributes:
        name: what reaches it.
        value: None where it is not known.
        low: the lower end of the interval.
        high: the upper end.
        coverage: of the interval; None means 95 %.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    coverage: float | None = None


def reached(record: Mapping[str, Any]) -> list[Reached]:
    """What is reached without a model, by words, frozen, and with LoRA, where that is forecast."""
    accuracy, measure = record["accuracy"], record["accuracy"]["measure"]
    best, words = accuracy["best"], accuracy["words"]
    of = "" if words["n_texts"] == accuracy["n_texts"] else f", of {words['n_texts']} texts"
    rows = [Reached(MAJORITY[measure], accuracy["majority"].get(measure))]
    rows += [
        Reached(name, *(values.get(f"{measure}{end}") for end in ("", "_low", "_high")))
        for name, values in (
            (f"words alone (TF-IDF{of})", words),
            (f"frozen, layer {best['layer']}, {best['pooling']} token", accuracy["frozen"]),
        )
    ]
    forecast = record.get("forecast") or {}
    if forecast.get("accuracy") is not None:
        ends = (forecast[name] for name in ("accuracy", "low", "high", "coverage"))
        rows.append(Reached("LoRA (forecast)", *ends))
    return rows


def accuracy_lines(record: Mapping[str, Any]) -> list[str]:
    """The table of what is reached without a model, frozen, and with LoRA."""
    measure = record["accuracy"]["measure"]
    heading = f"{NAMES[measure]} on texts left aside"
    lines = [f"{heading:{_LABEL}}          95 % interval"]
    lines += [_row(row, measure) for row in reached(record)]
    if record.get("forecast"):
        lines += _wrap(f"  {describe_forecast(record['forecast'])}")
    return [*lines, "* one linear map, by ridge regression, of a layer's hidden states"]


def describe_forecast(forecast: Mapping[str, Any]) -> str:
    """The verdict on LoRA, what it rests on, and its price."""
    parts = [forecast["verdict"]]
    if forecast.get("lora_seconds"):
        parts.append(f"training takes about {forecast['lora_seconds'] / 60:,.0f} min here")
    if forecast.get("outside"):
        parts.append(f"the evidence has none like this ({'; '.join(forecast['outside'])})")
    return "LoRA: " + "; ".join(parts)


def _row(row: Reached, measure: str) -> str:
    name = f"{row.name} *" if row.name.startswith("frozen") else row.name
    text = f"  {name:{_LABEL - 2}}{show(row.value, measure):>8}"
    if row.low is None or row.high is None:
        return text
    ends = [show(end, measure).removesuffix(" %") for end in (row.low, row.high)]
    coverage = "" if row.coverage is None else f" ({row.coverage:.0%})".replace("%", " %")
    return f"{text}  {ends[0]} to {ends[1]}{coverage}"


def show(value: float | None, measure: str) -> str:
    """A value for people: shares in per cent, R² and the like as they are."""
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if measure in ("accuracy", "macro_f1") else f"{value:.2f}"


def describe_more_labels(record: Mapping[str, Any]) -> str:
    """What more labels would add, in a sentence."""
    curve = record.get("learning_curve")
    if curve is None or curve["gain"] is None:
        return "" if curve is None else f"More labels: {curve['reason']}."
    unit = "points" if curve["measure"] == "accuracy" else "hundredths of R²"
    gain, low, high = (100 * curve[name] for name in ("gain", "low", "high"))
    gained = f"{gain:.1f} {unit} ({low:.1f} to {high:.1f})"
    return f"{curve['more']:,} more labels would add about {gained}."


def describe_layers(accuracy: Mapping[str, Any], n_layers: int) -> str:
    """Which layers can't be told from the best, and the first that is as good."""
    best, cheapest = accuracy["best"], accuracy["cheapest"]
    tied = [place["layer"] for place in accuracy["tied"] if place["pooling"] == best["pooling"]]
    parts = []
    if len(tied) > 1:
        parts.append(f"Layers {join_ranges(tied)} can't be told apart")
    if cheapest["layer"] < best["layer"]:
        other = "" if cheapest["pooling"] == best["pooling"] else f" ({cheapest['pooling']} token)"
        parts.append(
            f"the first within one standard error of {best['layer']} is layer "
            f"{cheapest['layer']}{other}, which needs {cheapest['layer']} of the {n_layers} blocks"
        )
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def join_ranges(numbers: Sequence[int]) -> str:
    """Numbers with runs drawn together: `13–15, 17, 21–24`."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def _run(record: Mapping[str, Any]) -> str:
    model, data = record["model"], record["data"]
    kinds = f"{len(data['classes'])} {_COLUMNS.get(data['task'], 'classes')}"
    read = ""
    if record.get("until", {}).get("stopped"):
        read = f", {record['until']['n_texts']:,} of them read"
    return (
        f"{model['id']} ({model['layers']} layers of width {model['width']}, {model['dtype']}) on "
        f"{data['id']} ({data['n_texts']:,} texts{read}, {kinds})"
    )


def _costs(record: Mapping[str, Any]) -> str:
    seconds = record["seconds"].get("total", 0.0)
    return f"{seconds:.0f} s, {record['peak_memory_bytes'] / 1e9:.1f} GB at most"


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False) if text else []
