r"""Tables in delimited text: CSV, whose quote marks are syntax, and TSV, whose are data.

In CSV a cell that starts with a quote mark goes on to the next one, over line breaks and all. Files
with tabs are mostly written without quoting, so that a text may start with a quotation: there a
pair of quote marks around a whole cell is taken off, and every line is a row of its own unless it
has too few cells and a quoted cell that is closed on a later line completes it.
"""

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from ntpscore.errors import DataError
from ntpscore.text.table import Table, name_columns, shown

_DELIMITERS = (",", ";", "\t", "|")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[ \t]*(?:\r\n|\n|\r)', re.IGNORECASE)
_LINE_BREAK = re.compile(r"\r\n|\n|\r")
_SNIFFED = 20_000  # characters
_FEWEST_SWALLOWED = 3
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


class _Row(NamedTuple):
    """Cells, and the lines of the file they stand on, the first and the last."""

    cells: list[str]
    line: int
    last_line: int


class _Parsed(NamedTuple):
    """A header and rows of as many cells."""

    header: list[str]
    rows: list[_Row]
    n_ragged: int


class _MalformedError(Exception):
    """The text does not read with this delimiter."""


def parse_delimited(text: str, table_id: str, *, delimiter: str, skip_bad_rows: bool) -> Table:
    """Read delimited text with a header; blank lines hold no row.

    The usual delimiter is taken if header and rows agree about it, else another with which they do.
    A first line `sep=;` is obeyed.

    Args:
        text: The file's.
        table_id: What to call it in messages.
        delimiter: The usual one.
        skip_bad_rows: Leave rows with too few or too many cells out and count them.
    """
    said = _SEPARATOR_LINE.match(text)
    guesses: list[str] = []
    try:
        if said:
            chosen = said[1]
            parsed = _parse(text[said.end() :], chosen, first_line=2, skip_bad_rows=skip_bad_rows)
        else:
            chosen, parsed = _choose(text, delimiter, skip_bad_rows=skip_bad_rows)
    except _MalformedError as error:
        raise DataError(f"{table_id}, {error}") from error
    if chosen != delimiter:
        guesses.append(f"{table_id} is delimited by {_NAMES.get(chosen, shown(chosen))}")
    names = name_columns(parsed.header)
    position = {name: index for index, name in enumerate(names)}

    def read_column(name: str) -> list[Any]:
        index = position[name]
        return [row.cells[index] for row in parsed.rows]

    return Table(
        table_id,
        names,
        len(parsed.rows),
        read_column,
        lines=[row.line for row in parsed.rows],
        left_out={"ragged row": parsed.n_ragged} if parsed.n_ragged else {},
        guesses=tuple(guesses),
        warnings=tuple(_swallowed(text, chosen, parsed, table_id)),
        hint=_hint(names, chosen),
    )


def _hint(names: tuple[str, ...], delimiter: str) -> str:
    if len(names) < 2:
        return (
            ". The file has one column only: save it with commas, semicolons, tabs or bars between "
            "the columns"
        )
    example = f"text{delimiter}label"
    return f". If the file has no header, add one as the first line, such as {example!r}"


def _choose(text: str, usual: str, *, skip_bad_rows: bool) -> tuple[str, _Parsed]:
    """The delimiter that fits header and rows, and what is read with it."""
    fitting: dict[str, _Parsed] = {}
    errors: dict[str, _MalformedError] = {}
    for delimiter in (usual, *(other for other in _DELIMITERS if other != usual)):
        if delimiter != usual and delimiter not in _first_line(text):
            continue
        try:
            parsed = _parse(text, delimiter)
        except _MalformedError as error:
            errors[delimiter] = error
            continue
        if len(parsed.header) > 1:
            if delimiter == usual:
                return usual, parsed
            fitting[delimiter] = parsed
    if not fitting:
        # The usual delimiter is at fault only if the header has it or no other.
        suspect = usual if usual in _first_line(text) or not errors else next(iter(errors))
        other = [d for d in _DELIMITERS if d != usual and d in _first_line(text)]
        if usual not in _first_line(text) and other:
            suspect = other[0]
        return suspect, _parse(text, suspect, skip_bad_rows=skip_bad_rows)
    delimiter = next(iter(fitting))
    if len(fitting) > 1:
        with suppress(csv.Error):
            sniffed = csv.Sniffer().sniff(text[:_SNIFFED], "".join(fitting)).delimiter
            delimiter = sniffed if sniffed in fitting else delimiter
    return delimiter, fitting[delimiter]


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _parse(
    text: str, delimiter: str, *, first_line: int = 1, skip_bad_rows: bool = False
) -> _Parsed:
    rows = (
        _rows_of_lines(text, first_line)
        if delimiter == "\t"
        else _rows_of_csv(text, delimiter, first_line)
    )
    header = next(rows, _Row([], 0, 0)).cells
    n = len(header)
    n_named = max((i for i, name in enumerate(header, start=1) if name.strip()), default=n)
    read = list(rows)
    # R writes no name over the names of its rows.
    if n > 1 and read and all(len(row.cells) == n + 1 and row.cells[-1].strip() for row in read):
        return _Parsed(["", *header], read, 0)
    good: list[_Row] = []
    for row in read:
        cells = row.cells
        if len(cells) > n and not any(cell.strip() for cell in cells[n:]):
            good.append(row._replace(cells=cells[:n]))
        elif n_named <= len(cells) <= n:
            good.append(row._replace(cells=cells + [""] * (n - len(cells))))
        elif not skip_bad_rows:
            raise _MalformedError(
                f"line {row.line}: {len(cells)} cells, but the header has {n}, with "
                f"{_NAMES.get(delimiter, shown(delimiter))} between them. Quote cells that hold a "
                f"{delimiter!r} or a line break; --skip-bad-rows leaves such rows out"
            )
    return _Parsed(header, good, len(read) - len(good))


def _rows_of_csv(text: str, delimiter: str, first_line: int) -> Iterator[_Row]:
    # Where the header has blanks behind its delimiters they are no part of the cells.
    spaced = f"{delimiter} " in _first_line(text)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=spaced
    )
    start = 1
    try:
        with _long_fields(len(text)):
            for cells in reader:
                line, start = start, reader.line_num + 1
                if cells:
                    shift = first_line - 1
                    yield _Row(cells, line + shift, reader.line_num + shift)
    except csv.Error as error:
        raise _MalformedError(
            f"line {start + first_line - 1}: {error}. A cell that starts with a quote mark must "
            "end with one, and those inside it must be doubled"
        ) from error


def _rows_of_lines(text: str, first_line: int) -> Iterator[_Row]:
    lines = _LINE_BREAK.split(text)
    width = 0
    i = 0
    while i < len(lines):
        if not lines[i].strip():
            i += 1
            continue
        cells = lines[i].split("\t")
        # A pair of quote marks may hold tabs.
        if len(cells) != width and '"' in lines[i]:
            cells = _quoted_cells(lines[i], width or None) or cells
        last = i
        if width and '"' in lines[i] and _opens(cells, width):
            last, cells = _close(lines, i, width) or (i, cells)
        width = width or len(cells)
        yield _Row(list(map(_unquote, cells)), i + first_line, last + first_line)
        i = last + 1


def _opens(cells: list[str], width: int) -> bool:
    """Whether a row may go on with the next line: its last cell has a quote mark open."""
    return len(cells) <= width and cells[-1].startswith('"') and _unquote(cells[-1]) == cells[-1]


def _close(lines: list[str], start: int, width: int) -> tuple[int, list[str]] | None:
    """The line that completes a row whose quoted cell is open, and the row's cells.

    None if no line does, or if a line that is a row of its own would be lost.
    """
    complete = 0
    for end in range(start, len(lines)):
        complete += lines[end].count("\t") + 1 == width
        if complete > 1:
            return None
        if end > start and '"' in lines[end]:
            cells = _quoted_cells("\n".join(lines[start : end + 1]), width)
            if cells is not None:
                return end, cells
    return None


def _quoted_cells(text: str, width: int | None) -> list[str] | None:
    """The cells of one row by the rules of CSV, quote marks still on; None if it is no such row."""
    with _long_fields(len(text)):
        try:
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True))
        except csv.Error:
            return None
    if len(rows) != 1 or (width is not None and len(rows[0]) != width):
        return None
    return [f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in rows[0]]


def _unquote(cell: str) -> str:
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        inner = cell[1:-1]
        if '"' not in inner.replace('""', ""):
            return inner.replace('""', '"')
    return cell


def _swallowed(text: str, delimiter: str, parsed: _Parsed, table_id: str) -> Iterator[str]:
    """Warnings of cells that hold whole rows, as a quote mark that is data makes them."""
    long = [row for row in parsed.rows if row.last_line - row.line + 1 >= _FEWEST_SWALLOWED]
    if not long or delimiter == "\t":
        return
    lines = _LINE_BREAK.split(text)
    for row in long:
        inside = lines[row.line - 1 : row.last_line]
        if all(line.count(delimiter) + 1 >= len(parsed.header) for line in inside):
            yield (
                f"{table_id}, lines {row.line} to {row.last_line} are one row, since a quote mark "
                "opens on the first and closes on the last of them: if they are rows of their own, "
                "double the quote marks and quote the cells"
            )


@contextmanager
def _long_fields(n_characters: int) -> Iterator[None]:
    """Let a cell be as long as the file: the csv module's limit, 128 Ki characters, is for all."""
    limit = csv.field_size_limit()
    csv.field_size_limit(max(limit, n_characters))
    try:
        yield
    finally:
        csv.field_size_limit(limit)
