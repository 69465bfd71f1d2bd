"""Calibrations of the LoRA gain from a study's own cells."""

from pathlib import Path

import numpy as np
import pytest

from ntpscore.errors import DataError, StudyError
from ntpscore.forecast.evidence import Evidence
from ntpscore.study.statistics import calibrate as module
from ntpscore.study.statistics.calibrate import calibrate_study
from tests.support.lora_points import forecast_result, scored
from tests.support.paths import ROOT
from tests.support.studies import planted_records


@pytest.fixture
def evidence(monkeypatch: pytest.MonkeyPatch) -> Evidence:
    monkeypatch.setattr(module, "load_records", lambda _: planted_records())
    return calibrate_study("results/mine")


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
