"""The commands that draw the paper's figures and read its points."""

import json
from pathlib import Path

import pytest

from ntpscore.study.paper.published import COLUMNS
from tests.support.cli_run import run_cli
from tests.support.labelled_texts import make_rows, write_rows
from tests.support.paths import ROOT
from tests.support.studies import patch_records


@pytest.mark.slow
def test_the_figures_command_names_what_it_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "figures"
    patch_records(monkeypatch)
    assert run_cli("study", "figures", tmp_path, "--out", out, "--format", "svg") == 0
    printed = capsys.readouterr()
    assert str(out / "figure_3_algorithm1.svg") in printed.out
    assert "left out: sweep_algorithm1_logistic_accuracy_m: " in printed.err


def test_the_words_command_draws_and_prints(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "data.jsonl", make_rows(60))
    out = tmp_path / "words.png"
    few = ("--words", 20, "--csv", "--skip-sanity-check")
    assert run_cli("study", "words", tiny_model_dir, data, "--out", out, *few) == 0
    assert out.stat().st_size > 10_000
    assert capsys.readouterr().out.startswith("word,count,emotion")


@pytest.mark.slow
def test_command_prints_a_table_json_and_csv(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("study", "published") == 0
    table = capsys.readouterr().out
    assert "without medical: score -0.66, error +0.61" in table
    assert run_cli("study", "published", "--json", "--without", "sst2") == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 48
    assert {row["without"] for row in rows} == {"", "sst2"}
    assert run_cli("study", "published", "--csv") == 0
    assert capsys.readouterr().out.splitlines()[0] == ",".join(COLUMNS)
    assert run_cli("study", "published", "--csv", "--json") == 2
    assert "give one of them" in capsys.readouterr().err


@pytest.mark.slow
def test_figure_is_drawn_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "published.png"
    assert run_cli("study", "published", "--json", "--figure", str(picture)) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(json.loads(capsys.readouterr().out)) == 48
    assert run_cli("study", "published", "--figure", str(tmp_path / "picture.nothing")) == 2
    assert "can't draw into" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["published.png"]


@pytest.mark.slow
def test_numbers_in_the_documentation_are_those_of_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_cli("study", "published")
    documented = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    means = [line for line in capsys.readouterr().out.splitlines() if ": score " in line]
    assert len(means) == 2
    for line in means:
        assert line.strip() in documented
