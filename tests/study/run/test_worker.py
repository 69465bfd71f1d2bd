"""Cells, run in this process: what they leave, and what they take up."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ntpscore import load_model, score
from ntpscore.metrics import METRICS
from ntpscore.scoring.config import ScoreConfig
from ntpscore.study.run import worker
from ntpscore.study.run.cells import cell_path, read_cell
from ntpscore.study.run.job import Job
from ntpscore.study.run.plan import Plan, load_plan
from ntpscore.study.run.runner import Folders
from ntpscore.study.run.worker import run_job
from ntpscore.study.statistics.tables import (
    load_records,
    losses_table,
    outcomes_table,
    scores_table,
)
from ntpscore.text import DATA_SETS, load_text
from tests.support.studies import write_study

EVERY_METHOD = """
[[runs]]
methods = ["score", "probe", "logistic", "rank", "ols"]
[[runs]]
methods = ["lora"]
rank = 2
rescore = true
further_scores = ["published"]
feature_texts = 0
"""


def jobs(plan: Plan, folders: Folders) -> dict[str, Job]:
    command = ("ntpscore", "study", "run", "small.toml")
    return {c.method: Job(c, folders.results, folders.work, command) for c in plan.cells}


@pytest.mark.slow
def test_every_method_leaves_its_result_and_its_provenance(
    tiny_model_dir: Path, tmp_path: Path, folders: Folders
) -> None:
    plan = load_plan(write_study(tmp_path, tiny_model_dir, runs=EVERY_METHOD))
    for job in jobs(plan, folders).values():
        assert run_job(job) == worker.DONE
        record = read_cell(cell_path(folders.results, job.cell))
        assert record["status"] == "done"
        assert record["options"] == job.cell.options
        found = record["record"]
        assert found["versions"]["ntpscore"]
        assert found["peak_memory_bytes"] > 0
        # Nothing is left of the work but cached features and locks.
        assert not (folders.work / job.cell.name).exists()
    records = load_records(folders.results)
    table = scores_table(records)
    assert set(table["score"]) >= {"retained", "r2", "log_me"}
    assert set(table.loc[table["layer"].isna(), "score"]) <= set(METRICS)
    assert not table.duplicated(["layer", "k_fraction", "score"]).any()
    outcomes = outcomes_table(records).set_index("outcome")["value"]
    assert set(outcomes.index) == {
        "ols_mse", "logistic_accuracy", "logistic_test_accuracy", "probe_accuracy",
        "lora_accuracy", "lora_gain", "lora_gain_frozen",
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
    assert len(rescored[rescored["score"] == "published"]) == 4 * 19
    lora = next(record for record in records if record["method"] == "lora")
    assert lora["rescored"]["record"]["settings"]["feature_texts"] == 0


def test_a_cell_holds_what_score_gives(
    tiny_model_dir: Path, tmp_path: Path, folders: Folders
) -> None:
    runs = '[[runs]]\nmethods = ["score"]\nfurther_scores = ["published"]\n'
    path = write_study(tmp_path, tiny_model_dir, runs=runs)
    (job,) = jobs(load_plan(path), folders).values()
    assert run_job(job) == worker.DONE
    text = load_text(tmp_path / "one.jsonl")
    config = ScoreConfig(shuffles=1, skip_sanity_check=True, further_scores=("published",))
    direct = score(load_model(tiny_model_dir), text, config=config)
    expected = direct.table().set_index(["score", "layer", "k"])
    grid = read_cell(cell_path(folders.results, job.cell))["scores"]
    for name in ("retained", "smallest_first", "published"):
        for i, layer in enumerate(grid["layer"]):
            for j, k in enumerate(grid["k"]):
                row = expected.loc[(name, layer, k)]
                # Six decimals are kept of a value, four of its chance.
                assert grid[name]["value"][i][j] == pytest.approx(row["value"], abs=6e-7)
                if name == "retained":
                    chance = grid[name]["chance"][i][j]
                    assert chance == pytest.approx(row["chance"], abs=6e-5)
    record = read_cell(cell_path(folders.results, job.cell))["record"]
    assert record["layers"][2]["r2"] == pytest.approx(direct.layers["r2"][2])


def test_features_are_shared_by_frozen_methods(
    tiny_model_dir: Path, tmp_path: Path, folders: Folders
) -> None:
    runs = '[[runs]]\nmethods = ["probe", "logistic"]\n'
    both = jobs(load_plan(write_study(tmp_path, tiny_model_dir, runs=runs)), folders)
    for method in ("probe", "logistic"):
        assert run_job(both[method]) == worker.DONE
    seconds = read_cell(cell_path(folders.results, both["logistic"].cell))["record"]["seconds"]
    assert seconds["forward"] == 0


def test_hold_out_keeps_the_test_texts_from_the_scores(
    tiny_model_dir: Path, tmp_path: Path, folders: Folders
) -> None:
    runs = '[[runs]]\nmethods = ["score", "probe"]\nhold_out = 0.25\n'
    both = jobs(load_plan(write_study(tmp_path, tiny_model_dir, runs=runs)), folders)
    for job in both.values():
        assert run_job(job) == worker.DONE
    scored = read_cell(cell_path(folders.results, both["score"].cell))["record"]["data"]
    probed = read_cell(cell_path(folders.results, both["probe"].cell))["record"]["data"]
    assert scored["content_hash"] == probed["train"]["content_hash"]
    assert scored["n_texts"] < 40


def test_registered_hold_out_keeps_the_test_texts_from_the_scores(
    tiny_model_dir: Path, tmp_path: Path, folders: Folders,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    runs = '[[runs]]\nmethods = ["score"]\n'
    (job,) = jobs(load_plan(write_study(tmp_path, tiny_model_dir, runs=runs)), folders).values()
    entry = replace(DATA_SETS["sms_spam"], hub_id=job.cell.source, text_column="text")
    monkeypatch.setitem(DATA_SETS, "sms_spam", entry)
    splits = worker._load_text(replace(job.cell, source="sms_spam"))
    assert len(splits.train) + len(splits.test) == 40
    assert not set(splits.train.texts) & set(splits.test.texts)


@pytest.mark.slow
def test_a_result_that_was_finished_but_for_its_file_is_taken_up(
    tiny_model_dir: Path, tmp_path: Path, folders: Folders,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    plan = load_plan(write_study(tmp_path, tiny_model_dir, runs=EVERY_METHOD))
    for method in ("score", "lora"):
        job = replace(jobs(plan, folders)[method], keep_work=True)
        assert run_job(job) == worker.DONE
        path = cell_path(folders.results, job.cell)
        before = json.loads(path.read_text())
        path.unlink()
        with monkeypatch.context() as patch:
            for name in ("_fit", "load_text", "load_splits"):
                if method == "score" or name == "_fit":
                    patch.setattr(worker, name, None)
            assert run_job(job) == worker.DONE
        assert json.loads(path.read_text())["record"] == before["record"]
    # Made with other options, it is of no use.
    other = replace(job.cell, options={**job.cell.options, "steps": 3})
    path.unlink()
    assert run_job(replace(job, cell=other)) == worker.DONE
    assert read_cell(path)["record"]["steps"] == 3


def test_failures_say_what_went_wrong(
    tiny_model_dir: Path, tmp_path: Path, folders: Folders,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (job,) = jobs(load_plan(write_study(tmp_path, tiny_model_dir)), folders).values()
    lost = replace(job, cell=replace(job.cell, source="no.jsonl"))
    assert run_job(lost) == worker.FAILED
    path = cell_path(folders.results, job.cell)
    assert "no.jsonl" in read_cell(path)["error"]
    path.unlink()
    # What a model needs is told before data are read.
    assert run_job(replace(job, cell=replace(lost.cell, model="openelm-270m"))) == worker.FAILED
    (failed,) = folders.results.glob("openelm*/*.json")
    assert "--trust-remote-code" in read_cell(failed)["error"]
    failed.unlink()
    monkeypatch.setattr(worker, "score_text", lambda *_, **__: 1 / 0)
    assert run_job(job) == worker.FAILED
    assert read_cell(path)["error"].startswith("this is a bug: ZeroDivisionError")


def test_a_worker_reads_its_task_and_tells_how_it_went(
    tiny_model_dir: Path, tmp_path: Path, folders: Folders,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (job,) = jobs(load_plan(write_study(tmp_path, tiny_model_dir)), folders).values()
    monkeypatch.setattr(sys, "argv", ["worker"])
    for expected in (worker.DONE, worker.DONE):
        monkeypatch.setattr(sys, "stdin", io.StringIO(job.to_json()))
        with pytest.raises(SystemExit) as ended:
            worker.main()
        assert ended.value.code == expected
    command = read_cell(cell_path(folders.results, job.cell))["record"]["command"]
    assert command == "ntpscore study run small.toml"
    blocked = replace(job, work=tmp_path / "one.jsonl")
    monkeypatch.setattr(sys, "stdin", io.StringIO(blocked.to_json()))
    with pytest.raises(SystemExit) as ended:
        worker.main()
    assert "can't write" in str(ended.value.code)
