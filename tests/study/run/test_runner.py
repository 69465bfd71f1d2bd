"""A study that runs what is missing, whatever happens to its processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from ntpscore.errors import StudyError
from ntpscore.study.run import runner, worker
from ntpscore.study.run.cells import cell_path, read_cell, write_failure
from ntpscore.study.run.job import Job, lock_path
from ntpscore.study.run.plan import Plan, load_plan
from ntpscore.study.run.runner import Folders, run_study, study_status
from ntpscore.study.run.worker import run_job
from tests.support.studies import made_up_records, run_cells_in_this_process, write_study


def jobs(plan: Plan, folders: Folders) -> dict[str, Job]:
    command = ("ntpscore", "study", "run", "small.toml")
    return {c.method: Job(c, folders.results, folders.work, command) for c in plan.cells}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    run_cells_in_this_process(monkeypatch)


@pytest.mark.usefixtures("quick")
def test_only_what_is_missing_is_run_and_failures_do_not_stop_it(
    tiny_model_dir: Path, tmp_path: Path, folders: Folders
) -> None:
    path = write_study(tmp_path, tiny_model_dir, data=("one", "two", "three"))
    (tmp_path / "two.jsonl").write_text('{"text": "a"}\n')
    plan = load_plan(path)
    said: list[str] = []
    status = run_study(plan, folders, say=said.append)
    assert status.cells["state"].tolist() == ["done", "failed", "done"]
    assert "label" in status.cells["error"][1]
    assert any("failed" in line for line in said)
    # Neither the done ones nor the failed one are run again.
    before = [p.stat().st_mtime_ns for p in sorted(folders.results.glob("*/*"))]
    assert run_study(plan, folders).count("failed") == 1
    assert [p.stat().st_mtime_ns for p in sorted(folders.results.glob("*/*"))] == before
    write_study(tmp_path, tiny_model_dir, data=("one", "two", "three"))
    assert run_study(plan, folders, retry=True).count("done") == 3


@pytest.mark.usefixtures("quick")
def test_a_study_goes_on_past_a_bad_model(
    tiny_model_dir: Path, tmp_path: Path, folders: Folders
) -> None:
    bad = Path(shutil.copytree(tiny_model_dir, tmp_path / "bad"))
    (bad / "config.json").write_text("{}")
    path = write_study(tmp_path, tiny_model_dir, runs='[[runs]]\nmethods = ["score", "probe"]\n')
    broken = f'"{bad}", "./no-such-model", '
    path.write_text(path.read_text().replace("models = [", f"models = [{broken}"))
    status = run_study(load_plan(path), folders)
    cells = status.cells
    assert cells["state"].tolist() == ["failed", "failed", "done"] * 2
    for i, told in enumerate([f"configuration of {bad} ", "no file or folder ./no-such-model"] * 2):
        assert told in cells["error"][i + i // 2]
        assert "a bug" not in cells["error"][i + i // 2]


@pytest.mark.usefixtures("quick")
def test_cells_are_chosen_by_a_pattern(
    tiny_model_dir: Path, tmp_path: Path, folders: Folders
) -> None:
    plan = load_plan(write_study(tmp_path, tiny_model_dir, data=("one", "two")))
    status = run_study(plan, folders, only="*--two/*")
    assert status.cells["state"].tolist() == ["missing", "done"]
    assert status.seconds_left == pytest.approx(status.cells["seconds"][1])
    with pytest.raises(StudyError, match=r"no cell of .* matches"):
        run_study(plan, folders, only="three")


@pytest.mark.usefixtures("quick")
def test_cells_of_other_options_stop_it_until_they_are_redone(
    tiny_model_dir: Path, tmp_path: Path, folders: Folders
) -> None:
    path = write_study(tmp_path, tiny_model_dir)
    run_study(load_plan(path), folders)
    path.write_text(path.read_text().replace("shuffles = 1", "shuffles = 2"))
    changed = load_plan(path)
    with pytest.raises(StudyError, match=r"made with the options .*--redo"):
        run_study(changed, folders)
    status = run_study(changed, folders, redo=True)
    assert status.cells["state"].tolist() == ["done"]
    record = read_cell(cell_path(folders.results, changed.cells[0]))
    assert record["record"]["settings"]["shuffles"] == 2


@pytest.mark.usefixtures("quick")
def test_a_study_file_alone_does_not_run_a_models_own_code(
    tiny_model_dir: Path, tmp_path: Path, folders: Folders
) -> None:
    runs = '[[runs]]\nmethods = ["score"]\ntrust_remote_code = true\n'
    plan = load_plan(write_study(tmp_path, tiny_model_dir, runs=runs))
    with pytest.raises(StudyError, match="say --trust-remote-code"):
        run_study(plan, folders)
    assert not folders.work.exists()
    assert run_study(plan, folders, trust_remote_code=True).count("done") == 1


@pytest.mark.usefixtures("quick")
def test_a_cell_that_another_process_runs_is_left_to_it(
    tiny_model_dir: Path, tmp_path: Path, folders: Folders
) -> None:
    plan = load_plan(write_study(tmp_path, tiny_model_dir))
    path = lock_path(folders.work, plan.cells[0])
    path.parent.mkdir(parents=True)
    with FileLock(path):
        assert study_status(plan, folders).cells["state"].tolist() == ["running"]
        said: list[str] = []
        status = run_study(plan, folders, say=said.append)
        assert status.count("running") == 1
        assert "left to it" in said[-1]
    assert study_status(plan, folders).count("missing") == 1


@pytest.mark.usefixtures("quick")
def test_time_left_is_guessed_from_cells_of_the_method_and_model(
    tmp_path: Path, folders: Folders
) -> None:
    text = 'models = ["m", "n"]\ndata = ["a", "b"]\n[[runs]]\nmethods = ["score", "probe"]\n'
    (tmp_path / "p.toml").write_text(text)
    plan = load_plan(tmp_path / "p.toml")
    assert study_status(plan, folders).unknown == 8
    seconds = {"m--a/score-0": 10, "m--b/score-0": 20, "n--a/score-0": 100}
    for cell in plan.cells:
        if cell.name in seconds:
            path = cell_path(folders.results, cell)
            write_failure(folders.results, cell, "made up")
            record = json.loads(path.read_text())
            made_up = made_up_records(1)[0]
            made_up["record"]["seconds"]["total"] = seconds[cell.name]
            path.write_text(json.dumps({**made_up, **record, "status": "done"}))
    status = study_status(plan, folders)
    assert status.seconds_left == pytest.approx(100)
    assert status.unknown == 4


@pytest.mark.parametrize(
    ("code", "message"),
    [(-9, "killed by signal 9, perhaps for want of memory"), (-11, "killed by signal 11"),
     (1, "exit code 1")],
)  # fmt: skip
def test_a_process_that_dies_is_recorded(
    tmp_path: Path, folders: Folders, monkeypatch: pytest.MonkeyPatch,
    code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(
        runner.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], code)
    )
    plan = load_plan(write_study(tmp_path, tmp_path, data=("one", "two")))
    status = run_study(plan, folders)
    assert [message in error for error in status.cells["error"]] == [True, True]


@pytest.mark.slow
def test_a_killed_study_goes_on(tiny_model_dir: Path, tmp_path: Path) -> None:
    runs = '[[runs]]\nmethods = ["score"]\nbatch_tokens = 16\ncheckpoint_seconds = 0.0\n'
    path = write_study(tmp_path, tiny_model_dir, runs=runs, n=400)
    folders = Folders(tmp_path / "results", tmp_path / "work")
    command = [
        sys.executable, "-m", "ntpscore", "study", "run", str(path),
        "--results", str(folders.results), "--work", str(folders.work),
    ]  # fmt: skip
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": "src"}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    plan = load_plan(path)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if list(folders.work.glob("*/score-0/*/checkpoint.safetensors")):
            break
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list(folders.work.glob("*/score-0/*/checkpoint.safetensors"))
    # A lock is free as soon as the process that held it is gone, which takes a moment.
    while study_status(plan, folders).count("running") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert study_status(plan, folders).cells["state"].tolist() == ["missing"]
    (job,) = jobs(plan, folders).values()
    assert run_job(job) == worker.DONE
    record = read_cell(cell_path(folders.results, plan.cells[0]))["record"]
    assert any("went on from a checkpoint" in warning for warning in record["warnings"])
