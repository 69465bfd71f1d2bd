"""One sentence in plain words, and the command that does what it says."""

import shlex
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ntpscore.models.options import ModelOptions
from ntpscore.text.options import TextOptions

# Points of accuracy from which on LoRA's training is worth its price.
WORTHWHILE = 0.05


def write_advice(record: Mapping[str, Any]) -> str:
    """What to do next, from what was found.

    Args:
        record: of a result: `accuracy`, `forecast`, `data`.
    """
    accuracy = record["accuracy"]
    if accuracy["frozen"] is None:
        return f"Nothing can be said of these texts: {accuracy['reason']}."
    measure, best = accuracy["measure"], accuracy["best"]
    frozen, words = accuracy["frozen"], accuracy["words"]
    low = frozen[f"{measure}_low"]
    where = f"layer {best['layer']} ({best['pooling']} token)"
    gain = (record.get("forecast") or {}).get("gain")
    if not low > accuracy["majority"].get(measure, 0.0):
        found = (
            "Don't use this model frozen: what it knows of these labels can't be told from "
            f"{GUESS[measure]}"
        )
        return f"{found}; check the labels, add texts, or fine-tune with LoRA."
    if gain is not None and gain >= WORTHWHILE:
        return (
            f"LoRA is likely to be worth its training here, about {100 * gain:.0f} points; "
            f"{where} of the frozen model comes at once, for comparison."
        )
    if words.get(measure) is not None and words[measure] >= frozen[measure]:
        return (
            "The words alone do as well as the frozen model: this model adds nothing here that a "
            "bag of words lacks; a readout of the model is fitted by"
        )
    return f"Start with the frozen model: one linear map of {where}, fitted in seconds."


GUESS = {
    "accuracy": "always saying the most frequent class",
    "macro_f1": "always saying what is frequent",
    "r2": "always saying the mean",
}


def next_command(record: Mapping[str, Any]) -> str | None:
    """The command that fits the readout that was found best; None where data came from memory.

    Args:
        record: of a result: `accuracy`, `settings`, `model`, `data`.
    """
    best = record["accuracy"]["best"]
    data = str(record["data"]["id"])
    if best is None or data.startswith("in-memory "):
        return None
    words = ["ntpscore", "adapt", str(record["model"]["id"]), data]
    settings = record["settings"]
    for kind in (TextOptions, ModelOptions):
        for field in fields(kind):
            value = settings.get(field.name, field.default)
            if value != field.default and field.name != "max_texts":
                flag = field.metadata["flag"] or "--" + field.name.replace("_", "-")
                words += [flag] if value is True else [flag, str(value)]
    words += ["--layer", str(best["layer"]), "--pooling", best["pooling"]]
    return shlex.join(words)
