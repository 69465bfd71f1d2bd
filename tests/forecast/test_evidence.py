"""Forecasts from evidence: against loops, as often right as promised, and files that come back."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ntpscore.errors import DataError, StudyError
from ntpscore.forecast.evidence import Evidence
from tests.reference.study import jackknife_plus
from tests.support.forecasts import make_evidence, make_points
from tests.tolerances import CLOSED_FORM, SIGMAS


@pytest.mark.parametrize("models", [1, 3])
def test_forecast_and_interval_equal_loops(models: int) -> None:
    points = make_points(9, models=models)
    # Data sets with one model and with several weigh alike.
    points = points[(points["model"] == "m0") | points["data"].isin(["d1", "d2", "d5"])]
    evidence = Evidence(points, "mean_token", "made up", coverage=0.6)
    lists = [points[name].tolist() for name in ("estimate", "lora_accuracy", "data")]
    for estimate in (0.2, 0.5, 0.8):
        expected = jackknife_plus(lists[0], lists[1], lists[2], estimate, 0.6)
        assert evidence.forecast(estimate) == pytest.approx(expected, abs=CLOSED_FORM)


@pytest.mark.slow
def test_intervals_hold_a_new_data_set_as_often_as_promised() -> None:
    trials, held = 300, 0
    for seed in range(trials):
        points = make_points(9, seed)
        new = points.iloc[0]
        _, low, high = Evidence(points[1:], "mean_token", "", coverage=0.7).forecast(
            new["estimate"]
        )
        held += low <= new["lora_accuracy"] <= high
    assert held / trials >= 0.7 - SIGMAS * np.sqrt(0.7 * 0.3 / trials)


def test_an_accuracy_stays_one() -> None:
    evidence = make_evidence()
    for estimate in (0.0, 0.99, 1.0):
        accuracy, low, high = evidence.forecast(estimate)
        assert 0 <= low <= accuracy <= high <= 1


def test_evidence_comes_back_from_its_file(tmp_path: Path) -> None:
    evidence = make_evidence(samples_seen=123)
    path = tmp_path / "mine.json"
    evidence.save(path)
    again = Evidence.load(path)
    pd.testing.assert_frame_equal(again.points, evidence.points)
    assert (again.rule, again.source, again.coverage, again.samples_seen) == (
        evidence.rule, evidence.source, evidence.coverage, 123,
    )  # fmt: skip


def test_a_file_that_is_no_evidence_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    with pytest.raises(StudyError, match=r"mine.json is missing"):
        Evidence.load(path)
    make_evidence().save(path)
    text = path.read_text()
    for old, new, message in (
        ('"rule": "mean_token"', '"rule": "guess"', "of the rule 'guess'"),
        ('"schema_version": 2', '"schema_version": 1', "schema version 1"),
        ('"kind": "forecast evidence"', '"kind": "score"', "is no forecast evidence"),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(StudyError, match=message):
            Evidence.load(path)


@pytest.mark.parametrize(
    ("points", "coverage", "message"),
    [
        (make_points().drop(columns="frozen"), 0.7, "lack the columns frozen"),
        (make_points().assign(estimate=np.nan), 0.7, "missing or infinite values"),
        (pd.concat([make_points()] * 2), 0.7, "stand twice"),
        (make_points(4), 0.5, "4 data sets are too few"),
        (make_points(8), 0.8, "at most 0.778"),
        (make_points(8), 0.0, "can't promise"),
    ],
)
def test_points_that_are_wrong_are_refused(
    points: pd.DataFrame, coverage: float, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Evidence(points, "mean_token", "", coverage=coverage)


def test_a_data_set_can_be_left_out() -> None:
    evidence = make_evidence()
    assert set(evidence.without("d3").points["data"]) == {f"d{i}" for i in range(8) if i != 3}


def test_the_packaged_evidence_is_of_twelve_data_sets() -> None:
    evidence = Evidence.load()
    assert evidence.points["data"].nunique() == 12
    assert evidence.beyond().mean() > 0
