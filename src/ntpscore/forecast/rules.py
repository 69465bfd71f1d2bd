"""Rules that read LoRA's accuracy off what frozen features and words reach held out.

They were fixed before the runs of LoRA on which docs/forecast.md judges them.
"""

from collections.abc import Callable, Mapping
from typing import Any

Accuracy = Mapping[str, Any]
Rule = Callable[[Accuracy], float | None]


def frozen_accuracy(accuracy: Accuracy, *poolings: str) -> float:
    """Held-out accuracy of the readout with the largest held-out R².

    Args:
        accuracy: of a result of `score`.
        poolings: of which; of all if none is named.
    """
    rows = [row for row in accuracy["readouts"] if not poolings or row["pooling"] in poolings]
    return float(max(rows, key=lambda row: row["r2"])["accuracy"])


def _without_model(accuracy: Accuracy) -> float:
    """What is reached without the model: by the words alone, or by always saying one class."""
    return max(accuracy["words"]["accuracy"] or 0.0, accuracy["majority"]["accuracy"])


def _mean_token(accuracy: Accuracy) -> float:
    return max(frozen_accuracy(accuracy, "mean"), _without_model(accuracy))


def _last_token(accuracy: Accuracy) -> float:
    return max(_mean_token(accuracy), frozen_accuracy(accuracy, "last"))


def _kernels(accuracy: Accuracy) -> float | None:
    kernels = accuracy.get("sum_of_kernels")
    if kernels is None:
        return None
    return float(max(kernels["accuracy"], accuracy["majority"]["accuracy"]))


# Each is followed by a shift, the mean of what LoRA reached beyond it on other data sets.
# mean_token: the most of the best layer's mean token, the words alone and the majority; last_token:
# and of the best layer's last token; kernels: one ridge regression on mean token, last token and
# words together, at the best layer.
RULES: Mapping[str, Rule] = {
    "mean_token": _mean_token,
    "last_token": _last_token,
    "kernels": _kernels,
}
# What `score` forecasts by.
RULE = "mean_token"
