"""Every option of every class of options refuses values of another type, and says so."""

import inspect
import re
from dataclasses import Field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
import pandas as pd
import pytest
import torch

from ntpscore import score
from ntpscore.adapt.methods import METHODS
from ntpscore.cli.main import app
from ntpscore.errors import NtpscoreError, StudyError
from ntpscore.models.options import ModelOptions
from ntpscore.scoring.config import ScoreConfig
from ntpscore.study.run.plan import load_plan
from ntpscore.text.options import SplitOptions
from tests.support.cli_run import run_cli
from tests.support.paths import ROOT

# What is of which types: a whole number is a number too, a truth value is neither.
VALUES: list[tuple[Any, set[object]]] = [
    ("x", {str, Literal}),
    (7, {int, float}),
    (1.5, {float}),
    (True, {bool}),
    (None, {type(None)}),
    ((), {tuple[int, ...], tuple[str, ...]}),
    ((7,), {tuple[int, ...]}),
    (["x"], {tuple[str, ...]}),
    ((True,), set()),
    ((1.5, None), set()),
    ({"x": 1}, {dict[str, Any]}),
    (b"x", set()),
    (1j, set()),
    (object, set()),
]


def _classes() -> list[type]:
    """The classes that have fields made by `option`."""
    found = {}
    for path in sorted((ROOT / "src" / "ntpscore").rglob("*.py")):
        if "= option(" in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
            for kind in vars(import_module(name)).values():
                if isinstance(kind, type) and is_dataclass(kind):
                    found[kind] = any("help" in f.metadata for f in fields(kind))
    return sorted((kind for kind, is_ours in found.items() if is_ours), key=lambda k: k.__name__)


def _leaves(kind: Any) -> set[object]:
    """The types of a union, every choice of texts being one of them."""
    each = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return {Literal if get_origin(one) is Literal else one for one in each}


CLASSES = _classes()
FIELDS = [(kind, field) for kind in CLASSES for field in fields(kind)]


def test_all_classes_of_options_are_found() -> None:
    configs = {method.config for method in METHODS.values()}
    assert {ScoreConfig, SplitOptions, ModelOptions, *configs} < set(CLASSES)
    known = set[object]().union(*(of for _, of in VALUES))
    assert set[object]().union(*(_leaves(field.type) for _, field in FIELDS)) <= known | {Any}


@pytest.mark.parametrize(
    ("kind", "field"), FIELDS, ids=[f"{k.__name__}.{f.name}" for k, f in FIELDS]
)
def test_a_value_of_another_type_is_named_with_what_is_wanted(kind: Any, field: Field[Any]) -> None:
    leaves = _leaves(field.type)
    refused = 0
    for value, of in VALUES:
        wrong = rf"^{field.name} must be (a|one|True|None).*, got {re.escape(repr(value))}$"
        if of & leaves or Any in leaves:
            told = ""
            try:
                kind(**{field.name: value})
            except NtpscoreError as error:  # of the right type, and still no sense
                told = str(error)
            assert not re.search(wrong, told)
        else:
            refused += 1
            with pytest.raises(NtpscoreError, match=wrong):
                kind(**{field.name: value})
    assert refused >= 8 or Any in leaves


def test_what_is_wanted_is_told_in_words() -> None:
    for options, message in (
        ({"shuffles": "x"}, "shuffles must be a whole number, got 'x'"),
        ({"layers": [0, "b"]}, "layers must be a tuple of whole numbers or a text or None, got"),
        ({"until": "0.1"}, "until must be a number or None, got '0.1'"),
        ({"max_texts": 1.5}, "max_texts must be a whole number or None, got 1.5"),
        ({"task": 3}, "task must be one of auto, classification, regression, multilabel, got 3"),
        ({"device_map": 1}, "device_map must be a text or a dictionary or None, got 1"),
        ({"skip_bad_rows": 1}, "skip_bad_rows must be True or False, got 1"),
    ):
        with pytest.raises(NtpscoreError, match=re.escape(message)):
            score("there is no such model", "nor data", **options)


def test_numbers_of_numpy_and_torch_lists_and_paths_become_what_a_record_holds() -> None:
    config = ScoreConfig(
        layers=np.arange(2), shuffles=np.int64(3), seed=torch.tensor(4), until=np.float32(0.5),
        until_scores=["r2"], skip_sanity_check=np.bool_(True), checkpoint_seconds=7,
    )  # fmt: skip
    assert config == ScoreConfig(
        layers=(0, 1), shuffles=3, seed=4, until=0.5, skip_sanity_check=True, checkpoint_seconds=7
    )
    for value in (*config.layers, config.shuffles, config.seed, config.checkpoint_seconds):
        assert type(value) is int
    assert type(config.until) is float
    assert config.skip_sanity_check is True
    assert ModelOptions(tokenizer=Path("a") / "b").tokenizer == str(Path("a") / "b")
    frame = pd.DataFrame({"text": ["a"]})
    assert SplitOptions(test_data=frame).test_data is frame


def _as_toml(value: Any) -> str | None:
    for kind, written in ((str, f'"{value}"'), (bool, str(value).lower())):
        if isinstance(value, kind):
            return written
    return str(value) if isinstance(value, int | float | list) else None


OF_METHODS = {"score": ScoreConfig} | {name: method.config for name, method in METHODS.items()}


@pytest.mark.parametrize("method", OF_METHODS)
def test_a_study_file_with_a_value_of_another_type_is_refused(method: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    tried = 0
    for kind in (OF_METHODS[method], SplitOptions, ModelOptions):
        for field in fields(kind):
            leaves = _leaves(field.type)
            skipped = field.name == "seed" or (method == "score" and "test" in field.name)
            for value, of in VALUES:
                written = None if skipped or of & leaves or Any in leaves else _as_toml(value)
                if written is None:
                    continue
                tried += 1
                path.write_text(
                    f'models = ["m"]\ndata = ["d"]\n[[runs]]\nmethods = ["{method}"]\n'
                    f"{field.name} = {written}\n"
                )
                with pytest.raises(StudyError, match=f"runs, number 1: {method}: {field.name} "):
                    load_plan(path)
    assert tried > 50


def test_rescore_is_true_or_false(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('models = ["m"]\ndata = ["d"]\n[[runs]]\nmethods = ["lora"]\nrescore = "no"')
    with pytest.raises(StudyError, match="number 1: rescore must be true or false"):
        load_plan(path)


NUMBERS = [
    (command.name, f"--{name.replace('_', '-')}" if len(name) > 1 else f"--{name}")
    for command in app.registered_commands
    for name, parameter in inspect.signature(command.callback).parameters.items()
    if _leaves(get_args(parameter.annotation)[0]) & {int, float}
]


@pytest.mark.parametrize(("command", "flag"), NUMBERS)
def test_a_flag_with_a_word_for_a_number_is_refused(
    command: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(command, flag, "x") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Invalid value for" in printed.err
    assert "Traceback" not in printed.err
