"""Labelled text, checked row by row, and where it came from."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ntpscore.errors import DataError
from ntpscore.options import with_keywords
from ntpscore.text.columns import find_columns
from ntpscore.text.groups import Groups, count_repetitions, find_groups, number_groups
from ntpscore.text.labels import Labels, Task, read_labels
from ntpscore.text.open import open_table
from ntpscore.text.options import TextOptions
from ntpscore.text.registry import fill_in
from ntpscore.text.rows import read_rows
from ntpscore.text.sample import draw_sample
from ntpscore.text.source import Notes, TextSource
from ntpscore.text.table import Table
from ntpscore.text.template import parse_template

if TYPE_CHECKING:
    import datasets
    import pandas as pd


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
        groups: (n,) int64 numbers from 0 on, equal for texts that are no independent ones: the same
            text again, or of one value of a column that the user named. Without a say, repetitions.
        chosen_groups: Each text's value of that column; None where none was named.
    """

    texts: list[str]
    labels: npt.NDArray[np.int64] | npt.NDArray[np.float64]
    task: Task
    classes: tuple[str, ...]
    target_mean: tuple[float, ...] | None
    target_sd: tuple[float, ...] | None
    source: TextSource
    groups: Groups = None  # type: ignore[assignment]  # never None once made
    chosen_groups: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        """Find the groups if nobody did."""
        if self.groups is None:
            object.__setattr__(self, "groups", find_groups(self.texts))

    @property
    def n_groups(self) -> int:
        """How many groups there are."""
        return int(self.groups.max()) + 1

    @cached_property
    def fold_groups(self) -> Groups:
        """(n,) what folds and hold-outs keep together: groups, and pairs that share a first text.

        Pairs are no repetitions where only one side is the same, but a fit that saw the question
        with one answer is not judged fairly by the other.
        """
        if "pair" not in self.source.columns:
            return self.groups
        return find_groups([text.split("\n", 1)[0] for text in self.texts], self.groups.tolist())

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
    data: "str | Path | Sequence[str | Path] | datasets.Dataset | datasets.DatasetDict "
    "| pd.DataFrame",
    options: TextOptions | None = None,
    *,
    seed: int = 0,
    **keywords: Any,
) -> LabelledText:
    """Read labelled text.

    Args:
        data: The id of a data set on the hub; a file that ends in .jsonl, .json, .csv, .tsv,
            .parquet or .xlsx, with .gz, .zst, .bz2 or .xz behind it or not; several, or a pattern
            such as `data/*.csv`; a folder of files whose names tell the split, of class folders of
            .txt files, or that `save_to_disk` of `datasets` wrote; a `Dataset`, `DatasetDict` or
            pandas data frame; or a short name (a key of `DATA_SETS`), unless a file or folder has
            that name. What is registered about a short name stands in for the options that are not
            given.
        options: Which split, columns, …
        seed: Of the sample.
        keywords: Options by name, such as `label_column="stars"`.

    Returns:
        The texts in the order of their rows.

    Raises:
        DataError: the data can't be found or read, a row is bad, or the labels are unfit.

    Examples:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"text": ["so good", "so bad"], "label": ["yes", "no"]})
        >>> text = load_text(frame)
        >>> text.classes, text.labels.tolist()
        (('no', 'yes'), [1, 0])
    """
    options = with_keywords(keywords, options or TextOptions())[0]
    data, options = fill_in(data, options)
    return read_table(open_table(data, options), options, seed)


def read_table(table: Table, options: TextOptions, seed: int) -> LabelledText:
    """Read labelled text from a table that is open; see `load_text`.

    Args:
        table: Where it is.
        options: Which split, columns, …; what is registered is filled in.
        seed: Of the sample.

    Raises:
        DataError: as `load_text`.
    """
    notes = Notes(exact_labels=options.exact_labels)
    notes.guesses += table.guesses
    notes.warnings += table.warnings
    parsed = None if options.template is None else parse_template(options.template)
    columns = find_columns(
        table,
        options,
        None if parsed is None else parsed.fields,
        notes,
    )
    good = read_rows(table, columns, parsed, options, notes)
    labels = read_labels(
        good.labels, options.task, lambda index: table.place(good.rows[index]), notes
    )
    groups = find_groups(good.texts, good.chosen_groups)
    sample = _sample(labels, groups, options.max_texts, seed)
    labels, texts = labels.take(sample), [good.texts[index] for index in sample]
    chosen = good.chosen_groups and [good.chosen_groups[index] for index in sample]
    groups = number_groups(groups[sample])
    mean = sd = None
    numbers: npt.NDArray[np.int64] | npt.NDArray[np.float64]
    if labels.task == "classification":
        numbers = labels.class_indices()
    elif labels.task == "multilabel":
        numbers = labels.indicators()
    else:
        numbers, mean, sd = labels.targets()
    repeated, contradicting = count_repetitions(texts, numbers)
    source = TextSource(
        id=table.id,
        revision=table.revision,
        content_hash=hash_content(texts, labels.values),
        configuration=options.data_configuration,
        split=options.split,
        n_rows=len(good.rows) + good.skipped.total(),
        skipped=dict(good.skipped),
        columns=columns.describe(with_text=parsed is None),
        template=options.template,
        reading=replace(notes.reading(), repeated=repeated, contradicting=contradicting),
    )
    return LabelledText(texts, numbers, labels.task, labels.names, mean, sd, source, groups, chosen)


def _sample(labels: Labels, groups: Groups, max_texts: int | None, seed: int) -> list[int]:
    n_rows = len(labels.values)
    if max_texts is None or max_texts >= n_rows:
        return list(range(n_rows))
    classes = labels.class_indices() if labels.task == "classification" else None
    return draw_sample(groups, max_texts, seed, classes)


def hash_content(texts: list[str], labels: Sequence[tuple[Any, ...]]) -> str:
    """SHA-256 (hex) over texts and labels in order; see `TextSource.content_hash`."""
    digest = hashlib.sha256()
    for text, label in zip(texts, labels, strict=True):
        digest.update(json.dumps([text, label], ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()
