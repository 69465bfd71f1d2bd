"""`ntpscore adapt` as a user types it."""

import inspect
import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from ntpscore import adapt, load_result
from ntpscore.adapt import load_adapt_result
from ntpscore.cli.adapt import adapt_command, make_config
from ntpscore.errors import NtpscoreError
from tests.support.cli_run import refusal, run_cli
from tests.support.labelled_texts import make_rows, write_rows


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "data.jsonl", make_rows(100))


@pytest.mark.parametrize("method", ["ridge", "ols", "logistic", "probe"])
def test_adapt_prints_a_table_and_show_prints_it_again(
    tiny_model_dir: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    method: str,
) -> None:
    out = tmp_path / "out"
    chosen = () if method == "ridge" else ("--method", method)
    assert run_cli("adapt", tiny_model_dir, data, "--out", out, *chosen) == 0
    printed = capsys.readouterr().out
    words = (method, "accuracy", "majority", "macro-F1", "95 %", "train", "test", "forward",
             "token)", "ntpscore predict")  # fmt: skip
    for word in words:
        assert word in printed
    assert ("(converged)" in printed) == (method == "logistic")
    assert ("by layer" in printed) == (method == "ols")
    assert ("last: accuracy" in printed) == (method == "ridge")
    assert run_cli("show", out) == 0
    assert capsys.readouterr().out == printed
    assert {path.name for path in out.iterdir() if "features" not in path.name} == {
        "result.json", "loss_curve.csv", "predictions.csv", "head.safetensors", "README.md",
    }  # fmt: skip
    assert len([path for path in out.iterdir() if "features" in path.name]) == 2


def test_json_is_the_only_thing_on_standard_output(
    tiny_model_dir: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    arguments = ("--method", "probe", "--epochs", 2, "--batch-size", 10, "--layer", 1, "--json",
                 "--hold-out", "0.2", "--seed", 3, "--max-texts", 50)  # fmt: skip
    assert run_cli("adapt", tiny_model_dir, data, "--out", out, "--cache", cache, *arguments) == 0
    printed = capsys.readouterr().out
    record = json.loads(printed)
    assert record == load_adapt_result(out).record
    assert record["config"]["batch_size"] == 10
    assert record["config"]["seed"] == 3
    assert record["layers"] == [1]
    assert record["steps"] == 2 * 4
    assert record["data"]["test"]["split"] == "held out"
    assert record["data"]["train"]["n_texts"] + record["data"]["test"]["n_texts"] == 50
    assert len(list(cache.iterdir())) == 2
    assert run_cli("show", out, "--json") == 0
    assert capsys.readouterr().out == printed
    assert run_cli("show", out, "--csv") == 0
    assert capsys.readouterr().out.splitlines()[0] == "step,samples,loss,learning_rate"
    assert run_cli("show", out, "--plot", tmp_path / "x.png") == 2
    assert "--plot draws scores" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "ols", "--test-split", "dev"], "--hold-out 0.2"),
        (["--method", "ols", "--hold-out", "2"], "between 0 and 1"),
        (["--method", "ols", "--epochs", "3"], "--epochs can't be chosen for --method ols"),
        (["--method", "probe", "--ridge"], "--ridge can't be chosen for --method probe"),
        (["--method", "probe", "--layer", "1,2"], "must be one layer"),
        (["--method", "logistic", "--layer", "9"], "--layer 9 out of range"),
        (["--method", "nonsense"], "there is no method 'nonsense': choose from ridge, ols"),
        (["--recipe", "paper"], "--recipe is for --method lora"),
        (["--method", "lora", "--recipe", "x"], "--recipe is for --method lora: default or paper"),
        (["--method", "lora", "--rescore"], "--rescore is for --method lora with --out"),
        (["--method", "ols", "--rescore", "--out", "x"], "--rescore is for --method lora"),
        (["--method", "ols", "--out", "/dev/null/x"], "can't write to /dev/null/x"),
        (["--steps", "3"], "--steps can't be chosen for --method ridge"),
    ],
)
def test_bad_input_ends_with_one_message_and_code_2(
    tiny_model_dir: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert message in refusal(capsys, "adapt", tiny_model_dir, data, *arguments)


def test_a_class_that_train_lacks_ends_with_code_2(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*make_rows(60), {"text": "so odd", "label": "odd", "split": "test"}]
    data = write_rows(tmp_path / "odd.jsonl", rows)
    assert run_cli("adapt", tiny_model_dir, data, "--method", "probe") == 2
    assert "has the classes 'odd'" in capsys.readouterr().err


# peft asks transformers for an attribute by its old name.
@pytest.mark.parametrize("method", ["lora", "scratch"])
def test_training_from_the_command_line(
    tiny_model_dir: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    method: str,
) -> None:
    arguments = ("--steps", 4, "--batch-size", 2, "--gradient-accumulation", 2, "--max-texts", 40,
                 "--max-test-texts", 10, "--learning-rate", 0.01)  # fmt: skip
    arguments += ("--rank", 2, "--alpha", 4, "--rescore") if method == "lora" else ()
    out = tmp_path / "out"
    assert run_cli("adapt", tiny_model_dir, data, "--method", method, "--out", out, *arguments) == 0
    printed, told = capsys.readouterr()
    assert ("LoRA goes into k_proj, q_proj, v_proj: 9 linear layers" in told) == (method == "lora")
    where = "k_proj, q_proj, v_proj of all layers" if method == "lora" else "all layers"
    assert f"{method} ({where})" in re.sub(r"\s+", " ", printed)
    result = load_adapt_result(out)
    assert result.record["steps"] == 4
    assert result.record["samples_seen"] == 16
    assert result.test is not None
    assert result.test.n == 10
    assert run_cli("show", out) == 0
    assert capsys.readouterr().out == printed
    if method == "lora":
        scores = load_result(out / "scores").record
        assert scores["data"]["n_texts"] == 40
        assert scores["model"]["id"].endswith("+ LoRA")


def test_options_of_another_method_are_refused() -> None:
    config = make_config("lora", {"rank": 4, "seed": 2})
    assert config == adapt.LoraConfig(rank=4, seed=2)
    with pytest.raises(NtpscoreError, match="--layer can't be chosen for --method lora"):
        make_config("lora", {"layer": "3"})
    with pytest.raises(NtpscoreError, match="--rank can't be chosen for --method scratch"):
        make_config("scratch", {"rank": 2})
    with pytest.raises(NtpscoreError, match=r"--layer can't be .* ols: use --layers"):
        make_config("ols", {"layer": "2"})


def test_recipes_are_where_options_start() -> None:
    assert make_config("lora", {}) == make_config("lora", {}, "default") == adapt.LoraConfig()
    paper = adapt.LoraConfig(steps=5000, batch_size=1, learning_rate=1e-4)
    assert make_config("lora", {}, "paper") == paper
    assert make_config("lora", {"steps": 7}, "paper") == replace(paper, steps=7)


def test_a_file_without_a_test_split_is_held_out_and_it_is_said(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{k: v for k, v in row.items() if k != "split"} for row in make_rows(80)]
    data = write_rows(tmp_path / "one.jsonl", rows)
    assert run_cli("adapt", tiny_model_dir, data, "--layer", 1, "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["data"]["test"]["split"] == "held out"
    assert json.loads(printed.out)["test"]["n"] == 20
    told = re.sub(r"\s+", "", printed.err)  # a long path is broken anywhere
    said = f"{data} has no test split: 20% of its texts are held out, 20 of 100"
    assert said.replace(" ", "") in told
    assert run_cli("adapt", tiny_model_dir, data, "--test-split", "dev") == 2
    assert "there is no test split 'dev'" in capsys.readouterr().err
    assert run_cli("adapt", tiny_model_dir, data, "--split", "dev") == 2
    assert "no split 'dev'" in capsys.readouterr().err


@pytest.mark.parametrize("method", adapt.METHODS)
def test_every_field_of_every_configuration_is_offered_with_its_default(method: str) -> None:
    offered = inspect.signature(adapt_command).parameters
    for field in fields(adapt.METHODS[method].config):
        (flag,) = (m for m in offered[field.name].annotation.__metadata__)
        if field.default not in {None, False} and field.name not in {"seed", "batch_tokens"}:
            numbers = {float(word) for word in re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", flag.help)}
            assert field.default in numbers, (flag.help, field.default)


def test_a_cache_is_refused_where_nothing_is_frozen(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("adapt", "smollm2-135m", "helpdesk", "--method", "lora", "--cache", "c") == 2
    assert "--cache is not for --method lora" in capsys.readouterr().err


def test_help_has_examples_and_panels(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("adapt", "--help") == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "ntpscore adapt smollm2-135m helpdesk --out results/helpdesk" in text
    for word in ("--rescore", "Training", "Data", "Model", "--C", "--pooling", "--recipe"):
        assert word in text
