"""What LoRA would reach, and at what price, from a result of `score`."""

from collections.abc import Iterator, Mapping
from typing import Any

from ntpscore.forecast.evidence import Evidence
from ntpscore.forecast.rules import RULES, frozen_accuracy

# A gain below this is not worth the price of training: two points of accuracy.
_SMALL_GAIN = 0.02
# Sizes that differ by less are alike.
_NEARLY = 1.25
# A step of training is a forward and a backward pass, which costs about two more.
_PASSES_PER_SAMPLE = 3
_NOTHING = dict.fromkeys(
    ("accuracy", "low", "high", "frozen", "gain", "gain_low", "gain_high", "lora_seconds")
)


def forecast_lora(record: Mapping[str, Any], evidence: Evidence | None = None) -> dict[str, Any]:
    """Forecast the test accuracy that LoRA would reach on the texts of a result.

    Args:
        record: of a result of `score`; its `accuracy` is what is read.
        evidence: what it rests on; that of ntpscore's own study if None.

    Returns:
        `accuracy` with its interval (`low`, `high`, which aim at `coverage`); `gain` over `frozen`,
        the held-out accuracy of the best frozen readout, likewise; `verdict` and `evidence` in
        words; `outside`, how far the texts and the model are beyond what the evidence has seen;
        `pass_seconds` that were measured and `lora_seconds` estimated from them. Where nothing can
        be forecast, numbers are None and the verdict says why.
    """
    evidence = evidence or Evidence.load()
    points = evidence.points
    models = ", ".join(points["model"].unique())
    shared = {
        "rule": evidence.rule,
        "coverage": evidence.coverage,
        "evidence": f"{evidence.source}: LoRA on {points['data'].nunique()} data sets, {models}; "
        f"{evidence.coverage:.0%} interval by {evidence.rule}",
        "pass_seconds": record.get("seconds", {}).get("forward"),
        "outside": [],
    }
    accuracy = record.get("accuracy")
    if record["data"]["task"] != "classification":
        reason = f"the evidence is of classes, not of {record['data']['task']}"
        return {**shared, **_NOTHING, "verdict": f"no forecast: {reason}"}
    if accuracy is None or not accuracy["readouts"]:
        reason = "it needs the held-out accuracy of frozen features"
        return {**shared, **_NOTHING, "verdict": f"no forecast: {reason}"}
    estimate = RULES[evidence.rule](accuracy)
    if estimate is None:
        reason = f"the result has nothing that {evidence.rule} reads"
        return {**shared, **_NOTHING, "verdict": f"no forecast: {reason}"}
    reached, low, high = evidence.forecast(estimate)
    frozen = frozen_accuracy(accuracy)
    return {
        **shared,
        "accuracy": reached,
        "low": low,
        "high": high,
        "frozen": frozen,
        "gain": reached - frozen,
        "gain_low": low - frozen,
        "gain_high": high - frozen,
        "lora_seconds": _lora_seconds(record, evidence),
        "outside": list(_outside(record, evidence)),
        "verdict": _verdict(low - frozen, high - frozen),
    }


def _verdict(low: float, high: float) -> str:
    """Whether LoRA pays beside the best frozen readout."""
    if high < _SMALL_GAIN:
        at_most = f"at most {100 * high:.0f} points" if round(100 * high) > 0 else "nothing"
        return f"a probe is enough: LoRA is likely to add {at_most}"
    if low >= _SMALL_GAIN:
        return f"LoRA is likely to add {100 * low:.0f} to {100 * high:.0f} points"
    return f"too close to call: LoRA is likely to add {100 * low:+.0f} to {100 * high:+.0f} points"


def _outside(record: Mapping[str, Any], evidence: Evidence) -> Iterator[str]:
    """How far the sizes of texts and model are beyond those of the evidence."""
    data, model, points = record["data"], record["model"], evidence.points
    for what, value, seen in (
        ("texts", data["n_texts"], points["n_texts"]),
        ("classes", len(data["classes"]), points["classes"]),
        ("the model's width", model["width"], points["width"]),
    ):
        low, high = int(seen.min()), int(seen.max())
        if not low <= _NEARLY * value or not value <= _NEARLY * high:
            times = value / high if value > high else low / value
            more = "more" if value > high else "less"
            yield f"{what}: {value}, {times:.1f} times {more} than the evidence's {low} to {high}"


def _lora_seconds(record: Mapping[str, Any], evidence: Evidence) -> float | None:
    """By the pass over the texts that was measured."""
    seconds = record.get("seconds", {}).get("forward")
    if seconds is None:
        return None
    n_read = record.get("until", {}).get("n_texts") or record["data"]["n_texts"]
    return float(_PASSES_PER_SAMPLE * evidence.samples_seen * seconds / n_read)
