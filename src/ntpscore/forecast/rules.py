"""Rules that read LoRA's accuracy off what frozen features and words reach held out.

They were fixed before the runs of LoRA on which docs/forecast.md judges them.
"""

from collections.abc import Callable, Mapping
from typing import Any

Accuracy = Mapping[str, Any]
Rule = Callable[[Accuracy], float | None]


def frozen_accuracy(accuracy: Accuracy, *poolings: str) -> float:
    """Held-out accuracy of the readout with the largest held-out R², of all poolings or these."""
    rows = [row for row in accuracy["readouts"] if not poolings or row["pooling"] in poolings]
    return float(max(rows, key=lambda row: row["r2"])["accuracy"])


def _most(*poolings: str) -> Rule:
    """The most of these readouts, of the words alone, and of always saying one class."""

    def rule(accuracy: Accuracy) -> float | None:
        if not set(poolings) <= {row["pooling"] for row in accuracy["readouts"]}:
            return None
        readouts = [frozen_accuracy(accuracy, pooling) for pooling in poolings]
        words = accuracy["words"]["accuracy"] or 0.0
        return float(max(*readouts, words, accuracy["majority"]["accuracy"]))

    return rule


def _kernels(accuracy: Accuracy) -> float | None:
    kernels = accuracy.get("sum_of_kernels")
    if kernels is None:
        return None
    return float(max(kernels["accuracy"], accuracy["majority"]["accuracy"]))


# Each is followed by a shift, the mean of what LoRA reached beyond it on other data sets.
# mean_token: the most of the best layer's mean token, the words alone and the majority; last_token:
# and of the best layer's last token; kernels: one ridge regression on mean token, last token and
# words together, at the best layer.
RULES: dict[str, Rule] = {
    "mean_token": _most("mean"),
    "last_token": _most("mean", "last"),
    "kernels": _kernels,
}
# What `score` forecasts by.
RULE = "mean_token"
