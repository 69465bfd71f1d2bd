"""Labelled text, checked row by row, and where it came from."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ntpscore.errors import DataError, MissingSplitError
from ntpscore.options import with_keywords
from ntpscore.text.choices import write_choices
from ntpscore.text.columns import Columns, find_columns
from ntpscore.text.labels import Labels, Task, parse_cells, read_labels
from ntpscore.text.open import open_table
from ntpscore.text.options import TextOptions
from ntpscore.text.registry import fill_in
from ntpscore.text.sample import draw_sample, draw_stratified_sample
from ntpscore.text.table import Table, is_missing, quoted
from ntpscore.text.template import Template, parse_template

if TYPE_CHECKING:
    import datasets
    import pandas as pd


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


@dataclass(frozen=True, eq=False)
class LabelledText:
    """Texts with labels for one task.

    Attributes:
        texts: n strings, none of them blank.
        labels: Classification: (n,) int64 indices of `classes`. Regression: (n, t) float64 targets
            of mean 0 and standard deviation 1. Multilabel: (n, c) float64, 1 for a class the text
            has and 0 for others.
        task: What the labels are for.
        classes: The classes' names, or the targets'; every class occurs.
        target_mean: Each target's mean before standardising; None but for regression.
        target_sd: Each target's population standard deviation; None but for regression.
        source: Where all this came from.
    """

    texts: list[str]
    labels: npt.NDArray[np.int64] | npt.NDArray[np.float64]
    task: Task
    classes: tuple[str, ...]
    target_mean: tuple[float, ...] | None
    target_sd: tuple[float, ...] | None
    source: TextSource

    def __len__(self) -> int:
        """How many texts there are."""
        return len(self.texts)

    def class_counts(self) -> dict[str, int]:
        """How many texts have each class, in the order of `classes`.

        Raises:
            DataError: the task is regression, which has no classes.
        """
        if self.task == "regression":
            raise DataError("targets of regression have no classes to count")
        if self.task == "classification":
            counts = np.bincount(self.labels.astype(np.int64), minlength=len(self.classes))
        else:
            counts = self.labels.sum(axis=0)
        return {name: int(count) for name, count in zip(self.classes, counts, strict=True)}


def load_text(
    data: "str | Path | datasets.Dataset | datasets.DatasetDict | pd.DataFrame",
    options: TextOptions | None = None,
    *,
    seed: int = 0,
    **keywords: Any,
) -> LabelledText:
    """Read labelled text.

    Args:
        data: The id of a data set on the hub; a file that ends in .jsonl, .json (a list of
            objects), .csv, .tsv or .parquet; a folder that `save_to_disk` of `datasets` wrote; a
            `Dataset`, `DatasetDict` or pandas data frame; or a short name (a key of `DATA_SETS`),
            unless a file or folder has that name. What is registered about a short name stands in
            for the options that are not given.
        options: Which split, columns, …
        seed: Of the sample.
        keywords: Options by name, such as `label_column="stars"`.

    Returns:
        The texts in the order of their rows.

    Raises:
        DataError: the data can't be found or read, a row is bad, or the labels are unfit.
        NtpscoreError: there is no option of that name.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"text": ["so good", "so bad"], "label": ["yes", "no"]})
        >>> text = load_text(frame)
        >>> text.classes, text.labels.tolist()
        (('no', 'yes'), [1, 0])
    """
    options = with_keywords(keywords, options or TextOptions())[0]
    data, options = fill_in(data, options)
    table = open_table(data, options)
    parsed = None if options.template is None else parse_template(options.template)
    columns = find_columns(
        table,
        text_column=options.text_column,
        pair_column=options.pair_column,
        label_column=options.label_column,
        fields=None if parsed is None else parsed.fields,
    )
    kept = _read_rows(table, columns, parsed, options)
    labels = read_labels(
        dict(zip(columns.label, kept.labels, strict=True)),
        options.task,
        table.class_orders,
        lambda index: table.place(kept.rows[index]),
    )
    sample = _sample(labels, options.max_texts, seed)
    labels, texts = labels.take(sample), [kept.texts[index] for index in sample]
    mean = sd = None
    numbers: npt.NDArray[np.int64] | npt.NDArray[np.float64]
    if labels.task == "classification":
        numbers = labels.class_indices()
    elif labels.task == "multilabel":
        numbers = labels.indicators()
    else:
        numbers, mean, sd = labels.targets()
    source = TextSource(
        id=table.id,
        revision=table.revision,
        content_hash=hash_content(texts, labels.values),
        configuration=options.data_configuration,
        split=options.split,
        n_rows=len(kept.rows) + kept.skipped.total(),
        skipped=dict(kept.skipped),
        columns=columns.describe(with_text=parsed is None),
        template=options.template,
    )
    return LabelledText(texts, numbers, labels.task, labels.names, mean, sd, source)


class _Rows(NamedTuple):
    """The good rows of a split: their indices, texts, and labels by column."""

    rows: list[int]
    texts: list[str]
    labels: list[list[Any]]
    skipped: Counter[str]


class _Fault(NamedTuple):
    """What is wrong with a row: a word or two to count it by, and a sentence."""

    reason: str
    message: str


def _read_rows(
    table: Table,
    columns: Columns,
    template: Template | None,
    options: TextOptions,
) -> _Rows:
    """Check each row of the split, and build its text."""
    split = options.split
    kept = _Rows([], [], [[] for _ in columns.label], Counter())
    if table.n_malformed:
        kept.skipped["malformed JSON line"] = table.n_malformed
    splits = _splits(table, columns.split, split)
    # Rows of other splits have no say in what the labels are.
    in_split = [row for row, its_split in enumerate(splits) if its_split in {split, None}]
    text_values = [
        list(map(write_choices, _take(table.read_column(name), in_split))) for name in columns.text
    ]
    label_values = [_take(table.read_column(name), in_split) for name in columns.label]
    if table.untyped:
        label_values = [
            parse_cells(values, options.task, lambda index: table.place(in_split[index]))
            for values in label_values
        ]
    cells = zip(
        in_split, zip(*text_values, strict=True), zip(*label_values, strict=True), strict=True
    )
    for row, texts, labels in cells:
        fault = (
            _Fault("without split", f"no split in column {columns.split!r}")
            if splits[row] is None
            else _text_fault(columns.text, texts, with_numbers=template is not None)
            or _label_fault(columns.label, labels)
        )
        if fault is None:
            parts = tuple(map(str, texts))
            kept.rows.append(row)
            kept.texts.append("\n".join(parts) if template is None else template.fill(parts))
            for column, label in zip(kept.labels, labels, strict=True):
                column.append(label)
        elif options.skip_bad_rows and fault.reason:
            kept.skipped[fault.reason] += 1
        else:
            hint = ". --skip-bad-rows leaves such rows out" if fault.reason else ""
            raise DataError(f"{table.place(row)}: {fault.message}{hint}")
    if not kept.rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in kept.skipped.items())
        raise DataError(f"{table.id}: no row of split {split!r} is left: {reasons}")
    return kept


def _take(values: Sequence[Any], rows: list[int]) -> list[Any]:
    return [values[row] for row in rows]


def _splits(table: Table, column: str | None, split: str) -> list[str | None]:
    """The split of each row; None where the cell is missing.

    A column that knows the split is obeyed even within the split of a data set: files that were
    loaded with `datasets` are all "train" there.

    Raises:
        MissingSplitError: there is no such split.
    """
    if column is not None:
        cells = table.read_column(column)
        splits = [None if is_missing(cell) else str(cell) for cell in cells]
        if split in splits:
            return splits
    if table.split is not None or (column is None and split == "train"):
        return [split] * table.n_rows
    if column is None:
        raise MissingSplitError(
            f"{table.id} has no column 'split', so that all its rows count as 'train': there is no "
            f"split {split!r}"
        )
    there = sorted({name for name in splits if name is not None})
    raise MissingSplitError(
        f"{table.id} has no split {split!r}: column {column!r} says {quoted(there)}. Say which "
        "with --split"
    )


def _text_fault(
    columns: tuple[str, ...], texts: tuple[Any, ...], *, with_numbers: bool
) -> _Fault | None:
    for name, text in zip(columns, texts, strict=True):
        if is_missing(text):
            return _Fault("without text", f"no text in column {name!r}")
        if isinstance(text, str):
            if not text.isascii() and not _is_unicode(text):
                return _Fault("broken text", f"column {name!r} holds half a surrogate pair")
        elif not (with_numbers and isinstance(text, int | float)):
            return _Fault(
                "",
                f"column {name!r} holds {text!r:.60} of type {type(text).__name__}, where text is "
                "expected. If the text is elsewhere, say where with --text-column",
            )
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _label_fault(columns: tuple[str, ...], labels: tuple[Any, ...]) -> _Fault | None:
    for name, label in zip(columns, labels, strict=True):
        if is_missing(label) or (isinstance(label, list) and any(map(is_missing, label))):
            return _Fault("without label", f"no label in column {name!r}")
    return None


def _sample(labels: Labels, max_texts: int | None, seed: int) -> list[int]:
    n_rows = len(labels.values)
    if max_texts is None or max_texts >= n_rows:
        return list(range(n_rows))
    if labels.task == "classification":
        return draw_stratified_sample(labels.class_indices(), max_texts, seed)
    return draw_sample(n_rows, max_texts, seed)


def hash_content(texts: list[str], labels: Sequence[tuple[Any, ...]]) -> str:
    """SHA-256 (hex) over texts and labels in order; see `TextSource.content_hash`."""
    digest = hashlib.sha256()
    for text, label in zip(texts, labels, strict=True):
        digest.update(json.dumps([text, label], ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()
