"""Tables in files: JSON lines, JSON, CSV, TSV and Parquet."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ntpscore.errors import DataError
from ntpscore.text.data_sets import class_orders, name_classes
from ntpscore.text.table import Table

_BOM = b"\xef\xbb\xbf"


class _Parser(Protocol):
    def __call__(self, content: bytes, table_id: str, *, skip_bad_rows: bool) -> Table: ...


def read_file(path: Path, table_id: str, *, skip_bad_rows: bool) -> Table:
    """Read a table whose format the file's ending tells.

    Args:
        path: An existing file.
        table_id: What to call it in messages.
        skip_bad_rows: Leave malformed JSON lines out and count them, instead of stopping.

    Raises:
        DataError: the file can't be read, is empty, or is not what its ending says.
    """
    parse = PARSERS.get(path.suffix.lower())
    if parse is None:
        raise DataError(
            f"{table_id}: a file must end in one of {', '.join(PARSERS)}, not in {path.suffix!r}"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{table_id} can't be read: {error.strerror}") from error
    if not content.removeprefix(_BOM).strip():
        raise DataError(f"{table_id} is empty")
    return parse(content, table_id, skip_bad_rows=skip_bad_rows)


def parse_jsonl(content: bytes, table_id: str, *, skip_bad_rows: bool) -> Table:
    """Read JSON lines: one object a line; blank lines hold no row.

    Raises:
        DataError: a line is malformed or holds no object, or an object has a key twice.
    """
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    n_malformed = 0
    for number, line in enumerate(_decode(content, table_id).split("\n"), start=1):
        if not line or line.isspace():
            continue
        place = f"{table_id}, line {number}"
        try:
            row = json.loads(line, object_pairs_hook=partial(_row, place))
            problem = None if isinstance(row, dict) else f"an object is expected, not {line[:40]!r}"
        except json.JSONDecodeError as error:
            problem = f"malformed JSON: {error.msg}, at character {error.colno}"
        except (ValueError, RecursionError) as error:
            problem = f"malformed JSON: {error}"
        if problem is None:
            rows.append(row)
            lines.append(number)
        elif skip_bad_rows:
            n_malformed += 1
        else:
            raise DataError(f"{place}: {problem}")
    return _table_of_objects(rows, table_id, lines=lines, n_malformed=n_malformed)


def parse_json(
    content: bytes,
    table_id: str,
    *,
    skip_bad_rows: bool,  # noqa: ARG001  # every parser is called alike
) -> Table:
    """Read a JSON list of objects.

    Raises:
        DataError: it is malformed, no list, or an item is no object.
    """
    try:
        rows = json.loads(_decode(content, table_id), object_pairs_hook=partial(_row, table_id))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{table_id}, line {error.lineno}: malformed JSON: {error.msg}, at character "
            f"{error.colno}. If it has one object a line, let its name end in .jsonl"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{table_id}: malformed JSON: {error}") from error
    if not isinstance(rows, list):
        raise DataError(f"{table_id}: a list of objects is expected, not one {_kind(rows)}")
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(
                f"{table_id}, row {index + 1}: an object is expected, not a {_kind(row)}"
            )
    return _table_of_objects(rows, table_id)


def parse_csv(
    content: bytes,
    table_id: str,
    *,
    skip_bad_rows: bool,  # noqa: ARG001  # every parser is called alike
    delimiter: str = ",",
) -> Table:
    """Read delimited text with a header; fields may be quoted with `"`; blank lines hold no row.

    Raises:
        DataError: a row has not as many cells as the header, or quote marks are wrong.
    """
    text = _decode(content, table_id)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    start = 1
    try:
        with _long_fields(len(text)):
            for cells in reader:
                line, start = start, reader.line_num + 1
                if not cells:
                    continue
                if not header:
                    header = [name.strip() for name in cells]
                    continue
                if len(cells) != len(header):
                    raise DataError(
                        f"{table_id}, line {line}: {len(cells)} cells, but the header has "
                        f"{len(header)}. Quote cells that hold a {delimiter!r} or a line break"
                    )
                rows.append(cells)
                lines.append(line)
    except csv.Error as error:
        raise DataError(
            f"{table_id}, line {start}: {error}. A cell that starts with a quote mark must end "
            "with one, and those inside it must be doubled"
        ) from error
    position = {name: index for index, name in enumerate(header)}

    def read_column(name: str) -> list[Any]:
        index = position[name]
        return [cells[index] for cells in rows]

    return Table(table_id, tuple(header), len(rows), read_column, lines=lines, untyped=True)


def parse_parquet(
    content: bytes,
    table_id: str,
    *,
    skip_bad_rows: bool,  # noqa: ARG001  # every parser is called alike
) -> Table:
    """Read a Parquet file; class names that `datasets` noted in it are used.

    Raises:
        DataError: it is no Parquet file, or is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(pa.BufferReader(content)).read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{table_id} can't be read as Parquet: {error}") from error
    orders: dict[str, tuple[str, ...]] = {}
    if b"huggingface" in (table.schema.metadata or {}):
        from datasets import Features

        orders = class_orders(Features.from_arrow_schema(table.schema))
    return Table(
        table_id,
        tuple(table.column_names),
        table.num_rows,
        lambda name: name_classes(table.column(name).to_pylist(), orders.get(name)),
        class_orders=orders,
    )


PARSERS: dict[str, _Parser] = {
    ".jsonl": parse_jsonl,
    ".json": parse_json,
    ".csv": parse_csv,
    ".tsv": partial(parse_csv, delimiter="\t"),
    ".parquet": parse_parquet,
}
# What the name of a file of labelled text may end in.
DATA_FILE_ENDINGS = tuple(PARSERS)


def _decode(content: bytes, table_id: str) -> str:
    body = content.removeprefix(_BOM)
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        offset = error.start + len(content) - len(body)
        raise DataError(
            f"{table_id}, line {line}: byte {offset} of the file "
            f"(0x{content[offset]:02x}) is not valid UTF-8: save the file as UTF-8"
        ) from error


def _row(place: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """One JSON object; of a repeated key the parser alone would keep the last value in silence."""
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DataError(f"{place}: an object has the key {twice!r} twice")
    return row


def _kind(value: Any) -> str:
    kinds = {dict: "object", list: "list", str: "string", int: "number", float: "number"}
    return kinds.get(type(value), "null" if value is None else "truth value")


def _table_of_objects(
    rows: list[dict[str, Any]],
    table_id: str,
    *,
    lines: list[int] | None = None,
    n_malformed: int = 0,
) -> Table:
    names = tuple(dict.fromkeys(key for row in rows for key in row))
    read_column: Callable[[str], list[Any]] = lambda name: [row.get(name) for row in rows]  # noqa: E731
    return Table(table_id, names, len(rows), read_column, lines=lines, n_malformed=n_malformed)


@contextmanager
def _long_fields(n_characters: int) -> Iterator[None]:
    """Let a cell be as long as the file: the csv module's limit, 128 Ki characters, is for all."""
    limit = csv.field_size_limit()
    csv.field_size_limit(max(limit, n_characters))
    try:
        yield
    finally:
        csv.field_size_limit(limit)
