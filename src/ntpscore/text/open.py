"""Tell what kind of data was given, and open it as a table."""

import os
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

from ntpscore import hub
from ntpscore.errors import DataError
from ntpscore.files import expand
from ntpscore.text.data_sets import (
    check_hub_reachable,
    is_saved,
    load_folder,
    load_hub,
    table_from_datasets,
    table_from_frame,
)
from ntpscore.text.files import is_data_file
from ntpscore.text.folders import FileReader, match_paths
from ntpscore.text.options import TextOptions
from ntpscore.text.registry import DATA_SETS, find_data
from ntpscore.text.table import LONGEST_PATH, Table, cause_of, shown

_HUB_ONLY = ("data_configuration", "data_revision")
_FILES_ONLY = ("encoding",)


def open_table(data: Any, options: TextOptions) -> Table:
    """Open labelled text as a table.

    An existing path comes first, then the short name of a built-in data set; what looks like a path
    (a known ending, or a start of `.`, `/` or `~`) is one; all else is a hub id.

    Args:
        data: Path, pattern or several paths; short name of a built-in data set, hub id, `datasets`
            object or pandas data frame.
        options: Which split to take where there are several, encoding, whether to leave malformed
            rows out.
    """
    if isinstance(data, list | tuple) and data and all(isinstance(o, str | Path) for o in data):
        return _open_paths(data, options)
    if not isinstance(data, str | Path):
        _refuse(options, _HUB_ONLY + _FILES_ONLY, "data in memory")
        return _from_memory(data, options.split)
    entry = find_data(data)
    if entry is not None and entry.file is not None:
        _refuse(options, _HUB_ONLY + _FILES_ONLY, repr(entry.name))
        with resources.as_file(resources.files("ntpscore.text").joinpath(entry.file)) as path:
            return FileReader(entry.name, options).read(path)
    table = _open_path(data, options)
    if table is not None:
        return table
    name = str(data)
    _refuse(options, _FILES_ONLY, "data sets on the hub")
    loaded, commit = load_hub(name, options.data_configuration, options.data_revision)
    return table_from_datasets(loaded, name, options.split, commit)


def check_data_exists(data: str) -> None:
    """Fail soon on a mistyped name: nothing is read, and nothing large is imported for this.

    Args:
        data: As `open_table` takes it.

    Raises:
        DataError: there is no such file, folder or short name, and the hub can't be asked.
    """
    with suppress(RuntimeError, ValueError):
        if find_data(data) is not None or os.path.exists(expand(data)):  # noqa: PTH110
            return
    if not match_paths(data):
        _check_is_hub_id(data, Path(data))
        check_hub_reachable(data)


def _open_paths(data: Sequence[str | Path], options: TextOptions) -> Table:
    _refuse(options, _HUB_ONLY, "files")
    paths = [expand(path) for path in data]
    missing = next((path for path in paths if not os.path.isfile(path)), None)  # noqa: PTH113
    if missing is not None:
        raise DataError(f"no such file: {missing}")
    return FileReader(f"{len(paths)} files", options).read_together(paths)


def _open_path(data: str | Path, options: TextOptions) -> Table | None:
    """A table in files or a folder; None for what can only be an id on the hub."""
    # The name of a file may hold any bytes.
    name, path = str(data).encode(errors="backslashreplace").decode(), expand(data)
    reader = FileReader(name, options)
    if name and os.path.exists(path):  # noqa: PTH110  # pathlib raises for a name that is too long
        _refuse(options, _HUB_ONLY, f"{name}, which is a local path")
        if not path.is_dir():
            return reader.read_file(path)
        if not is_saved(path):
            try:
                return reader.read_folder(path)
            except OSError as error:
                raise DataError(f"{name} can't be read: {cause_of(error)}") from error
        _refuse(options, _FILES_ONLY, f"{name}, which `save_to_disk` wrote")
        return table_from_datasets(load_folder(path, name), name, options.split)
    if paths := match_paths(name):
        _refuse(options, _HUB_ONLY, f"{name}, which names local files")
        return reader.read_together(paths)
    _check_is_hub_id(data, path)
    return None


def _check_is_hub_id(data: str | Path, path: Path) -> None:
    name = str(data).encode(errors="backslashreplace").decode()
    short_name = shown(name, LONGEST_PATH)[1:-1]
    if isinstance(data, Path) or is_data_file(path) or name.startswith((".", "/", "~")):
        raise DataError(f"no such file: {short_name}")
    if not hub.is_id(name):
        raise DataError(
            f"no such file: {short_name}; and it is no id on the hub (owner/name) and no short "
            f"name ({', '.join(DATA_SETS)})"
        )


def _refuse(options: TextOptions, names: tuple[str, ...], what: str) -> None:
    """Refuse options that are for another kind of data."""
    for name in names:
        if getattr(options, name) is not None:
            purpose = "files of text" if name in _FILES_ONLY else "data sets on the hub"
            flag = "--" + name.replace("_", "-")
            raise DataError(f"{flag} is for {purpose}: leave it out for {what}")


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
