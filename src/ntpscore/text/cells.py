"""What label cells hold: nothing, numbers, truth values, lists, or names."""

import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, NamedTuple

from ntpscore.errors import DataError
from ntpscore.text.options import TextOptions
from ntpscore.text.source import Notes
from ntpscore.text.spellings import is_missing_name, split_label, strip_label
from ntpscore.text.table import is_missing, shown

Where = Callable[[int], str]
"""Says where the row of that index stands."""

# "007" and "+1" are names, that int() would change; and so is what is too long for int64.
_INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+,?\d*|,\d+)(e[+-]?\d+)?", re.IGNORECASE)
_COMMA_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_DOT_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d+)?")
_BLANK_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}([ ']\d{3})+([.,]\d+)?")
_STRING = re.compile(r"""'[^']*'|"[^"]*\"""")
_BARE_STRINGS = re.compile(rf"(?:{_STRING.pattern})(?:\s+(?:{_STRING.pattern}))+")
_UNIT = re.compile(r"^([+-]?)[€$£¥]\s*|\s*[%€$£¥]$")
_MARKS = str.maketrans({"\u2212": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "’": "'"})
_TRUTH_WORDS = (
    ("true", "false"), ("yes", "no"), ("y", "n"), ("t", "f"), ("on", "off"), ("1", "0"),
    ("1.0", "0.0"), ("ja", "nein"), ("oui", "non"), ("sí", "no"), ("si", "no"), ("sim", "não"),
    ("wahr", "falsch"), ("vrai", "faux"), ("verdadero", "falso"), ("x", ""), ("✓", "✗"),
    ("✓", ""), ("✔", "✘"), ("✔", ""), ("•", ""),
)  # fmt: skip


class LabelColumn(NamedTuple):
    """The labels of a column.

    Attributes:
        name: the column's.
        values: by row: numbers, truth values, strings, lists of these; None where missing.
        order: the classes in their order, if they have one.
        is_quantity: whether the way the numbers are written, as `75%`, says that they are no codes.
        has_gaps: whether rows without label were left out, which make pandas turn codes to floats.
    """

    name: str
    values: list[Any]
    order: tuple[str, ...] | None = None
    is_quantity: bool = False
    has_gaps: bool = False


def read_columns(
    columns: Mapping[str, Sequence[Any]],
    orders: Mapping[str, tuple[str, ...]],
    options: TextOptions,
    place: Where,
    notes: Notes,
) -> list[LabelColumn]:
    """Tell what the cells of label columns hold.

    Columns that have their classes in an order hold names already. Notes are told what is guessed.
    """
    if len(columns) > 1 and options.task in {"auto", "multilabel"}:
        flags = {name: _flags(cells) for name, cells in columns.items()}
        if all(values is not None for values in flags.values()):
            return [
                LabelColumn(name, _told_flags(name, columns[name], values or [], notes))
                for name, values in flags.items()
            ]
    return [
        LabelColumn(name, list(cells), orders[name])
        if name in orders
        else _read_column(name, cells, options, place, notes)
        for name, cells in columns.items()
    ]


def _read_column(
    name: str, cells: Sequence[Any], options: TextOptions, place: Where, notes: Notes
) -> LabelColumn:
    cells = [float(cell) if isinstance(cell, Decimal) else cell for cell in cells]
    values = [
        strip_label(cell) if isinstance(cell, str) and not options.exact_labels else cell
        for cell in cells
    ]
    changed = sum(
        isinstance(cell, str) and cell != value and bool(value)
        for cell, value in zip(cells, values, strict=True)
    )
    if changed:
        notes.guesses.append(f"blanks around {changed} labels of {shown(name)} are left out")
    values = [
        None
        if is_missing(value)
        or (isinstance(value, str) and not options.keep_missing_names and is_missing_name(value))
        else value
        for value in values
    ]
    present = [value for value in values if value is not None]
    strings = [value for value in present if isinstance(value, str)]
    if options.label_separator is not None:
        return LabelColumn(name, _split(name, values, options.label_separator, notes))
    if strings and len(strings) < len(present):
        # Numbers as text among numbers, as spreadsheets have them.
        numbers = all(isinstance(v, str | int | float) and not isinstance(v, bool) for v in present)
        if not numbers or not all(map(_NUMBER.fullmatch, strings)):
            return LabelColumn(name, values)
        values = [None if value is None else str(value) for value in values]
    elif not strings:
        return LabelColumn(name, values)
    return _read_strings(LabelColumn(name, values), options, place, notes)


def _read_strings(
    column: LabelColumn, options: TextOptions, place: Where, notes: Notes
) -> LabelColumn:
    """What strings stand for, where all of them stand for the same kind of thing."""
    name, values = column.name, column.values
    present = [(i, value) for i, value in enumerate(values) if value is not None]
    strings = [value for _, value in present]

    def converted(convert: Callable[[str], Any], *, is_quantity: bool = False) -> LabelColumn:
        of_value = {value: convert(value) for value in set(strings)}
        return LabelColumn(
            name, [None if v is None else of_value[v] for v in values], None, is_quantity
        )

    if all(map(_INTEGER.fullmatch, strings)):
        return converted(int)
    lists = {value: parse_list(value) for value in set(strings)}
    if all(items is not None for items in lists.values()):
        notes.guesses.append(
            f"{shown(strings[0])} and the like in {shown(name)} are read as lists of labels"
        )
        return converted(lists.__getitem__)
    if options.task == "multilabel" or any(lists.values()):
        _warn_of_lists(name, lists, notes)
    if all(value.lstrip("+-").isdecimal() for value in strings):
        return converted(float) if options.task == "regression" else column
    if all(map(_NUMBER.fullmatch, strings)):
        whole = all(float(value).is_integer() for value in strings)
        return column if options.task == "classification" and not whole else converted(float)
    form = None if options.task == "classification" else _number_form(strings)
    if form is not None:
        example = strings[0]
        notes.guesses.append(
            f"{shown(example)} and the like in {shown(name)} are read as numbers, "
            f"{form.read(example):g} (--task classification takes them as names"
            + (", --label-separator ',' as lists)" if "," in example else ")")
        )
        return converted(form.read, is_quantity=form.is_quantity)
    if options.task != "classification":
        _check_mixed(name, present, place, notes)
    return column


def _check_mixed(name: str, present: list[tuple[int, str]], place: Where, notes: Notes) -> None:
    """Refuse numbers among names, but warn only where these numbers may be names: whole ones."""
    numbers = [(i, cell) for i, cell in present if _NUMBER.fullmatch(cell)]
    others = [
        (i, cell)
        for i, cell in present
        if not _NUMBER.fullmatch(cell) and not _NOT_FINITE.fullmatch(cell)
    ]
    if not numbers or not others:
        return
    (row, number), (other_row, other) = numbers[0], others[0]
    if all(cell.lstrip("+-").isdecimal() for _, cell in numbers):
        notes.warnings.append(
            f"some labels of {shown(name)} are numbers, as {shown(number)}, and others are not, as "
            f"{shown(other)} ({place(other_row)}): all are taken for names of classes"
        )
        return
    raise DataError(
        f"{place(row)}: the label {shown(number)} is a number, but {shown(other)} is not "
        f"({place(other_row)}). If all are names of classes, use --task classification"
    )


def _warn_of_lists(name: str, lists: Mapping[str, list[Any] | None], notes: Notes) -> None:
    examples = [value for value, items in lists.items() if items is not None]
    others = [value for value, items in lists.items() if items is None]
    if examples and others:
        notes.warnings.append(
            f"some labels of {shown(name)} are lists, as {shown(examples[0])}, and others are not, "
            f"as {shown(others[0])}: all are read as names; write all of them as lists"
        )


def parse_list(text: str) -> list[Any] | None:
    """A list that was written as text: by JSON, Python, or NumPy, which leaves out commas."""
    text = text.strip()
    if len(text) < 2 or (text[0], text[-1]) not in {("[", "]"), ("(", ")"), ("{", "}")}:
        return None
    inner = text[1:-1].strip()
    if text[0] == "[" and _BARE_STRINGS.fullmatch(inner):  # Python would join them to one
        return [string[1:-1] for string in _STRING.findall(inner)]
    for parse in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            value = parse(text)
            return list(value) if isinstance(value, list | tuple | set) else None
    if text[0] != "[":
        return None
    items = [strip_label(item) for item in inner.split("," if "," in inner else None)]
    for form, convert in ((_INTEGER, int), (_NUMBER, float)):
        if all(map(form.fullmatch, items)):
            return list(map(convert, items))
    return list(items) if "," in inner and all(items) else None


class _NumberForm(NamedTuple):
    """How numbers are written: what to leave out, which mark is the decimal point."""

    groups: str
    point: str
    is_quantity: bool

    def read(self, text: str) -> float:
        bare = _UNIT.sub(r"\1", text.translate(_MARKS))
        for mark in self.groups:
            bare = bare.replace(mark, "")
        return float(bare.replace(self.point, "."))


def _number_form(strings: Sequence[str]) -> _NumberForm | None:
    """How all of the strings write numbers, if they do: `4,5`, `75 %`, `$5`, `1.234,5`, `1 000`."""
    bare = [value.translate(_MARKS) for value in strings]
    units = {found[0].strip(" +-") if (found := _UNIT.search(value)) else "" for value in bare}
    has_unit = len(units) == 1 and units != {""}
    if has_unit:
        bare = [_UNIT.sub(r"\1", value) for value in bare]
    plain = [value for value in bare if not _NOT_FINITE.fullmatch(value)]

    def all_are(*forms: re.Pattern[str]) -> bool:
        return all(any(form.fullmatch(value) for form in forms) for value in plain)

    if not plain:
        return None
    points = {mark for value in plain for mark in ".," if mark in value}
    is_thousands = all(_COMMA_GROUPS.fullmatch(value) for value in plain if "," in value)
    for fits, groups, point in (
        (all_are(_NUMBER), "", "."),
        (all_are(_DECIMAL_COMMA) and not is_thousands, "", ","),
        (all_are(_NUMBER, _COMMA_GROUPS), ",", "."),
        (all_are(_DOT_GROUPS, _DECIMAL_COMMA), ".", ","),
        (
            all_are(_BLANK_GROUPS, _NUMBER, _DECIMAL_COMMA) and len(points) < 2,
            " '",
            next(iter(points), "."),
        ),
    ):
        if fits:
            return _NumberForm(groups, point, has_unit)
    return None


def _split(name: str, values: list[Any], separator: str, notes: Notes) -> list[Any]:
    wrong = next((v for v in values if v is not None and not isinstance(v, str | int)), None)
    if wrong is not None:
        raise DataError(
            f"--label-separator splits strings, but the label column {shown(name)} holds "
            f"{shown(wrong)}: leave it out"
        )
    lists = [None if value is None else split_label(str(value), separator) for value in values]
    if all(items is None or len(items) < 2 for items in lists):
        notes.warnings.append(f"no label of {shown(name)} has {separator!r} in it")
    return lists


def _flags(cells: Sequence[Any]) -> list[int | None] | None:
    """Truth values as 1 and 0, None where missing; None if the cells are no truth values."""
    words = [_truth_word(cell) for cell in cells]
    present = set(words) - {""}
    for yes, no in _TRUTH_WORDS:
        if present and present <= {yes, no}:
            # Where only one of both is ever written, blank cells are the other.
            blank = 0 if present == {yes} else None
            return [1 if word == yes else blank if word == "" else 0 for word in words]
    return None


def _truth_word(cell: Any) -> str:
    if is_missing(cell) or (isinstance(cell, str) and is_missing_name(cell)):
        return ""
    if isinstance(cell, bool):
        return str(int(cell))
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return strip_label(str(cell)).casefold()


def _told_flags(
    name: str, cells: Sequence[Any], flags: list[int | None], notes: Notes
) -> list[int | None]:
    words = {cell for cell in cells if isinstance(cell, str) and _truth_word(cell)}
    blanks = sum(
        _truth_word(cell) == "" and flag == 0 for cell, flag in zip(cells, flags, strict=True)
    )
    if blanks:
        notes.guesses.append(f"{blanks} blank cells of {shown(name)} are read as no")
    elif words - {"0", "1"}:
        notes.guesses.append(
            f"{', '.join(map(shown, sorted(words)[:4]))} in {shown(name)} are read as truth values"
        )
    return flags
