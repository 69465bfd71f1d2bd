"""`ntpscore study plan`."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest

from tests.support.cli_run import run_cli

STUDY = Path(__file__).parents[3] / "studies/paper.toml"


def test_every_cell_is_in_csv_and_json_and_the_table_has_their_sum(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_cli("study", "plan", STUDY, "--csv") == 0
    frame = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert run_cli("study", "plan", STUDY, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == len(frame) == 456
    assert run_cli("study", "plan", STUDY) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    total = next(line for line in printed.splitlines() if "in all" in line)
    assert f"{frame['hours'].sum():,.2f}" in total
    assert f"{frame['memory_bytes'].max() / 1e9:.1f}" in total


def test_a_study_of_unknown_models_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "own.toml"
    study.write_text('models = ["a/b"]\ndata = ["imdb"]\n[[runs]]\nmethods = ["score"]\n')
    assert run_cli("study", "plan", study) == 0
    assert "number of texts is unknown: 1 of" in capsys.readouterr().out
    assert run_cli("study", "plan", study, "--tflops", "0") == 2
