"""What a run of `score` found: a record, the table of scores, and the folder both are kept in."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ntpscore.core.grid import grid_of_k
from ntpscore.errors import OutputError
from ntpscore.figures import figure_style, write_figure
from ntpscore.files import to_csv, write_text
from ntpscore.result_folder import (
    RECORD,
    UNFINISHED,
    SavedResult,
    complete,
    hold_folder,
    read_result,
)
from ntpscore.scoring.best import NO_SPREAD
from ntpscore.scoring.summary import summarise, summarise_html
from ntpscore.scoring.tables import COLUMNS, scores_frame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ntpscore.core.moments import Moments
    from ntpscore.core.scores import ScoreTable
    from ntpscore.reading.features import Features

SCHEMA_VERSION = 3
KIND = "score"
MOMENTS = "moments.safetensors"
_TABLES = ("scores.csv", "held_out.csv")


class ScoreResult:
    """The outcome of `ntpscore.score`, or of `load_result` of its folder.

    Attributes:
        record: the content of `result.json`: model, data, settings, accuracy, learning curve,
            mistakes, forecast, layers, best, seconds.
        held_out: what is lost on each text, by its number, by the frozen readout that was chosen
            and fitted without it: 1 if it is put into a wrong class; squared error of targets.
    """

    def __init__(
        self,
        record: dict[str, Any],
        *,
        table: "ScoreTable | None" = None,
        frame: "pd.DataFrame | None" = None,
        held_out: dict[int, float] | None = None,
        moments: "Moments | None" = None,
        features: "Features | None" = None,
        saved: SavedResult | None = None,
    ) -> None:
        self.record = record
        self._table = table
        self._frame = frame
        self.held_out = held_out or {}
        self._moments = moments
        self._features = features
        self._saved = saved

    def __repr__(self) -> str:
        data, model = self.record["data"], self.record["model"]
        return f"ScoreResult({model['id']!r} on {data['id']!r}, {data['n_texts']} texts)"

    def __str__(self) -> str:
        """What was found, in at most 25 lines."""
        return summarise(self.record)

    def _repr_html_(self) -> str:
        """The same with the figures as a table, for notebooks."""
        return summarise_html(self.record)

    @property
    def accuracy(self) -> "pd.DataFrame":
        """Held-out figures, a row per layer and pooling; see `scoring.accuracy`."""
        import pandas as pd

        return pd.DataFrame((self.record.get("accuracy") or {}).get("readouts", []))

    @property
    def best(self) -> dict[str, dict[str, Any]]:
        """Per score, the layer and k at which it says most; see `Best` for the fields."""
        best: dict[str, dict[str, Any]] = self.record["best"]
        return best

    @property
    def layers(self) -> "pd.DataFrame":
        """One row per layer: r2, ols_mse, ranks, condition numbers."""
        import pandas as pd

        return pd.DataFrame(self.record["layers"])

    @property
    def advice(self) -> str:
        """One sentence in plain words: what was found and how sure it is."""
        return str(self.record["advice"])

    @property
    def moments(self) -> "Moments":
        """The accumulated moments, from memory or from the result's folder."""
        from ntpscore.core.moments import Moments

        if self._moments is None:
            if self._saved is None or MOMENTS not in self._saved.files:
                raise OutputError(
                    "this result has no moments: only --keep-moments (keep_moments=True) keeps them"
                )
            self._moments = Moments.load(self._saved.path(MOMENTS))
        return self._moments

    @property
    def features(self) -> "Features":
        """Pooled hidden states of the texts, mapped from a temporary file or the result's folder.

        Raises:
            OutputError: none were kept, or they are damaged.
        """
        from ntpscore.reading.features import FEATURES, Features

        if self._features is None:
            if self._saved is None or FEATURES not in self._saved.files:
                raise OutputError("this result has no features: feature_texts was 0")
            self._features = Features.open(self._saved.path(FEATURES, hashed=False))
        return self._features

    def table(self, *, every_k: bool = False) -> "pd.DataFrame":
        """The scores as a pandas table: the columns of `scores.csv` and `z`.

        Args:
            every_k: every k = 1 … d instead of the paper's grid; a result that was loaded from a
                folder solves its moments again for that.
        """
        if every_k and self._table is None:
            from ntpscore.core.scores import score_moments

            self._table = score_moments(self.moments)
        if self._table is not None:
            frame = scores_frame(self._table, every_k=every_k)
        elif self._frame is not None:
            in_grid = self._frame["k"].isin(grid_of_k(self.record["model"]["width"]))
            frame = self._frame[in_grid].reset_index(drop=True)
        else:
            raise OutputError("this result has no scores")
        spread = frame["shuffled_sd"].where(frame["shuffled_sd"] > NO_SPREAD)
        return frame.assign(z=(frame["value"] - frame["shuffled_mean"]) / spread)

    def plot(self, score: str = "accuracy", ax: "Axes | None" = None) -> "Axes":
        """Draw held-out accuracy by layer, or a heat map of one score, layer by k.

        The map shows how far each layer is above or below the mean of all layers at that k: with k
        itself every score grows, whatever the layer.

        Args:
            score: "accuracy", or one of the six scores.
            ax: where to draw; a new figure if None.

        Returns:
            The matplotlib axes.
        """
        from ntpscore.scoring.plot import plot_accuracy, plot_scores

        return plot_accuracy(self, ax) if score == "accuracy" else plot_scores(self, score, ax)

    def save_plot(self, path: str | Path, score: str = "accuracy") -> None:
        """Draw `plot` into a picture file, whose ending gives the format.

        Raises:
            OutputError: the file can't be written, or its ending is none that matplotlib knows.
        """
        from ntpscore.scoring.plot import figure_size

        with figure_style():
            from matplotlib.figure import Figure

            figure = Figure(figsize=figure_size(self, score))
            self.plot(score, figure.add_subplot())
        write_figure(path, figure)

    def save(
        self, folder: str | Path, *, every_k: bool = False, keep_moments: bool = False
    ) -> Path:
        """Write `result.json`, `scores.csv`, `held_out.csv` and features into a folder.

        Args:
            folder: made if it is missing; files of an earlier result are replaced.
            every_k: write every k into `scores.csv` instead of the paper's grid.
            keep_moments: write `moments.safetensors` too.

        Raises:
            OutputError: the folder can't be written.
        """
        from ntpscore.reading.features import FEATURES

        with hold_folder(folder) as held:
            work = held / UNFINISHED
            is_there = self._saved is not None and self._saved.folder.resolve() == held.resolve()
            files = []
            if keep_moments and not is_there:
                self.moments.save(work / MOMENTS)
                files.append(MOMENTS)
            if self.record["settings"].get("feature_texts") and not is_there:
                self.features.save(work)
                files.append(FEATURES)
            self.write_tables(work, every_k=every_k)
            self.complete(held, files, keep=[MOMENTS, FEATURES] if is_there else [])
            return held

    def write_tables(self, folder: Path, *, every_k: bool = False) -> None:
        """Write `scores.csv` and `held_out.csv`; see `save`."""
        frame = self.table(every_k=every_k)[list(COLUMNS)]
        rows = [f"{text},{lost!r}\n" for text, lost in self.held_out.items()]
        for name, content in zip(
            _TABLES, (to_csv(frame), "text,lost\n" + "".join(rows)), strict=True
        ):
            write_text(folder / name, content)

    def complete(self, folder: Path, files: Sequence[str], *, keep: Sequence[str] = ()) -> None:
        """Write the record, and put all that is in `unfinished/` into its place; see `save`.

        Args:
            folder: held, with the tables in `unfinished/`.
            files: what else is there.
            keep: files that the folder has already.
        """
        complete(folder, self.record, [*files, *_TABLES], keep=keep)
        # Features are at another place now.
        self._saved, self._features = _read(folder), None


def load_result(folder: str | Path) -> ScoreResult:
    """Read the result folder that `score` or `ScoreResult.save` wrote.

    Raises:
        OutputError: the folder has no complete result, or one of another schema version.
    """
    import pandas as pd

    saved = _read(folder)
    path = saved.path("scores.csv")
    try:
        frame = pd.read_csv(path)
        held_out = pd.read_csv(saved.path("held_out.csv"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} can't be read: {error}") from error
    missing = set(COLUMNS) - set(frame.columns)
    if missing:
        raise OutputError(f"{path} lacks the columns {', '.join(sorted(missing))}")
    lost = dict(zip(held_out["text"].tolist(), held_out["lost"].tolist(), strict=True))
    return ScoreResult(saved.record, frame=frame, held_out=lost, saved=saved)


def _read(folder: str | Path) -> SavedResult:
    return read_result(folder, KIND, SCHEMA_VERSION, "result of score")


def read_kind(folder: Path) -> str:
    """What kind of result a folder holds: "score", "adapt"; "score" where nothing can be read."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return KIND
    return str(record.get("kind", KIND)) if isinstance(record, dict) else KIND
