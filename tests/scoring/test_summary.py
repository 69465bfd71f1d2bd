"""What a result says in 25 lines."""

import re
from typing import Any

import pytest

from ntpscore import ScoreResult
from ntpscore.scoring.summary import LINES, WIDTH, describe_layers, join_ranges, summarise
from tests.support.score_results import made_accuracy, make_moments, make_result


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return make_result(make_moments()).record


def test_the_summary_says_what_was_run_found_and_is_to_do_in_that_order(
    record: dict[str, Any],
) -> None:
    text = str(ScoreResult(record))
    parts = [
        "a $model$ (1 layers of width 10", "accuracy on texts left aside", "most frequent class",
        "33.3 %", "words alone (TF-IDF)", "65.0 %", "frozen, layer 1, mean token", "70.0 %",
        "62.0 to 77.0", "1,000 more labels would add about 1.8 points (0.6 to 3.1)",
        "Layers 0–1 can't be told apart; the first within", "Start with the frozen model",
        "ntpscore adapt", "--layer 1 --pooling mean", "warning: something odd [b]here[/b]",
    ]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_the_summary_fits_a_screen(record: dict[str, Any]) -> None:
    many = {**record, "warnings": ["a long warning of many words " * 5] * 20}
    lines = summarise(many).splitlines()
    assert len(lines) <= LINES
    assert any("all warnings" in line for line in lines)
    assert all(len(line) <= WIDTH for line in lines if "ntpscore adapt" not in line)


def test_a_forecast_has_its_row(record: dict[str, Any]) -> None:
    forecast = {"accuracy": 0.8, "low": 0.75, "high": 0.86, "coverage": 0.8, "verdict": "it pays"}
    text = summarise({**record, "forecast": forecast})
    assert re.search(r"LoRA \(forecast\) +80.0 %  75.0 to 86.0 \(80 %\)", text)
    text = summarise({**record, "forecast": {"gain": None, "verdict": "no forecast: why"}})
    assert "LoRA: no forecast: why" in text


def test_targets_are_told_by_their_share_of_variance(record: dict[str, Any]) -> None:
    interval = {"r2": 0.41, "r2_low": 0.3, "r2_high": 0.5}
    accuracy = {**made_accuracy(), "measure": "r2", "majority": {"r2": 0.0}, "frozen": interval,
                "words": {"n_texts": 60, "r2": None}}  # fmt: skip
    text = summarise({**record, "accuracy": accuracy})
    assert "share of variance (R²)" in text
    assert "0.41  0.30 to 0.50" in text
    assert "–" in text


def test_what_cannot_be_judged_is_told(record: dict[str, Any]) -> None:
    nothing = {"frozen": None, "best": None, "readouts": [], "reason": "no features"}
    text = summarise(
        {**record, "accuracy": nothing, "learning_curve": None, "advice": "Nothing: no features."}
    )
    assert "Nothing: no features." in text
    assert "most frequent" not in text


@pytest.mark.parametrize(
    ("numbers", "text"), [([3], "3"), ([5, 4, 3, 9, 7, 8, 1], "1, 3–5, 7–9"), ([2, 2], "2")]
)
def test_runs_of_numbers_are_drawn_together(numbers: list[int], text: str) -> None:
    assert join_ranges(numbers) == text


def test_layers_that_stand_alone_need_no_sentence() -> None:
    accuracy = {**made_accuracy(), "tied": [{"layer": 1, "pooling": "mean"}],
                "cheapest": {"layer": 1, "pooling": "mean"}}  # fmt: skip
    assert describe_layers(accuracy, 1) == ""


def test_a_notebook_shows_a_table_and_escapes_names(record: dict[str, Any]) -> None:
    shown = ScoreResult({**record, "data": {**record["data"], "id": "<b>"}})._repr_html_()
    assert "&lt;b&gt;" in shown
    assert shown.count("<tr>") == 5
    empty = {"frozen": None, "best": None, "readouts": [], "reason": "no features"}
    assert "<table>" not in ScoreResult({**record, "accuracy": empty})._repr_html_()
