"""Read labels: tell the task from them, check them, and turn them into numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ntpscore.errors import DataError
from ntpscore.text.cells import LabelColumn, Where
from ntpscore.text.source import Notes
from ntpscore.text.spellings import merge_spellings, strip_label, warn_of_separator
from ntpscore.text.table import quoted, shown

Task = Literal["classification", "regression", "multilabel"]
TASKS: tuple[Task, ...] = get_args(Task)

_FEW_VALUES = 20
_LARGEST = 1e150  # its square is a finite double


@dataclass(frozen=True)
class Labels:
    """Labels that were checked, one value per row.

    Attributes:
        task: What they are for.
        values: Classification: (class name,). Multilabel: the names of the row's classes, in the
            order of `names`. Regression: the row's targets.
        names: Classes in order, or the targets' names.
    """

    task: Task
    values: Sequence[tuple[str, ...]] | Sequence[tuple[float, ...]]
    names: tuple[str, ...]

    def take(self, rows: Sequence[int]) -> "Labels":
        """The labels of some rows; classes that none of them has are left out."""
        values: Any = [self.values[row] for row in rows]
        if self.task == "regression":
            return replace(self, values=values)
        occurring = {name for value in values for name in value}
        return replace(
            self, values=values, names=tuple(name for name in self.names if name in occurring)
        )

    def class_indices(self) -> npt.NDArray[np.int64]:
        """Classification: the index in `names` of each row's class."""
        index = {name: number for number, name in enumerate(self.names)}
        return np.array([index[str(name)] for (name,) in self.values], dtype=np.int64)

    def indicators(self) -> npt.NDArray[np.float64]:
        """Multilabel: a row per row, a column per class; 1 where the row has the class."""
        index = {name: number for number, name in enumerate(self.names)}
        matrix = np.zeros((len(self.values), len(self.names)))
        for row, value in enumerate(self.values):
            matrix[row, [index[str(name)] for name in value]] = 1
        if not (matrix == 0).any():
            raise DataError(
                f"a score needs labels that differ: all {len(matrix)} rows have the labels "
                f"{quoted(self.names)}"
            )
        return matrix

    def targets(
        self,
    ) -> tuple[npt.NDArray[np.float64], tuple[float, ...], tuple[float, ...]]:
        """Regression: the targets with mean 0 and standard deviation 1, and what these were.

        Returns:
            targets: A row per row, a column per target.
            mean: Of each target.
            sd: The population standard deviation of each target.
        """
        matrix = np.array(self.values, dtype=np.float64)
        mean, sd = matrix.mean(axis=0), matrix.std(axis=0)
        for name, column, spread in zip(self.names, matrix.T, sd, strict=True):
            if np.ptp(column) == 0 or spread == 0:
                raise DataError(
                    f"a score needs labels that differ: the target {shown(name)} is "
                    f"{column[0]:g} in all {len(column)} rows"
                )
        return (matrix - mean) / sd, tuple(mean.tolist()), tuple(sd.tolist())


def read_labels(
    columns: Sequence[LabelColumn], task: Task | Literal["auto"], place: Where, notes: Notes
) -> Labels:
    """Check labels and tell the task, if it's not given.

    Args:
        columns: Label columns, without missing values.
        task: What the labels are for; "auto": strings, integers, truth values and whole numbers of
            few values are classes, other floats are targets, lists and several columns of 0 and 1
            are multilabel; lists of one label each are classes.
        place: Of a row.
        notes: Are told what is guessed and merged.
    """
    if len(columns) > 1:
        return _from_columns({column.name: column.values for column in columns}, task, place)
    (column,) = columns
    name, values, order = column.name, column.values, column.order
    kind = _kind_of_all(values, place)
    if kind == "list" and task != "multilabel" and all(len(value) == 1 for value in values):
        items = [item for (item,) in values]
        if _kind_of_all(items, place) != "list":
            notes.guesses.append(
                f"each list in {shown(name)} holds one label: the task is taken to be that of "
                "single labels (--task multilabel keeps lists)"
            )
            return read_labels([column._replace(values=items)], task, place, notes)
    if kind == "list" and task in {"auto", "multilabel"}:
        return _from_lists(values, order, place, notes)
    if kind == "float" and task == "auto" and _are_codes(column):
        notes.guesses.append(
            f"the numbers in {shown(name)} are whole and of {len(set(values))} values, so they are "
            "classes (--task regression takes them as numbers)"
        )
        kind, values = "int", [int(value) for value in values]
    if kind == "float" and task in {"auto", "regression"}:
        return _regression({name: values}, place)
    if kind == "int" and task == "regression":
        return _regression({name: values}, place)
    if kind == "float" and task == "classification" and all(map(_is_whole, values)):
        kind, values = "int", [int(value) for value in values]
    if kind in {"string", "int", "truth value"} and task in {"auto", "classification"}:
        _tell_many_classes(name, kind, values, notes)
        return _classification(name, values, order, place, notes)
    needs = {
        "auto": "strings, numbers, truth values or lists of classes",
        "classification": "strings, integers or truth values",
        "regression": "numbers",
        "multilabel": "lists of classes, or several columns of 0 and 1 "
        "(--label-column first,second)",
    }
    raise DataError(
        f"{place(0)}: the label {shown(values[0])} is a {kind}; the task {task!r} needs "
        f"{needs[task]}"
    )


def _kind(value: Any) -> str:
    kinds = {bool: "truth value", int: "int", float: "float", str: "string", list: "list"}
    return kinds.get(type(value), type(value).__name__)


def _kind_of_all(values: Sequence[Any], place: Where) -> str:
    """The kind all values share; integers among floats are floats."""
    first: dict[str, int] = {}
    for row, value in enumerate(values):
        first.setdefault(_kind(value), row)
    if first.keys() == {"int", "float"}:
        return "float"
    if len(first) > 1:
        (kind, row), (other_kind, other_row) = list(first.items())[:2]
        raise DataError(
            f"labels are of mixed kinds: {place(row)} has the {kind} {shown(values[row])}, "
            f"{place(other_row)} the {other_kind} {shown(values[other_row])}. Make them all alike"
        )
    return next(iter(first))


def _is_whole(value: float) -> bool:
    return isinstance(value, int) or value.is_integer()


def _class_name(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _class_names(values: set[Any], order: tuple[str, ...] | None) -> tuple[str, ...]:
    """Names of the classes that occur: in their own order if they have one, else sorted."""
    if order is not None:
        return tuple(name for name in order if name in values)
    return tuple(_class_name(value) for value in sorted(values))


def _are_codes(column: LabelColumn) -> bool:
    """Whether numbers look like classes that a missing value turned into floats, as pandas does."""
    values, distinct = column.values, set(column.values)
    if column.is_quantity or len(distinct) < 2 or not all(map(_is_whole, distinct)):
        return False
    if len(distinct) > len(values) / (1 if column.has_gaps else 2):
        return False
    least, most = min(distinct), max(distinct)
    gapless = least in {0, 1} and most - least + 1 == len(distinct)
    return len(distinct) <= _FEW_VALUES or (gapless and len(distinct) <= len(values) / 5)


def _tell_many_classes(name: str, kind: str, values: Sequence[Any], notes: Notes) -> None:
    distinct = len(set(values)) if kind == "int" else 0
    if distinct > _FEW_VALUES and distinct > len(values) / 4:
        notes.warnings.append(
            f"the {distinct} whole numbers in {shown(name)} are taken for classes (--task "
            "regression takes them as numbers)"
        )


def _classification(
    name: str, values: Sequence[Any], order: tuple[str, ...] | None, place: Where, notes: Notes
) -> Labels:
    if order is None and isinstance(values[0], str):
        if not notes.exact_labels:
            class_of = merge_spellings(values, notes)
            values = [class_of[value] for value in values]
        warn_of_separator(Counter(values), name, notes)
    names = _class_names(set(values), order)
    if len(names) < 2:
        merged = f" ({quoted(notes.merged[names[0]])})" if names[0] in notes.merged else ""
        raise DataError(
            f"a score needs at least two classes; all {len(values)} rows have label "
            f"{shown(names[0])}{merged} (the first is {place(0)})"
        )
    return Labels("classification", [(_class_name(value),) for value in values], names)


def _from_lists(
    values: Sequence[list[Any]], order: tuple[str, ...] | None, place: Where, notes: Notes
) -> Labels:
    items = [item for value in values for item in value]
    rows = [row for row, value in enumerate(values) for _ in value]
    if not items:
        return Labels("multilabel", [() for _ in values], ())
    kind = _kind_of_all(items, lambda index: place(rows[index]))
    width = len(values[0])
    is_number = kind in {"int", "float", "truth value"}
    if (
        is_number
        and width > 1
        and all(len(value) == width and set(value) <= {0, 1} for value in values)
    ):
        columns = {str(i): [value[i] for value in values] for i in range(width)}
        return _from_indicators(columns, place)
    if kind == "float" and all(map(_is_whole, items)):
        kind, values = "int", [list(map(int, value)) for value in values]
        items = list(map(int, items))
    if kind not in {"string", "int"}:
        raise DataError(
            f"{place(rows[0])}: a list of labels must hold strings or integers, or be 0 and 1 for "
            f"every class; {shown(items[0])} is a {kind}"
        )
    if kind == "string" and order is None:
        items = [item if notes.exact_labels else strip_label(item) for item in items]
        class_of = {} if notes.exact_labels else merge_spellings(items, notes)
        parts = iter([class_of.get(item, item) for item in items])
        values = [[next(parts) for _ in value] for value in values]
        items = [item for value in values for item in value]
    names = _class_names(set(items), order)
    index = {name: number for number, name in enumerate(names)}
    named = [
        tuple(sorted({_class_name(item) for item in value}, key=index.__getitem__))
        for value in values
    ]
    return Labels("multilabel", named, names)


def _from_columns(columns: Mapping[str, Sequence[Any]], task: str, place: Where) -> Labels:
    kinds = {name: _kind_of_all(values, place) for name, values in columns.items()}
    for name, kind in kinds.items():
        if kind not in {"int", "float", "truth value"}:
            raise DataError(
                f"the label column {shown(name)} holds a {kind} ({shown(columns[name][0])}, "
                f"{place(0)}): several label columns must hold numbers"
            )
    if task == "auto":
        task = "regression" if "float" in kinds.values() else "multilabel"
    if task == "multilabel":
        return _from_indicators(columns, place)
    if task == "regression" and "truth value" not in kinds.values():
        return _regression(columns, place)
    raise DataError(
        f"several label columns of kinds {sorted(set(kinds.values()))} don't suit the task "
        f"{task!r}: give one column, or use --task multilabel"
    )


def _from_indicators(columns: Mapping[str, Sequence[Any]], place: Where) -> Labels:
    for name, values in columns.items():
        for row, value in enumerate(values):
            if value not in {0, 1}:
                raise DataError(
                    f"{place(row)}: the label column {shown(name)} holds {shown(value)}: for "
                    "multilabel all must be 0 or 1; for targets of regression use --task regression"
                )
    flags = zip(*columns.values(), strict=True)
    named = [tuple(name for name, flag in zip(columns, row, strict=True) if flag) for row in flags]
    return Labels("multilabel", named, tuple(columns))


def _regression(columns: Mapping[str, Sequence[Any]], place: Where) -> Labels:
    for name, values in columns.items():
        for row, value in enumerate(values):
            if not abs(value) < _LARGEST:
                raise DataError(
                    f"{place(row)}: the target {shown(name)} is {shown(value)}: not finite"
                )
    rows = zip(*columns.values(), strict=True)
    return Labels(
        "regression", [tuple(float(value) for value in row) for row in rows], tuple(columns)
    )
