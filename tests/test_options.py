"""Options as fields of dataclasses, and keywords that are put into them."""

import inspect
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

import ntpscore
from ntpscore.cli.options import AnyOf, Only, Without, takes_options
from ntpscore.errors import DataError, NtpscoreError
from ntpscore.models import load_model
from ntpscore.models.options import ModelOptions
from ntpscore.options import check_options, option, refuse_late, with_keywords
from ntpscore.scoring.config import ScoreConfig
from ntpscore.text.options import SplitOptions, TextOptions


@dataclass(frozen=True)
class Oven:
    """Options of an oven."""

    heat: int = option(200, "How hot.", least=0)
    fan: bool = option(False, "Blow.", panel="Air")
    racks: tuple[str, ...] = option(
        ("low",), "Which.", flag="--rack", typed=list[str] | None, read=tuple
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class Pan:
    """Options of a pan."""

    heat: int = option(100, "Hotter.", least=0)
    lid: bool = option(False, "Cover.")


@dataclass(frozen=True)
class Tin:
    """Options of a tin."""

    heat: int = option(90, "Less hot.", least=0)
    long: bool = option(False, "For loaves.")


def run(command: Any, *arguments: str) -> str:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    return result.output


def test_keywords_go_to_the_first_options_that_have_the_name() -> None:
    oven, pan = with_keywords({"heat": 50, "lid": True}, Oven(), Pan())
    assert oven == Oven(heat=50)
    assert pan == Pan(lid=True)


def test_an_unknown_keyword_names_the_nearest_known_one() -> None:
    with pytest.raises(NtpscoreError, match="no option 'heet': did you mean heat"):
        with_keywords({"heet": 1}, Oven(), Pan())
    with pytest.raises(NtpscoreError, match="no option 'zzz': choose from heat, fan"):
        with_keywords({"zzz": 1}, Oven())


def test_values_are_checked_when_options_are_made() -> None:
    with pytest.raises(NtpscoreError, match="heat must be at least 0, got -1"):
        with_keywords({"heat": -1}, Oven())
    with pytest.raises(DataError, match="no task 'sorting': choose from auto"):
        TextOptions(task="sorting")
    with pytest.raises(DataError, match="hold-out must be between 0 and 1"):
        SplitOptions(hold_out=1.5)
    with pytest.raises(NtpscoreError, match="can't both be given"):
        ModelOptions(device="cpu", device_map="auto")


def test_options_that_come_too_late_are_named() -> None:
    refuse_late(Oven(), "a cold oven")
    with pytest.raises(NtpscoreError, match="heat, fan can't be chosen for a cold oven"):
        refuse_late(Oven(heat=1, fan=True), "a cold oven")


def test_a_command_gets_a_flag_for_every_field_and_the_object_made() -> None:
    seen = []

    @takes_options
    def bake(what: str, oven: Oven, pan: Annotated[Pan, Only("lid")], times: int = 1) -> None:
        seen.append((what, oven, pan, times))

    run(bake, "bread")
    run(bake, "bread", "--heat", "20", "--fan", "--rack", "low", "--rack", "high", "--lid")
    assert seen == [
        ("bread", Oven(), Pan(), 1),
        ("bread", Oven(20, fan=True, racks=("low", "high")), Pan(lid=True), 1),
    ]
    text = run(bake, "--help")
    assert all(word in text for word in ("How hot.", "Air", "Blow.", "--rack", "Cover."))
    assert "--no-fan" not in text


def test_fields_can_be_left_out_and_those_of_several_classes_offered() -> None:
    seen = []

    @takes_options
    def bake(
        pan: Annotated[Pan, Without("heat")],
        given: Annotated[dict[str, Any], AnyOf(Oven, Tin)],
    ) -> None:
        seen.append((pan, given))

    assert set(inspect.signature(bake).parameters) == {"lid", "heat", "fan", "racks", "long"}
    run(bake)
    run(bake, "--heat", "3", "--lid", "--long")
    assert seen == [(Pan(), {}), (Pan(lid=True), {"heat": 3, "long": True})]
    assert "How hot." in run(bake, "--help")


@pytest.mark.parametrize("kind", [TextOptions, SplitOptions, ModelOptions, ScoreConfig])
def test_every_option_has_a_help_text_and_is_documented(kind: Any) -> None:
    for field in fields(kind):
        assert field.metadata["help"].endswith(".")
        documented = (base.__doc__ or "" for base in kind.__mro__)
        assert any(f"        {field.name}: " in text for text in documented)


def test_keywords_of_the_public_functions_reach_their_options(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    path = tmp_path / "data.csv"
    path.write_text("body,stars\n" + "\n".join(f"it is {i},{i % 2}" for i in range(40)))
    text = ntpscore.load_text(path, text_column="body", label_column="stars", max_texts=30)
    assert len(text) == 30
    assert text.source.columns == {"text": "body", "label": "stars"}
    same = ntpscore.load_text(path, TextOptions(label_column="stars"), text_column="body")
    assert len(same) == 40
    model = load_model(tiny_model_dir, dtype="float32")
    result = ntpscore.score(
        tiny_model_dir, path, text_column="body", label_column="stars", shuffles=0, layers=(-1,)
    )
    assert result.record["settings"]["layers"] == [model.n_layers]
    assert result.record["settings"]["label_column"] == "stars"
    with pytest.raises(NtpscoreError, match="did you mean label_column"):
        ntpscore.score(model, path, labelcolumn="stars")
    with pytest.raises(NtpscoreError, match="dtype can't be chosen for a model that was loaded"):
        ntpscore.score(model, text, dtype="float32")
    with pytest.raises(NtpscoreError, match="split can't be chosen for labelled text"):
        ntpscore.score(model, text, split="test")
