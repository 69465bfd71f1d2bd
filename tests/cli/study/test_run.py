"""The commands that run a study, and read what it left."""

import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from tests.support.cli_run import run_cli
from tests.support.studies import run_cells_in_this_process, write_study


@pytest.mark.slow
def test_the_study_commands(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run_cells_in_this_process(monkeypatch)
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
