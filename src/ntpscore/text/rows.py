"""Check each row of a split, and build its text."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from ntpscore.errors import DataError, MissingSplitError
from ntpscore.text.cells import LabelColumn, read_columns
from ntpscore.text.columns import Columns
from ntpscore.text.options import TextOptions
from ntpscore.text.source import Notes
from ntpscore.text.table import Table, is_missing, quoted, shown
from ntpscore.text.template import Template

_MOST_KINDS_TOLD = 5


class Rows(NamedTuple):
    """The good rows of a split.

    Attributes:
        rows: their indices in the table.
        texts: their texts.
        labels: their labels, by column.
        chosen_groups: their values of the column that says which texts belong together.
        skipped: how many rows were left out, by reason.
    """

    rows: list[int]
    texts: list[str]
    labels: list[LabelColumn]
    chosen_groups: list[Any] | None
    skipped: Counter[str]


class _Fault(NamedTuple):
    """What is wrong with a row: a word or two to count it by, and a sentence."""

    reason: str
    message: str


def read_rows(
    table: Table,
    columns: Columns,
    template: Template | None,
    options: TextOptions,
    notes: Notes,
) -> Rows:
    """Read the rows of `options.split`; notes are told what is guessed.

    Raises:
        MissingSplitError: there is no such split.
    """
    split = options.split
    skipped = Counter(table.left_out)
    splits = _splits(table, columns.split, split)
    # Rows of other splits have no say in what the labels are.
    in_split = [row for row, its_split in enumerate(splits) if its_split in {split, None}]
    texts = [_take(table.column(name), in_split) for name in columns.text]
    cells = {name: _take(table.column(name), in_split) for name in columns.label}
    _refuse_hidden(table, columns, splits, split, cells)
    labels = read_columns(
        cells, table.class_orders, options, lambda index: table.place(in_split[index]), notes
    )
    number_columns = _number_columns(columns.text, texts, template, notes)
    good: list[int] = []
    built: list[str] = []
    for index, row in enumerate(in_split):
        parts = tuple(map(write_choices, (column[index] for column in texts)))
        fault = (
            _Fault("without split", f"no split in column {shown(columns.split)}")
            if splits[row] is None
            else _text_fault(columns.text, parts, number_columns)
            or _label_fault(labels, cells, index)
        )
        if fault is None:
            good.append(index)
            built.append(_join(parts, template))
        elif options.skip_bad_rows and fault.reason:
            skipped[fault.reason] += 1
        else:
            hint = ". --skip-bad-rows leaves such rows out" if fault.reason else ""
            raise DataError(f"{table.place(row)}: {fault.message}{hint}")
    if not good:
        reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
        raise DataError(f"{table.id}: no row of split {shown(split)} is left: {reasons}")
    labels = [
        column._replace(
            values=_take(column.values, good), has_gaps=any(map(is_missing, column.values))
        )
        for column in labels
    ]
    rows = [in_split[index] for index in good]
    chosen = None if columns.group is None else _take(table.column(columns.group), rows)
    return Rows(rows, built, labels, chosen, skipped)


def _take(values: Sequence[Any], rows: Sequence[int]) -> list[Any]:
    return [values[row] for row in rows]


def _splits(table: Table, column: str | None, split: str) -> list[str | None]:
    """The split of each row; None where the cell is missing.

    A column that knows the split is obeyed even within the split of a data set: files that were
    loaded with `datasets` are all "train" there.

    Raises:
        MissingSplitError: there is no such split.
    """
    if column is not None:
        cells = table.column(column)
        splits = [None if is_missing(cell) else str(cell).strip() for cell in cells]
        if split in splits:
            return splits
    if table.split is not None or (column is None and split == "train"):
        return [split] * table.n_rows
    if column is None:
        raise MissingSplitError(
            f"{table.id} has no column 'split', so that all its rows count as 'train': there is no "
            f"split {shown(split)}"
        )
    there = sorted({name for name in splits if name is not None})
    raise MissingSplitError(
        f"{table.id} has no split {shown(split)}: column {shown(column)} says {quoted(there)}. Say "
        "which with --split"
    )


def _refuse_hidden(
    table: Table,
    columns: Columns,
    splits: Sequence[str | None],
    split: str,
    cells: dict[str, list[Any]],
) -> None:
    """Refuse a split whose labels are all hidden, and name those that have labels."""
    if not all(values and _are_hidden(values) for values in cells.values()):
        return
    candidates = {name: open_split() for name, open_split in table.other_splits.items()}
    with_labels = [
        name
        for name, other in candidates.items()
        if set(columns.label) <= set(other.names)
        and not any(_are_hidden(other.column(label)) for label in columns.label)
    ]
    if columns.split is not None:
        for name in sorted({other for other in splits if other not in {None, split}}, key=str):
            rows = [row for row, its_split in enumerate(splits) if its_split == name]
            if not any(_are_hidden(_take(table.column(label), rows)) for label in columns.label):
                with_labels.append(str(name))
    options = (
        f"splits that have labels are {quoted(with_labels)}: name one with --split or --test-split"
        if with_labels
        else "use another split or file, or --hold-out 0.2 in place of a test split"
    )
    raise DataError(
        f"the labels of split {shown(split)} of {table.id} are hidden (all are -1 or blank); "
        f"{options}"
    )


def _are_hidden(values: Sequence[Any]) -> bool:
    """Whether no label is told, as where hubs write -1, which is no class's index."""
    return all(is_missing(value) or str(value).strip() in {"-1", "-1.0"} for value in values)


def _number_columns(
    names: Sequence[str],
    columns: Sequence[Sequence[Any]],
    template: Template | None,
    notes: Notes,
) -> set[str]:
    """The columns in which numbers are text: all of a template, else those of mostly strings."""
    if template is not None:
        return set(names)
    mixed = set()
    for name, values in zip(names, columns, strict=True):
        numbers = sum(isinstance(value, int | float) and not is_missing(value) for value in values)
        strings = sum(isinstance(value, str) for value in values)
        if 0 < numbers <= strings:
            mixed.add(name)
            notes.guesses.append(
                f"numbers in {shown(name)} are read as text ({numbers} of {len(values)} rows)"
            )
    return mixed


def _text_fault(
    columns: Sequence[str], texts: tuple[Any, ...], number_columns: set[str]
) -> _Fault | None:
    for name, text in zip(columns, texts, strict=True):
        if is_missing(text):
            return _Fault("without text", f"no text in column {shown(name)}")
        if isinstance(text, str):
            if not text.isascii() and not _is_unicode(text):
                return _Fault("broken text", f"column {shown(name)} holds half a surrogate pair")
        elif not (name in number_columns and isinstance(text, int | float)):
            return _Fault(
                "",
                f"column {shown(name)} holds {shown(text)} of type {type(text).__name__}, where "
                "text is expected. If the text is elsewhere, say where with --text-column",
            )
    return None


def _label_fault(
    labels: Sequence[LabelColumn], cells: dict[str, list[Any]], index: int
) -> _Fault | None:
    for column in labels:
        label = column.values[index]
        items = label if isinstance(label, list) else [label]
        if any(map(is_missing, items)):
            return _Fault("without label", _missing_label(column, cells[column.name], index))
        if any(isinstance(item, str) and not _is_unicode(item) for item in items):
            return _Fault(
                "broken label", f"column {shown(column.name)} holds half a surrogate pair"
            )
    return None


def _missing_label(column: LabelColumn, cells: Sequence[Any], index: int) -> str:
    """Says what stands for no label in this row and in how many."""
    message = f"no label in column {shown(column.name)}"
    missing = [cell for cell, value in zip(cells, column.values, strict=True) if is_missing(value)]
    if len(missing) > 1:
        kinds = Counter(
            cell.strip() if isinstance(cell, str) and not is_missing(cell) else ""
            for cell in missing
        )
        counted = ", ".join(
            f"{count} {shown(name) if name else 'blank'}"
            for name, count in kinds.most_common(_MOST_KINDS_TOLD)
        )
        message += f", as in {len(missing)} rows ({counted})"
    cell = cells[index]
    if isinstance(cell, str) and not is_missing(cell):
        message += f": {shown(cell)} stands for none"
        if all(value is None or isinstance(value, str) for value in column.values):
            message += " unless --keep-missing-names says that it names a class"
    return message


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def rows_of_split(table: Table, split: str | None) -> list[int]:
    """The rows of a split; all of the table for None.

    Raises:
        MissingSplitError: there is no such split.
    """
    if split is None:
        return list(range(table.n_rows))
    of_rows = _splits(table, table.split_column, split)
    return [row for row, of_row in enumerate(of_rows) if of_row == split]


def build_texts(
    table: Table,
    names: Sequence[str],
    template: Template | None,
    rows: Sequence[int],
    *,
    skip_bad_rows: bool,
) -> list[str | None]:
    """The texts of rows, without regard to labels; None where a bad one is skipped."""
    columns = [_take(table.column(name), rows) for name in names]
    number_columns = _number_columns(names, columns, template, Notes())
    texts: list[str | None] = []
    for row, cells in zip(rows, zip(*columns, strict=True), strict=True):
        parts = tuple(map(write_choices, cells))
        fault = _text_fault(names, parts, number_columns)
        if fault is None:
            texts.append(_join(parts, template))
        elif skip_bad_rows and fault.reason:
            texts.append(None)
        else:
            hint = ". --skip-bad-rows gives such rows no label" if fault.reason else ""
            raise DataError(f"{table.place(row)}: {fault.message}{hint}")
    return texts


def _join(parts: tuple[Any, ...], template: Template | None) -> str:
    strings = tuple(map(str, parts))
    return "\n".join(strings) if template is None else template.fill(strings)


def write_choices(value: Any) -> Any:
    """Answers to choose from, as sets of multiple-choice questions hold them, in one line of text.

    Args:
        value: `{"label": ["A", "B"], "text": ["bank", "mall"]}` gives `A. bank B. mall`; any other
            value stays as it is.
    """
    if not isinstance(value, dict) or value.keys() != {"label", "text"}:
        return value
    labels, texts = value["label"], value["text"]
    if not isinstance(labels, list) or not isinstance(texts, list) or len(labels) != len(texts):
        return value
    return " ".join(f"{label}. {text}" for label, text in zip(labels, texts, strict=True))
