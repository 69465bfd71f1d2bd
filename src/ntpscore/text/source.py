"""Where labelled text came from and how it was read, to be kept and to be told."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ntpscore.text.table import quoted, shown

if TYPE_CHECKING:
    from ntpscore.text.labelled import LabelledText

_MOST_CLASSES_TOLD = 8
_MOST_COLUMNS_TOLD = 8


@dataclass(frozen=True)
class Reading:
    """How labelled text was read where more than one way was open.

    Attributes:
        guesses: What was guessed and how to choose otherwise, a sentence each.
        warnings: What may be wrong with the data, a sentence each.
        merged: Spellings of labels that were taken for one class, by the class's name.
        not_taken: Columns that could have served as well, and the option that takes each.
        exact_labels: Whether spellings were kept apart.
        repeated: Texts that repeat an earlier one, of those that were taken.
        contradicting: Different texts whose repetitions have not all the same label.
    """

    guesses: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    merged: dict[str, tuple[str, ...]] = field(default_factory=dict)
    not_taken: dict[str, str] = field(default_factory=dict)
    exact_labels: bool = False
    repeated: int = 0
    contradicting: int = 0


@dataclass
class Notes:
    """Gathers what a `Reading` tells while text is read."""

    exact_labels: bool = False
    guesses: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    merged: dict[str, tuple[str, ...]] = field(default_factory=dict)
    not_taken: dict[str, str] = field(default_factory=dict)

    def reading(self) -> Reading:
        """What was gathered."""
        values = vars(self) | {"guesses": tuple(self.guesses), "warnings": tuple(self.warnings)}
        return Reading(**values)


@dataclass(frozen=True)
class TextSource:
    """Where labelled text came from.

    Attributes:
        id: The hub id, the path as given, the built-in data set's name, or what was in memory.
        revision: The commit on the hub, if it is from there and could be told.
        content_hash: SHA-256 (hex) over the kept texts and labels in order; the same rows in
            another file format have the same.
        configuration: The hub data set's configuration, as given or registered.
        split: The split that was read.
        n_rows: Rows in that split, before any were skipped or sampled. Malformed lines count, since
            nobody knows their split.
        skipped: How many rows were left out, by reason; only with `skip_bad_rows`.
        columns: Which column was the text, pair, label and split, of those used.
        template: The template, as given or registered.
        reading: What was guessed, merged and not taken.
    """

    id: str
    revision: str | None
    content_hash: str
    configuration: str | None
    split: str
    n_rows: int
    skipped: dict[str, int]
    columns: dict[str, str]
    template: str | None
    reading: Reading = field(default_factory=Reading)


def describe_reading(text: "LabelledText") -> list[str]:
    """What was read, in lines to print: columns, classes, rows, guesses, warnings.

    Args:
        text: from `load_text`.

    Examples:
        >>> import pandas as pd
        >>> from ntpscore.text import load_text
        >>> frame = pd.DataFrame({"text": ["so good", "so bad"], "label": ["yes", "no"]})
        >>> describe_reading(load_text(frame))[0]
        "text = 'text', label = 'label': 2 classes: no 1, yes 1"
    """
    source = text.source
    lines = [f"{_describe_columns(source)}: {_describe_labels(text)}"]
    rows = f"{len(text)} of {source.n_rows} rows of split {shown(source.split)} of {source.id}"
    if source.skipped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in source.skipped.items())
        rows += f"; left out: {reasons}"
    reading = source.reading
    lines += [rows, *_describe_groups(text), *reading.guesses]
    lines += [
        f"not taken: {shown(column)} ({option} takes it)"
        for column, option in list(reading.not_taken.items())[:_MOST_COLUMNS_TOLD]
    ]
    return lines + [f"warning: {warning}" for warning in reading.warnings]


def _describe_groups(text: "LabelledText") -> list[str]:
    n, n_groups, reading = len(text), text.n_groups, text.source.reading
    if n_groups == n:
        return []
    lines = []
    if reading.repeated:
        lines.append(
            f"{reading.repeated} of {n} texts ({reading.repeated / n:.0%}) repeat an earlier one; "
            f"labels contradict each other for {reading.contradicting} texts"
        )
    lines.append(
        f"{n_groups} independent groups of texts: shuffles, samples and hold-outs keep them whole"
    )
    return lines


def _bare(name: str) -> str:
    """A class's name, quoted only if it would be misread otherwise."""
    quoted_name = shown(name)
    is_plain = name and quoted_name[1:-1] == name and name == name.strip() and "," not in name
    return name if is_plain else quoted_name


def _describe_columns(source: TextSource) -> str:
    if source.template is not None:
        text = shown(source.template)
    else:
        text = " + ".join(
            shown(source.columns[role]) for role in ("text", "pair") if role in source.columns
        )
    return f"text = {text}, label = {shown(source.columns['label'])}"


def _describe_labels(text: "LabelledText") -> str:
    if text.task == "regression":
        if text.target_mean is None or text.target_sd is None or len(text.classes) > 1:
            return f"{len(text.classes)} targets: {quoted(text.classes)}"
        mean, sd = text.target_mean[0], text.target_sd[0]
        return f"numbers of mean {mean:.4g} and standard deviation {sd:.4g}"
    counts = text.class_counts()
    names = list(counts)
    if len(names) > _MOST_CLASSES_TOLD:
        names = sorted(names, key=lambda name: -counts[name])[:_MOST_CLASSES_TOLD]
    counted = ", ".join(f"{_bare(name)} {counts[name]}" for name in names)
    rest = f", and {len(counts) - len(names)} more" if len(counts) > len(names) else ""
    kind = "classes" if text.task == "classification" else "labels, any number a text"
    return f"{len(counts)} {kind}: {counted}{rest}"
