"""Splits in files: `train.csv` beside `test.csv`, folders as hubs lay them out, class folders."""

import glob
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ntpscore.errors import DataError, MissingSplitError
from ntpscore.text.files import decode, is_data_file, read_bytes, read_file, stem
from ntpscore.text.options import TextOptions
from ntpscore.text.registry import DATA_SETS
from ntpscore.text.split_names import SPLIT_OF_WORD, common_split, split_of_name
from ntpscore.text.table import LONGEST_PATH, Table, join_tables, quoted, shown

# What lies beside data and is none.
_NO_DATA = re.compile(r"dataset_infos?|dataset_dict|state|metadata|.*config.*|package(-lock)?")
# How far down files are looked for where none lie in the folder itself.
_DEPTH = 3
_Files = dict[str | None, list[Path]]


class FileReader:
    """Reads files that belong together, with the same options.

    Args:
        table_id: What to call them in messages: the path as the user gave it.
        options: Which split, which encoding, whether to leave malformed rows out.
    """

    def __init__(self, table_id: str, options: TextOptions) -> None:
        self.id = table_id
        self.split = options.split
        self.options = options

    def read_file(self, path: Path) -> Table:
        """Read a file, or, where its name tells a split, the file beside it of another split."""
        table = self.read(path)
        own, wanted = split_of_name(stem(path)), common_split(self.split)
        if own is None:
            return table
        beside = [
            other for other in sorted(path.parent.iterdir())
            if is_data_file(other) and other.suffixes == path.suffixes
            and _without_split(other) == _without_split(path)
        ]  # fmt: skip
        files = _by_split(beside, path.parent)
        if wanted == own:
            return replace(table, split=self.split, other_splits=self._others(files, own))
        if wanted == "train" or table.split_column is not None or wanted not in files:
            return table
        return self._read_split(files)

    def read_together(self, paths: Sequence[Path]) -> Table:
        """Read several files: those of one split where their names tell splits, else all."""
        files = _by_split(
            paths, Path(os.path.commonpath([path.absolute().parent for path in paths]))
        )
        if list(files) == [None]:
            return self._join(files[None])
        return self._read_split(files)

    def read_folder(self, folder: Path) -> Table:
        """Read a split of a folder of data files, or of class folders of texts."""
        files = self._find_files(folder)
        if files:
            return self._read_split(files)
        texts = _find_class_folders(folder)
        if not texts:
            hint = ": go where no folder hides that short name" if self.id in DATA_SETS else ""
            raise DataError(
                f"{self.id} is a folder, but not one that `save_to_disk` of datasets wrote, and it "
                f"holds neither files of labelled text nor class folders of .txt files{hint}"
            )
        key = _choose_split(texts, self.split, self.id)
        others = {
            str(other): partial(self._read_texts, classes, str(other))
            for other, classes in texts.items()
            if other != key
        }
        return replace(
            self._read_texts(texts[key], self.split if key else None), other_splits=others
        )

    def _find_files(self, folder: Path) -> _Files:
        for place in (folder, folder / "data"):
            paths = [path for path in _visible(place) if path.is_file() and _is_data(path)]
            if paths:
                break
        else:
            paths = [
                path for depth in range(1, _DEPTH + 1) for path in folder.glob("*/" * depth + "*")
                if path.is_file() and _is_data(path)
                and not any(part.startswith(".") for part in path.relative_to(folder).parts)
            ]  # fmt: skip
        files = _by_split(paths, folder)
        if None in files and len(files) == 1 and len(files[None]) > 1:
            names = [str(path.relative_to(folder)) for path in files[None]]
            raise DataError(
                f"{self.id} holds {len(names)} files whose names tell no split: {quoted(names)}. "
                f"Give one of them, or read them together as {_pattern(folder, files[None])!r}"
            )
        for split, paths in files.items():
            parents = sorted({str(path.parent.relative_to(folder)) for path in paths})
            if split is not None and len(parents) > 1:
                raise DataError(
                    f"{self.id} holds several data sets, in {quoted(parents)}: give one of these "
                    "folders"
                )
        return files

    def _read_split(self, files: _Files) -> Table:
        key = _choose_split(files, self.split, self.id)
        if key is None:
            return self._join(files[key])
        return self._open_split(files, key, self.split)

    def _others(self, files: _Files, key: str) -> dict[str, Callable[[], Table]]:
        return {
            other: partial(self._open_split, files, other, other)
            for other in files
            if other is not None and other != key
        }

    def _open_split(self, files: _Files, key: str, split: str) -> Table:
        table = self._join(files[key])
        guess = f"split {shown(split)} is read from {quoted([path.name for path in files[key]])}"
        others, guesses = self._others(files, key), (guess, *table.guesses)
        return replace(table, split=split, other_splits=others, guesses=guesses)

    def _join(self, paths: Sequence[Path]) -> Table:
        endings = {path.suffix.lower() for path in paths}
        if len(endings) > 1:
            raise DataError(
                f"{self.id}: {quoted([path.name for path in paths])} could each be meant: give "
                "the one that is"
            )
        tables = [self.read(path, str(path)) for path in paths]
        if len(paths) == 1:
            return replace(tables[0], id=self.id, place_row=tables[0].place)
        joined = join_tables(tables, self.id)
        guess = f"{len(paths)} files are read together: {quoted([path.name for path in paths])}"
        return replace(joined, guesses=(guess, *joined.guesses))

    def read(self, path: Path, table_id: str | None = None) -> Table:
        """Read one file alone, called `table_id` if it is not the only one."""
        return read_file(path, table_id or self.id, self.options)

    def _read_texts(self, classes: Mapping[str, list[Path]], split: str | None) -> Table:
        rows = [(path, name) for name, paths in classes.items() for path in paths]

        def read_column(name: str) -> list[Any]:
            if name == "label":
                return [label for _, label in rows]
            return [
                decode(read_bytes(path, str(path)), str(path), self.options.encoding)
                for path, _ in rows
            ]

        return Table(
            self.id,
            ("text", "label"),
            len(rows),
            read_column,
            place_row=lambda row: str(rows[row][0]),
            class_orders={"label": tuple(classes)},
            split=split,
            guesses=(f"folders of .txt files are taken for classes: {quoted(list(classes))}",),
        )


def match_paths(pattern: str) -> list[Path]:
    """The files that a pattern (`data/*.csv`) or a list with commas names; none if neither."""
    if "\0" in pattern:
        return []
    expanded = os.path.expanduser(pattern)  # noqa: PTH111  # a pattern is no path
    if glob.has_magic(expanded):
        matches = sorted(map(Path, glob.glob(expanded, recursive=True)))  # noqa: PTH207
        paths = [path for path in matches if path.is_file() and is_data_file(path)]
        if not paths:
            raise DataError(f"no file of labelled text matches {shown(pattern, LONGEST_PATH)}")
        return paths
    parts = [Path(os.path.expanduser(part.strip())) for part in expanded.split(",")]  # noqa: PTH111
    return parts if len(parts) > 1 and all(map(os.path.isfile, parts)) else []


def _without_split(path: Path) -> list[str]:
    words = re.findall(r"[a-z]+", stem(path).lower())
    return [word for word in words if word not in SPLIT_OF_WORD]


def _choose_split(splits: Mapping[Any, Any], split: str, table_id: str) -> Any:
    if common_split(split) in splits:
        return common_split(split)
    if list(splits) == [None]:
        if split == "train":
            return None
        raise MissingSplitError(
            f"{table_id} is not divided into splits, so that all its rows count as 'train': there "
            f"is no split {shown(split)}"
        )
    there = sorted(name for name in splits if name is not None)
    raise MissingSplitError(
        f"{table_id} has no split {shown(split)}: it has {quoted(there)}. Say which with --split"
    )


def _by_split(paths: Sequence[Path], root: Path) -> _Files:
    """Files by the split that their names tell, or else the folders they are in below a root."""
    files: _Files = defaultdict(list)
    for path in sorted(paths):
        below = path.absolute().relative_to(root.absolute()).parts[:-1]
        names = (stem(path), *reversed(below))
        split = next(filter(None, map(split_of_name, names)), None)
        files[split].append(path)
    if len(files) > 1:
        files.pop(None, None)
    return dict(files)


def _find_class_folders(folder: Path) -> dict[str | None, dict[str, list[Path]]]:
    """Files of text by split and class."""
    splits = {
        split_of_name(sub.name): sub
        for sub in _visible(folder)
        if sub.is_dir() and split_of_name(sub.name) is not None and _classes_in(sub)
    }
    if splits:
        return {split: _classes_in(sub) for split, sub in splits.items()}
    classes = _classes_in(folder)
    return {None: classes} if classes else {}


def _classes_in(folder: Path) -> dict[str, list[Path]]:
    classes = {}
    for sub in _visible(folder):
        texts = [path for path in _visible(sub) if path.suffix.lower() == ".txt"]
        if texts:
            classes[sub.name] = texts
    return classes


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_data(path: Path) -> bool:
    return is_data_file(path) and not _NO_DATA.fullmatch(stem(path).lower())


def _pattern(folder: Path, paths: Sequence[Path]) -> str:
    return str(folder / f"*{''.join(paths[0].suffixes)}")
