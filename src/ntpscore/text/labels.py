"""Read labels: tell the task from them, check them, and turn them into numbers."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ntpscore.errors import DataError
from ntpscore.text.table import is_missing

Task = Literal["classification", "regression", "multilabel"]
TASKS: tuple[Task, ...] = get_args(Task)

Place = Callable[[int], str]
"""Says where the row of that index stands."""

# "007" and "+1" are names, that int() would change; and so is what is too long for int64.
_INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
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
        """Multilabel: a row per row, a column per class; 1 where the row has the class.

        Raises:
            DataError: every class is in all rows or there is none, so nothing tells rows apart.
        """
        index = {name: number for number, name in enumerate(self.names)}
        matrix = np.zeros((len(self.values), len(self.names)))
        for row, value in enumerate(self.values):
            matrix[row, [index[str(name)] for name in value]] = 1
        if not (matrix == 0).any():
            raise DataError(
                f"a score needs labels that differ: all {len(matrix)} rows have the labels "
                f"{list(self.names)}"
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

        Raises:
            DataError: a target is the same in every row.
        """
        matrix = np.array(self.values, dtype=np.float64)
        mean, sd = matrix.mean(axis=0), matrix.std(axis=0)
        for name, column, spread in zip(self.names, matrix.T, sd, strict=True):
            if np.ptp(column) == 0 or spread == 0:
                raise DataError(
                    f"a score needs labels that differ: the target {name!r} is {column[0]:g} in "
                    f"all {len(column)} rows"
                )
        return (matrix - mean) / sd, tuple(mean.tolist()), tuple(sd.tolist())


def parse_cells(cells: Sequence[str], task: str, place: Place) -> list[Any]:
    """Recognise the labels of a CSV column: integers, numbers, or strings.

    Args:
        cells: All cells of the column; blank ones are missing.
        task: With "classification", what is not all integers is all names.
        place: Of a cell.

    Returns:
        All integers, all floats, or all strings; None where missing.

    Raises:
        DataError: some cells are numbers and others are not.
    """
    present = [(i, cell.strip()) for i, cell in enumerate(cells) if not is_missing(cell)]
    if all(_INTEGER.fullmatch(cell) for _, cell in present):
        return [None if is_missing(cell) else int(cell) for cell in cells]
    as_names = [None if is_missing(cell) else cell for cell in cells]
    if task == "classification" or all(cell.lstrip("+-").isdecimal() for _, cell in present):
        return as_names
    number = next((i for i, cell in present if _NUMBER.fullmatch(cell)), None)
    if number is None:
        return as_names
    other = next(
        (i for i, c in present if not _NUMBER.fullmatch(c) and not _NOT_FINITE.fullmatch(c)), None
    )
    if other is not None:
        raise DataError(
            f"{place(number)}: the label {cells[number]!r} is a number, but {cells[other]!r} is "
            f"not ({place(other)}). If all are names of classes, use --task classification"
        )
    return [None if is_missing(cell) else float(cell) for cell in cells]


def read_labels(
    columns: Mapping[str, Sequence[Any]],
    task: Task | Literal["auto"],
    class_orders: Mapping[str, tuple[str, ...]],
    place: Place,
) -> Labels:
    """Check labels and tell the task, if it's not given.

    Args:
        columns: Label columns by name, without missing values.
        task: What the labels are for; "auto": strings, integers and truth values are classes,
            floats are targets, lists and several columns of 0 and 1 are multilabel.
        class_orders: Names of classes in a fixed order, by column.
        place: Of a row.

    Raises:
        DataError: labels are of mixed kinds, or unfit for the task.
    """
    if len(columns) > 1:
        return _from_columns(columns, task, place)
    ((name, values),) = columns.items()
    kind = _kind_of_all(values, place)
    if kind == "list" and task in {"auto", "multilabel"}:
        return _from_lists(values, class_orders.get(name), place)
    if kind == "float" and task in {"auto", "regression"}:
        return _regression({name: values}, place)
    if kind == "int" and task == "regression":
        return _regression({name: values}, place)
    if kind == "float" and task == "classification" and all(map(_is_whole, values)):
        kind, values = "int", [int(value) for value in values]
    if kind in {"string", "int", "truth value"} and task in {"auto", "classification"}:
        return _classification(values, class_orders.get(name), place)
    needs = {
        "auto": "strings, numbers, truth values or lists of classes",
        "classification": "strings, integers or truth values",
        "regression": "numbers",
        "multilabel": "lists of classes, or several columns of 0 and 1 "
        "(--label-column first,second)",
    }
    raise DataError(
        f"{place(0)}: the label {values[0]!r} is a {kind}; the task {task!r} needs {needs[task]}"
    )


def _kind(value: Any) -> str:
    kinds = {bool: "truth value", int: "int", float: "float", str: "string", list: "list"}
    return kinds.get(type(value), type(value).__name__)


def _kind_of_all(values: Sequence[Any], place: Place) -> str:
    """The kind all values share; integers among floats are floats."""
    first: dict[str, int] = {}
    for row, value in enumerate(values):
        first.setdefault(_kind(value), row)
    if first.keys() == {"int", "float"}:
        return "float"
    if len(first) > 1:
        one, other = list(first.items())[:2]
        raise DataError(
            f"labels are of mixed kinds: {place(one[1])} has the {one[0]} {values[one[1]]!r}, "
            f"{place(other[1])} the {other[0]} {values[other[1]]!r}. Make them all alike"
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


def _classification(values: Sequence[Any], order: tuple[str, ...] | None, place: Place) -> Labels:
    names = _class_names(set(values), order)
    if len(names) < 2:
        raise DataError(
            f"a score needs at least two classes; all {len(values)} rows have label {names[0]!r} "
            f"(the first is {place(0)})"
        )
    return Labels("classification", [(_class_name(value),) for value in values], names)


def _from_lists(values: Sequence[list[Any]], order: tuple[str, ...] | None, place: Place) -> Labels:
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
    if kind not in {"string", "int"}:
        raise DataError(
            f"{place(rows[0])}: a list of labels must hold strings or integers, or be 0 and 1 for "
            f"every class; {items[0]!r} is a {kind}"
        )
    names = _class_names(set(items), order)
    index = {name: number for number, name in enumerate(names)}
    named = [
        tuple(sorted({_class_name(item) for item in value}, key=index.__getitem__))
        for value in values
    ]
    return Labels("multilabel", named, names)


def _from_columns(columns: Mapping[str, Sequence[Any]], task: str, place: Place) -> Labels:
    kinds = {name: _kind_of_all(values, place) for name, values in columns.items()}
    for name, kind in kinds.items():
        if kind not in {"int", "float", "truth value"}:
            raise DataError(
                f"the label column {name!r} holds a {kind} ({columns[name][0]!r}, {place(0)}): "
                "several label columns must hold numbers"
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


def _from_indicators(columns: Mapping[str, Sequence[Any]], place: Place) -> Labels:
    for name, values in columns.items():
        for row, value in enumerate(values):
            if value not in {0, 1}:
                raise DataError(
                    f"{place(row)}: the label column {name!r} holds {value!r}: for multilabel all "
                    "must be 0 or 1; for targets of regression use --task regression"
                )
    flags = zip(*columns.values(), strict=True)
    named = [tuple(name for name, flag in zip(columns, row, strict=True) if flag) for row in flags]
    return Labels("multilabel", named, tuple(columns))


def _regression(columns: Mapping[str, Sequence[Any]], place: Place) -> Labels:
    for name, values in columns.items():
        for row, value in enumerate(values):
            if not abs(value) < _LARGEST:
                raise DataError(f"{place(row)}: the target {name!r} is {value!r:.40}: not finite")
    rows = zip(*columns.values(), strict=True)
    return Labels(
        "regression", [tuple(float(value) for value in row) for row in rows], tuple(columns)
    )
