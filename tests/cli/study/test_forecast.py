"""The command that compares forecasts, and writes evidence."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from ntpscore.forecast.evidence import Evidence
from ntpscore.study.statistics import forecasts
from tests.support.cli_run import run_cli
from tests.support.forecasts import study_records


def test_the_forecast_command_prints_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    records = study_records(8, seeds=2)
    monkeypatch.setattr("ntpscore.study.run.cells.load_records", lambda *_: records)
    asked = []
    table = forecasts.compare_forecasts(forecasts.forecast_points(records), ["*/lora-0"])

    def compare(_: object, known: Sequence[str]) -> pd.DataFrame:
        asked.append(list(known))
        return table

    monkeypatch.setattr(forecasts, "compare_forecasts", compare)
    out = tmp_path / "mine.json"
    few = ("study", "forecast", tmp_path, "--known", "*/lora-0")
    assert run_cli(*few, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "known cells, 8 sets" in printed
    assert "new cells: m0, 8 sets" in printed
    assert "mean_token" in printed
    evidence = Evidence.load(out)
    assert evidence.source == f"the study {tmp_path.name}"
    assert len(evidence.points) == 8
    assert run_cli(*few, "--csv") == 0
    found = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert set(found["cells"]) == {"known", "m0"}
    assert run_cli(*few, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == len(table) == len(found)
    assert asked == [["*/lora-0"]] * 3
    other = tmp_path / "other"
    other.mkdir()
    assert run_cli("study", "forecast", tmp_path, other, "--out", out) == 0
    assert Evidence.load(out).source == f"the study {tmp_path.name}, other"
    assert run_cli("study", "forecast", tmp_path, tmp_path / "none") == 2
    assert "there is no file or folder" in capsys.readouterr().err
    assert run_cli("score", "m", "d", "--calibration", tmp_path / "none.json") == 2
