"""The main job runs without the packages of extras; what needs one says how to get it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli_run import refusal
from tests.support.labelled_texts import make_rows, write_rows
from tests.support.score_results import make_moments, make_result

# Hidden as if they were not installed.
_RUN = """
import sys
HIDDEN = {"peft", "textblob", "matplotlib", "openpyxl", "plotly"}

class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *rest):
        return None if name.partition(".")[0] in HIDDEN else self.finder.find_spec(name, *rest)

sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
model, data, folder = sys.argv[1:]
from ntpscore.cli.main import run

def ends_with(code, *arguments):
    print("$", *arguments, file=sys.stderr)
    try:
        run([*arguments])
        ended = 0
    except SystemExit as error:
        ended = error.code
    if (ended or 0) != code:
        sys.exit(f"{arguments} ended with {ended} instead of {code}")

quick = ("--shuffles", "1", "--skip-sanity-check")
ends_with(0, "score", model, data, "--out", f"{folder}/score", *quick)
ends_with(0, "show", f"{folder}/score")
ends_with(0, "rank", data, model, *quick)
ends_with(0, "adapt", model, data, "--out", f"{folder}/adapt")
ends_with(0, "predict", f"{folder}/adapt", data, "--out", f"{folder}/labels.csv")
ends_with(2, "adapt", model, data, "--method", "lora")
ends_with(2, "show", f"{folder}/score", "--plot", f"{folder}/a.png")
ends_with(2, "report", f"{folder}/score")
ends_with(2, "study", "published", "--figure", f"{folder}/b.png")
with open(f"{folder}/a.xlsx", "wb") as file:
    file.write(b"PK")
ends_with(2, "score", model, f"{folder}/a.xlsx")
print("all ran")
"""


@pytest.mark.slow
def test_the_main_job_needs_no_extra_and_what_does_names_it(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    data = write_rows(tmp_path / "data.jsonl", make_rows(40))
    ended = subprocess.run(
        [sys.executable, "-c", _RUN, tiny_model_dir, data, tmp_path],
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("all ran\n")
    told = [line for line in ended.stderr.splitlines() if "pip install" in line]
    for line, (package, extra) in zip(
        told,
        (("peft", "lora"), ("matplotlib", "report"), ("plotly", "report"), ("matplotlib", "study"),
         ("openpyxl", "excel")),
        strict=True,
    ):  # fmt: skip
        assert f"the package {package}: pip install 'ntpscore[{extra}]'" in line


def test_a_missing_package_is_named_with_its_extra(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    data = write_rows(tmp_path / "data.jsonl", make_rows(40))
    table, picture = tmp_path / "a.xlsx", tmp_path / "a.png"
    table.write_bytes(b"PK")
    scored = make_result(make_moments()).save(tmp_path / "score")
    for package, extra, arguments in (
        ("peft", "lora", ("adapt", tiny_model_dir, data, "--method", "lora")),
        ("matplotlib", "report", ("show", scored, "--plot", picture)),
        ("plotly", "report", ("report", scored)),
        ("matplotlib", "study", ("study", "published", "--figure", picture)),
        ("openpyxl", "excel", ("score", tiny_model_dir, table)),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)  # its import fails
            told = " ".join(refusal(capsys, *arguments).split())
        assert f"the package {package}: pip install 'ntpscore[{extra}]'" in told
