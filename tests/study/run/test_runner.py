"""A study that runs what is missing, whatever happens to its processes."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from ntpscore import load_model, score
from ntpscore.errors import StudyError
from ntpscore.metrics import METRICS
from ntpscore.scoring.config import ScoreConfig
from ntpscore.study.run import runner, worker
from ntpscore.study.run.cells import cell_path, nominal_k_fraction, read_cell, write_failure
from ntpscore.study.run.plan import Plan, load_plan
from ntpscore.study.run.runner import Folders, run_study, study_status
from ntpscore.study.run.worker import Task, lock_path, run_task
from ntpscore.study.statistics.tables import (
    StudyTables,
    load_records,
    losses_table,
    outcomes_table,
    scores_table,
    select_records,
)
from ntpscore.text import DATA_SETS, load_text
from tests.support.cli_run import run_cli
from tests.support.studies import write_study

EVERY_METHOD = """
[[runs]]
methods = ["score", "probe", "logistic", "rank", "ols"]
[[runs]]
methods = ["lora"]
rank = 2
rescore = true
"""


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "results", tmp_path / "work")


def tasks(plan: Plan, folders: Folders) -> dict[str, Task]:
    command = ("ntpscore", "study", "run", "small.toml")
    return {c.method: Task(c, folders.results, folders.work, command) for c in plan.cells}


def in_this_process(task: Task) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], run_task(task))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells run in this process: a process of their own takes seconds to begin."""

    def run(_: list[str], *, input: str, **__: object) -> subprocess.CompletedProcess[str]:  # noqa: A002
        return in_this_process(Task.from_json(input))

    monkeypatch.setattr(runner.subprocess, "run", run)


class TestCells:
    def test_every_method_leaves_its_result_and_its_provenance(
        self, tiny_model_dir: Path, tmp_path: Path, folders: Folders
    ) -> None:
        plan = load_plan(write_study(tmp_path, tiny_model_dir, runs=EVERY_METHOD))
        for task in tasks(plan, folders).values():
            assert run_task(task) == worker.DONE
            record = read_cell(cell_path(folders.results, task.cell))
            assert record["status"] == "done"
            assert record["options"] == task.cell.options
            found = record["record"]
            assert found["versions"]["ntpscore"]
            assert found["peak_memory_bytes"] > 0
            # Nothing is left of the work but cached features and locks.
            assert not (folders.work / task.cell.name).exists()
        records = load_records(folders.results)
        table = scores_table(records)
        assert set(table["score"]) >= {"retained", "r2", "log_me"}
        assert set(table.loc[table["layer"].isna(), "score"]) <= set(METRICS)
        assert not table.duplicated(["layer", "k_fraction", "score"]).any()
        outcomes = outcomes_table(records).set_index("outcome")["value"]
        assert set(outcomes.index) == {
            "ols_mse", "logistic_accuracy", "logistic_test_accuracy", "probe_accuracy",
            "lora_accuracy", "lora_gain",
        }  # fmt: skip
        gain = outcomes["lora_accuracy"] - outcomes["probe_accuracy"]
        assert outcomes["lora_gain"] == pytest.approx(gain)
        by_method = {record["method"]: record["record"] for record in records}
        layers = by_method["score"]["layers"]
        assert outcomes["ols_mse"] == layers[-1]["ols_mse"] != layers[0]["ols_mse"]
        logistic = by_method["logistic"]
        assert outcomes["logistic_accuracy"] == logistic["train"]["accuracy"]
        assert outcomes["logistic_test_accuracy"] == logistic["converged"]["test"]["accuracy"]
        losses = losses_table(records)
        assert losses.groupby("method")["step"].max().to_dict() == {"lora": 2, "probe": 2}
        rescored = scores_table(records, rescored=True)
        assert len(rescored[rescored["score"] == "retained"]) == 4 * 19

    def test_a_cell_holds_what_score_gives(
        self, tiny_model_dir: Path, tmp_path: Path, folders: Folders
    ) -> None:
        path = write_study(tmp_path, tiny_model_dir)
        (task,) = tasks(load_plan(path), folders).values()
        assert run_task(task) == worker.DONE
        text = load_text(tmp_path / "one.jsonl")
        config = ScoreConfig(shuffles=1, skip_sanity_check=True)
        direct = score(load_model(tiny_model_dir), text, config=config)
        expected = direct.table().set_index(["score", "layer", "k"])
        grid = read_cell(cell_path(folders.results, task.cell))["scores"]
        for name in ("retained", "algorithm1"):
            for i, layer in enumerate(grid["layer"]):
                for j, k in enumerate(grid["k"]):
                    row = expected.loc[(name, layer, k)]
                    # Six decimals are kept of a value, four of its chance.
                    assert grid[name]["value"][i][j] == pytest.approx(row["value"], abs=6e-7)
                    if name == "retained":
                        chance = grid[name]["chance"][i][j]
                        assert chance == pytest.approx(row["chance"], abs=6e-5)
        record = read_cell(cell_path(folders.results, task.cell))["record"]
        assert record["layers"][2]["r2"] == pytest.approx(direct.layers["r2"][2])

    def test_features_are_shared_by_frozen_methods(
        self, tiny_model_dir: Path, tmp_path: Path, folders: Folders
    ) -> None:
        runs = '[[runs]]\nmethods = ["probe", "logistic"]\n'
        both = tasks(load_plan(write_study(tmp_path, tiny_model_dir, runs=runs)), folders)
        for method in ("probe", "logistic"):
            assert run_task(both[method]) == worker.DONE
        seconds = read_cell(cell_path(folders.results, both["logistic"].cell))["record"]["seconds"]
        assert seconds["forward"] == 0

    def test_hold_out_keeps_the_test_texts_from_the_scores(
        self, tiny_model_dir: Path, tmp_path: Path, folders: Folders
    ) -> None:
        runs = '[[runs]]\nmethods = ["score", "probe"]\nhold_out = 0.25\n'
        both = tasks(load_plan(write_study(tmp_path, tiny_model_dir, runs=runs)), folders)
        for task in both.values():
            assert run_task(task) == worker.DONE
        scored = read_cell(cell_path(folders.results, both["score"].cell))["record"]["data"]
        probed = read_cell(cell_path(folders.results, both["probe"].cell))["record"]["data"]
        assert scored["content_hash"] == probed["train"]["content_hash"]
        assert scored["n_texts"] < 40

    def test_registered_hold_out_keeps_the_test_texts_from_the_scores(
        self, tiny_model_dir: Path, tmp_path: Path, folders: Folders,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        runs = '[[runs]]\nmethods = ["score"]\n'
        (task,) = tasks(
            load_plan(write_study(tmp_path, tiny_model_dir, runs=runs)), folders
        ).values()
        entry = replace(DATA_SETS["sms_spam"], hub_id=task.cell.source, text_column="text")
        monkeypatch.setitem(DATA_SETS, "sms_spam", entry)
        splits = worker._load_text(replace(task.cell, source="sms_spam"))
        assert len(splits.train) + len(splits.test) == 40
        assert not set(splits.train.texts) & set(splits.test.texts)

    def test_a_result_that_was_finished_but_for_its_file_is_taken_up(
        self, tiny_model_dir: Path, tmp_path: Path, folders: Folders,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        plan = load_plan(write_study(tmp_path, tiny_model_dir, runs=EVERY_METHOD))
        for method in ("score", "lora"):
            task = replace(tasks(plan, folders)[method], keep_work=True)
            assert run_task(task) == worker.DONE
            path = cell_path(folders.results, task.cell)
            before = json.loads(path.read_text())
            path.unlink()
            with monkeypatch.context() as patch:
                for name in ("_fit", "load_text", "load_splits"):
                    if method == "score" or name == "_fit":
                        patch.setattr(worker, name, None)
                assert run_task(task) == worker.DONE
            assert json.loads(path.read_text())["record"] == before["record"]
        # Made with other options, it is of no use.
        other = replace(task.cell, options={**task.cell.options, "steps": 3})
        path.unlink()
        assert run_task(replace(task, cell=other)) == worker.DONE
        assert read_cell(path)["record"]["steps"] == 3

    def test_failures_say_what_went_wrong(
        self, tiny_model_dir: Path, tmp_path: Path, folders: Folders,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        (task,) = tasks(load_plan(write_study(tmp_path, tiny_model_dir)), folders).values()
        lost = replace(task, cell=replace(task.cell, source="no.jsonl"))
        assert run_task(lost) == worker.FAILED
        path = cell_path(folders.results, task.cell)
        assert "no.jsonl" in read_cell(path)["error"]
        path.unlink()
        monkeypatch.setattr(worker, "score_text", lambda *_, **__: 1 / 0)
        assert run_task(task) == worker.FAILED
        assert read_cell(path)["error"].startswith("this is a bug: ZeroDivisionError")

    @pytest.mark.parametrize("width", [8, 20, 32, 576, 640, 2048])
    def test_nominal_k_fractions_are_the_steps_that_k_came_from(self, width: int) -> None:
        for step in range(1, 20):
            k = step * width // 20
            if k and (width >= 20 or k > (step - 1) * width // 20):
                assert nominal_k_fraction(k, width) == pytest.approx(step / 20)

    def test_a_file_that_is_no_cell_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "cell.json"
        for text, message in (
            ("{", "can't be read"), ("[]", "is no cell"), ('{"kind": "score"}', "is no cell"),
            ('{"kind": "study cell", "schema_version": 99}', "schema version 99"),
        ):  # fmt: skip
            path.write_text(text)
            with pytest.raises(StudyError, match=message):
                read_cell(path)


@pytest.mark.usefixtures("quick")
class TestRuns:
    def test_only_what_is_missing_is_run_and_failures_do_not_stop_it(
        self, tiny_model_dir: Path, tmp_path: Path, folders: Folders
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

    def test_cells_are_chosen_by_a_pattern(
        self, tiny_model_dir: Path, tmp_path: Path, folders: Folders
    ) -> None:
        plan = load_plan(write_study(tmp_path, tiny_model_dir, data=("one", "two")))
        status = run_study(plan, folders, only="*--two/*")
        assert status.cells["state"].tolist() == ["missing", "done"]
        assert status.seconds_left == pytest.approx(status.cells["seconds"][1])
        with pytest.raises(StudyError, match=r"no cell of .* matches"):
            run_study(plan, folders, only="three")

    def test_cells_of_other_options_stop_it_until_they_are_redone(
        self, tiny_model_dir: Path, tmp_path: Path, folders: Folders
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

    def test_a_study_file_alone_does_not_run_a_models_own_code(
        self, tiny_model_dir: Path, tmp_path: Path, folders: Folders
    ) -> None:
        runs = '[[runs]]\nmethods = ["score"]\ntrust_remote_code = true\n'
        plan = load_plan(write_study(tmp_path, tiny_model_dir, runs=runs))
        with pytest.raises(StudyError, match="say --trust-remote-code"):
            run_study(plan, folders)
        assert not folders.work.exists()
        assert run_study(plan, folders, trust_remote_code=True).count("done") == 1

    def test_a_cell_that_another_process_runs_is_left_to_it(
        self, tiny_model_dir: Path, tmp_path: Path, folders: Folders
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

    def test_time_left_is_guessed_from_cells_of_the_method_and_model(
        self, tmp_path: Path, folders: Folders
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
                total = {"seconds": {"total": seconds[cell.name]}}
                path.write_text(json.dumps({**record, "status": "done", "record": total}))
        status = study_status(plan, folders)
        assert status.seconds_left == pytest.approx(100)
        assert status.unknown == 4


class TestProcesses:
    def test_a_worker_reads_its_task_and_tells_how_it_went(
        self, tiny_model_dir: Path, tmp_path: Path, folders: Folders,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        (task,) = tasks(load_plan(write_study(tmp_path, tiny_model_dir)), folders).values()
        assert Task.from_json(task.to_json()) == task
        monkeypatch.setattr(sys, "argv", ["worker"])
        for expected in (worker.DONE, worker.DONE):
            monkeypatch.setattr(sys, "stdin", io.StringIO(task.to_json()))
            with pytest.raises(SystemExit) as ended:
                worker.main()
            assert ended.value.code == expected
        command = read_cell(cell_path(folders.results, task.cell))["record"]["command"]
        assert command == "ntpscore study run small.toml"
        blocked = replace(task, work=tmp_path / "one.jsonl")
        monkeypatch.setattr(sys, "stdin", io.StringIO(blocked.to_json()))
        with pytest.raises(SystemExit) as ended:
            worker.main()
        assert "can't write" in str(ended.value.code)

    @pytest.mark.parametrize(
        ("code", "message"),
        [(-9, "killed by signal 9, perhaps for want of memory"), (-11, "killed by signal 11"),
         (1, "exit code 1")],
    )  # fmt: skip
    def test_a_process_that_dies_is_recorded(
        self, tmp_path: Path, folders: Folders, monkeypatch: pytest.MonkeyPatch,
        code: int, message: str,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(
            runner.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], code)
        )
        plan = load_plan(write_study(tmp_path, tmp_path, data=("one", "two")))
        status = run_study(plan, folders)
        assert [message in error for error in status.cells["error"]] == [True, True]

    def test_a_killed_study_goes_on(self, tiny_model_dir: Path, tmp_path: Path) -> None:
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
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and process.poll() is None:
            if list(folders.work.glob("*/score-0/*.safetensors")):
                break
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert list(folders.work.glob("*/score-0/*.safetensors"))
        # A lock is free as soon as the process that held it is gone, which takes a moment.
        while study_status(plan, folders).count("running") and time.monotonic() < deadline:
            time.sleep(0.01)
        assert study_status(plan, folders).cells["state"].tolist() == ["missing"]
        (task,) = tasks(plan, folders).values()
        assert run_task(task) == worker.DONE
        record = read_cell(cell_path(folders.results, plan.cells[0]))["record"]
        assert any("went on from a checkpoint" in warning for warning in record["warnings"])


class TestTables:
    @pytest.fixture
    def results(self, tiny_model_dir: Path, tmp_path: Path, folders: Folders) -> Path:
        """Two seeds of one data set, really scored and probed."""
        runs = '[[runs]]\nmethods = ["score", "probe"]\nseeds = [0, 1]\nmax_texts = 30\n'
        plan = load_plan(write_study(tmp_path, tiny_model_dir, runs=runs))
        for cell in plan.cells:
            assert run_task(Task(cell, folders.results, folders.work, ("x",))) == worker.DONE
        return folders.results

    def test_seeds_are_averaged(self, results: Path) -> None:
        records = load_records(results)
        by_seed = outcomes_table(records)
        tables = StudyTables.load(results)
        probes = by_seed[by_seed["outcome"] == "probe_accuracy"]["value"]
        assert len(probes) == 2
        mean = tables.outcomes.set_index("outcome")["value"]["probe_accuracy"]
        assert mean == pytest.approx(np.mean(probes))
        every = scores_table(records)
        assert len(tables.scores) * 2 == len(every)
        of_r2 = every[(every["score"] == "r2") & (every["layer"] == 2)]["value"]
        found = tables.scores[(tables.scores["score"] == "r2") & (tables.scores["layer"] == 2)]
        assert found["value"].tolist() == pytest.approx([of_r2.mean()])

    def test_cells_of_one_seed_are_taken_alone(self, results: Path) -> None:
        records = load_records(results)
        alone = StudyTables.of([record for record in records if record["seed"] == 1])
        chosen = StudyTables.load(results, seeds=[1])
        pd.testing.assert_frame_equal(chosen.scores, alone.scores)
        pd.testing.assert_frame_equal(chosen.outcomes, alone.outcomes)
        assert not chosen.scores.equals(StudyTables.load(results).scores)

    def test_a_seed_that_the_model_does_not_have_is_named(self) -> None:
        records = [{"model": "a", "seed": 0}, {"model": "b", "seed": 1}]
        with pytest.raises(StudyError, match="no cell of seed 1"):
            select_records(records, models=["a"], seeds=[1])

    def test_unknown_names_are_named(self, results: Path, tmp_path: Path) -> None:
        with pytest.raises(StudyError, match="holds no cell that is done"):
            StudyTables.load(tmp_path)
        with pytest.raises(StudyError, match="no cell of model 'gpt'"):
            StudyTables.load(results, models=["gpt"])
        with pytest.raises(StudyError, match="no cell of seed 7: there are cells of 0, 1"):
            StudyTables.load(results, seeds=[0, 7])
        tables = StudyTables.load(results)
        with pytest.raises(StudyError, match="no score 'vibes'"):
            tables.summary(scores=["vibes"])
        with pytest.raises(StudyError, match="no outcome 'fame'"):
            tables.summary(outcomes=["fame"])
        with pytest.raises(StudyError, match="no outcome to correlate with"):
            replace(tables, outcomes=tables.outcomes[:0]).summary()

    def test_rivals_that_fall_where_probes_do_well_are_turned(self) -> None:
        rng = np.random.default_rng(0)
        names = [f"data {i}" for i in range(6)]
        reached = rng.random(6)
        scores = pd.DataFrame(
            {"model": "m", "data": names, "layer": np.nan, "k_fraction": np.nan,
             "score": "headroom", "value": 1 - reached}
        )  # fmt: skip
        outcomes = pd.DataFrame(
            {"model": "m", "data": names, "outcome": "probe_accuracy", "value": reached}
        )
        tables = StudyTables(scores, outcomes, outcomes[:0], scores[:0], scores[:0])
        (row,) = tables.summary().to_dict(orient="records")
        assert row["expected"] == -1
        assert row["r_best"] == pytest.approx(-1)


@pytest.mark.usefixtures("quick")
def test_the_study_commands(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    data = ("one", "two", "three", "four")
    runs = '[[runs]]\nmethods = ["score", "probe"]\n'
    write_study(tmp_path, tiny_model_dir, data=data, runs=runs)
    (tmp_path / "two.jsonl").rename(tmp_path / "kept.jsonl")
    assert run_cli("study", "run", "small.toml") == 1
    printed = capsys.readouterr()
    assert "6 of 8 cells done" in printed.out
    assert "failed: " in printed.out
    assert "[1/8]" in printed.err
    (tmp_path / "kept.jsonl").rename(tmp_path / "two.jsonl")
    assert run_cli("study", "run", "small.toml", "--retry") == 0
    capsys.readouterr()
    assert run_cli("study", "status", "small.toml") == 0
    assert "small: 8 of 8 cells done" in capsys.readouterr().out
    assert run_cli("study", "status", "small.toml", "--json") == 0
    assert {row["state"] for row in json.loads(capsys.readouterr().out)} == {"done"}
    results = tmp_path / "results" / "small"
    assert len(list(results.glob("*/*.json"))) == 8
    assert not list((tmp_path / "build" / "study" / "small").glob("*/score-0"))
    assert run_cli("study", "tables", results, "--permutations", 20) == 0
    assert re.search("^ model +data ", capsys.readouterr().out, re.MULTILINE)
    few = ("study", "tables", results, "--permutations", 20, "--score", "r2")
    assert run_cli(*few, "--out", tmp_path / "tables") == 0
    printed = capsys.readouterr()
    assert "given r2" in printed.out
    assert not re.search("^ model +data ", printed.out, re.MULTILINE)
    summary = pd.read_csv(tmp_path / "tables" / "summary.csv", keep_default_na=False)
    assert set(summary["score"]) == {"r2"}
    assert run_cli(*few, "--outcome", "ols_mse", "--without", "one", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    # Three data sets are too few for anything.
    assert [row["reason"] == "" for row in rows if row["without"] == "one"] == [False]
    assert run_cli(*few, "--outcome", "ols_mse", "--csv") == 0
    frame = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert set(frame["outcome"]) == {"ols_mse"}
    assert run_cli(*few, "--csv", "--json") == 2
