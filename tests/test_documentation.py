"""Every command and every Python example in the README and the docs is one that works."""

import shlex
import subprocess
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import transformers

from ntpscore import ScoreResult, adapt
from ntpscore.adapt.methods import METHODS
from ntpscore.models.load import load_once
from ntpscore.study.run import runner
from ntpscore.text import Splits
from tests.support.adapt_results import make_adapt_result
from tests.support.cli_run import run_cli
from tests.support.documentation import blocks, commands, quotations
from tests.support.paths import ROOT
from tests.support.rankings import make_ranking
from tests.support.score_results import make_moments, make_result


@pytest.fixture(scope="module")
def small() -> ScoreResult:
    return make_result(make_moments())


@pytest.fixture
def result(small: ScoreResult, monkeypatch: pytest.MonkeyPatch) -> ScoreResult:
    """A small result, which `score` and `load_result` give; `rank_models` gives a small ranking."""
    monkeypatch.setattr("ntpscore.scoring.run.score", lambda *_, **__: small)
    monkeypatch.setattr("ntpscore.scoring.result.load_result", lambda *_, **__: small)
    adapted = make_adapt_result()
    for method in METHODS:
        monkeypatch.setattr(f"ntpscore.adapt.{method}.fit_{method}", lambda *_, **__: adapted)
        monkeypatch.setattr(adapt, f"fit_{method}", lambda *_, **__: adapted, raising=False)
    labeller = MagicMock(predict=list, predict_proba=list)
    labeller.readout.task = "regression"
    monkeypatch.setattr("ntpscore.adapt.predictor.Predictor", lambda *_, **__: labeller)
    monkeypatch.setattr("ntpscore.load_predictor", lambda *_, **__: labeller, raising=False)
    monkeypatch.setattr("ntpscore.adapt.label_file.write_labels", lambda *_, **__: 0)
    monkeypatch.setattr("ntpscore.text.unlabelled.load_unlabelled", lambda *_, **__: [])
    lent = nullcontext(MagicMock())
    monkeypatch.setattr("ntpscore.load_adapter", lambda *_: lent, raising=False)
    monkeypatch.setattr("ntpscore.text.load_splits", lambda *_, **__: Splits(None, None))
    monkeypatch.setattr("ntpscore.text.describe_reading", lambda _: [], raising=False)
    monkeypatch.setattr("ntpscore.models.locate.check_model_exists", lambda *_, **__: None)
    monkeypatch.setattr("ntpscore.models.locate.check_short_name", lambda *_, **__: None)
    monkeypatch.setattr("ntpscore.text.open.check_data_exists", lambda *_, **__: None)
    monkeypatch.setattr("ntpscore.models.load_model", lambda *_, **__: None)
    monkeypatch.setattr("ntpscore.load_model", lambda *_, **__: None, raising=False)
    monkeypatch.setattr("ntpscore.report.write.write_report", lambda *_: Path("report.html"))
    monkeypatch.setattr("ntpscore.rank.run.rank_models", lambda *_, **__: make_ranking())
    monkeypatch.setattr("ntpscore.integrations.trackers.log_to", lambda *_: None)
    # Study files and results are the repository's, cells are not run.
    for run in ("_run_here", "_run_on_ray"):
        monkeypatch.setattr(runner, run, lambda *_: ())
    return small


# Every rule, score and layer of our own study; `study rules` is run on few in tests/cli/study.
_LONG = {"ntpscore study rules results/smollm2"}
# Those whose output is quoted are run where that is compared.
UNQUOTED = [
    pytest.param(
        command,
        marks=[pytest.mark.slow] * ("--write" in command or command in _LONG),
        id=command,
    )
    for command in commands("ntpscore ")
    if command not in {quoted for quoted, _ in quotations()}
]


@pytest.mark.parametrize("command", UNQUOTED)
def test_command_in_the_documentation_is_understood(
    command: str, result: ScoreResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    for study in ("smollm2", "adapt"):
        (tmp_path / "results" / study).mkdir()
        # What a command writes there stays here.
        for cells in (ROOT / "results" / study).glob("*--*"):
            (tmp_path / "results" / study / cells.name).symlink_to(cells)
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command.split(" | ", maxsplit=1)[0].split(" > ", maxsplit=1)[0])
    if words[1] in ("show", "predict", "report"):
        for folder in words[2 : 3 + (words[1] == "report")]:
            Path(folder).mkdir(parents=True, exist_ok=True)
    assert run_cli(*words[1:]) == 0


@pytest.mark.parametrize("command", commands("make "))
def test_make_target_in_the_documentation_exists(command: str) -> None:
    target = command.split()[1]
    ended = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 0


@pytest.mark.parametrize("example", blocks("python"))
def test_python_in_the_documentation_runs(
    example: str,
    result: ScoreResult,
    tiny_model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in (transformers.AutoModelForCausalLM, transformers.AutoTokenizer):

        def load(name: object, *more: object, real=kind.from_pretrained, **keywords: object):
            return real(tiny_model_dir if name == "Qwen/Qwen2-0.5B" else name, *more, **keywords)

        monkeypatch.setattr(kind, "from_pretrained", load)
    small = partial(load_once, tiny_model_dir)
    monkeypatch.setattr("ntpscore.integrations.sklearn.load_once", lambda _, how: small(how))
    names: dict[str, object] = {}
    exec(compile(example, "documentation", "exec"), names)  # noqa: S102
    assert names


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_documentation_has_commands_and_examples() -> None:
    assert commands("ntpscore ")
    assert commands("make ")
    assert blocks("python")
