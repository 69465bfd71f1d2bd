"""`ntpscore rank` as a user types it."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from ntpscore.cli.rank import parse_layer
from ntpscore.cli.rank_tables import print_ranking
from ntpscore.errors import NtpscoreError
from ntpscore.metrics import METRICS
from ntpscore.models import load_model
from ntpscore.rank.result import COLUMNS
from ntpscore.rank.values import RANKED_BY
from ntpscore.scoring.result import ScoreResult
from tests.support.cli_run import refusal, run_cli
from tests.support.labelled_texts import make_rows, write_rows
from tests.support.rankings import make_ranking, scoring_once

FAST = ("--skip-sanity-check", "--shuffles", 1, "--layer", "last")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "data.jsonl", make_rows(60))


@pytest.fixture(scope="module")
def models(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    copies = [shutil.copytree(tiny_model_dir, folder / name) for name in ("one", "two")]
    return copies[0], copies[1]


@pytest.fixture(scope="module")
def scored() -> Callable[..., ScoreResult]:
    return scoring_once()


@pytest.fixture(autouse=True)
def each_model_is_scored_once(
    scored: Callable[..., ScoreResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is tested here is what a ranking makes of the scores."""
    monkeypatch.setattr("ntpscore.rank.run.score_text", scored)


def test_rank_names_the_best_on_one_screen(
    data: Path, models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_cli("rank", data, *models, *FAST, "--out", out) == 0
    printed = capsys.readouterr().out
    for word in ("accuracy", "1=", "95 %", "layer", "LoRA", "params", "seconds", "saved"):
        assert word in printed
    assert "trans_" not in printed
    lines = printed.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80 + len(str(tmp_path))
    assert {path.name for path in out.iterdir() if path.is_file()} == {"rank.json", "rank.csv"}
    record = json.loads((out / "rank.json").read_text())
    assert [model["name"] for model in record["models"]] == [str(path) for path in models]
    assert run_cli("show", out) == 0
    assert "1=" in capsys.readouterr().out
    for folder in (path for path in out.iterdir() if path.is_dir()):
        assert run_cli("show", folder) == 0
        assert "frozen, layer" in capsys.readouterr().out


def test_rank_prints_every_metric_on_demand(
    data: Path, models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "300")
    out = tmp_path / "out"
    assert run_cli("rank", data, *models, *FAST, "--all", "--out", out) == 0
    printed = capsys.readouterr().out
    for word in ("consensus", "trans_", "neighbours", "the last layer", "retained", "1=", "saved"):
        assert word in printed
    assert (out / "metrics.csv").is_file()


def test_rank_json_and_csv_are_alone_on_standard_output(
    data: Path, models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("rank", data, models[0], *FAST, "--json", "--metric", "log_me") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["settings"]["metric"] == "log_me"
    assert len(record["rows"]) == len(RANKED_BY) + 1
    assert run_cli("rank", data, models[0], *FAST, "--all", "--csv") == 0
    frame = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert tuple(frame.columns) == COLUMNS
    assert run_cli("rank", data, models[0], *FAST, "--csv") == 0
    frame = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert frame["rank"].tolist() == [1]


def test_a_model_that_fails_is_told_with_code_1_and_the_others_are_ranked(
    data: Path, models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = shutil.copytree(models[1], tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"broken")
    assert run_cli("rank", data, models[0], broken, *FAST, "--json") == 1
    printed = capsys.readouterr()
    record = json.loads(printed.out)
    assert {row["model"] for row in record["standings"]} == {str(models[0])}
    assert record["models"][1]["error"]
    assert f"not ranked: {broken}: " in printed.err
    assert "Traceback" not in printed.err


def test_a_model_that_memory_runs_out_for_is_told_with_code_1(
    data: Path, models: tuple[Path, Path], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    loads = []

    def load(*arguments, **options):
        loads.append(arguments)
        if len(loads) == 1:
            raise MemoryError
        return load_model(*arguments, **options)

    monkeypatch.setattr("ntpscore.scoring.arguments.load_model", load)
    assert run_cli("rank", data, *models, *FAST, "--csv") == 1
    printed = capsys.readouterr()
    assert set(pd.read_csv(io.StringIO(printed.out))["model"]) == {str(models[1])}
    assert f"not ranked: {models[0]}: memory ran out" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["DATA", "nowhere/model"], "there is no file or folder nowhere/model"),
        (["DATA", "nowhere/model", "./else"], "no model could be ranked"),
        (["nothing.jsonl", "MODEL"], "nothing.jsonl"),
        (["DATA", "MODEL", "--metric", "beauty"], "there is no metric 'beauty'"),
        (["DATA", "MODEL", "--layer", "upper"], "--layer 'upper' is not understood"),
        (["DATA", "MODEL", "--layer", "9"], "--layer 9 out of range"),
        (["DATA", "MODEL", "MODEL"], "given more than once"),
        (["DATA", "MODEL", "--json", "--csv"], "--json and --csv"),
        (["DATA", "MODEL", "--out", "/dev/null/x"], "can't write to /dev/null/x"),
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
    assert message in refusal(capsys, "rank", *given, "--skip-sanity-check")


@pytest.mark.parametrize(("text", "layer"), [("both", "both"), ("last", "last"), ("12", 12)])
def test_parse_layer_reads_places_and_numbers(text: str, layer: object) -> None:
    assert parse_layer(text) == layer


def test_parse_layer_refuses_lists() -> None:
    with pytest.raises(NtpscoreError, match="not understood"):
        parse_layer("1,2")


@pytest.mark.parametrize("width", [80, 200])
def test_tables_show_what_is_large_infinite_or_missing(width: int) -> None:
    file = io.StringIO()
    print_ranking(make_ranking(), None, Console(file=file, width=width))
    shown = file.getvalue()
    for part in ("[b]m", "[i]d", "1.2e+08", "250", "inf", "@7", "–", "log_me: it has no bound",
                 "leep, gbc: it is not defined"):  # fmt: skip
        assert part in shown
    assert max(map(len, shown.splitlines())) <= width
    assert shown.count("the layer with the largest r2_adjusted") == (4 if width == 80 else 2)
    assert len(METRICS) == 19
