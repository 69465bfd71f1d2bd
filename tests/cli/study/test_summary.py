"""The page of a study's results is what the results say now."""

import re
import shlex
from pathlib import Path

import pytest

from ntpscore.cli.study.summary import FILE
from ntpscore.study.statistics import rules
from tests.support.cli_run import refusal, run_cli
from tests.support.paths import ROOT
from tests.support.studies import patch_records
from tests.support.summaries import read_summary

WRITTEN = sorted((ROOT / "results").glob(f"*/{FILE}"))


@pytest.mark.slow
@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.parent.name)
def test_a_committed_page_is_what_its_command_writes(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results" / page.parent.name
    results.mkdir(parents=True)
    for cells in page.parent.glob("*--*"):
        (results / cells.name).symlink_to(cells)
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    (command,) = re.findall(r"^Written by `ntpscore (.*)`;", text, re.MULTILINE)
    assert run_cli(*shlex.split(command)) == 0
    assert (results / FILE).read_text(encoding="utf-8") == text


def test_every_study_that_was_run_has_a_page() -> None:
    studies = {path.stem for path in (ROOT / "studies").glob("*.toml")}
    was_run = {name for name in studies if (ROOT / "results" / name).is_dir()}
    assert was_run
    assert {page.parent.name for page in WRITTEN} == was_run


@pytest.mark.slow
def test_a_page_leaves_out_what_was_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    patch_records(monkeypatch, "ntpscore.cli.study.summary")
    monkeypatch.setattr(rules, "SCORES", ("algorithm1", "retained"))
    assert run_cli("study", "tables", tmp_path, "--write", "--permutations", 20) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / FILE)
    sections = read_summary(tmp_path / FILE)
    assert "Scores and `lora_gain`" in sections
    # There is no logistic regression among the made-up cells, one seed, and no data set left out.
    assert not any(
        title.startswith(("Seed", "Without")) or "logistic" in title for title in sections
    )


def test_a_page_of_some_scores_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--write holds everything" in refusal(
        capsys, "study", "tables", tmp_path, "--write", "--score", "r2"
    )
