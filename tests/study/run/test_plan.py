"""Study files."""

from pathlib import Path

import pytest

from ntpscore.adapt import LoraConfig
from ntpscore.errors import StudyError
from ntpscore.models.options import ModelOptions
from ntpscore.scoring.config import ScoreConfig
from ntpscore.study.run.plan import Cell, load_plan
from ntpscore.study.run.runner import Folders, study_status
from ntpscore.text.options import SplitOptions
from tests.support.paths import ROOT

STUDIES = ROOT / "studies"

PLAN = """
models = ["hub/model-1", "two"]
data = ["emotion", "pairs"]

[sources]
pairs = "hub/pairs"

[options]
max_texts = 100
max_length = 64
shuffles = 3

[model_options.two]
dtype = "float32"

[data_options.pairs]
pair_column = "second"
max_texts = 50
data_revision = "abc"

[[runs]]
methods = ["score", "probe"]
seeds = [0, 7]

[[runs]]
methods = ["lora"]
models = ["two"]
data = ["pairs"]
learning_rate = 1e-3
max_length = 32
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def by_name(path: Path, **options: object) -> dict[str, Cell]:
    return {cell.name: cell for cell in load_plan(path, **options).cells}


def test_a_plan_has_a_cell_for_every_model_data_set_method_and_seed(tmp_path: Path) -> None:
    plan = load_plan(write(tmp_path, PLAN))
    assert plan.name == "plan"
    names = [cell.name for cell in plan.cells]
    assert len(names) == len(set(names)) == 2 * 2 * 2 * 2 + 1
    assert names[0] == "hub-model-1--emotion/score-0"
    assert names[-1] == "two--pairs/lora-0"
    assert {(cell.model, cell.data, cell.method, cell.seed) for cell in plan.cells} >= {
        ("hub/model-1", "emotion", "probe", 7),
        ("two", "pairs", "score", 0),
    }


def test_options_of_a_run_win_over_those_of_data_of_model_and_of_all(tmp_path: Path) -> None:
    cells = by_name(write(tmp_path, PLAN))
    lora = cells["two--pairs/lora-0"]
    assert lora.options == {
        "dtype": "float32", "data_revision": "abc", "learning_rate": 1e-3, "max_length": 32,
        "max_texts": 50, "pair_column": "second",
    }  # fmt: skip
    assert lora.source == "hub/pairs"
    assert lora.config() == LoraConfig(learning_rate=1e-3, max_length=32)
    assert lora.model_options() == ModelOptions(dtype="float32")
    assert lora.data_options() == SplitOptions(
        data_revision="abc", max_texts=50, pair_column="second"
    )
    score = cells["hub-model-1--emotion/score-7"]
    assert score.options == {"max_length": 64, "max_texts": 100, "shuffles": 3}
    assert score.config() == ScoreConfig(max_length=64, shuffles=3, seed=7)
    assert score.source == "emotion"
    # A probe knows nothing of shuffles.
    assert "shuffles" not in cells["hub-model-1--emotion/probe-0"].options


def test_data_are_read_from_a_folder_that_has_them(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "emotion.csv").write_text("text,label\n")
    cells = by_name(write(tmp_path, PLAN), data_folder=tmp_path / "here")
    assert cells["two--emotion/score-0"].source == str(tmp_path / "here" / "emotion.csv")
    assert cells["two--pairs/score-0"].source == "hub/pairs"
    named = by_name(write(tmp_path, 'data_folder = "here"\n' + PLAN))
    assert named["two--emotion/score-0"].source == str(tmp_path / "here" / "emotion.csv")


def test_lists_become_what_a_configuration_takes(tmp_path: Path) -> None:
    text = 'models = ["m"]\ndata = ["d"]\n[[runs]]\nmethods = ["score"]\nlayers = [0, 2]\n'
    assert load_plan(write(tmp_path, text)).cells[0].config().layers == (0, 2)


SMALL = 'models = ["m"]\ndata = ["d"]\n'
RUN = '[[runs]]\nmethods = ["score"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models = [", "is no TOML"),
        (SMALL, r"needs at least one table \[\[runs\]\]"),
        (SMALL + "runs = 3", r"needs at least one table \[\[runs\]\]"),
        ('data = ["d"]\n' + RUN, "models must be a list of texts"),
        ('models = "m"\ndata = ["d"]\n' + RUN, "models must be a list of texts"),
        ('models = ["m", "m"]\ndata = ["d"]\n' + RUN, "each once"),
        ('models = ["m/n", "m-n"]\ndata = ["d"]\n' + RUN, "the same but for signs"),
        (SMALL + "colour = 1\n" + RUN, "colour is not known"),
        (SMALL + "data_folder = 1\n" + RUN, "data_folder must be a text"),
        (SMALL + "sources = 1\n" + RUN, "sources must be a table"),
        (SMALL + '[sources]\nother = "x"\n' + RUN, "sources.other is not known"),
        (SMALL + "[sources]\nd = 3\n" + RUN, "sources.d must be a text"),
        (SMALL + "[options]\ncolour = 1\n" + RUN, "options.colour is not known"),
        (SMALL + "[data_options]\nd = 1\n" + RUN, "data_options.d must be a table"),
        (SMALL + '[data_options.d]\ndtype = "x"\n' + RUN, "data_options.d.dtype is not known"),
        (SMALL + "[model_options.m]\nsteps = 1\n" + RUN, "model_options.m.steps is not known"),
        (SMALL + '[[runs]]\nmethods = ["guess"]\n', "number 1: there is no method 'guess'"),
        (SMALL + RUN + "steps = 3\n", "number 1: steps is not known for score"),
        (SMALL + RUN + "max_test_texts = 3\n", "max_test_texts is not known for score"),
        (SMALL + RUN + 'data = ["e"]\n', "data has 'e', which the file's own data lacks"),
        (SMALL + RUN + "seeds = [true]\n", "seeds must be a list of whole numbers"),
        (SMALL + RUN + "shuffles = -1\n", "number 1: score: shuffles must be at least 0"),
        (SMALL + RUN + 'shuffles = "many"\n', "number 1: score: "),
        (SMALL + RUN + "shuffles = 1\n" + RUN, "m--d/score-0 is there already, with other options"),
        (SMALL + '[[runs]]\nmethods = ["rank"]\nlayers = [1]\n', "layers is not known for rank"),
    ],
)
def test_what_makes_no_sense_is_named_with_its_place(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(StudyError, match=message) as raised:
        load_plan(write(tmp_path, text))
    assert str(tmp_path / "plan.toml") in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="there is no study file"):
        load_plan(tmp_path / "missing.toml")
    with pytest.raises(StudyError, match="can't read"):
        load_plan(tmp_path)


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_studies_of_the_repository_make_sense(path: Path, tmp_path: Path) -> None:
    plan = load_plan(path)
    assert plan.cells
    # Cells that were made with other options than the file says are refused here.
    status = study_status(plan, Folders(ROOT / "results" / path.stem, tmp_path))
    assert status.count("failed") == 0
    assert status.count("done") in {0, len(plan.cells)}
