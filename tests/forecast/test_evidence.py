"""Calibrations of a study, kept in a file, used for new results."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ntpscore.errors import OutputError, StudyError
from ntpscore.forecast.evidence import Evidence
from ntpscore.forecast.gain import Forecast, calibrate_gain
from ntpscore.study.statistics import calibrate as module
from ntpscore.study.statistics.calibrate import calibrate_study
from tests.support.lora_points import forecast_result, made_points, scored
from tests.support.studies import planted_records


@pytest.fixture
def evidence(monkeypatch: pytest.MonkeyPatch) -> Evidence:
    monkeypatch.setattr(module, "load_records", lambda _: planted_records())
    return calibrate_study("results/mine")


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (scored(0.6, model="other"), "not of other"),
        (scored(0.6, task="regression"), "not of regression"),
        (scored(0.6, n_texts=10), "100 to 107 texts, these are 10"),
        (scored(0.6, n_texts=1000), "100 to 107 texts, these are 1000"),
        (scored(0.99), "outside"),
        (scored(-0.2), "outside"),
        (scored(float("nan")), "outside"),
        (scored(0.6, layer=2), "of the last layer"),
    ],
)
def test_nothing_is_forecast_where_the_evidence_does_not_reach(
    evidence: Evidence, record: dict[str, Any], why: str
) -> None:
    told = forecast_result(record, evidence)
    assert told["verdict"].startswith("no forecast: ")
    assert why in told["verdict"]
    assert told["gain"] is told["low"] is told["high"] is None


def test_the_place_of_the_score_is_used_where_it_helps() -> None:
    points = made_points(2, of_headroom=0.3, of_place=0.3, noise=0.0)
    rich = Evidence(calibrate_gain(points, basis="r2"), "made up", None)
    assert rich.calibration.predictor == "headroom_and_score"
    scores = np.sort(points.loc[points["model"] == "m1", "score"])
    middle = 1 - float(points["headroom"].median())
    told = [
        forecast_result(scored(middle, retained=one, model="m1"), rich)["gain"]
        for one in (scores[0] - 1, scores[5] + 1e-9, scores[-1] + 1)
    ]
    assert told[0] + 0.15 == pytest.approx(told[1], abs=1e-9)
    assert told[0] + 0.3 == pytest.approx(told[2], abs=1e-9)
    # At another's score it stands between being below and above that one.
    equal = forecast_result(scored(middle, retained=scores[5], model="m1"), rich)["gain"]
    assert told[0] + 0.3 * 5.5 / 12 == pytest.approx(equal, abs=1e-9)


def test_a_calibration_comes_back_from_its_file(evidence: Evidence, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    evidence.save(path)
    again = Evidence.load(path)
    assert forecast_result(scored(0.6), again) == forecast_result(scored(0.6), evidence)
    with pytest.raises(OutputError, match="can't write"):
        evidence.save(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "can't be read"),
        ("[]", "is no calibration"),
        ('{"kind": "cell"}', "is no calibration"),
        ('{"kind": "calibration", "schema_version": 9}', "schema version 9"),
        ('{"kind": "calibration", "schema_version": 1, "basis": "x"}', "basis 'x'"),
    ],
)
def test_a_file_that_is_no_calibration_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(StudyError, match=message):
        Evidence.load(path)


def test_gains_are_not_cut_by_what_least_squares_leaves() -> None:
    points = made_points(0, of_headroom=0.3)
    # Headrooms near zero and gains below: of an accuracy that can't be.
    shifted = points.assign(headroom=points["headroom"] - points["headroom"].min())
    by_r2 = calibrate_gain(shifted.assign(lora_gain=-shifted["headroom"] - 0.5), basis="r2")
    assert by_r2.forecast(0.6).gain == pytest.approx(-1.0)
    assert by_r2.forecast(0.2).gain == pytest.approx(-0.7)
    by_probe = calibrate_gain(shifted.assign(lora_gain=shifted["headroom"] + 0.5), basis="probe")
    assert by_probe.forecast(0.2).gain == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.05, 0.019, "a probe is enough: LoRA is likely to add at most 2 points"),
        (-0.3, -0.1, "a probe is enough: LoRA is likely to add at most 0 points"),
        (0.03, 0.26, "LoRA is likely to add 3 to 26 points"),
        (-0.04, 0.12, "too close to call: LoRA is likely to add -4 to +12 points"),
    ],
)
def test_verdicts_name_the_interval(low: float, high: float, verdict: str) -> None:
    assert Forecast((low + high) / 2, low, high, 3).verdict == verdict
