"""Several processes that make one run, as `torchrun` starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ntpscore import load_result
from ntpscore.errors import NtpscoreError
from ntpscore.reading.moments_pass import CHECKPOINT
from ntpscore.reading.ranks import Ranks
from ntpscore.result_folder import UNFINISHED
from tests.support.labelled_texts import make_rows, write_rows
from tests.support.paths import ROOT

# Sums are added in another order.
SAME = 1e-9


def launch(n: int, *arguments: str) -> subprocess.Popen[str]:
    launcher = [] if n == 1 else ["-m", "torch.distributed.run", "--nproc-per-node", str(n)]
    command = [sys.executable, *launcher, "-m", "ntpscore", "score", *arguments]
    # A single process has two threads, so that it reads the same batches as two processes.
    threads = str(2 if n == 1 else 1)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": threads}
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out, errors


def scores(folder: Path) -> "pd.Series[float]":
    return pd.read_csv(folder / "scores.csv").set_index(["score", "layer", "k"])["value"]


def test_alone_there_is_nothing_to_do_together() -> None:
    ranks = Ranks()
    assert ranks.is_first
    assert ranks.own([1, 2, 3]) == [1, 2, 3]
    assert ranks.collect("all") == ["all"]
    assert ranks.agree(3) == 3
    ranks.leave_to_first()
    with pytest.raises(NtpscoreError, match="mine"), ranks.as_one():
        raise NtpscoreError("mine")


def test_shares_are_all_of_them_once() -> None:
    shares = [Ranks(rank, 3).own(range(10)) for rank in range(3)]
    assert sorted(part for share in shares for part in share) == list(range(10))


def test_every_other_process_ends_with_its_work() -> None:
    with pytest.raises(SystemExit) as ended:
        Ranks(1, 2).leave_to_first()
    assert ended.value.code == 0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("ranks") / "data.jsonl", make_rows(300))


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--until", "0.2", "--shuffles", "0")])
def test_two_processes_give_what_one_gives(
    options: tuple[str, ...], tiny_model_dir: Path, data: Path, tmp_path: Path
) -> None:
    common = (str(tiny_model_dir), str(data), "--batch-tokens", "300", *options)
    out, _ = finish(launch(2, *common, "--out", str(tmp_path / "two"), "--json"))
    finish(launch(1, *common, "--out", str(tmp_path / "one")))
    two, one = load_result(tmp_path / "two"), load_result(tmp_path / "one")
    assert json.loads(out)["data"] == one.record["data"]
    np.testing.assert_allclose(scores(tmp_path / "two"), scores(tmp_path / "one"), atol=SAME)
    assert two.record["accuracy"]["n_texts"] == one.record["accuracy"]["n_texts"]
    assert two.accuracy["r2"].to_numpy() == pytest.approx(one.accuracy["r2"].to_numpy(), abs=1e-5)
    assert two.record.get("until", {}).get("n_texts") == one.record.get("until", {}).get("n_texts")
    assert {path.name for path in (tmp_path / "two").iterdir()} == {
        path.name for path in (tmp_path / "one").iterdir()
    }


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--until", "0.0001", "--shuffles", "0")])
def test_a_killed_process_ends_all_and_the_next_start_goes_on(
    options: tuple[str, ...], tiny_model_dir: Path, data: Path, tmp_path: Path
) -> None:
    common = (
        str(tiny_model_dir), str(data), "--batch-tokens", "20", "--checkpoint-seconds", "0",
        *options,
    )  # fmt: skip
    process = launch(2, *common, "--out", str(tmp_path / "two"))
    names = [
        Ranks(rank, 2).own_folder(tmp_path / "two") / UNFINISHED / CHECKPOINT for rank in range(2)
    ]
    deadline = time.monotonic() + 300
    while not all(name.exists() for name in names) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    ranks = subprocess.run(
        ["pgrep", "--parent", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(ranks[1]), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert errors.count("ntpscore: error") <= 1  # else the launcher tells it alone
    assert not (tmp_path / "two" / "result.json").exists()
    finish(launch(2, *common, "--out", str(tmp_path / "two")))
    finish(launch(1, *common, "--out", str(tmp_path / "one")))
    warnings = load_result(tmp_path / "two").record["warnings"]
    assert any("went on from a checkpoint" in warning for warning in warnings)
    np.testing.assert_allclose(scores(tmp_path / "two"), scores(tmp_path / "one"), atol=SAME)


@pytest.mark.slow
def test_an_error_is_told_once(tiny_model_dir: Path, tmp_path: Path) -> None:
    process = launch(2, str(tiny_model_dir), str(tmp_path / "nowhere.jsonl"))
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    assert errors.count("ntpscore: error") == 1
