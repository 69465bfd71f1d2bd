"""Tables in files: JSON lines, JSON, CSV, TSV, Parquet and Excel, compressed or not."""

import bz2
import gzip
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

import psutil

from ntpscore.errors import DataError
from ntpscore.extras import need_package
from ntpscore.text.data_sets import name_classes, read_arrow_column
from ntpscore.text.delimited import parse_delimited
from ntpscore.text.json_rows import parse_json, parse_json_lines
from ntpscore.text.options import TextOptions
from ntpscore.text.table import Table, cause_of, name_columns, quoted, shown

_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = {b"\xff\xfe\x00\x00": "utf-32", b"\x00\x00\xfe\xff": "utf-32", b"\xff\xfe": "utf-16",
              b"\xfe\xff": "utf-16"}  # fmt: skip
_SNIFFED = 4096  # bytes
_PIECE = 1 << 20  # bytes
_EXPANDED_SHARE = 0.25


def read_file(path: Path, table_id: str, options: TextOptions) -> Table:
    """Read a table whose format the file's ending tells, called `table_id` in messages."""
    ending, compression = _endings(path)
    if ending not in DATA_FILE_ENDINGS:
        raise DataError(
            f"{table_id}: a file must end in one of {', '.join(DATA_FILE_ENDINGS)}, not in "
            f"{path.suffix!r}; one of {', '.join(_DECOMPRESSORS)} may follow"
        )
    content = read_bytes(path, table_id)
    if compression:
        content = _decompress(content, _DECOMPRESSORS[compression], table_id)
    if not content.removeprefix(_BOM).strip():
        raise DataError(f"{table_id} is empty")
    if ending in _BINARY:
        if options.encoding is not None:
            raise DataError(f"--encoding is for files of text: leave it out for {table_id}")
        return _BINARY[ending](content, table_id)
    text = decode(content, table_id, options.encoding)
    if not text.strip():
        raise DataError(f"{table_id} is empty")
    return _TEXTS[ending](text, table_id, skip_bad_rows=options.skip_bad_rows)


def read_bytes(path: Path, table_id: str) -> bytes:
    """The content of a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{table_id} can't be read: {error.strerror}") from error


def _decompress(content: bytes, opened: Callable[[IO[bytes]], Any], table_id: str) -> bytes:
    most, parts, size = _most_bytes(), list[bytes](), 0
    try:
        with opened(io.BytesIO(content)) as file:
            while part := file.read(_PIECE):
                parts.append(part)
                size += len(part)
                if size > most:
                    break
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise DataError(f"{table_id} can't be decompressed: {cause_of(error)}") from error
    _check_expanded(size, most, table_id)
    return b"".join(parts)


def _most_bytes() -> int:
    """What a file may expand to: a share of the free memory, since rows take several times more."""
    return int(_EXPANDED_SHARE * psutil.virtual_memory().available)


def _check_expanded(size: int, most: int, table_id: str) -> None:
    if size > most:
        raise DataError(
            f"{table_id} expands to more than the {most / 1e9:.1f} GB that there is memory for: "
            "give a part of it"
        )


def _open_zstd(file: IO[bytes]) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")


def decode(content: bytes, table_id: str, encoding: str | None) -> str:
    """The text of a file, without byte order mark."""
    if encoding is not None:
        try:
            return content.decode(encoding).removeprefix("\ufeff")
        except LookupError as error:
            raise DataError(
                f"there is no encoding {shown(encoding)}: utf-8, utf-16, cp1252 and latin-1 are "
                "usual ones"
            ) from error
        except ValueError as error:
            raise DataError(
                f"{table_id} is not in the encoding {encoding} ({cause_of(error)}): name another "
                "with --encoding, or leave it out for UTF-8"
            ) from error
    for mark, wide in _WIDE_BOMS.items():
        if content.startswith(mark):
            raise DataError(
                f"{table_id} starts as {wide.upper()} does: read it with --encoding {wide}"
            )
    body = content.removeprefix(_BOM)
    head = body[:_SNIFFED]
    if head.count(0) > len(head) // 4:  # as Latin letters in UTF-16 have every other byte
        wide = "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
        raise DataError(f"{table_id} seems to be UTF-16: read it with --encoding {wide}")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        offset = error.start + len(content) - len(body)
        raise DataError(
            f"{table_id}, line {line}: byte {offset} of the file (0x{content[offset]:02x}) is not "
            f"valid UTF-8: save the file as UTF-8, or, if it is in a western European language, "
            f"read it with --encoding {_single_byte_encoding(body)}"
        ) from error


def _single_byte_encoding(body: bytes) -> str:
    """Windows' alphabet where the file has its marks, else the one of the standard."""
    try:
        has_marks = any("\x80" <= character <= "\x9f" for character in body.decode("latin-1"))
        body.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252" if has_marks else "latin-1"


def parse_parquet(content: bytes, table_id: str) -> Table:
    """Read a Parquet file; class names that `datasets` noted in it are used."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        schema, n_rows = file.schema_arrow, file.metadata.num_rows
        groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
        size = sum(group.total_byte_size for group in groups)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{table_id} can't be read as Parquet: {cause_of(error)}") from error
    _check_expanded(size, _most_bytes(), table_id)
    orders = noted_class_orders((schema.metadata or {}).get(b"huggingface", b"{}"))

    def read_column(name: str) -> list[Any]:
        try:
            # The name of a column also chooses those whose names go on after a dot.
            column = file.read(columns=[name]).column(name)
        except (pa.ArrowException, OSError, ValueError, LookupError) as error:
            raise DataError(
                f"{table_id}, column {shown(name)}, can't be read: {cause_of(error)}"
            ) from error
        values = read_arrow_column(column, f"{table_id}, column {shown(name)},")
        return name_classes(values, orders.get(name))

    return Table(table_id, tuple(schema.names), n_rows, read_column, class_orders=orders)


def noted_class_orders(note: bytes) -> dict[str, tuple[str, ...]]:
    """The class names, in order, that `datasets` noted in a file, by column.

    A note that is damaged or of another make says nothing; labels are then as the file has them.
    """
    try:
        features = json.loads(note)["info"]["features"]
        columns = dict(features.items())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}
    orders = {}
    for name, feature in columns.items():
        inner = feature[0] if isinstance(feature, list) and feature else feature
        inner = inner.get("feature", inner) if isinstance(inner, dict) else {}
        names = inner.get("names") if isinstance(inner, dict) else None
        if (
            isinstance(names, list)
            and all(isinstance(name, str) for name in names)
            and inner.get("_type") == "ClassLabel"
        ):
            orders[name] = tuple(names)
    return orders


def parse_xlsx(content: bytes, table_id: str) -> Table:
    """Read the first sheet of an Excel workbook, whose first row names the columns."""
    need_package("openpyxl", "excel", f"{table_id}, if it is not saved as CSV,", DataError)
    import openpyxl

    try:
        size = sum(member.file_size for member in zipfile.ZipFile(io.BytesIO(content)).infolist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        size = 0  # said below
    _check_expanded(size, _most_bytes(), table_id)
    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        sheets = book.sheetnames
        cells = [list(row) for row in book[sheets[0]].iter_rows(values_only=True)]
    except Exception as error:  # one class per part of the format that is damaged
        raise DataError(
            f"{table_id} can't be read as an Excel workbook: {cause_of(error)}"
        ) from error
    filled = [i for i, row in enumerate(cells) if any(cell is not None for cell in row)]
    if not filled:
        raise DataError(f"{table_id}: its first sheet {shown(sheets[0])} is empty")
    header, rows = filled[0], filled[1:]
    names = name_columns(cells[header])

    def read_column(name: str) -> list[Any]:
        index = names.index(name)
        return [cells[row][index] if index < len(cells[row]) else None for row in rows]

    guesses: tuple[str, ...] = ()
    if len(sheets) > 1:
        guesses = (f"{table_id}: the sheet {shown(sheets[0])} is read, not {quoted(sheets[1:])}",)
    return Table(
        table_id, names, len(rows), read_column, lines=[row + 1 for row in rows], guesses=guesses
    )


_TEXTS: dict[str, Callable[..., Table]] = {
    ".jsonl": parse_json_lines,
    ".ndjson": parse_json_lines,
    ".json": parse_json,
    ".csv": partial(parse_delimited, delimiter=","),
    ".tsv": partial(parse_delimited, delimiter="\t"),
}
_BINARY: dict[str, Callable[[bytes, str], Table]] = {".parquet": parse_parquet, ".xlsx": parse_xlsx}
_DECOMPRESSORS: dict[str, Callable[[IO[bytes]], Any]] = {
    ".gz": gzip.open, ".zst": _open_zstd, ".bz2": bz2.open, ".xz": lzma.open,
}  # fmt: skip
DATA_FILE_ENDINGS = (".ndjson", ".xlsx", ".jsonl", ".json", ".csv", ".tsv", ".parquet")
"""What the name of a file of labelled text may end in; that of its compression may follow."""


def is_data_file(path: Path) -> bool:
    """Whether a file's name ends as that of a table does."""
    return _endings(path)[0] in DATA_FILE_ENDINGS


def stem(path: Path) -> str:
    """A file's name without the endings of its format and its compression."""
    ending, compression = _endings(path)
    known = len(compression) + (len(ending) if ending in DATA_FILE_ENDINGS else 0)
    return path.name[: len(path.name) - known]


def _endings(path: Path) -> tuple[str, str]:
    """The ending of a file's format, and that of its compression; blank where there is none."""
    *_, last_but_one, last = ["", "", *map(str.lower, path.suffixes)]
    return (last_but_one, last) if last in _DECOMPRESSORS else (last, "")
