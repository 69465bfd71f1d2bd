"""Tables in JSON: lines of objects, a list of them, and what pandas and others write."""

import json
from typing import Any

from ntpscore.errors import DataError
from ntpscore.text.split_names import split_of_name
from ntpscore.text.table import Table, quoted, shown


class _Twice:
    """Stands for the value of a key that its object has twice: the parser alone keeps the last."""


def parse_json_lines(text: str, table_id: str, *, skip_bad_rows: bool) -> Table:
    """Read JSON lines: one object a line; blank lines hold no row."""
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    n_malformed = 0
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line.isspace():
            continue
        row, problem = _parse_line(line)
        if row is not None:
            rows.append(row)
            lines.append(number)
            continue
        if not rows and not n_malformed and line.lstrip().startswith("["):
            table = _try_list(text, table_id)
            if table is not None:
                return table
        if not skip_bad_rows:
            raise DataError(
                f"{table_id}, line {number}: {problem}. --skip-bad-rows leaves such rows out"
            )
        n_malformed += 1
    left_out = {"malformed JSON line": n_malformed} if n_malformed else {}
    return _table_of_objects(rows, table_id, lines=lines, left_out=left_out)


def _parse_line(line: str) -> tuple[dict[str, Any] | None, str]:
    try:
        row = json.loads(line, object_pairs_hook=_row)
    except json.JSONDecodeError as error:
        return None, f"malformed JSON: {error.msg}, at character {error.colno}"
    except (ValueError, RecursionError) as error:
        return None, f"malformed JSON: {error}"
    if not isinstance(row, dict):
        return None, f"an object is expected, not {shown(line.strip())}"
    return row, ""


def _try_list(text: str, table_id: str) -> Table | None:
    """A whole list in a file of lines, if it is one of objects."""
    try:
        rows = json.loads(text, object_pairs_hook=_row)
    except (ValueError, RecursionError):
        return None
    if not rows or not all(isinstance(row, dict) for row in rows):
        return None
    return _table_of_objects(rows, table_id)


def parse_json(text: str, table_id: str, *, skip_bad_rows: bool) -> Table:
    """Read a list of objects, alone or under one key; an object of columns; or lines of objects."""
    try:
        value = json.loads(text, object_pairs_hook=_row)
    except json.JSONDecodeError as error:
        first = next(line for line in text.split("\n") if line.strip())
        if _parse_line(first)[0] is not None:
            return parse_json_lines(text, table_id, skip_bad_rows=skip_bad_rows)
        raise DataError(
            f"{table_id}, line {error.lineno}: malformed JSON: {error.msg}, at character "
            f"{error.colno}. If it has one object a line, let its name end in .jsonl"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{table_id}: malformed JSON: {error}") from error
    guesses: tuple[str, ...] = ()
    if isinstance(value, dict):
        value, guesses = _unwrap(value, table_id)
    if not isinstance(value, list):
        raise DataError(f"{table_id}: a list of objects is expected, not one {_kind(value)}")
    for index, row in enumerate(value):
        if not isinstance(row, dict):
            raise DataError(
                f"{table_id}, row {index + 1}: an object is expected, not a {_kind(row)}"
            )
    return _table_of_objects(value, table_id, guesses=guesses)


def _unwrap(value: dict[str, Any], table_id: str) -> tuple[Any, tuple[str, ...]]:
    """The rows inside an object, and how they were found; the object itself if there are none."""
    lists = {key: rows for key, rows in value.items() if isinstance(rows, list) and rows}
    columns = value.get("columns")
    if isinstance(columns, list) and _is_rows(value.get("data"), list):
        rows = [dict(zip(map(str, columns), row, strict=False)) for row in value["data"]]
        return rows, (f"{table_id} names its columns apart from its rows",)
    of_objects = [key for key, rows in lists.items() if _is_rows(rows, dict)]
    if len(of_objects) == 1:
        return value[of_objects[0]], (f"the rows of {table_id} are under {shown(of_objects[0])}",)
    if len(of_objects) > 1 and all(map(split_of_name, of_objects)):
        rows = [{"split": key, **row} for key in of_objects for row in value[key]]
        return rows, (f"the splits of {table_id} are under {quoted(of_objects)}",)
    if len(of_objects) > 1:
        raise DataError(
            f"{table_id} holds several lists of objects, under {', '.join(map(shown, of_objects))}:"
            " save the one that is meant in a file of its own"
        )
    guesses = (f"{table_id} is read as an object of columns",)
    if len(value) > 1 and len(lists) == len(value) and len(set(map(len, lists.values()))) == 1:
        return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)], (
            guesses
        )
    if len(value) > 1 and all(isinstance(column, dict) and column for column in value.values()):
        keys = dict.fromkeys(key for column in value.values() for key in column)
        return [{name: column.get(key) for name, column in value.items()} for key in keys], guesses
    return value, ()


def _is_rows(rows: Any, kind: type) -> bool:
    return isinstance(rows, list) and bool(rows) and all(isinstance(row, kind) for row in rows)


def _row(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        row |= {key: _Twice() for key in row if keys.count(key) > 1}
    return row


def _kind(value: Any) -> str:
    kinds = {dict: "object", list: "list", str: "string", int: "number", float: "number"}
    return kinds.get(type(value), "null" if value is None else "truth value")


def _table_of_objects(
    rows: list[dict[str, Any]],
    table_id: str,
    *,
    lines: list[int] | None = None,
    left_out: dict[str, int] | None = None,
    guesses: tuple[str, ...] = (),
) -> Table:
    def read_column(name: str) -> list[Any]:
        values = [row.get(name) for row in rows]
        for index, value in enumerate(values):
            if isinstance(value, _Twice):
                raise DataError(f"{table.place(index)}: an object has the key {shown(name)} twice")
        return values

    names = tuple(dict.fromkeys(key for row in rows for key in row))
    table = Table(
        table_id, names, len(rows), read_column, lines=lines, left_out=left_out or {},
        guesses=guesses,
    )  # fmt: skip
    return table
