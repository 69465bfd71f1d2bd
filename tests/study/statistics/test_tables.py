"""The tables of a study, from its cells."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ntpscore.errors import StudyError
from ntpscore.study.run import worker
from ntpscore.study.run.cells import load_records
from ntpscore.study.run.job import Job
from ntpscore.study.run.plan import load_plan
from ntpscore.study.run.runner import Folders
from ntpscore.study.run.worker import run_job
from ntpscore.study.statistics.tables import (
    StudyTables,
    outcomes_table,
    scores_table,
)
from tests.support.studies import write_study


@pytest.fixture(scope="module")
def results(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of one data set, really scored and probed."""
    runs = '[[runs]]\nmethods = ["score", "probe"]\nseeds = [0, 1]\nmax_texts = 30\n'
    folder = tmp_path_factory.mktemp("study")
    folders = Folders(folder / "results", folder / "work")
    plan = load_plan(write_study(folder, tiny_model_dir, runs=runs))
    for cell in plan.cells:
        assert run_job(Job(cell, folders.results, folders.work, ("x",))) == worker.DONE
    return folders.results


def test_seeds_are_averaged(results: Path) -> None:
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


def test_cells_of_one_seed_are_taken_alone(results: Path) -> None:
    records = load_records(results)
    alone = StudyTables.of([record for record in records if record["seed"] == 1])
    chosen = StudyTables.load(results, seeds=[1])
    pd.testing.assert_frame_equal(chosen.scores, alone.scores)
    pd.testing.assert_frame_equal(chosen.outcomes, alone.outcomes)
    assert not chosen.scores.equals(StudyTables.load(results).scores)


def test_unknown_names_are_named(results: Path, tmp_path: Path) -> None:
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


def test_rivals_that_fall_where_probes_do_well_are_turned() -> None:
    rng = np.random.default_rng(0)
    names = [f"data {i}" for i in range(6)]
    reached = rng.random(6)
    scores = pd.DataFrame(
        {"model": "m", "data": names, "layer": np.nan, "k_fraction": np.nan,
         "score": "ridge_error", "value": 1 - reached}
    )  # fmt: skip
    outcomes = pd.DataFrame(
        {"model": "m", "data": names, "outcome": "probe_accuracy", "value": reached}
    )
    tables = StudyTables(scores, outcomes, outcomes[:0], scores[:0], scores[:0])
    (row,) = tables.summary().to_dict(orient="records")
    assert row["expected"] == -1
    assert row["r_best"] == pytest.approx(-1)
