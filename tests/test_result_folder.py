"""One run a folder, results that are whole, and nothing of another beside them."""

import json
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ntpscore.errors import OutputError
from ntpscore.files import write_text
from ntpscore.result_folder import (
    UNFINISHED,
    InUseError,
    complete,
    hold,
    hold_folder,
    read_result,
    seal,
)

HEAD = {"schema_version": 1, "kind": "test"}


def write(folder: Path, files: dict[str, str], name: str = "result.json", **more: Any) -> None:
    with hold_folder(folder) as held:
        for one, content in files.items():
            (held / UNFINISHED / one).parent.mkdir(exist_ok=True)
            write_text(held / UNFINISHED / one, content)
        complete(held, {**HEAD, **more}, {one.split("/")[0] for one in files}, name=name)


def contents(folder: Path) -> dict[str, str]:
    paths = {one.relative_to(folder).as_posix(): one for one in folder.rglob("*") if one.is_file()}
    outside = {name: path for name, path in paths.items() if not name.startswith(UNFINISHED)}
    return {name: path.read_text() for name, path in outside.items() if path.suffix != ".json"}


def read(folder: Path, name: str = "result.json") -> dict[str, Any]:
    return read_result(folder, "test", 1, "test", name).record


def test_a_result_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("the user's")
    write(tmp_path, {"a.csv": "1", "adapter/weights": "2"}, number=1)
    assert contents(tmp_path) == {"a.csv": "1", "adapter/weights": "2", "mine.txt": "the user's"}
    write(tmp_path, {"a.csv": "3"}, number=2)
    assert contents(tmp_path) == {"a.csv": "3", "mine.txt": "the user's"}
    assert {path.name for path in tmp_path.iterdir()} == {"a.csv", "mine.txt", "result.json"}
    write(tmp_path, {"rank.csv": "4"}, "rank.json")
    assert {path.name for path in tmp_path.iterdir()} == {"rank.csv", "mine.txt", "rank.json"}
    assert read(tmp_path, "rank.json") == HEAD


@pytest.mark.parametrize("at", range(1, 12))
def test_what_stops_it_anywhere_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Every rename and removal once; the next to come by sees one of the two, whole."""
    old, new = {"a.csv": "1", "b/x": "2", "c.csv": "3"}, {"a.csv": "4", "b/x": "5", "d.csv": "6"}
    write(tmp_path, old)
    left = [at]

    def counted(real: Any) -> Any:
        def call(*args: Any, **keywords: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            return real(*args, **keywords)

        return call

    with monkeypatch.context() as patch:
        for name in ("replace", "unlink", "rmdir"):
            patch.setattr(Path, name, counted(getattr(Path, name)))
        with suppress(KeyboardInterrupt):
            write(tmp_path, new)
    assert read(tmp_path) == HEAD
    assert contents(tmp_path) in (old, new)
    write(tmp_path, {"e.csv": "7"})
    assert contents(tmp_path) == {"e.csv": "7"}
    assert not (tmp_path / UNFINISHED).exists()


def test_files_that_are_not_the_written_ones_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a.csv": "1", "b.csv": "2"})
    saved = read_result(tmp_path, "test", 1, "test")
    with pytest.raises(OutputError, match=r"has no c\.csv"):
        saved.path("c.csv")
    (tmp_path / "a.csv").write_text("3")
    with pytest.raises(OutputError, match=r"a\.csv is not the file that was written"):
        saved.path("a.csv")
    (tmp_path / "b.csv").write_text("22")
    with pytest.raises(OutputError, match=r"b\.csv is not the file that was written"):
        read(tmp_path)
    (tmp_path / "b.csv").unlink()
    with pytest.raises(OutputError, match=r"b\.csv is missing"):
        read(tmp_path)
    text = (tmp_path / "result.json").read_text()
    (tmp_path / "result.json").write_text(text.replace('"b.csv"', '"../b.csv"'))
    with pytest.raises(OutputError, match="checksum"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out.txt"])
def test_names_of_files_cant_leave_the_folder(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "out.txt"
    outside.write_text("not to be touched")
    folder = tmp_path / "in"
    folder.mkdir()
    hostile = json.dumps(seal({**HEAD, "files": {name: {"bytes": 1, "sha256": "0"}}}))
    (folder / "result.json").write_text(hostile)
    write(folder, {"a.csv": "1"})
    (folder / UNFINISHED).mkdir()
    (folder / UNFINISHED / "result.json").write_text(hostile)
    write(folder, {"a.csv": "1"})
    assert outside.read_text() == "not to be touched"


def test_a_second_run_is_told_of_the_first(tmp_path: Path) -> None:
    script = (
        "import sys, time; sys.path.insert(0, 'src')\n"
        "from ntpscore.result_folder import hold_folder\n"
        f"with hold_folder({str(tmp_path)!r}): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        with (
            pytest.raises(
                InUseError, match=f"in use by process {process.pid} since .*another --out"
            ),
            hold_folder(tmp_path),
        ):
            pass
    finally:
        process.kill()
        process.communicate()
    with hold_folder(tmp_path):  # of one that was killed
        assert (tmp_path / UNFINISHED / ".lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_threads_exclude_each_other_and_not_themselves(tmp_path: Path) -> None:
    told: list[str] = []

    def other() -> None:
        try:
            with hold(tmp_path / "lock", "it", "wait"):
                told.append("held")
        except InUseError as error:
            told.append(str(error))

    with hold(tmp_path / "lock", "it", "wait"), hold(tmp_path / "lock", "it", "wait"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "it is in use by process" in told[0]
    other()
    assert told[1] == "held"


def test_a_folder_that_cant_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't write to"), hold_folder(tmp_path / "file"):
        pass
