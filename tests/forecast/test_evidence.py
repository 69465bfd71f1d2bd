"""Calibrations of a study, kept in a file, used for new results."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ntpscore.errors import DataError, OutputError, StudyError
from ntpscore.forecast.evidence import Evidence, forecast_gain
from ntpscore.forecast.gain import Forecast, calibrate_gain
from ntpscore.scoring.result import ScoreResult
from ntpscore.study.statistics import calibrate as module
from ntpscore.study.statistics.calibrate import calibrate_study
from tests.forecast.test_gain import made_points
from tests.support.cli_run import run_cli
from tests.support.paths import ROOT
from tests.support.studies import made_up_records


def planted_records(data_sets: int = 8) -> list[dict[str, Any]]:
    """A study in which LoRA gains half of what least squares leaves."""
    records = made_up_records(data_sets, seeds=2)
    rng = np.random.default_rng(3)
    for i in range(data_sets):
        r2, probe = 0.9 - 0.8 * i / data_sets, 0.3 + 0.05 * i
        for record in records:
            if record["data"] != f"d{i}":
                continue
            if record["method"] == "score":
                record["record"]["layers"][-1]["r2_adjusted"] = r2
            accuracy = {"probe": probe, "lora": probe + 0.5 * (1 - r2)}.get(record["method"], 0.5)
            record["record"] |= {
                "test": {"accuracy": accuracy + 0.002 * rng.normal()},
                "data": {"train": {"n_texts": 100 + i}},
            }
    return records


@pytest.fixture
def evidence(monkeypatch: pytest.MonkeyPatch) -> Evidence:
    monkeypatch.setattr(module, "load_records", lambda _: planted_records())
    return calibrate_study("results/mine")


def scored(r2: float, *, retained: float = 0.5, layer: int = 3, **changed: Any) -> ScoreResult:
    data = {"task": "classification", "n_texts": 120}
    record = {
        "model": {"id": changed.pop("model", "m"), "layers": 3, "width": 40},
        "data": data | changed,
        "layers": [{"layer": layer, "r2_adjusted": r2}],
    }
    frame = pd.DataFrame(
        {"score": "retained", "layer": [2, 3, 3], "k": [20, 18, 20], "value": [0.0, 0.0, retained],
         "shuffled_mean": 0.0, "shuffled_sd": 1.0}
    )  # fmt: skip
    return ScoreResult(record, frame=frame)


def forecast_result(result: ScoreResult, evidence: Evidence) -> dict[str, Any]:
    return forecast_gain(result.record, result.table(), evidence)


def test_a_study_is_calibrated_on_what_least_squares_leaves(evidence: Evidence) -> None:
    found = evidence.calibration
    assert found.predictor == "headroom"
    assert found.basis == "r2"
    assert evidence.n_texts == (100, 107)
    assert evidence.source == "the study mine"
    points = found.points.set_index("data")
    assert points["headroom"]["d2"] == pytest.approx(1 - (0.9 - 0.2))
    # Two seeds of noise 0.002 on both accuracies.
    assert points["lora_gain"]["d2"] == pytest.approx(0.15, abs=0.01)
    told = forecast_result(scored(0.6), evidence)
    assert told["gain"] == pytest.approx(0.2, abs=0.01)
    assert told["low"] <= told["gain"] <= told["high"]
    assert told["headroom"] == pytest.approx(0.4)
    assert told["verdict"].startswith("LoRA is likely to add 19 to 2")
    assert "the study mine: 8 data sets, m; 80% interval by headroom" in told["evidence"]


def test_the_probe_is_another_basis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_records", lambda _: planted_records())
    found = calibrate_study("results/mine", basis="probe", without="d7")
    points = found.calibration.points.set_index("data")
    assert points["headroom"]["d3"] == pytest.approx(1 - 0.45, abs=0.01)
    assert "d7" not in points.index
    told = forecast_result(scored(0.6), found)
    assert told["gain"] is None
    assert "needs the probe's accuracy" in told["verdict"]


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


def test_the_packaged_calibration_is_of_the_committed_study() -> None:
    packaged = Evidence.load()
    results = ROOT / "results" / "smollm2"
    made = calibrate_study(results)
    assert packaged.source == made.source
    assert packaged.n_texts == made.n_texts
    key = ["model", "data"]
    one, other = (
        e.calibration.points.set_index(key).sort_index()[["headroom", "score", "lora_gain"]]
        for e in (packaged, made)
    )
    assert one.index.tolist() == other.index.tolist()
    np.testing.assert_allclose(one.to_numpy(), other.to_numpy(), rtol=0, atol=1e-12)


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


def test_what_cannot_be_calibrated_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StudyError, match=r"missing.json is missing"):
        Evidence.load(tmp_path / "missing.json")
    records = [r for r in planted_records() if r["method"] != "lora"]
    monkeypatch.setattr(module, "load_records", lambda _: records)
    with pytest.raises(StudyError, match="holds no LoRA gain yet"):
        calibrate_study("results/mine")
    monkeypatch.setattr(module, "load_records", lambda _: planted_records(4))
    with pytest.raises(DataError, match="4 data sets are too few"):
        calibrate_study("results/mine")


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


def test_the_calibrate_command_prints_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "load_records", lambda _: planted_records())
    out = tmp_path / "mine.json"
    assert run_cli("study", "calibrate", "results/mine", "--out", out) == 0
    printed = capsys.readouterr().out
    assert "LoRA gain of 8 points of the study mine" in printed
    assert "Headroom is 1 - r2_adjusted" in printed
    assert run_cli("study", "forecast", "--calibration", out, "--headroom", "0.3", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["basis"] == "r2"
    assert record["forecast"]["gain"] == pytest.approx(0.15, abs=0.01)
    assert run_cli("score", "m", "d", "--calibration", tmp_path / "none.json") == 2
