"""Ctrl-C ends a process soon, whatever its threads are at."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

_SCRIPT = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
sys.path.insert(0, "src")
from ntpscore.files import TemporaryFolder
from ntpscore.interrupt import watch_interrupts
from ntpscore.result_folder import UNFINISHED, hold_folder

watch_interrupts()
temporary = TemporaryFolder()
with hold_folder(sys.argv[1]) as folder, ThreadPoolExecutor(1) as pool:
    if sys.argv[2] == "checkpoint":
        (folder / UNFINISHED / "checkpoint.safetensors").write_bytes(b"")
    solving = pool.submit(time.sleep, 60)
    print(temporary.path, flush=True)
    solving.result()
"""


@pytest.mark.parametrize("kept", ["checkpoint", "nothing"])
def test_a_solver_that_does_not_look_up_is_left(tmp_path: Path, kept: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, tmp_path, kept], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    temporary = process.stdout.readline().strip()
    assert Path(temporary).is_dir()
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    # Two seconds, and as many for a machine that has other work.
    assert time.monotonic() - start < 4
    assert process.returncode == 130
    named = f"goes on from {tmp_path / 'unfinished' / 'checkpoint.safetensors'}"
    assert (named if kept == "checkpoint" else "no checkpoint to go on from") in told
    assert "Traceback" not in told
    assert not Path(temporary).exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is no folder to write into")
def test_a_home_that_cant_be_written_is_no_matter(tiny_model_dir: Path, tmp_path: Path) -> None:
    from tests.support.labelled_texts import make_rows, write_rows

    data = write_rows(tmp_path / "data.jsonl", make_rows(60))
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "HF_HOME", "MPLCONFIGDIR"), "/proc/1/x")
    ended = subprocess.run(
        [sys.executable, "-m", "ntpscore", "score", tiny_model_dir, data, "--shuffles", "1",
         "--skip-sanity-check", "--out", tmp_path / "out"],
        env={**os.environ, **nowhere, "PYTHONPATH": "src"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out" / "result.json").exists()
