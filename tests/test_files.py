"""What the system refuses is told by name, and leaves what was there."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ntpscore.errors import ModelError, OutputError
from ntpscore.files import (
    TemporaryFolder,
    expand,
    make_folder,
    open_to_write,
    write_tensors,
    write_text,
)
from tests.support.cli_run import run_cli


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_no_place_for_temporary_files_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(OutputError, match=r"No space left on device.*TMPDIR"):
        TemporaryFolder()


def test_a_temporary_folder_goes_with_its_last_reference() -> None:
    folder = TemporaryFolder()
    path = folder.path
    assert path.is_dir()
    del folder
    assert not path.exists()
    other = TemporaryFolder()
    TemporaryFolder.remove_all()
    assert not other.path.exists()


def test_a_full_disk_leaves_the_earlier_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    path = tmp_path / "a.txt"
    write_text(path, "before")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"can't write .*a\.txt: No space left"):
        write_text(path, "after")
    with pytest.raises(OutputError, match="No space left"), open_to_write(path) as file:
        file.write("after")
    with pytest.raises(OutputError, match="No space left"):
        write_tensors(path, {"a": torch.ones(2)}, {})
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_goes_away_meanwhile_is_told(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "out")
    writing = open_to_write(folder / "a.csv")
    writing.__enter__().write("a")
    shutil.rmtree(folder)
    folder.write_text("a file in its place")
    with pytest.raises(OutputError, match="can't write"):
        writing.__exit__(None, None, None)
    with pytest.raises(OutputError, match="can't write"):
        write_text(folder / "a.txt", "")
    with pytest.raises(OutputError, match="can't write to"):
        make_folder(folder)


def test_the_home_of_nobody_is_a_name_like_any_other(tmp_path: Path) -> None:
    from ntpscore.models.locate import check_model_exists

    assert expand("~no such user/a") == Path("~no such user/a")
    with pytest.raises(ModelError, match="no file or folder"):
        check_model_exists("~no such user/a")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "refuses: .*No space left.*/x"),
        (MemoryError(), "memory ran out"),
    ],
)
def test_what_no_program_can_mend_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception,
    message: str,
) -> None:  # fmt: skip
    import re

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("ntpscore.scoring.run.score", fail)
    assert run_cli("score", "smollm2-135m", "helpdesk") == 2
    told = capsys.readouterr().err
    assert re.search(message, told)
    assert "bug" not in told


@pytest.mark.skipif(sys.platform == "win32", reason="no locks that end with their process")
def test_temporary_folders_of_killed_processes_are_deleted_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = "from ntpscore.files import TemporaryFolder; import sys, time; f = TemporaryFolder(); "
    tell = "(f.path / 'x').write_text(''); print(f.path.name, flush=True); time.sleep(60)"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", make + tell], stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(2)
    ]
    dead, living = (tmp_path / process.stdout.readline().strip() for process in processes)
    processes[0].kill()
    processes[0].wait()
    unknown, link = tmp_path / "ntpscore-before", tmp_path / "ntpscore-link"
    unknown.mkdir()  # without a lock nobody can tell whose it is
    link.symlink_to(unknown)
    assert (dead / "x").exists()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    own = TemporaryFolder()
    assert not dead.exists()
    assert (living / "x").exists()
    assert own.path.exists()
    assert unknown.exists()
    assert link.is_symlink()
    another = TemporaryFolder()  # one's own are none of those
    assert own.path.exists()
    assert another.path.exists()
    processes[1].kill()
    processes[1].wait()
    for process in processes:
        process.stdout.close()


def test_a_link_stays_a_link_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    target, link = tmp_path / "there" / "a.txt", tmp_path / "link.txt"
    target.parent.mkdir()
    link.symlink_to(target)
    for text in ("new", "newer"):
        write_text(link, text)
        assert link.is_symlink()
        assert target.read_text() == text
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in the file system")
def test_a_pipe_is_written_into_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(pipe.read_text)
        write_text(pipe, "through")
        assert reading.result(timeout=10) == "through"
    assert pipe.is_fifo()


def test_the_permissions_of_a_file_stay_and_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "before")
    path.chmod(0o600)
    write_text(path, "private")
    assert path.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(os, "access", lambda *_: False)  # as root all may be written
    with pytest.raises(OutputError, match="Permission denied"):
        write_text(path, "after")
    assert path.read_text() == "private"


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "a")
    for path, why in (
        (tmp_path, "Is a directory"), (Path(), "Is a directory"), (loop, "symbolic links"),
        (tmp_path / "dangling", "No such file"), (tmp_path / ("a" * 300), "name too long"),
    ):  # fmt: skip
        with pytest.raises(OutputError, match=f"can't write .*{why}"):
            write_text(path, "")
    write_text(tmp_path / ("a" * 250), "")
    assert {one.name for one in tmp_path.iterdir()} == {"loop", "dangling", "a" * 250}


def test_a_standard_output_that_is_closed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputError, match="standard output is closed"), open_to_write(None):
        pass
