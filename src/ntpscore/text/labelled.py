"""Labelled text, checked row by row, and where it came from."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ntpscore.errors import DataError
from ntpscore.text.cells import CellOptions
from ntpscore.text.columns import find_columns
from ntpscore.text.labels import TASKS, Labels, Task, read_labels
from ntpscore.text.open import open_table
from ntpscore.text.registry import Request, fill_in
from ntpscore.text.rows import read_rows
from ntpscore.text.sample import draw_sample, draw_stratified_sample
from ntpscore.text.source import Notes, TextSource
from ntpscore.text.table import quoted, shown
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
    *,
    configuration: str | None = None,
    revision: str | None = None,
    split: str = "train",
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    template: str | None = None,
    task: Task | Literal["auto"] = "auto",
    max_texts: int | None = None,
    seed: int = 0,
    skip_bad_rows: bool = False,
    encoding: str | None = None,
    label_separator: str | None = None,
    exact_labels: bool = False,
    keep_missing_names: bool = False,
) -> LabelledText:
    r"""Read labelled text.

    Args:
        data: The id of a data set on the hub; a file that ends in .jsonl, .json (a list of
            objects), .csv, .tsv or .parquet; a folder that `save_to_disk` of `datasets` wrote; a
            `Dataset`, `DatasetDict` or pandas data frame; or a short name (a key of `DATA_SETS`),
            unless a file or folder has that name. What is registered about a short name stands in
            for the options that are not given.
        configuration: Which configuration of a hub data set.
        revision: Which commit, tag or branch of a hub data set.
        split: Which split. A column `split` says which rows are of it; in a file without such a
            column all are "train".
        text_column: The column of the text, if its name is not a usual one.
        pair_column: The column of a second text, which a line break joins to the first.
        label_column: The column of the label, or several with commas in between.
        template: Builds the text from columns: `"Question: {question}\nAnswer: {answer}"`.
        task: What the labels are for. "auto": strings, integers and truth values are classes,
            floats are targets of regression, lists and several columns of 0 and 1 are multilabel.
        max_texts: Draw a sample of at most so many texts; of classes, each in proportion.
        seed: Of the sample.
        skip_bad_rows: Leave out rows that are malformed or without text, label or split, and count
            them, instead of stopping at the first.
        encoding: Of files of text; None means UTF-8.
        label_separator: What stands between several labels in one cell.
        exact_labels: Keep labels apart that differ in case, blanks, Unicode form or quotes only.
        keep_missing_names: Take `nan`, `NA`, `null`, `none`, `n/a` and `-` for names of classes.

    Returns:
        The texts in the order of their rows.

    Raises:
        DataError: the data can't be found or read, a row is bad, or the labels are unfit.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"text": ["so good", "so bad"], "label": ["yes", "no"]})
        >>> text = load_text(frame)
        >>> text.classes, text.labels.tolist()
        (('no', 'yes'), [1, 0])
    """
    _check_options(task, max_texts, template, text_column, pair_column)
    request = fill_in(
        Request(data, configuration, revision, text_column, pair_column, label_column, template)
    )
    notes = Notes(exact_labels=exact_labels)
    table = open_table(
        request.data,
        configuration=request.configuration,
        revision=request.revision,
        split=split,
        encoding=encoding,
        skip_bad_rows=skip_bad_rows,
    )
    notes.guesses += table.guesses
    notes.warnings += table.warnings
    parsed = None if request.template is None else parse_template(request.template)
    columns = find_columns(
        table,
        text_column=request.text_column,
        pair_column=request.pair_column,
        label_column=request.label_column,
        fields=None if parsed is None else parsed.fields,
        notes=notes,
    )
    cells = CellOptions(task, label_separator, keep_missing_names, exact_labels)
    kept = read_rows(table, columns, parsed, split, cells, notes, skip_bad_rows=skip_bad_rows)
    labels = read_labels(kept.labels, task, lambda index: table.place(kept.rows[index]), notes)
    sample = _sample(labels, max_texts, seed)
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
        configuration=request.configuration,
        split=split,
        n_rows=len(kept.rows) + kept.skipped.total(),
        skipped=dict(kept.skipped),
        columns=columns.describe(with_text=parsed is None),
        template=request.template,
        reading=notes.reading(),
    )
    return LabelledText(texts, numbers, labels.task, labels.names, mean, sd, source)


def _check_options(
    task: str,
    max_texts: int | None,
    template: str | None,
    text_column: str | None,
    pair_column: str | None,
) -> None:
    if task not in {"auto", *TASKS}:
        raise DataError(f"there is no task {shown(task)}: it must be 'auto', {quoted(TASKS)}")
    if max_texts is not None and max_texts < 1:
        raise DataError(f"--max-texts must be at least 1, not {max_texts}")
    if template is not None and (text_column is not None or pair_column is not None):
        raise DataError(
            "--template names the text's columns itself: leave out --text-column and --pair-column"
        )


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
