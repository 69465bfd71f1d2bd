"""The commands that forecast what LoRA gains."""

import json
from pathlib import Path

import pytest

from ntpscore.study.statistics import calibrate as module
from tests.support.cli_run import run_cli
from tests.support.paths import ROOT
from tests.support.studies import planted_records


def test_command_prints_what_was_found_and_a_forecast(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("study", "forecast", "--headroom", "0.3") == 0
    printed = capsys.readouterr().out
    assert "the score beside headroom does no better than headroom alone" in printed
    assert "headroom 0.300: LoRA gain +0.113" in printed
    assert run_cli("study", "forecast", "--json", "--without", "") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["points"], record["predictor"], record["forecast"]) == (96, "constant", None)
    assert run_cli("study", "forecast", "--json", "--headroom", "0.3") == 0
    found = json.loads(capsys.readouterr().out)["forecast"]
    assert found["low"] < found["gain"] < found["high"] <= 0.3
    assert run_cli("study", "forecast", "--headroom", "0.9") == 2
    assert "no forecast is made there" in capsys.readouterr().err
    assert run_cli("study", "forecast", "--without", "nothing") == 2
    assert "no data set is called 'nothing'" in capsys.readouterr().err


def test_numbers_in_the_documentation_are_those_of_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = ROOT / "docs" / "study.md"
    documented = page.read_text(encoding="utf-8")
    for options in (["--headroom", "0.3"], ["--without", ""]):
        assert run_cli("study", "forecast", *options) == 0
        printed = capsys.readouterr().out.splitlines()
        assert len(printed) > 8
        for line in printed:
            assert line.strip() in documented


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
