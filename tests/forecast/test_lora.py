"""What a forecast says of a result, and what it does not."""

from typing import Any

import pytest

from ntpscore.forecast.lora import forecast_lora
from tests.support.forecasts import held_out, make_evidence, scored_record


def test_a_forecast_is_the_rules_estimate_shifted_beside_the_best_frozen_readout() -> None:
    evidence = make_evidence()
    forecast = forecast_lora(scored_record(held_out(0.5, 0.6)), evidence)
    accuracy, low, high = evidence.forecast(0.5)
    assert (forecast["accuracy"], forecast["low"], forecast["high"]) == (accuracy, low, high)
    # The last token makes the better readout.
    assert forecast["frozen"] == 0.6
    assert forecast["gain"] == pytest.approx(accuracy - 0.6)
    assert forecast["gain_low"] == pytest.approx(low - 0.6)
    assert forecast["gain_high"] == pytest.approx(high - 0.6)
    assert "the study made up: LoRA on 8 data sets, m0; 70% interval" in forecast["evidence"]
    assert forecast["outside"] == []


def test_the_price_is_three_passes_for_each_text_that_lora_sees() -> None:
    record = scored_record(held_out(0.5))
    evidence = make_evidence(samples_seen=4500)
    forecast = forecast_lora(record, evidence)
    assert forecast["pass_seconds"] == 30.0
    assert forecast["lora_seconds"] == pytest.approx(3 * 4500 * 30.0 / 1500)
    # Where reading ended early, the seconds are of the texts that were read.
    early = forecast_lora({**record, "until": {"n_texts": 500}}, evidence)
    assert early["lora_seconds"] == pytest.approx(3 * 4500 * 30.0 / 500)
    assert forecast_lora({**record, "seconds": {}}, evidence)["lora_seconds"] is None


def test_how_far_sizes_are_outside_of_the_evidence_is_told_and_still_forecast() -> None:
    record = scored_record(held_out(0.5), model={"id": "any", "width": 5760})
    record["data"] = {**record["data"], "n_texts": 300, "classes": ["a", "b"]}
    forecast = forecast_lora(record, make_evidence())
    assert forecast["accuracy"] is not None
    assert forecast["outside"] == [
        "texts: 300, 5.0 times less than the evidence's 1500 to 1500",
        "classes: 2, 3.0 times less than the evidence's 6 to 6",
        "the model's width: 5760, 10.0 times more than the evidence's 576 to 576",
    ]


@pytest.mark.parametrize(
    ("last", "beginning"),
    [
        (0.99, "a probe is enough: LoRA is likely to add nothing"),
        (0.5, "too close to call: LoRA is likely to add -"),
        (0.3, "LoRA is likely to add "),
    ],
)
def test_verdicts_name_the_interval(last: float, beginning: str) -> None:
    mean, words = (0.5, 0.2) if last >= 0.5 else (0.3, 0.5)
    record = scored_record(held_out(mean, last, words=words))
    assert forecast_lora(record, make_evidence())["verdict"].startswith(beginning)


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_nothing_is_forecast_of_what_is_no_class(task: str) -> None:
    record = scored_record(held_out(0.5))
    record["data"] = {**record["data"], "task": task}
    forecast = forecast_lora(record, make_evidence())
    assert forecast["verdict"] == f"no forecast: the evidence is of classes, not of {task}"
    assert forecast["gain"] is forecast["accuracy"] is forecast["lora_seconds"] is None


def test_nothing_is_forecast_without_what_the_rule_reads() -> None:
    unknown: dict[str, Any] = {
        "frozen": None,
        "best": None,
        "readouts": [],
        "reason": "no features",
    }
    for accuracy in (None, unknown):
        forecast = forecast_lora(scored_record(accuracy), make_evidence())
        assert "needs the held-out accuracy" in forecast["verdict"]
    evidence = make_evidence()
    kernels = type(evidence)(evidence.points, "kernels", "", coverage=0.7)
    forecast = forecast_lora(scored_record(held_out(0.5)), kernels)
    assert forecast["verdict"] == "no forecast: the result has nothing that kernels reads"
