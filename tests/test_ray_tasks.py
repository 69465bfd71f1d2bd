"""Tasks on a Ray cluster, which the tests start: two workers of one core each."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from ntpscore.errors import NtpscoreError
from ntpscore.ray_tasks import Lost, Task, _needs, run_tasks
from ntpscore.study.run.cells import cell_path, read_cell
from ntpscore.study.run.plan import load_plan
from ntpscore.study.run.runner import Folders, run_study, study_status
from tests.support.cli_run import refusal
from tests.support.labelled_texts import make_rows, write_rows
from tests.support.paths import ROOT
from tests.support.studies import run_cells_in_this_process, write_study

GB = 10**9
# What tells of the run, not of the numbers.
OF_THE_RUN = {"seconds", "command", "peak_memory_bytes", "created", "warnings"}


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in OF_THE_RUN}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def close(one: Any, other: Any) -> bool:
    """Whether nested records are equal, their numbers to 1e-9."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return one == pytest.approx(other, abs=1e-9) if isinstance(one, float) else one == other


def test_without_ray_the_pip_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NtpscoreError, match=r"pip install 'ntpscore\[ray\]'"):
        next(run_tasks(print, [Task("one", 1)], "auto"))


def test_a_task_asks_for_a_card_and_its_share_of_the_cores_where_there_are_any() -> None:
    plain, cards = {"CPU": 8.0, "memory": 10.0 * GB}, {"CPU": 16.0, "GPU": 4.0, "memory": 50.0 * GB}
    needs = {"num_cpus": 4, "num_gpus": 1, "memory": 20 * GB}
    assert _needs(Task("one", 1, 20 * GB), [plain, cards]) == needs
    needs = {"num_cpus": 1, "num_gpus": 0, "memory": None}
    assert _needs(Task("one", 1), [plain]) == needs
    assert _needs(Task("one", 1, needs_card=False), [plain, cards]) == needs
    lost = _needs(Task("one", 1, 60 * GB), [plain, cards])
    assert isinstance(lost, Lost)
    assert "60.0 GB" in lost.reason
    assert "50.0 GB" in lost.reason


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster of two workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT / "src"))
        cluster_utils = pytest.importorskip("ray.cluster_utils")
        each = {"num_cpus": 1, "object_store_memory": 80_000_000}
        cluster = cluster_utils.Cluster(
            initialize_head=True, head_node_args={**each, "include_dashboard": False}
        )
        cluster.add_node(**each)
        yield cluster.address
        cluster.shutdown()


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ntpscore", *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_worker_costs_its_cell_a_retry_and_nothing_else(
    address: str, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = (
        '[[runs]]\nmethods = ["score"]\nbatch_tokens = 16\ncheckpoint_seconds = 0.0\n'
        'device = "cpu"\n[[runs]]\nmethods = ["probe"]\n'
        '[[runs]]\nmethods = ["lora"]\ndata = ["two"]\nsteps = 4\n'
    )
    path = write_study(tmp_path, tiny_model_dir, data=("one", "two"), runs=runs, n=300)
    monkeypatch.chdir(tmp_path)
    plan, folders = load_plan(path.name), Folders(tmp_path / "results", tmp_path / "work")
    process = start(
        tmp_path, "study", "run", path.name, "--results", "results", "--work", "work",
        "--ray", address,
    )  # fmt: skip
    victim = None
    deadline = time.monotonic() + 300
    while victim is None and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        for note in folders.work.glob("*--one/score-0.lock.json"):
            if list(folders.work.glob("*--one/score-0/*/checkpoint.safetensors")):
                victim = json.loads(note.read_text())["process"]
        time.sleep(0.01)
    assert study_status(plan, folders).count("running") >= 1
    assert victim is not None
    assert "ray" in " ".join(psutil.Process(victim).cmdline())
    os.kill(victim, signal.SIGKILL)
    out, errors = process.communicate(timeout=240)
    assert process.returncode == 0, (out, errors)
    assert "small: 5 of 5 cells done" in out
    assert errors.count(": done") == 5

    run_cells_in_this_process(monkeypatch)
    local = Folders(tmp_path / "local", tmp_path / "local-work")
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as there, where a cell has a core
    try:
        assert run_study(plan, local).count("done") == 5
    finally:
        torch.set_num_threads(n_threads)
    for cell in plan.cells:
        there, here = (read_cell(cell_path(each.results, cell)) for each in (folders, local))
        warnings = there["record"].get("warnings", [])
        was_killed = any("went on from a checkpoint" in warning for warning in warnings)
        assert was_killed == (cell.name.endswith("--one/score-0"))
        assert close(without_times(there), without_times(here)), cell.name
    lora = read_cell(cell_path(folders.results, plan.cells[-1]))
    assert lora["losses"]["step"] == [1, 2, 3, 4]
    assert lora["record"]["targets"] == ["k_proj", "q_proj", "v_proj"]
    assert sorted(p.name for p in folders.results.glob("*/*")) == sorted(
        p.name for p in local.results.glob("*/*")
    )


@pytest.mark.slow
def test_models_are_ranked_on_a_cluster_as_here(
    address: str, tiny_model_dir: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / "data.jsonl", make_rows(120))
    (tmp_path / "other").symlink_to(tiny_model_dir)
    common = (
        "rank", "data.jsonl", str(tiny_model_dir), "other", "./missing", "--skip-sanity-check",
        "--all", "--json",
    )  # fmt: skip
    records = []
    for options in (("--ray", address), ()):
        process = start(tmp_path, *common, *options)
        out, errors = process.communicate(timeout=240)
        assert process.returncode == 1, errors
        assert "not ranked: ./missing" in errors
        records.append(without_times(json.loads(out)))
    for record in records:
        assert {row["model"] for row in record["standings"]} == {str(tiny_model_dir), "other"}
    assert close(*records)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--ray=127.0.0.1:9"], "no Ray cluster at '127.0.0.1:9': start one with `ray start"),
        (["--ray", "auto"], "no Ray cluster that this machine is part of: start one with `ray"),
        (["--ray"], "no Ray cluster that this machine is part of: start one with `ray"),
        (["--ray", "--retry"], "no Ray cluster that this machine is part of: start one with `ray"),
        (["--ray", "local"], "Ray can't start a cluster here: none"),
        (["--ray", "reviews.csv"], "--ray 'reviews.csv' is no address: give HOST:PORT, auto"),
        (["--ray", ""], "--ray '' is no address: give HOST:PORT, auto"),
    ],
)
def test_a_cluster_that_is_not_there_is_told(
    given: list[str], told: str, tiny_model_dir: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    ray = pytest.importorskip("ray")

    def init(*_: Any, **__: Any) -> None:
        raise ConnectionError("none")  # as where no cluster is

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.chdir(tmp_path)
    path = write_study(tmp_path, tiny_model_dir)
    assert told in " ".join(refusal(capsys, "study", "run", path, *given).split())
