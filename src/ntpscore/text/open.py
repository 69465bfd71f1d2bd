"""Tell what kind of data was given, and open it as a table."""

import os
import re
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

from ntpscore.errors import DataError
from ntpscore.text.data_sets import load_folder, load_hub, table_from_datasets, table_from_frame
from ntpscore.text.files import PARSERS, read_file
from ntpscore.text.options import TextOptions
from ntpscore.text.registry import DATA_SETS, find_data
from ntpscore.text.table import Table

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def open_table(data: Any, options: TextOptions) -> Table:
    """Open labelled text as a table.

    An existing path comes first, then the short name of a built-in data set; what looks like a path
    (a known ending, or a start of `.`, `/` or `~`) is one; all else is a hub id.

    Args:
        data: Path, short name of a built-in data set, hub id, `datasets` object or pandas data
            frame.
        options: Which split to take where there are several; whether to leave malformed rows out.

    Raises:
        DataError: there is no such thing, or it can't be read.
    """
    if not isinstance(data, str | Path):
        _refuse_hub_options(options, "data in memory")
        return _from_memory(data, options.split)
    entry = find_data(data)
    if entry is not None and entry.file is not None:
        _refuse_hub_options(options, repr(entry.name))
        with resources.as_file(resources.files("ntpscore.text").joinpath(entry.file)) as path:
            return read_file(path, entry.name, skip_bad_rows=options.skip_bad_rows)
    name, path = str(data), Path(data)
    with suppress(RuntimeError):  # no such user's home: then it's no such file either
        path = path.expanduser()
    if os.path.exists(path):  # noqa: PTH110  # pathlib raises for a name that is too long
        _refuse_hub_options(options, f"{name}, which is a local path")
        if path.is_dir():
            return table_from_datasets(load_folder(path, name), name, options.split)
        return read_file(path, name, skip_bad_rows=options.skip_bad_rows)
    looks_like_path = path.suffix.lower() in PARSERS or name.startswith((".", "/", "~"))
    if isinstance(data, Path) or looks_like_path:
        raise DataError(f"no such file: {name}")
    if not _HUB_ID.fullmatch(name):
        raise DataError(
            f"no such file: {name}; and it is no id on the hub (owner/name) and no short name "
            f"({', '.join(DATA_SETS)})"
        )
    loaded, commit = load_hub(name, options.data_configuration, options.data_revision)
    return table_from_datasets(loaded, name, options.split, commit)


def _refuse_hub_options(options: TextOptions, what: str) -> None:
    for name in ("data_configuration", "data_revision"):
        if getattr(options, name) is not None:
            flag = "--" + name.replace("_", "-")
            raise DataError(f"{flag} is for data sets on the hub: leave it out for {what}")


def _from_memory(data: Any, split: str) -> Table:
    import datasets
    import pandas as pd

    name = f"in-memory {type(data).__name__}"
    if isinstance(data, pd.DataFrame):
        return table_from_frame(data, name)
    if isinstance(data, datasets.Dataset | datasets.DatasetDict):
        return table_from_datasets(data, name, split)
    kind = f"{type(data).__module__}.{type(data).__qualname__}"
    raise DataError(
        f"labelled text can't be read from a {kind}: give a path, a hub id, a short name "
        f"({', '.join(DATA_SETS)}), a datasets.Dataset or DatasetDict, or a pandas DataFrame"
    )
