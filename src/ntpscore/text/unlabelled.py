"""Texts without labels, read as labelled ones are; every row keeps its place."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ntpscore.errors import DataError
from ntpscore.text.columns import find_text_columns
from ntpscore.text.open import open_table
from ntpscore.text.options import TextOptions
from ntpscore.text.registry import fill_in
from ntpscore.text.rows import build_texts, rows_of_split
from ntpscore.text.source import Notes
from ntpscore.text.table import is_missing, quoted
from ntpscore.text.template import parse_template

if TYPE_CHECKING:
    import datasets
    import pandas as pd


def load_unlabelled(
    data: "str | Path | datasets.Dataset | datasets.DatasetDict | pd.DataFrame",
    options: TextOptions | None = None,
    *,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    template: str | None = None,
) -> list[str | None]:
    """Read texts; labels, if there are any, are not looked at.

    Args:
        data: as for `load_text`.
        options: columns and template.
        split: whose rows; None means all, of a data set those of `options.split`.
        columns: which column is the text, and which the pair, where `options` don't say and data
            have them.
        template: in place of one of `options`, if they name no columns.

    Returns:
        A text per row; with `skip_bad_rows` None for a row without one.
    """
    options = options or TextOptions()
    says_columns = bool(options.template or options.text_column or options.pair_column)
    if not says_columns:
        options = replace(options, template=template)
    data, options = fill_in(data, options if split is None else replace(options, split=split))
    table = open_table(data, options)
    if table.left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in table.left_out.items())
        raise DataError(f"{table.id}: {reasons}: mend them, so that every row can have its label")
    parsed = None if options.template is None else parse_template(options.template)
    known = dict(columns or {})
    roles = (options.text_column, options.pair_column)
    if not any(roles) and known and set(known.values()) <= set(table.names):
        roles = (known.get("text"), known.get("pair"))
    fields = None if parsed is None else parsed.fields
    names = find_text_columns(table, *roles, fields, Notes())
    if not says_columns and known and len(names) != len(known):
        raise DataError(
            f"{table.id}: {quoted(names)} would be the text, but what was fitted had "
            f"{quoted(list(known.values()))}: say which columns with --text-column and "
            "--pair-column"
        )
    return build_texts(
        table, names, parsed, rows_of_split(table, split), skip_bad_rows=options.skip_bad_rows
    )


def read_lines(
    stream: BinaryIO, *, encoding: str | None = None, skip_bad_rows: bool = False
) -> Iterator[str | None]:
    """The lines of standard input, read as they are wanted; None for a bad one that is skipped."""
    try:
        lines = io.TextIOWrapper(stream, encoding=encoding or "utf-8-sig")
    except LookupError as error:
        raise DataError(f"{error}: see --encoding") from error
    number = 0
    try:
        for number, line in enumerate(lines, start=1):
            text = line.removesuffix("\n")
            if not is_missing(text):
                yield text
            elif skip_bad_rows:
                yield None
            else:
                raise DataError(
                    f"line {number} of standard input is blank: --skip-bad-rows gives such lines "
                    "no label"
                )
    except UnicodeError as error:
        raise DataError(f"standard input, after line {number}: {error}: see --encoding") from error
    finally:
        if not lines.closed:
            lines.detach()
