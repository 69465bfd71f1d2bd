"""What adapting a model found: a record, the loss curve, and the folder both are kept in."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ntpscore.adapt.evaluation import Evaluation, OutputKind, predictions
from ntpscore.adapt.readout import HEAD, Readout
from ntpscore.clock import Clock
from ntpscore.errors import OutputError
from ntpscore.files import to_csv, unquote_formula, without_nan, write_text
from ntpscore.models import LanguageModel
from ntpscore.reading.provenance import (
    describe_command,
    describe_model,
    describe_text,
    describe_versions,
    peak_memory,
)
from ntpscore.reading.tokens import TokenizedText, tokenize
from ntpscore.result_folder import (
    CARD,
    UNFINISHED,
    SavedResult,
    complete,
    hold_folder,
    is_foreign,
    read_result,
)
from ntpscore.text import LabelledText, recode_labels

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
KIND = "adapt"
STAGES = ("tokenize", "forward", "fit", "evaluate", "total")
LOSS_CURVE, PREDICTIONS = "loss_curve.csv", "predictions.csv"
LOSS_COLUMNS = ("step", "samples", "loss", "learning_rate")


class AdaptResult:
    """The outcome of a `fit_` function, or of `load_adapt_result` of its folder.

    Attributes:
        record: the content of `result.json`: method, model, data, config, train, test, seconds.
        loss_curve: a row per recorded step: step, samples seen, loss, learning rate; empty for
            closed forms.
        predictions: a row per text of the test split; None without one.
        readout: what labels new texts; None where nothing is kept, and for a result that was
            loaded: `load_predictor` reads it.
    """

    def __init__(
        self,
        record: dict[str, Any],
        *,
        loss_curve: "pd.DataFrame | None" = None,
        predictions: "pd.DataFrame | None" = None,
        readout: "Readout | None" = None,
        saved: SavedResult | None = None,
    ) -> None:
        import pandas as pd

        self.record = record
        self.loss_curve = pd.DataFrame(columns=LOSS_COLUMNS) if loss_curve is None else loss_curve
        self.predictions = predictions
        self.readout = readout
        self._saved = saved

    def __repr__(self) -> str:
        model, data = self.record["model"]["id"], self.record["data"]["train"]["id"]
        return f"AdaptResult({self.record['method']} of {model!r} on {data!r})"

    @property
    def train(self) -> Evaluation | None:
        """How good the method is on the texts it was fitted to, where that is known."""
        return self._evaluation("train")

    @property
    def test(self) -> Evaluation | None:
        """How good the method is on the test split; None without one."""
        return self._evaluation("test")

    def _evaluation(self, name: str) -> Evaluation | None:
        record = self.record[name]
        return None if record is None else Evaluation.from_record(record)

    def save(self, folder: str | Path) -> Path:
        """Write `result.json`, tables and, if there is one, the head with its card into a folder.

        Args:
            folder: made if it is missing; files of an earlier result are replaced.

        Raises:
            OutputError: the folder can't be written.
        """
        with hold_folder(folder) as held:
            is_there = self._saved is not None and self._saved.folder.resolve() == held.resolve()
            self.complete(held, keep=[*self._saved.files] if is_there and self._saved else [])
            return held

    def complete(
        self, folder: Path, files: Sequence[str] = (), *, keep: Sequence[str] = ()
    ) -> None:
        """Write head, tables and record, and put all into its place; see `save`.

        Args:
            folder: held.
            files: what is in `unfinished/` there already.
            keep: files that the folder has already.
        """
        work, files = folder / UNFINISHED, [*files, LOSS_CURVE]
        write_text(work / LOSS_CURVE, to_csv(self.loss_curve))
        if self.readout is not None:
            from ntpscore.adapt.model_card import make_card

            self.readout.save(work)
            # A folder of weights has the card too, where peft leaves a form to be filled in.
            cards = [f"{one}/{CARD}" for one in files if (work / one).is_dir()]
            if not is_foreign(folder, CARD):
                cards.append(CARD)
                files.append(CARD)
            for card in cards:
                write_text(work / card, make_card(self.record))
            files.append(HEAD)
        if self.predictions is not None:
            write_text(work / PREDICTIONS, to_csv(self.predictions))
            files.append(PREDICTIONS)
        complete(folder, self.record, files, keep=keep)


def load_adapt_result(folder: str | Path) -> AdaptResult:
    """Read the result folder that `AdaptResult.save` wrote.

    Raises:
        OutputError: the folder has no complete result, or one of another kind or schema version.
    """
    import pandas as pd

    saved = read_adapt_folder(folder)
    path = saved.path(LOSS_CURVE)
    predictions = None
    try:
        loss_curve = pd.read_csv(path)
        if PREDICTIONS in saved.files:
            path = saved.path(PREDICTIONS)
            # A class may be called "NA".
            predictions = pd.read_csv(path, keep_default_na=False).rename(columns=unquote_formula)
            for name in predictions.select_dtypes(exclude=["number", "bool"]):
                predictions[name] = predictions[name].map(unquote_formula)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} can't be read: {error}") from error
    if tuple(loss_curve.columns) != LOSS_COLUMNS:
        raise OutputError(f"{saved.path(LOSS_CURVE)} has not the columns {LOSS_COLUMNS}")
    return AdaptResult(saved.record, loss_curve=loss_curve, predictions=predictions, saved=saved)


def read_adapt_folder(folder: str | Path) -> SavedResult:
    """The record of a result folder, and where its files are.

    Raises:
        OutputError: as `load_adapt_result`.
    """
    return read_result(folder, KIND, SCHEMA_VERSION, "result of adapt")


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
