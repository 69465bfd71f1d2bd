"""What docs/study.md quotes of our own study is what the commands print."""

import math
import re
import shlex

import pytest

from ntpscore.study.paper.paper_tables import probe_against_scratch, score_after_lora
from ntpscore.study.statistics.tables import StudyTables
from tests.support.cli_run import run_cli
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "study.md"
QUOTED = re.compile(
    r"```bash\n(ntpscore study [^\n]*results/[^\n]*)\n```\n\n```text\n(.*?)```", re.DOTALL
)


def quotations() -> list[tuple[str, str]]:
    return QUOTED.findall(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("command", "text"), quotations(), ids=[command for command, _ in quotations()]
)
def test_tables_of_our_own_study_are_what_the_commands_print(
    command: str, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "120")
    assert run_cli(*shlex.split(command)[1:]) == 0
    printed = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())
    assert printed.strip("\n") == text.strip("\n")


def test_the_page_quotes_tables_rules_and_forecast() -> None:
    assert {shlex.split(command)[2] for command, _ in quotations()} == {
        "tables", "rules", "calibrate",
    }  # fmt: skip


def test_the_papers_tables_on_the_page_are_of_the_committed_study() -> None:
    tables = StudyTables.load(ROOT / "results" / "smollm2", models=["smollm2-135m"])
    before, after = tables.before_lora, tables.after_lora
    frames = [
        probe_against_scratch(tables.outcomes),
        score_after_lora(before, after, score="published").table,
    ]
    page = PAGE.read_text(encoding="utf-8")
    for frame in frames:
        for data, row in frame.iterrows():
            numbers = ["–" if math.isnan(one) else f"{one:.2f}" for one in row]
            assert f"| {data} | {' | '.join(numbers)} |" in page
