"""What is recorded of a fit: texts and their tokens, figures, and how it was made."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ntpscore.adapt.evaluation import Evaluation, OutputKind, predictions
from ntpscore.adapt.result import KIND, SCHEMA_VERSION
from ntpscore.clock import Clock
from ntpscore.files import without_nan
from ntpscore.models import LanguageModel
from ntpscore.reading.provenance import (
    describe_command,
    describe_model,
    describe_text,
    describe_versions,
    peak_memory,
)
from ntpscore.reading.tokens import TokenizedText, tokenize
from ntpscore.text import LabelledText, recode_labels

if TYPE_CHECKING:
    import pandas as pd


class Split(NamedTuple):
    """Texts of one split, with labels coded as in training, and their tokens."""

    text: LabelledText
    tokens: TokenizedText


def tokenize_splits(
    model: LanguageModel,
    train: LabelledText,
    test: LabelledText | None,
    max_length: int | None,
    clock: Clock,
) -> list[Split]:
    """The train split and, if there is one, the test split, coded as in training.

    Raises:
        DataError: the splits don't fit together, or a text has no token.
        ModelError: the length is beyond the model's context.
    """
    texts = [train] if test is None else [train, recode_labels(test, train)]
    with clock("tokenize"):
        return [Split(text, tokenize(text.texts, model, max_length)) for text in texts]


def make_record(
    method: str,
    model: LanguageModel,
    splits: Sequence[Split],
    config: Any,
    *,
    layers: Sequence[int],
    evaluations: Sequence[Evaluation],
    trainable_parameters: int,
    total_parameters: int,
    clock: Clock,
    steps: int = 0,
    samples_seen: int | None = None,
    tokens_seen: int | None = None,
    warnings: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The record of a run, without NaN.

    Args:
        method: its name.
        model: the model that was adapted.
        splits: what was fitted and, if anything was, what was left aside.
        config: the method's configuration, a dataclass.
        layers: hidden-state indices the features are of.
        evaluations: on each of the splits.
        trainable_parameters: numbers that were fitted.
        total_parameters: numbers of the model and what was put on top.
        clock: seconds of `STAGES`.
        steps: of an optimiser; 0 for closed forms.
        samples_seen: texts that went into steps, repetitions counted; None means each text once.
        tokens_seen: tokens through the model to fit, repetitions counted; None means each text's
            once.
        warnings: what a reader should know.
        extra: what only this method has to say.
    """
    train, tokens = splits[0]
    by_split = dict(zip(("train", "test"), splits, strict=False))
    notes = []
    for name, split in by_split.items():
        if split.tokens.truncated:
            notes.append(
                f"{split.tokens.truncated} of {len(split.text)} texts of the {name} split were cut "
                f"to {max(map(len, split.tokens.ids))} tokens"
            )
        if skipped := split.text.source.skipped:
            counts = ", ".join(f"{count} {why}" for why, count in skipped.items())
            notes.append(f"rows of the {name} split were skipped: {counts}")
    record = {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "method": method,
        "model": describe_model(model),
        "data": {"test": None, **{name: describe_text(*split) for name, split in by_split.items()}},
        "config": asdict(config),
        "layers": list(layers),
        **describe_evaluations(evaluations),
        "steps": steps,
        "samples_seen": len(train) if samples_seen is None else samples_seen,
        "tokens": tokens.n_tokens if tokens_seen is None else tokens_seen,
        "trainable_parameters": trainable_parameters,
        "total_parameters": total_parameters,
        **(extra or {}),
        "warnings": [*warnings, *notes],
        "seconds": clock.seconds(),
        "peak_memory_bytes": peak_memory(),
        "versions": describe_versions(),
        "command": describe_command(),
    }
    cleaned: dict[str, Any] = without_nan(record)
    return cleaned


def describe_evaluations(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """The entries `train` and `test` of a record; None where there is no test split."""
    pairs = zip_longest(("train", "test"), evaluations)
    return {str(name): evaluation and asdict(evaluation) for name, evaluation in pairs}


def tabulate_predictions(
    outputs: npt.NDArray[np.floating[Any]],
    text: LabelledText,
    *,
    kind: OutputKind = "logits",
) -> "pd.DataFrame":
    """Labels and predictions of each text, in words of the data.

    Args:
        outputs: (n, c), as for `evaluate`.
        text: the texts.
        kind: as for `evaluate`.

    Returns:
        Of classes the columns label and predicted; else for every class or target `NAME` the
        columns `label NAME` and `predicted NAME`, targets in the units of the data.
    """
    import pandas as pd

    predicted = predictions(np.asarray(outputs, dtype=np.float64), text.task, kind)
    if text.task == "classification":
        names = np.array(text.classes, dtype=object)
        return pd.DataFrame({"label": names[text.labels], "predicted": names[predicted]})
    labels = text.labels.astype(np.float64)
    if text.task == "regression":
        labels = labels * np.array(text.target_sd) + np.array(text.target_mean)
        predicted = predicted * np.array(text.target_sd) + np.array(text.target_mean)
    else:
        labels, predicted = labels.astype(np.int64), predicted.astype(np.int64)
    return pd.DataFrame(
        {f"label {name}": labels[:, i] for i, name in enumerate(text.classes)}
        | {f"predicted {name}": predicted[:, i] for i, name in enumerate(text.classes)}
    )
