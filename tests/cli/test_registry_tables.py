"""`ntpscore models` and `ntpscore datasets` as a user types them, and short names elsewhere."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ntpscore.models import MODELS
from ntpscore.text import DATA_SETS
from tests.support.cli_run import run_cli
from tests.support.labelled_texts import make_rows, write_rows


@pytest.mark.parametrize(("command", "registered"), [("models", MODELS), ("datasets", DATA_SETS)])
def test_registry_is_printed_as_json_and_csv(
    command: str, registered: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(command, "--json") == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["name"] for record in records] == list(registered)
    assert run_cli(command, "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    for row, record in zip(rows, records, strict=True):
        assert row == {k: "" if v is None else str(v) for k, v in record.items()}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("models", ["openelm-1.1b", "apple/OpenELM-1_1B", "1,079,891,456", "Llama-2-7b-hf", "–"]),
        ("datasets", ["medical_single", "tau/commonsense_qa", "30% of train", "12", "only: one"]),
    ],
)
def test_registry_is_printed_as_a_table(
    command: str,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    assert run_cli(command) == 0
    printed = capsys.readouterr().out
    for word in words:
        assert word in printed
    assert printed.count("Llama-2-7b-hf") <= 1  # a note that several share is printed once


@pytest.mark.parametrize(("command", "registered"), [("models", MODELS), ("datasets", DATA_SETS)])
def test_names_and_hub_ids_stay_whole_in_80_columns(
    command: str,
    registered: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run_cli(command) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    for entry in registered.values():
        assert {entry.name, entry.hub_id} - {None} <= set(printed.split())


@pytest.mark.parametrize("command", ["models", "datasets"])
def test_registry_is_not_printed_in_two_formats(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(command, "--json", "--csv") == 2
    assert "give one of them" in capsys.readouterr().err


def test_score_and_adapt_take_short_names_and_tell_what_was_loaded(
    tiny_model_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_rows(tmp_path / "hub.jsonl", make_rows(60))
    model = replace(MODELS["qwen2-0.5b"], hub_id=str(tiny_model_dir))
    data = replace(DATA_SETS["sms_spam"], hub_id=str(path), text_column="text")
    monkeypatch.setitem(MODELS, "qwen2-0.5b", model)
    monkeypatch.setitem(DATA_SETS, "sms_spam", data)
    names = ("qwen2-0.5b", "sms_spam")
    assert run_cli("score", *names, "--skip-sanity-check", "--shuffles", 1, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["model"]["id"] == str(tiny_model_dir)
    assert record["data"]["id"] == str(path)
    assert record["data"]["columns"]["text"] == "text"
    assert run_cli("adapt", *names, "--method", "ols", "--layer", 1, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["data"]["test"]["split"] == "held out"


def test_openelm_needs_the_users_trust(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_rows(tmp_path / "data.jsonl", make_rows(20))
    assert run_cli("score", "openelm-270m", data) == 2
    assert "--trust-remote-code" in capsys.readouterr().err
