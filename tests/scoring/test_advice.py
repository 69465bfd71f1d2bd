"""What to do next, in words and as a command."""

from typing import Any

import pytest

from ntpscore.scoring.advice import next_command, write_advice
from tests.support.score_results import made_accuracy


def record(**changes: Any) -> dict[str, Any]:
    accuracy = made_accuracy()
    accuracy |= changes.pop("accuracy", {})
    return {
        "accuracy": accuracy,
        "model": {"id": "a/model"},
        "data": {"id": "my data.csv"},
        "settings": {},
        **changes,
    }


def frozen(value: float, low: float, r2_low: float = 0.1) -> dict[str, Any]:
    figures = {"accuracy": value, "accuracy_low": low, "accuracy_high": 1.0, "r2_low": r2_low}
    return {"frozen": figures}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Start with the frozen model: one linear map of layer 1 (mean token)"),
        ({"forecast": {"gain": 0.08}}, "LoRA is likely to be worth its training: about 8"),
        ({"forecast": {"gain": 0.01}}, "Start with the frozen model"),
        ({"forecast": {"gain": None}}, "Start with the frozen model"),
        ({"accuracy": frozen(0.4, 0.3)}, "Don't use this model frozen"),
        ({"accuracy": frozen(0.5, 0.45)}, "The words alone do as well"),
        # Of the best of many readouts, an accuracy alone may be luck.
        ({"accuracy": frozen(0.45, 0.4, r2_low=-0.01)}, "Don't use this model frozen"),
        ({"accuracy": {"frozen": None, "reason": "none"}}, "Nothing can be said"),
    ],
)
def test_advice_follows_from_what_was_found(changes: dict[str, Any], words: str) -> None:
    assert words in write_advice(record(**changes))


def test_the_next_command_repeats_what_was_asked_for() -> None:
    assert next_command(record()) == (
        "ntpscore adapt a/model 'my data.csv' --layer 1 --pooling mean"
    )
    lora = next_command(record(forecast={"gain": 0.08}))
    assert lora == "ntpscore adapt a/model 'my data.csv' --method lora --out lora"
    settings = {"label_column": "the stars", "skip_bad_rows": True, "max_texts": 5, "dtype": "auto"}
    assert next_command(record(settings=settings)) == (
        "ntpscore adapt a/model 'my data.csv' --label-column 'the stars' --skip-bad-rows --layer 1 "
        "--pooling mean"
    )


def test_data_in_memory_have_no_next_command() -> None:
    assert next_command(record(data={"id": "in-memory DataFrame"})) is None
    assert next_command(record(accuracy={"frozen": None, "best": None})) is None


@pytest.mark.parametrize(("gain", "advised"), [(-0.14, False), (0.0, False), (0.01, True)])
def test_lora_is_not_advised_where_its_forecast_gains_nothing(gain: float, advised: bool) -> None:
    no_use = record(accuracy=frozen(0.4, 0.3), forecast={"gain": gain})
    assert ("train with LoRA:" in write_advice(no_use)) is advised
    assert (next_command(no_use) is not None) is advised
