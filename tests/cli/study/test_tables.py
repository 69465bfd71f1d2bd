"""The tables of a study, as a terminal or a pipe of any width shows them."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ntpscore.cli.study.layout import print_blocks
from ntpscore.cli.study.tables import outcome_table, rules_blocks, summary_blocks
from ntpscore.study.statistics import rules
from ntpscore.study.statistics.rules import compare_rules
from ntpscore.study.statistics.summary import COLUMNS, SummaryConfig, summary_table
from ntpscore.study.statistics.sweep import OUTCOMES
from tests.support.cli_run import refusal, run_cli
from tests.support.studies import made_up_records

DATA = [f"a data set with a long name {i}" for i in range(5)]
QUICK = SummaryConfig(permutations=20, left_out_permutations=20, resamples=20)


@pytest.fixture(scope="module")
def outcomes() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        (model, data, outcome, rng.random())
        for model in ("one", "two")
        for data in DATA
        for outcome in ("lora_gain", "probe_accuracy", "logistic_test_accuracy")
    ]
    return pd.DataFrame(rows, columns=["model", "data", "outcome", "value"])


@pytest.fixture(scope="module")
def summary(outcomes: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = [
        (model, data, layer, k, "published", rng.random())
        for model in ("one", "two", "three")
        for data in DATA
        for layer in range(3)
        for k in (0.25, 0.5)
    ]
    scores = pd.DataFrame(rows, columns=["model", "data", "layer", "k_fraction", "score", "value"])
    gains = outcomes[outcomes["outcome"] == "lora_gain"]
    both = summary_table(scores[scores["model"] != "three"], gains, config=QUICK)
    third = summary_table(scores, gains, config=QUICK)
    assert tuple(both.columns) == COLUMNS
    return pd.concat([both, third[third["model"] == "three"]])


@pytest.mark.parametrize("width", ["30", "80", "200"])
def test_no_number_is_cut_however_narrow_the_terminal(
    outcomes: pd.DataFrame, summary: pd.DataFrame, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, width: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", width)
    print_blocks([outcome_table(outcomes)])
    printed = capsys.readouterr().out
    wide = outcomes.pivot_table(index=["model", "data"], columns="outcome", values="value")
    for (model, data), reached in zip(wide.index, wide.to_numpy(), strict=True):
        (line,) = re.findall(f" {model} +{data} .*", printed)
        assert sorted(line.split()[-3:]) == sorted(f"{value:.3f}" for value in reached)
    print_blocks(summary_blocks(summary))
    printed = capsys.readouterr().out
    # One per model, and of all together.
    lines = re.findall("^ published .*", printed, re.MULTILINE)
    assert len(lines) == 3
    for line, (_, row) in zip(lines, summary.iterrows(), strict=False):
        found = line.split()[1:]
        assert found[:6] == [
            "5", f"{row['r_fixed']:+.2f}", f"{row['p_fixed']:.3f}", f"{row['tau_fixed']:+.2f}",
            f"{row['regret_fixed']:.3f}", f"{row['r_best']:+.2f}",
        ]  # fmt: skip
        assert found[9] == f"{row['best_low']:+.2f}…{row['best_high']:+.2f}"
        left_out = [row["r_left_out"], row["r_left_out_model"]]
        assert found[10:-4] == [f"{r:+.2f}" for r in left_out if not np.isnan(r)]
    assert len(lines[2].split()) == len(lines[0].split()) + 1
    assert "all models together" in printed
    assert "published, lora_gain, three: " in printed


def test_rules_are_not_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    rows = pd.DataFrame(
        [("m", score, "lora_gain", 9, "last layer, k/d 0.5", -0.5, 0.125) for score in "abcdef"],
        columns=["model", "score", "outcome", "n", "rule", "r", "p"],
    )
    print_blocks(rules_blocks(rows, "lora_gain"))
    assert capsys.readouterr().out.count("-0.50 (0.125)") == 6


@pytest.mark.slow
def test_the_command_prints_a_table_csv_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    records = made_up_records(4, layers=2, width=20)
    monkeypatch.setattr("ntpscore.study.run.cells.load_records", lambda _: records)
    monkeypatch.setattr(rules, "SCORES", ("algorithm1", "retained"))
    found = compare_rules(records, permutations=24)
    asked = []

    def compare(_: object, *, outcomes: tuple[str, ...], **__: object) -> pd.DataFrame:
        asked.append(outcomes)
        return found

    monkeypatch.setattr(rules, "compare_rules", compare)
    monkeypatch.setenv("COLUMNS", "200")
    few = ("study", "rules", tmp_path)
    assert run_cli(*few) == 0
    printed = capsys.readouterr().out
    assert "depth 2/3, k90" in printed
    assert "left out" in printed
    assert run_cli(*few, "--csv") == 0
    frame = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert set(frame["outcome"]) == {
        "ols_mse", "probe_accuracy", "lora_accuracy", "lora_gain", "lora_gain_frozen",
    }  # fmt: skip
    assert run_cli(*few, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == len(frame)
    assert asked == [("lora_gain",), tuple(OUTCOMES), tuple(OUTCOMES)]


def test_the_command_refuses_what_it_can_not_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    records = made_up_records(4, layers=2, width=20)
    monkeypatch.setattr("ntpscore.study.run.cells.load_records", lambda _: records)
    few = ("study", "rules", tmp_path)
    assert "no outcome fame" in refusal(capsys, *few, "--outcome", "fame")
    assert "give one of them" in refusal(capsys, *few, "--csv", "--json")
