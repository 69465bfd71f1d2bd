"""Result folders: one run at a time, each result whole, and nothing of another one beside it.

A run writes into `unfinished/` of its folder. A result is complete when its record is there: the
record lists every file with size and hash. The files are then moved to their places, the record
last; a run that is stopped meanwhile leaves that to whoever opens the folder next. Until a new
result is complete the one before stands.
"""

import functools
import hashlib
import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, ParamSpec, TypeVar

from ntpscore.errors import OutputError
from ntpscore.files import expand, make_folder, read_record, to_json, write_text

UNFINISHED = "unfinished"
RECORD = "result.json"
# Written with a result for people to go on writing in: neither size nor hash is held against it.
CARD = "README.md"
# Every name that a record has; a folder holds one result.
_RECORDS = (RECORD, "rank.json")
# What is made from a result, and goes with it.
_MADE_OF_IT = "report.html"
_LOCK = ".lock"
_PLACING_SECONDS = 10

# The last that this process held.
_held: deque[Path] = deque(maxlen=8)

P = ParamSpec("P")
R = TypeVar("R")


class InUseError(OutputError):
    """Another run is at work there."""


@contextmanager
def hold(lock: Path, what: str, advice: str, *, seconds: float = 0) -> Iterator[None]:
    """Keep other processes and threads from something while the block runs.

    The lock of a process that ended, however it did, is no lock. A thread may hold it several
    times.

    Args:
        lock: the file that stands for it, in a folder that exists.
        what: is held, for messages.
        advice: what to do if another holds it.
        seconds: to wait; -1 waits for as long as it takes.

    Raises:
        InUseError: another holds it; the message says which process, since when.
        OutputError: the file can't be made.
    """
    from filelock import FileLock, Timeout

    held, note = FileLock(lock, is_singleton=True), lock.with_name(f"{lock.name}.json")
    if held.is_locked:
        yield
        return
    try:
        held.acquire(timeout=seconds)
    except Timeout as error:
        raise InUseError(f"{what} is in use by {_holder(note)}: {advice}") from error
    except OSError as error:
        raise OutputError(f"can't write to {lock.parent}: {error.strerror or error}") from error
    try:
        with suppress(OSError):
            now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
            content = {"process": os.getpid(), "since": now, "command": sys.argv}
            note.write_text(json.dumps(content), encoding="utf-8")
        yield
    finally:
        for path in (note, lock):  # while it is held: whoever waits looks whether it is still there
            with suppress(OSError):
                path.unlink()
        held.release()


def _holder(note: Path) -> str:
    try:
        holder = json.loads(note.read_text(encoding="utf-8"))
        command = " ".join(map(str, holder["command"]))
        return f"process {holder['process']} since {holder['since']} ({command})"
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"


@contextmanager
def hold_folder(folder: str | Path) -> Iterator[Path]:
    """Make a result folder and hold it while the block runs; what was complete is put in place.

    Yields:
        The folder.

    Raises:
        InUseError: another run is at work there.
        OutputError: it can't be written.
    """
    folder = make_folder(folder)
    work = make_folder(folder / UNFINISHED)
    try:
        with hold(work / _LOCK, str(folder), "wait for it, or choose another --out"):
            _put_in_place(folder)
            if folder not in _held:
                _held.append(folder)
            yield folder
    finally:
        with suppress(OSError):  # a checkpoint stays
            work.rmdir()


def holds_folder(call: Callable[P, R]) -> Callable[P, R]:
    """Hold the folder that a function is told by the keyword `folder`, if any, until it returns."""

    @functools.wraps(call)
    def run(*args: P.args, **keywords: P.kwargs) -> R:
        folder: Any = keywords.get("folder")
        if folder is None:
            return call(*args, **keywords)
        with hold_folder(folder) as held:
            return call(*args, **(keywords | {"folder": held}))  # type: ignore[arg-type]

    return run


def held_folders() -> list[Path]:
    """The folders that this process holds, or held last."""
    return list(_held)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints that a run left in a folder."""
    work = folder / UNFINISHED
    return [
        path for name in ("checkpoint", "training") for path in work.glob(f"{name}.safetensors")
    ]


def complete(
    folder: Path,
    record: dict[str, Any],
    files: Iterable[str],
    *,
    keep: Iterable[str] = (),
    name: str = RECORD,
) -> None:
    """Put a result in the place of the one before.

    Args:
        folder: held.
        record: of the result; what lists and checks its files is added.
        files: names of files and folders in `unfinished/` that belong to it.
        keep: files of the result before that belong to this one too, if they are there.
        name: of the record.

    Raises:
        OutputError: a file can't be written; the result before stands.
    """
    work = folder / UNFINISHED
    before = _listed(folder / name)
    listed = {name: before[name] for name in keep if name in before}
    try:
        for start in (work / file for file in files):
            paths = [start] if start.is_file() else sorted(start.rglob("*"))
            for path in paths:
                if path.is_file():
                    name_of_path = path.relative_to(work).as_posix()
                    listed[name_of_path] = {} if path.name == CARD else _describe(path)
    except OSError as error:
        raise OutputError(f"can't read {error.filename}: {error.strerror or error}") from error
    write_text(work / name, to_json(seal({**record, "files": listed})))
    _put_in_place(folder)


def _put_in_place(folder: Path) -> None:
    """Move a complete result out of `unfinished/`, and take away what was before it there."""
    work = folder / UNFINISHED
    try:
        for name in _RECORDS:
            if (work / name).exists():
                _place(folder, name)
    except OSError as error:
        raise OutputError(
            f"can't put the result in {work} in its place: {error.strerror or error}"
        ) from error


def _place(folder: Path, name: str) -> None:
    work = folder / UNFINISHED
    listed = _listed(work / name)
    for file_name in listed:
        if (work / file_name).exists():
            (folder / file_name).parent.mkdir(parents=True, exist_ok=True)
            (work / file_name).replace(folder / file_name)
    others = [other for other in _RECORDS if other != name]
    before = {file_name for other in _RECORDS for file_name in _listed(folder / other)}
    for file_name in {_MADE_OF_IT, *others, *before} - {*listed}:
        (folder / file_name).unlink(missing_ok=True)
        with suppress(OSError):
            (folder / file_name).parent.rmdir()
    (work / name).replace(folder / name)
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.name.startswith(_LOCK):
            path.unlink()


@dataclass(frozen=True)
class SavedResult:
    """A result that is complete in its folder.

    Attributes:
        folder: where.
        record: what was found.
        files: size and hash of each file, by name; nothing of those that people may change.
    """

    folder: Path
    record: dict[str, Any]
    files: dict[str, dict[str, Any]]

    def path(self, name: str, *, hashed: bool = True) -> Path:
        """Where a file of the result is, if it is the one that was written.

        Args:
            name: of the file.
            hashed: compare its content; else its size alone.

        Raises:
            OutputError: the result has no such file, or it is missing or another one.
        """
        path = self.folder / name
        if name not in self.files:
            raise OutputError(f"the result in {self.folder} has no {name}")
        try:
            actual = _describe(path) if hashed else {"bytes": path.stat().st_size}
        except FileNotFoundError as error:
            raise OutputError(f"{self.folder} has no complete result: {name} is missing") from error
        except OSError as error:
            raise OutputError(f"{path} can't be read: {error.strerror or error}") from error
        if any(self.files[name].get(key, value) != value for key, value in actual.items()):
            raise OutputError(
                f"{path} is not the file that was written with the result: it was changed, damaged "
                "or is of another run. Make the result anew"
            )
        return path


def read_result(
    folder: str | Path, kind: str, version: int, what: str, name: str = RECORD
) -> SavedResult:
    """Read the record of a result folder, and check that its files are there.

    Args:
        folder: the folder.
        kind: what stands under `kind`.
        version: what stands under `schema_version`.
        what: such a record is, for messages.
        name: of the record.

    Raises:
        OutputError: the folder has no complete result of that kind, or it was changed.
    """
    folder = expand(folder)
    work = folder / UNFINISHED
    if any(
        (work / file_name).exists() for file_name in _RECORDS
    ):  # complete, but not yet in its place
        with hold(work / _LOCK, str(folder), "wait for it", seconds=_PLACING_SECONDS):
            _put_in_place(folder)
        with suppress(OSError):
            work.rmdir()
    record = read_sealed(folder / name, kind, version, what)
    files = record["files"]
    del record["files"]
    saved = SavedResult(folder, record, files)
    for file_name in files:
        saved.path(file_name, hashed=False)
    return saved


def seal(record: dict[str, Any]) -> dict[str, Any]:
    """A record with its checksum."""
    return {**record, "checksum": checksum(record)}


def read_sealed(path: Path, kind: str, version: int, what: str) -> dict[str, Any]:
    """Read a record that was sealed; see `read_record`.

    Raises:
        OutputError: as `read_record`, or it was changed.
    """
    record = read_record(path, kind, version, what)
    sealed = record.pop("checksum", None)
    if sealed is None:
        raise OutputError(f"{path} has no checksum, as of an earlier ntpscore: make it anew")
    if sealed != checksum(record):
        raise OutputError(
            f"{path} was changed since it was written, or is damaged: its checksum does not fit"
        )
    return record


def checksum(record: dict[str, Any]) -> str:
    """SHA-256 (hex) of a record, however it is spaced."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def is_foreign(folder: Path, name: str) -> bool:
    """Whether a file is there that no result of this folder brought along."""
    return (folder / name).exists() and not any(name in _listed(folder / r) for r in _RECORDS)


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": digest}


def _listed(path: Path) -> dict[str, dict[str, Any]]:
    """The files that a record lists; of none that would be outside its folder."""
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {name: entry for name, entry in files.items() if _is_inside(name)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        not path.is_absolute() and ".." not in path.parts and "\\" not in name and "\0" not in name
    )
