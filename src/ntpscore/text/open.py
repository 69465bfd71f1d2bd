"""Tell what kind of data was given, and open it as a table."""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

from ntpscore.errors import DataError
from ntpscore.text.data_sets import (
    is_saved,
    load_folder,
    load_hub,
    table_from_datasets,
    table_from_frame,
)
from ntpscore.text.files import is_data_file, read_file
from ntpscore.text.folders import FileReader, match_paths
from ntpscore.text.registry import DATA_SETS, find_data
from ntpscore.text.table import Table, shown

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def open_table(
    data: Any,
    *,
    configuration: str | None,
    revision: str | None,
    split: str,
    encoding: str | None = None,
    skip_bad_rows: bool,
) -> Table:
    """Open labelled text as a table.

    An existing path comes first, then the short name of a built-in data set; what looks like a path
    (a known ending, or a start of `.`, `/` or `~`) is one; all else is a hub id.

    Args:
        data: Path, pattern or several paths; short name of a built-in data set, hub id, `datasets`
            object or pandas data frame.
        configuration: Of a hub data set.
        revision: Of a hub data set.
        split: Which split to take where there are several.
        encoding: Of files of text.
        skip_bad_rows: Leave malformed rows out and count them, instead of stopping.

    Raises:
        DataError: there is no such thing, or it can't be read.
    """
    if isinstance(data, list | tuple) and data and all(isinstance(o, str | Path) for o in data):
        return _open_paths(data, split, encoding, skip_bad_rows=skip_bad_rows)
    entry = find_data(data)
    hub_only = {"--data-configuration": configuration, "--data-revision": revision}
    if not isinstance(data, str | Path):
        _refuse(hub_only, "data sets on the hub", "data in memory")
        _refuse({"--encoding": encoding}, "files of text", "data in memory")
        return _from_memory(data, split)
    if entry is not None and entry.file is not None:
        _refuse(hub_only, "data sets on the hub", repr(entry.name))
        _refuse({"--encoding": encoding}, "files of text", repr(entry.name))
        with resources.as_file(resources.files("ntpscore.text").joinpath(entry.file)) as path:
            return read_file(path, entry.name, encoding=None, skip_bad_rows=skip_bad_rows)
    table = _open_path(data, split, hub_only, encoding, skip_bad_rows=skip_bad_rows)
    if table is not None:
        return table
    name = str(data)
    _refuse({"--encoding": encoding}, "files of text", "data sets on the hub")
    loaded, commit = load_hub(name, configuration, revision)
    return table_from_datasets(loaded, name, split, commit)


def _open_paths(
    data: Sequence[str | Path], split: str, encoding: str | None, *, skip_bad_rows: bool
) -> Table:
    paths = [Path(one).expanduser() for one in data]
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise DataError(f"no such file: {missing}")
    reader = FileReader(f"{len(paths)} files", encoding, skip_bad_rows=skip_bad_rows)
    return reader.read_paths(paths, split)


def _open_path(
    data: str | Path,
    split: str,
    hub_only: dict[str, str | None],
    encoding: str | None,
    *,
    skip_bad_rows: bool,
) -> Table | None:
    """A table in files or a folder; None for what can only be an id on the hub."""
    name, path = str(data), Path(data)
    reader = FileReader(name, encoding, skip_bad_rows=skip_bad_rows)
    with suppress(RuntimeError):  # no such user's home: then it's no such file either
        path = path.expanduser()
    if os.path.exists(path):  # noqa: PTH110  # pathlib raises for a name that is too long
        _refuse(hub_only, "data sets on the hub", f"{name}, which is a local path")
        if not path.is_dir():
            return reader.read_path(path, split)
        if not is_saved(path):
            return reader.read_folder(path, split)
        _refuse({"--encoding": encoding}, "files of text", f"{name}, which `save_to_disk` wrote")
        return table_from_datasets(load_folder(path, name), name, split)
    if paths := match_paths(name):
        _refuse(hub_only, "data sets on the hub", f"{name}, which names local files")
        return reader.read_paths(paths, split)
    told = shown(name)[1:-1]
    if isinstance(data, Path) or is_data_file(path) or name.startswith((".", "/", "~")):
        raise DataError(f"no such file: {told}")
    if not _HUB_ID.fullmatch(name):
        raise DataError(
            f"no such file: {told}; and it is no id on the hub (owner/name) and no short name "
            f"({', '.join(DATA_SETS)})"
        )
    return None


def _refuse(options: dict[str, str | None], purpose: str, what: str) -> None:
    """Refuse options that are for another kind of data."""
    for option, value in options.items():
        if value is not None:
            raise DataError(f"{option} is for {purpose}: leave it out for {what}")


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
