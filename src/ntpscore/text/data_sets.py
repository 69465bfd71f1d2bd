"""Tables from `datasets` (the hub, saved folders, objects in memory) and from pandas."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ntpscore import hub
from ntpscore.errors import DataError, MissingSplitError
from ntpscore.text.table import Table, cause_of, quoted, shown

if TYPE_CHECKING:
    import datasets
    import pandas as pd
    import pyarrow as pa
    from huggingface_hub import DatasetInfo

_HUB_TIMEOUT = 10  # seconds


def load_hub(
    hub_id: str, configuration: str | None, revision: str | None
) -> "tuple[datasets.DatasetDict, str | None]":
    """Load a data set from the hub, or from its local cache with `HF_HUB_OFFLINE=1`.

    Data sets that come with code of their own are refused: `datasets` 4 and later runs none.

    Returns:
        All its splits, and the commit they come from, if it can be told.
    """
    import datasets

    info = _ask_hub(hub_id, revision)
    name = hub_id if info is None else info.id
    if "/" not in name:
        # `datasets` would take "csv" to mean all files of the current folder.
        raise DataError(
            f"there is no file or folder {hub_id!r}, and the hub tells no data set of that name: "
            "give its owner too, as in owner/name"
        )
    try:
        loaded = datasets.load_dataset(name, configuration, revision=revision)
    except Exception as error:  # one class per file format, library and version
        options = {"configuration": configuration, "revision": revision}
        given = "".join(f", {option} {value!r}" for option, value in options.items() if value)
        raise DataError(
            f"there is no file or folder {hub_id!r}, and loading it from the hub (data set "
            f"{name!r}{given}) failed: {cause_of(error)}. Check the name, "
            "--data-configuration and the network; with HF_HUB_OFFLINE=1 only data sets in the "
            "local cache are found"
        ) from error
    return loaded, _commit_of_files(loaded) or (None if info is None else info.sha)


def _ask_hub(hub_id: str, revision: str | None) -> "DatasetInfo | None":
    """Ask the hub for full name and commit; None if it has no answer, or must not be asked.

    Without a network this fails at once, where loading would try for half a minute.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        hub.check_reachable()
        return HfApi().dataset_info(hub_id, revision=revision, timeout=_HUB_TIMEOUT)
    except (HfHubHTTPError, OfflineModeIsEnabled):
        return None  # loading will say what's wrong, or find the data set in the cache
    except Exception as error:  # the HTTP library's own, which changes with the client's version
        raise _unreachable(hub_id, error) from error


def check_hub_reachable(hub_id: str) -> None:
    """Fail soon on a mistyped name.

    Raises:
        DataError: the hub can't be reached.
    """
    try:
        hub.check_reachable()
    except OSError as error:
        raise _unreachable(hub_id, error) from error


def _unreachable(hub_id: str, error: Exception) -> DataError:
    return DataError(
        f"there is no file or folder {hub_id!r}, and the hub can't be asked for a data set of "
        f"that name ({cause_of(error)}). Check the spelling and the network; if the data set "
        "is in the local cache, set HF_HUB_OFFLINE=1"
    )


def _commit_of_files(loaded: "datasets.DatasetDict") -> str | None:
    """The commit in the addresses of the files that were read, cached or not."""
    for dataset in loaded.values():
        for address in dataset.info.download_checksums or {}:
            if commit := re.search(r"@([0-9a-f]{40})/", address):
                return commit[1]
    return None


def load_folder(path: Path, table_id: str) -> "datasets.Dataset | datasets.DatasetDict":
    """Load what `datasets`' `save_to_disk` wrote."""
    import datasets

    try:
        return datasets.load_from_disk(str(path))
    except Exception as error:  # one class per file that is damaged
        raise DataError(
            f"{table_id} is damaged ({cause_of(error)}): save the data set again"
        ) from error


def is_saved(path: Path) -> bool:
    """Whether a folder is one that `save_to_disk` of `datasets` wrote."""
    return any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))


def table_from_datasets(
    data: "datasets.Dataset | datasets.DatasetDict",
    table_id: str,
    split: str,
    revision: str | None = None,
) -> Table:
    """A table from a data set of `datasets`; of several splits the one asked for.

    Raises:
        MissingSplitError: there is no such split.
    """
    import datasets

    others: dict[str, Callable[[], Table]] = {}
    if isinstance(data, datasets.DatasetDict):
        if split not in data:
            raise MissingSplitError(
                f"{table_id} has no split {shown(split)}: it has {quoted(list(data))}. Say which "
                "with --split"
            )
        dataset, is_of_split = data[split], True
        others = {
            str(other): partial(table_from_datasets, data, table_id, str(other), revision)
            for other in data
            if other != split
        }
    else:
        dataset, is_of_split = data, str(data.split) == split
    orders = class_orders(dataset.features)

    def read_column(name: str) -> list[Any]:
        what = f"{table_id}, column {shown(name)},"
        check_arrow(dataset.data.column(name).chunks, what)
        column = dataset.select_columns([name]).with_format("arrow")[:].column(0)
        return name_classes(read_arrow_column(column, what), orders.get(name))

    return Table(
        table_id,
        tuple(dataset.column_names),
        len(dataset),
        read_column,
        class_orders=orders,
        split=split if is_of_split else None,
        revision=revision,
        other_splits=others,
    )


def check_arrow(chunks: "Sequence[pa.Array]", what: str) -> None:
    """Check arrays from a file before they are touched: damaged ones can end the process."""
    import pyarrow as pa

    try:
        for chunk in chunks:
            chunk.validate(full=True)
    except pa.ArrowException as error:
        raise DataError(f"{what} is damaged: {cause_of(error)}") from error


def read_arrow_column(column: "pa.ChunkedArray", what: str) -> list[Any]:
    """The values of a column of Arrow, which messages call `what`."""
    import pyarrow as pa

    check_arrow(column.chunks, what)
    try:
        values: list[Any] = column.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise DataError(f"{what} can't be read: {cause_of(error)}") from error
    return values


def table_from_frame(frame: "pd.DataFrame", table_id: str) -> Table:
    """A table from a pandas data frame; the index is not looked at."""
    import numpy as np
    import pandas as pd

    names = tuple(map(str, frame.columns))

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            return value.tolist()
        if isinstance(value, tuple | set | frozenset):
            return list(value)
        return None if value is pd.NA or value is pd.NaT else value

    def read_column(name: str) -> list[Any]:
        return [plain(value) for value in frame.iloc[:, names.index(name)].tolist()]

    return Table(table_id, names, len(frame), read_column)


def class_orders(features: "datasets.Features") -> dict[str, tuple[str, ...]]:
    """The class names, in order, of each column of `ClassLabel`s or of lists of them."""
    import datasets

    orders = {}
    for name, feature in features.items():
        inner = getattr(feature, "feature", feature)  # what a list holds
        if isinstance(inner, datasets.ClassLabel):
            orders[name] = tuple(inner.names)
    return orders


def name_classes(values: list[Any], names: Sequence[str] | None) -> list[Any]:
    """Replace class indices by names.

    Args:
        values: Indices, lists of indices, or None.
        names: By index; None leaves the values as they are.

    Returns:
        Names; None for an index outside, as hub data sets write -1 where the label is hidden.
    """
    if names is None:
        return values

    def name(value: Any) -> Any:
        if isinstance(value, list):
            return [name(item) for item in value]
        if isinstance(value, bool) or not isinstance(value, int):
            return value
        return names[value] if 0 <= value < len(names) else None

    return [name(value) for value in values]
