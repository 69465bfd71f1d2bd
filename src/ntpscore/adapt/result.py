"""What adapting a model found: a record, the loss curve, and the folder both are kept in."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ntpscore.adapt.evaluation import Evaluation
from ntpscore.errors import OutputError
from ntpscore.files import to_csv, unquote_formula, write_text
from ntpscore.result_folder import (
    CARD,
    UNFINISHED,
    SavedResult,
    complete,
    hold_folder,
    is_foreign,
    read_result,
)

if TYPE_CHECKING:
    import pandas as pd

    from ntpscore.adapt.readout import Readout

SCHEMA_VERSION = 2
KIND = "adapt"
STAGES = ("tokenize", "forward", "fit", "evaluate", "total")
HEAD, LOSS_CURVE, PREDICTIONS = "head.safetensors", "loss_curve.csv", "predictions.csv"
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
            cards = [f"{name}/{CARD}" for name in files if (work / name).is_dir()]
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
