"""Small studies: a tiny model, files of labelled text, a study file."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ntpscore.core.score_names import SCORES
from ntpscore.study.run import cells, runner
from ntpscore.study.run.job import Job
from ntpscore.study.run.plan import cell_name
from ntpscore.study.run.worker import run_job
from tests.support.forecasts import held_out
from tests.support.labelled_texts import make_rows, write_rows

FAST = """
[options]
shuffles = 1
skip_sanity_check = true
steps = 2
epochs = 2
"""


def write_study(
    folder: Path,
    model: Path,
    *,
    data: tuple[str, ...] = ("one",),
    runs: str = '[[runs]]\nmethods = ["score"]\nfeature_texts = 0\n',
    n: int = 40,
) -> Path:
    """A study file and its data sets, in one folder; the model by its path."""
    for seed, name in enumerate(data):
        write_rows(folder / f"{name}.jsonl", make_rows(n, seed))
    path = folder / "small.toml"
    path.write_text(
        f'models = [{json.dumps(str(model))}]\ndata = {json.dumps(list(data))}\ndata_folder = "."\n'
        + FAST
        + runs,
        encoding="utf-8",
    )
    return path


def made_up_records(
    data_sets: int = 6, *, layers: int = 4, width: int = 40, seeds: int = 1
) -> list[dict[str, Any]]:
    """Cells of score, probe and LoRA with random numbers, as `load_records` reads them."""
    rng = np.random.default_rng(0)
    k = [step * width // 20 for step in range(1, 20)]
    records: list[dict[str, Any]] = []
    for i in range(data_sets):
        for seed in range(seeds):
            keys = {"status": "done", "model": "m", "data": f"d{i}", "seed": seed}
            grid: dict[str, Any] = {
                "layer": list(range(layers)), "k": k, "k_fraction": [one / width for one in k]
            }  # fmt: skip
            for score in SCORES:
                grid[score] = {
                    column: rng.random((layers, len(k))).round(4).tolist()
                    for column in ("value", "z")
                }
            rows = [
                {"layer": layer, "r2": rng.random(), "r2_adjusted": rng.random(),
                 "ols_mse": rng.random(), "next_token_k90": int(rng.integers(1, width))}
                for layer in range(layers)
            ]  # fmt: skip
            scored = {
                "model": {"width": width, "layers": layers - 1}, "layers": rows,
                "seconds": {"total": 1.0}, "data": {"n_texts": 80, "classes": ["a", "b"]},
                "accuracy": held_out(0.3 + 0.6 * i / data_sets),
            }  # fmt: skip
            records.append({**keys, "method": "score", "record": scored, "scores": grid})
            for method in ("probe", "lora", "scratch"):
                adapted = adapted_record(rng.random(), 1.0)
                records.append({**keys, "method": method, "record": adapted})
    return records


def write_records(results: Path, records: list[dict[str, Any]]) -> None:
    """A folder of results of `made_up_records`."""
    for record in records:
        path = results / f"{cell_name(*(record[key] for key in cells.IDENTITY))}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        head = {"schema_version": cells.SCHEMA_VERSION, "kind": cells.KIND}
        path.write_text(json.dumps({**head, **record}), encoding="utf-8")


def run_cells_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells run in this process: one of their own takes seconds to begin."""

    def run(_: list[str], *, input: str, **__: object) -> subprocess.CompletedProcess[str]:  # noqa: A002
        return subprocess.CompletedProcess([], run_job(Job.from_json(input)))

    monkeypatch.setattr(runner.subprocess, "run", run)


def patch_records(
    monkeypatch: pytest.MonkeyPatch, module: str = "ntpscore.study.statistics.tables"
) -> None:
    """Results of any folder are made-up cells, with losses and scores after LoRA.

    Args:
        monkeypatch: of the test.
        module: which loads them.
    """
    records = with_more_of_lora(made_up_records(4))
    monkeypatch.setattr(f"{module}.load_records", lambda _: records)


def with_more_of_lora(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with losses and scores after LoRA."""
    for record in records:
        if record["method"] == "lora":
            scored = next(r for r in records if r["data"] == record["data"])
            record["rescored"] = {"record": scored["record"], "scores": scored["scores"]}
            record["losses"] = {"step": [1, 2], "loss": [2.0, 1.0]}
    return records


def adapted_record(
    accuracy: float, seconds: float, *, converged: float | None = None
) -> dict[str, Any]:
    """The record of a method of `ntpscore adapt`, as far as its table looks at it."""

    def evaluation(value: float) -> dict[str, Any]:
        return {
            "accuracy": value, "accuracy_interval": [value - 0.1, value + 0.1],
            "macro_f1": value / 2, "majority_accuracy": 0.25,
        }  # fmt: skip

    record: dict[str, Any] = {
        "train": evaluation(0.9), "test": evaluation(accuracy), "seconds": {"total": seconds},
        "samples_seen": 5000,
    }  # fmt: skip
    if converged is not None:
        record["converged"] = {"train": evaluation(1.0), "test": evaluation(converged)}
    return record
