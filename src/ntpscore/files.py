"""Files that are written whole or not at all: under a temporary name, then renamed."""

import errno
import json
import math
import os
import re
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, TextIO

from ntpscore.errors import NtpscoreError, OutputError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_TEMPORARY, _OWNER = "ntpscore-", ".owner"
# What a spreadsheet takes for the start of a formula, and what marks text for it.
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "'")
_NUMBER = re.compile(r"[+-]?[\d.,]+([eE][+-]?\d+)?")


def without_nan(value: Any) -> Any:
    """A copy of a record in which NaN and infinities are None, as strict JSON wants it."""
    if isinstance(value, dict):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_json(record: dict[str, Any] | list[dict[str, Any]]) -> str:
    """Strict JSON of a record without NaN."""
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def quote_formula(cell: Any) -> Any:
    """A cell of CSV; a text that a spreadsheet would run as a formula gets `'` before it."""
    is_formula = isinstance(cell, str) and cell.startswith(_FORMULA_SIGNS)
    return f"'{cell}" if is_formula and not _NUMBER.fullmatch(cell) else cell


def unquote_formula(cell: Any) -> Any:
    """What `quote_formula` was given."""
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") else cell


def to_csv(frame: "pd.DataFrame", *, raw: bool = False) -> str:
    """CSV of a table, without its index; a spreadsheet takes no text in it for a formula.

    Args:
        frame: the table.
        raw: for programs: text as it is.
    """
    if not raw:
        frame = frame.rename(columns=quote_formula)
        for name in frame.select_dtypes(exclude=["number", "bool"]):
            column = frame[name]
            cells = [quote_formula(cell) for cell in column]
            # Whole numbers stay whole.
            frame[name] = type(column)(cells, column.index, dtype=object)
    return str(frame.to_csv(index=False, lineterminator="\n"))


def read_record(
    path: Path, kind: str, version: int, what: str, error: type[NtpscoreError] = OutputError
) -> dict[str, Any]:
    """Read a JSON record that ntpscore wrote.

    Args:
        path: the file.
        kind: what stands under `kind`.
        version: what stands under `schema_version`.
        what: such a record is, for messages.
        error: what to raise.

    Raises:
        NtpscoreError: it is missing, can't be read, or is of another kind or version.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as missing:
        raise error(f"{path.parent} has no complete {what}: {path.name} is missing") from missing
    except (OSError, ValueError, RecursionError) as broken:
        raise error(f"{path} can't be read: {broken}") from broken
    is_other = not isinstance(record, dict) or record.get("kind", kind) != kind
    if not is_other and record.get("schema_version") != version:
        raise error(
            f"{path} has schema version {record.get('schema_version')}, this ntpscore reads "
            f"{version}: make it anew"
        )
    if is_other or "kind" not in record:
        raise error(f"{path} is no {what}")
    checked: dict[str, Any] = record
    return checked


def expand(path: str | Path) -> Path:
    """A path with the home folder in the place of `~`; as it is where there is no such user."""
    with suppress(ValueError):  # a name with a NUL byte is that of no user
        return Path(os.path.expanduser(path))  # noqa: PTH111  # pathlib raises there
    return Path(path)


def make_folder(folder: str | Path) -> Path:
    """Make an output folder and check that it can be written.

    Raises:
        OutputError: it can't.
    """
    folder = expand(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise OutputError(
            f"can't write to {folder}: {error.strerror or error}; choose another --out"
        ) from error
    return folder


@contextmanager
def as_output_error(path: Path, advice: str = "") -> Iterator[None]:
    """Turn what the system refuses into an `OutputError` that names the file and what to do."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"can't write {path}: {error.strerror or error}{advice}") from error


class TemporaryFolder:
    """A folder that is deleted with the last reference to this.

    A process that is killed deletes nothing: its folders are deleted by the next that makes one,
    since a file in each is locked for as long as its process lives.

    Attributes:
        path: where it is.

    Raises:
        OutputError: there is no place for one.
    """

    _all: ClassVar["weakref.WeakSet[TemporaryFolder]"] = weakref.WeakSet()

    def __init__(self) -> None:
        try:
            self.path = Path(tempfile.mkdtemp(prefix=_TEMPORARY))
            _remove_abandoned(self.path.parent)
            lock = _lock(self.path)
        except OSError as error:
            raise OutputError(
                f"there is no place for temporary files ({error.strerror or error}): let TMPDIR "
                "name a folder that can be written"
            ) from error
        self._remove = weakref.finalize(self, _remove, self.path, lock)
        self._all.add(self)

    @classmethod
    def remove_all(cls) -> None:
        """Delete those of this process, which is about to end."""
        for folder in list(cls._all):
            folder._remove()  # noqa: SLF001


def _remove(folder: Path, lock: IO[bytes] | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        lock.close()


def _lock(folder: Path) -> IO[bytes] | None:
    """A locked file in a temporary folder; it gets its name when it is locked."""
    if fcntl is None:
        return None
    file = (folder / f"{_OWNER}.part").open("wb")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (folder / f"{_OWNER}.part").rename(folder / _OWNER)
    return file


def _remove_abandoned(place: Path) -> None:
    """Delete the temporary folders of this user whose processes have ended."""
    for folder in place.glob(f"{_TEMPORARY}*") if fcntl is not None else ():
        with suppress(OSError):  # locked, another's, gone, or of an earlier version, without a lock
            if folder.lstat().st_uid != os.getuid() or folder.is_symlink():
                continue
            with (folder / _OWNER).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)


def reserve(path: Path, size: int) -> None:
    """Make a file of so many zeros in place of one of this name, to be mapped into memory.

    Raises:
        OSError: the disk has no room for it; nothing is left of it.
    """
    try:
        path.unlink(missing_ok=True)  # another may have it mapped
        with path.open("wb") as file:
            # Writing into the map of a file for which there is no space would end the process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            file.truncate(size)
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise


@contextmanager
def replacing(
    path: Path,
    *refused: type[Exception],
    verb: str = "write",
    kind: type[NtpscoreError] = OutputError,
) -> Iterator[Path]:
    """A temporary name beside a file, whose place it takes when the block ends without an error.

    A link stays one, what it leads to is replaced; devices and pipes are written into. Errors of
    the system and those that are `refused` end in one of our kind, which names the file.

    Raises:
        OutputError: the disk is full or the file can't be written; nothing is left half-written.
    """
    errors: tuple[type[Exception], ...] = (OSError, *refused)
    temporary = None
    try:
        target = _target(path)
        if target.exists() and not target.is_file():
            yield target
            return
        # matplotlib goes by the ending; names may have 255 bytes.
        temporary = target.with_name(f".part.{target.name[-60:]}")
        yield temporary
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except errors as error:
        reason = getattr(error, "strerror", None) or error
        raise kind(f"can't {verb} {path}: {reason}") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


def _target(path: Path) -> Path:
    """Where writing to a path ends up; OSError where it can't."""
    target = Path(os.path.realpath(path))  # pathlib raises what is no OSError for a loop
    refused = {
        errno.ELOOP: target.is_symlink(),
        errno.EISDIR: target.is_dir(),
        errno.EACCES: target.exists() and not os.access(target, os.W_OK),
    }
    for number, is_so in refused.items():
        if is_so:
            raise OSError(number, os.strerror(number))
    return target


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]", note: dict[str, str]) -> None:
    """Write a safetensors file; see `replacing`.

    Args:
        path: the file.
        tensors: on the processor, by name.
        note: text entries for the file's metadata.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path, SafetensorError) as temporary:
        save_file({name: value.contiguous() for name, value in tensors.items()}, temporary, note)


@contextmanager
def open_to_write(path: Path | None) -> Iterator[TextIO]:
    """A UTF-8 file, see `replacing`; None means standard output, which can't be taken back."""
    if path is None:
        if sys.stdout is None:
            raise OutputError("standard output is closed: name a file to write with --out")
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
        yield sys.stdout
        sys.stdout.flush()
        return
    path = expand(path)
    make_folder(path.parent)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield file
