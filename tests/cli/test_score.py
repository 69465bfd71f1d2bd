"""`ntpscore score` and `ntpscore show` as a user types them."""

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest

import ntpscore
from ntpscore.cli import score as score_module
from ntpscore.cli.main import run
from ntpscore.forecast.lora import forecast_lora
from ntpscore.models.options import ModelOptions
from ntpscore.scoring.config import ScoreConfig
from ntpscore.scoring.result import load_result
from ntpscore.scoring.tables import COLUMNS
from ntpscore.text.options import TextOptions
from tests.support.cli_run import refusal, run_cli
from tests.support.forecasts import make_evidence
from tests.support.labelled_texts import make_rows, write_rows

# Where neither chance nor held-out accuracy is asked about: they take longer than all the rest.
QUICK = ("--shuffles", 0, "--feature-texts", 0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "data.jsonl", make_rows(100))


def test_score_prints_what_was_found_on_one_screen(
    tiny_model_dir: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_cli("score", tiny_model_dir, data, "--out", out, "--shuffles", 2) == 0
    printed = capsys.readouterr()
    for word in ("most frequent class", "words alone", "frozen, layer", "95 % interval", "LoRA"):
        assert word in printed.out
    assert "supervised" not in printed.out
    assert len(printed.out.splitlines()) <= 26  # the last says where it was saved
    assert "Traceback" not in printed.err
    assert run_cli("show", out) == 0
    # The same again from the folder alone.
    assert capsys.readouterr().out == printed.out
    assert "the moments of 4 layers of width 32 take" in printed.err


def test_scores_are_printed_on_demand(
    tiny_model_dir: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ("--out", out, "--shuffles", 2, "--scores")
    assert run_cli("score", tiny_model_dir, data, *arguments) == 0
    printed = capsys.readouterr().out
    for word in ("frozen, layer", "retained", "supervised", "chance", "adjusted", "layer 0 is",
                 "forward"):  # fmt: skip
        assert word in printed
    last = load_result(out).record["layers"][-1]
    ends = [f"{last[f'excess_loss{end}']:.2g}" for end in ("_lower", "", "_upper")]
    assert [str(last["layer"]), str(last["loss_k"]), *ends] in [
        line.split()[:-1] for line in printed.splitlines()
    ]
    assert run_cli("show", out, "--scores") == 0
    assert capsys.readouterr().out == printed


def test_score_json_is_the_only_thing_on_standard_output(
    tiny_model_dir: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_cli("score", tiny_model_dir, data, "--json", "--out", out, "--shuffles", 2) == 0
    printed = capsys.readouterr().out
    record = json.loads(printed)
    assert record == load_result(out).record
    assert record["data"]["n_texts"] == 100
    assert record["forecast"] == forecast_lora(record)
    assert run_cli("show", out, "--json") == 0
    assert capsys.readouterr().out == printed


def test_score_forecasts_by_evidence_of_ones_own(
    tiny_model_dir: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evidence = make_evidence()
    evidence.save(tmp_path / "mine.json")
    few = ("--shuffles", 2, "--calibration", tmp_path / "mine.json")
    assert run_cli("score", tiny_model_dir, data, *few, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["forecast"] == forecast_lora(record, evidence)
    assert record["forecast"]["evidence"].startswith("the study made up: LoRA on 8 data sets")
    assert run_cli("score", tiny_model_dir, data, *few) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"LoRA: {record['forecast']['verdict']}" in printed


def test_until_says_how_many_texts_were_read_and_what_they_say(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many, out = write_rows(tmp_path / "many.jsonl", make_rows(300)), tmp_path / "out"
    arguments = (*QUICK, "--until", 0.1, "--until-score", "r2")
    assert run_cli("score", tiny_model_dir, many, *arguments, "--out", out, "--scores") == 0
    printed = " ".join(capsys.readouterr().out.split())
    until = json.loads((out / "result.json").read_text())["until"]
    assert until["n_texts"] < 300
    low, high = until["scores"]["r2"]["low"], until["scores"]["r2"]["high"]
    assert until["waited_for"] == ["r2"]
    assert f"read {until['n_texts']} of 300 texts" in printed
    assert f"r2 {(low + high) / 2:.3f} ± {(high - low) / 2:.3f} (95% intervals)" in printed
    assert "retained " not in printed[: printed.index("(95% intervals)")].split("k = 16")[1]
    assert f"300 texts, {until['n_texts']} of them read" in printed
    few = ("--max-texts", 90, "--scores")
    assert run_cli("score", tiny_model_dir, many, *arguments, *few) == 0
    assert "--until 0.1 was not reached: all 90 texts were read" in " ".join(
        capsys.readouterr().out.split()
    )


def test_score_writes_the_promised_files(tiny_model_dir: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("--shuffles", 2, "--layers", "1-2", "--max-texts", 90, "--every-k", "--seed", 3,
                 "--keep-moments")  # fmt: skip
    assert run_cli("score", tiny_model_dir, data, "--out", out, *arguments) == 0
    assert {path.name for path in out.iterdir()} == {
        "result.json", "scores.csv", "held_out.csv", "features.safetensors", "moments.safetensors",
    }  # fmt: skip
    frame = pd.read_csv(out / "scores.csv")
    assert tuple(frame.columns) == COLUMNS
    assert set(frame["layer"]) == {1, 2}
    assert set(frame["k"]) == set(range(1, 33))
    record = json.loads((out / "result.json").read_text())
    assert record["data"]["n_texts"] == 90
    assert record["settings"]["seed"] == 3
    assert record["settings"]["layers"] == [1, 2]
    for key in ("load_model", "load_data", "tokenize", "forward", "moments", "solve", "write",
                "total"):  # fmt: skip
        assert record["seconds"][key] > 0
    assert record["peak_memory_bytes"] > 10**7
    assert record["versions"]["ntpscore"] == ntpscore.__version__


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere/model", "DATA"], "nowhere/model"),
        (["MODEL", "nothing.jsonl"], "nothing.jsonl"),
        (["MODEL", "DATA", "--label-column", "mood"], "mood"),
        (["MODEL", "DATA", "--layers", "7"], "--layers 7 out of range"),
        (["MODEL", "DATA", "--until", "2"], "until must be between 0 and 1"),
        (["MODEL", "DATA", "--until", "0.1", "--until-score", "fame"], "until_scores fame"),
        (["MODEL", "DATA", "--layers", "a-b"], "--layers 'a-b' is not understood"),
        (["MODEL", "DATA", "--split", "dev"], "dev"),
        (["MODEL", "DATA", "--max-texts", "2"], "classes"),
        (["MODEL", "DATA", "--out", "/dev/null/x"], "can't write to /dev/null/x"),
    ],
)
def test_bad_input_ends_with_one_message_and_code_2(
    tiny_model_dir: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    named = {"MODEL": str(tiny_model_dir), "DATA": str(data)}
    given = [named.get(part, part) for part in arguments]
    assert message in refusal(capsys, "score", *given)


def test_unknown_option_ends_with_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("score", "a", "b", "--nonsense") == 2
    assert "--nonsense" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--dtype", "--precision", "--task", "--pooling"])
def test_a_value_that_is_none_of_the_choices_ends_with_code_2(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("score", "a", "b", flag, "int4") == 2
    told = capsys.readouterr().err
    assert flag in told
    assert "'int4' is not one of" in " ".join(told.replace("│", " ").split())


def test_debug_shows_the_traceback(
    tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("score", tiny_model_dir, "nothing.jsonl", "--debug") == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_is_told_apart_from_bad_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        message = "unexpected"
        raise ZeroDivisionError(message)

    monkeypatch.setattr("ntpscore.scoring.run.score", broken)
    assert run_cli("score", "smollm2-135m", "b") == 1
    printed = capsys.readouterr().err
    assert "this is a bug: ZeroDivisionError: unexpected" in printed
    assert "Traceback" not in printed
    with pytest.raises(ZeroDivisionError):
        run(["score", "smollm2-135m", "b", "--debug"])


def test_interruption_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ntpscore.scoring.run.score", interrupted)
    assert run_cli("score", "smollm2-135m", "b") == 130
    assert "interrupted; there is no checkpoint to go on from" in capsys.readouterr().err


def test_a_full_disk_leaves_no_half_written_result(
    tiny_model_dir: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resource = pytest.importorskip("resource")
    out = tmp_path / "out"
    few = ("--out", out, "--shuffles", 1, "--feature-texts", 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        told = refusal(capsys, "score", tiny_model_dir, data, *few)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "can't write" in told
    assert list(out.iterdir()) == []


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("score", "--help") == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "ntpscore score smollm2-135m helpdesk" in text
    assert "--skip-sanity-check" in text
    assert run_cli("--version") == 0
    assert ntpscore.__version__ in capsys.readouterr().out


def test_score_command_offers_every_option_of_score() -> None:
    """An option of the function that the command line lacks would be hard to miss."""
    offered = set(inspect.signature(score_module.score_command).parameters)
    own = {"config", "text_options", "model_options", "keywords", "progress", "ranks"}
    function = set(inspect.signature(ntpscore.score).parameters) - own
    for kind in (ScoreConfig, TextOptions, ModelOptions):
        function |= {field.name for field in fields(kind)}
    assert function <= offered


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("score", ("helpdesk", "smollm2-135m")),
        ("adapt", ("helpdesk", "smollm2-135m")),
        ("rank", ("smollm2-135m", "helpdesk")),
    ],
)
def test_arguments_in_the_wrong_order_are_told(
    command: str, arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(command, *arguments) == 2
    assert "the order is" in capsys.readouterr().err


def test_last_layer_is_a_number_and_a_name(
    tiny_model_dir: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for layers, expected in (("-1", [3]), ("last", [3]), ("0,2-last", [0, 2, 3])):
        arguments = ("--layers", layers, *QUICK, "--json")
        assert run_cli("score", tiny_model_dir, data, *arguments) == 0
        assert json.loads(capsys.readouterr().out)["settings"]["layers"] == expected


def test_show_prints_csv_and_draws(
    tiny_model_dir: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_cli("score", tiny_model_dir, data, "--out", out, "--shuffles", 2) == 0
    capsys.readouterr()
    assert run_cli("show", out, "--csv", "--plot", tmp_path / "heat.png") == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == ",".join([*COLUMNS, "z"])
    assert len(printed.splitlines()) == 1 + 6 * 4 * 19
    assert (tmp_path / "heat.png").stat().st_size > 1000
    assert run_cli("show", tmp_path) == 2
    assert "no complete result" in capsys.readouterr().err


def test_template_may_hold_a_line_break(
    tiny_model_dir: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = r"{label}\n{text}"
    arguments = ("--template", template, *QUICK, "--layers", 0, "--json")
    assert run_cli("score", tiny_model_dir, data, *arguments) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["data"]["template"] == "{label}\n{text}"


def test_pair_column_finds_its_usual_partner(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["question1,question2,same"]
    lines += [f"is it {row['text']},was it rain,{i % 2}" for i, row in enumerate(make_rows(60))]
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("\n".join(lines))
    arguments = ("--pair-column", "question2", "--label-column", "same", *QUICK, "--json")
    assert run_cli("score", tiny_model_dir, pairs, *arguments) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["data"]["columns"] == {
        "text": "question1", "pair": "question2", "label": "same",
    }  # fmt: skip
