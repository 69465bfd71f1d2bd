"""One sentence in plain words, and the command that does what it says."""

import shlex
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal

from ntpscore.models.options import ModelOptions
from ntpscore.reading.pooling import POOLINGS
from ntpscore.text.options import TextOptions

# Points of accuracy from which on LoRA's training is worth its price.
WORTHWHILE = 0.05


Choice = Literal["nothing", "no_use", "lora", "words", "frozen"]


def _choose(record: Mapping[str, Any]) -> Choice:
    """What was found, in a word."""
    accuracy = record["accuracy"]
    if accuracy["frozen"] is None:
        return "nothing"
    measure, frozen = accuracy["measure"], accuracy["frozen"]
    gain = (record.get("forecast") or {}).get("gain")
    # Choosing by R² inside the folds leaves half of what choosing flatters: both must be known.
    beats_guess = (frozen[f"{measure}_low"] or 0.0) > accuracy["majority"].get(measure, 0.0)
    if not beats_guess or not (frozen["r2_low"] or 0.0) > 0:
        return "no_use"
    if gain is not None and gain >= WORTHWHILE:
        return "lora"
    words = accuracy["words"].get(measure)
    return "words" if words is not None and words >= frozen[measure] else "frozen"


def _lora_may_help(record: Mapping[str, Any]) -> bool:
    """Whether no forecast says that LoRA would gain nothing."""
    gain = (record.get("forecast") or {}).get("gain")
    return gain is None or gain > 0


def write_advice(record: Mapping[str, Any]) -> str:
    """What to do next, from what was found."""
    accuracy, choice = record["accuracy"], _choose(record)
    if choice == "nothing":
        return f"Nothing can be said of these texts: {accuracy['reason']}."
    where = f"layer {accuracy['best']['layer']} ({accuracy['best']['pooling']} token)"
    if choice == "no_use":
        return (
            "Don't use this model frozen: what it knows of these labels can't be told from "
            f"{GUESS[accuracy['measure']]}. Check the labels"
            + (", add texts, or train with LoRA:" if _lora_may_help(record) else " or add texts.")
        )
    if choice == "lora":
        return (
            "LoRA is likely to be worth its training: about "
            f"{100 * record['forecast']['gain']:.0f} points over the frozen model."
        )
    if choice == "words":
        return (
            "The words alone do as well as the frozen model, so a bag of words is enough; to "
            f"compare, fit one linear map of {where}:"
        )
    return f"Start with the frozen model: one linear map of {where}, fitted in seconds."


GUESS = {
    "accuracy": "always saying the most frequent class",
    "macro_f1": "always saying what is frequent",
    "r2": "always saying the mean",
}


def next_command(record: Mapping[str, Any]) -> str | None:
    """The command that does what the advice says; None without one, or of data in memory."""
    best = record["accuracy"]["best"]
    data = str(record["data"]["id"])
    if best is None or data.startswith("in-memory "):
        return None
    choice = _choose(record)
    if choice == "no_use" and not _lora_may_help(record):
        return None
    if not getattr(POOLINGS.get(best["pooling"]), "__module__", "").startswith("ntpscore."):
        return None  # of a file that the command line doesn't import
    words = ["ntpscore", "adapt", str(record["model"]["id"]), data]
    settings = record["settings"]
    for kind in (TextOptions, ModelOptions):
        for field in fields(kind):
            value = settings.get(field.name, field.default)
            if value != field.default and field.name != "max_texts":
                flag = field.metadata["flag"] or "--" + field.name.replace("_", "-")
                words += [flag] if value is True else [flag, str(value)]
    if choice in ("lora", "no_use"):
        words += ["--method", "lora", "--out", "lora"]
    else:
        words += ["--layer", str(best["layer"]), "--pooling", best["pooling"]]
    return shlex.join(words)
