"""What a run of `score` found: a record, the table of scores, and the folder both are kept in."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ntpscore.core.scores import SCORES, ScoreTable, grid_of_k
from ntpscore.errors import OutputError
from ntpscore.files import make_folder, to_json, write_figure, write_text
from ntpscore.scoring.best import NO_SPREAD, mean_and_sd

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ntpscore.core.moments import Moments

SCHEMA_VERSION = 1
COLUMNS = (
    "score",
    "layer",
    "k",
    "k_fraction",
    "value",
    "chance",
    "shuffled_mean",
    "shuffled_sd",
    "basis_dependent",
)


def scores_frame(table: ScoreTable, *, every_k: bool = False) -> "pd.DataFrame":
    """The scores as a table with the columns of `scores.csv`, one row per score, layer and k.

    Args:
        table: the solved scores.
        every_k: every k = 1 … d instead of the paper's grid.
    """
    import pandas as pd

    k = np.arange(1, table.width + 1) if every_k else np.array(grid_of_k(table.width))
    parts = []
    for name in SCORES:
        for layer, scores in zip(table.layers, table.by_layer, strict=True):
            shuffled = scores.shuffled[name][:, k - 1].cpu().numpy()
            mean, sd = mean_and_sd(shuffled)
            parts.append(
                pd.DataFrame(
                    {
                        "score": name,
                        "layer": layer,
                        "k": k,
                        "k_fraction": k / table.width,
                        "value": scores.values[name][k - 1].cpu().numpy(),
                        "chance": scores.chance[name][k - 1].cpu().numpy(),
                        "shuffled_mean": mean,
                        "shuffled_sd": sd,
                        "basis_dependent": scores.basis_dependent[name][k - 1].cpu().numpy(),
                    },
                    columns=list(COLUMNS),
                )
            )
    return pd.concat(parts, ignore_index=True)


def layer_record(table: ScoreTable) -> list[dict[str, Any]]:
    """What is known of each layer besides the scores, as rows for `result.json`."""
    rows = []
    for layer, s in zip(table.layers, table.by_layer, strict=True):
        mean, sd = mean_and_sd(s.r2_shuffled.cpu().numpy())
        rows.append(
            {
                "layer": layer,
                "r2": s.r2,
                "r2_adjusted": s.r2_adjusted,
                "r2_chance": s.r2_chance,
                "r2_shuffled_mean": float(mean),
                "r2_shuffled_sd": float(sd),
                "ols_mse": s.ols_mse,
                "rank_N": s.rank_N,
                "rank_N_centred": s.rank_N_centred,
                "rank_C0": s.rank_C0,
                "dropped_N": table.width - s.rank_N,
                "dropped_C0": table.width - s.rank_C0,
                "condition_N": s.condition_N,
                "condition_C0": s.condition_C0,
                "residual": s.residual,
                "n_label_directions": s.n_label_directions,
                "next_token_r2": s.next_token_r2,
                "next_token_k90": s.next_token_k90,
                "loss_k": s.losses.k,
                "next_token_loss": s.losses.next_token,
                "probe_loss": s.losses.probe,
                "excess_loss": s.losses.excess,
                "excess_loss_lower": s.losses.excess_lower,
                "excess_loss_upper": s.losses.excess_upper,
            }
        )
    return rows


class ScoreResult:
    """The outcome of `ntpscore.score`, or of `load_result` of its folder.

    Attributes:
        record: the content of `result.json`: model, data, settings, layers, best, seconds.
    """

    def __init__(
        self,
        record: dict[str, Any],
        *,
        table: ScoreTable | None = None,
        frame: "pd.DataFrame | None" = None,
        moments: "Moments | None" = None,
        folder: Path | None = None,
    ) -> None:
        self.record = record
        self._table = table
        self._frame = frame
        self._moments = moments
        self._folder = folder

    def __repr__(self) -> str:
        data, model = self.record["data"], self.record["model"]
        return f"ScoreResult({model['id']!r} on {data['id']!r}, {data['n_texts']} texts)"

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
            if self._folder is None:
                raise OutputError("this result has no moments: it was made without them")
            self._moments = Moments.load(self._folder / "moments.safetensors")
        return self._moments

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

    def plot(self, score: str = "retained", ax: "Axes | None" = None) -> "Axes":
        """Draw a heat map of one score, layer by k.

        Args:
            score: one of the six scores.
            ax: where to draw; a new figure if None.

        Returns:
            The matplotlib axes.
        """
        import matplotlib.pyplot as plt

        if score not in SCORES:
            raise OutputError(f"there is no score {score!r}: choose from {', '.join(SCORES)}")
        frame = self.table()
        grid = frame[frame["score"] == score].pivot_table(
            index="layer", columns="k_fraction", values="value", dropna=False
        )
        if ax is None:
            ax = plt.subplots(figsize=(7, 1.5 + 0.16 * len(grid)))[1]
        image = ax.imshow(
            grid.to_numpy(), origin="lower", aspect="auto", vmin=0, vmax=1, cmap="viridis"
        )
        ticks = range(1, grid.shape[1], 4)
        ax.set_xticks(list(ticks), [f"{grid.columns[i]:.2f}" for i in ticks])
        rows = range(0, len(grid), max(1, len(grid) // 10))
        ax.set_yticks(list(rows), [str(grid.index[i]) for i in rows])
        ax.set_xlabel("k / d")
        ax.set_ylabel("layer")
        model, data = self.record["model"]["id"], self.record["data"]["id"]
        # A file name may hold dollar signs, which matplotlib would read as mathematics.
        marked = frame.loc[frame["score"] == score, "basis_dependent"].any()
        remark = " (basis-dependent beyond the labels' rank)" if marked else ""
        ax.set_title(f"{score}: {model} on {data}{remark}".replace("$", r"\$"))
        ax.figure.colorbar(image, ax=ax)
        return ax

    def save_plot(self, path: str | Path, score: str = "retained") -> None:
        """Draw `plot` into a picture file, whose ending gives the format.

        Raises:
            OutputError: the file can't be written, or its ending is none that matplotlib knows.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 1.5 + 0.1 * len(self.record["layers"])), layout="constrained")
        self.plot(score, figure.add_subplot())
        write_figure(path, figure)

    def save(self, folder: str | Path, *, every_k: bool = False) -> Path:
        """Write `result.json`, `scores.csv` and `moments.safetensors` into a folder.

        Args:
            folder: made if it is missing; files of an earlier result are replaced.
            every_k: write every k into `scores.csv` instead of the paper's grid.

        Raises:
            OutputError: the folder can't be written.
        """
        folder = make_folder(folder)
        if self._folder is None or self._folder.resolve() != folder.resolve():
            write_moments(self.moments, folder)
        self.write_table(folder, every_k=every_k)
        self.write_record(folder)
        return folder

    def write_table(self, folder: Path, *, every_k: bool = False) -> None:
        """Write `scores.csv`; see `save`."""
        # An earlier record must not stand beside a table of another run.
        (folder / "result.json").unlink(missing_ok=True)
        frame = self.table(every_k=every_k)[list(COLUMNS)]
        write_text(folder / "scores.csv", frame.to_csv(index=False, lineterminator="\n"))

    def write_record(self, folder: Path) -> None:
        """Write `result.json`, which makes the folder complete; see `save`."""
        write_text(folder / "result.json", to_json(self.record))
        self._folder = folder


def write_moments(moments: "Moments", folder: Path) -> None:
    """Write `moments.safetensors` into a result folder.

    Raises:
        MomentsError: the file can't be written.
    """
    # An earlier record must not stand beside moments of another run.
    (folder / "result.json").unlink(missing_ok=True)
    moments.save(folder / "moments.safetensors")


def load_result(folder: str | Path) -> ScoreResult:
    """Read the result folder that `score` or `ScoreResult.save` wrote.

    Raises:
        OutputError: the folder has no complete result, or one of another schema version.
    """
    import pandas as pd

    folder = Path(folder)
    try:
        record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        frame = pd.read_csv(folder / "scores.csv")
    except FileNotFoundError as error:
        raise OutputError(
            f"{folder} has no complete result: {Path(error.filename).name} is missing"
        ) from error
    except (OSError, ValueError) as error:
        raise OutputError(f"the result in {folder} can't be read: {error}") from error
    if not isinstance(record, dict):
        raise OutputError(f"{folder / 'result.json'} is no record of a result")
    if record.get("schema_version") != SCHEMA_VERSION:
        raise OutputError(
            f"the result in {folder} has schema version {record.get('schema_version')}, "
            f"this ntpscore reads {SCHEMA_VERSION}"
        )
    missing = set(COLUMNS) - set(frame.columns)
    if missing:
        raise OutputError(f"{folder / 'scores.csv'} lacks the columns {', '.join(sorted(missing))}")
    return ScoreResult(record, frame=frame, folder=folder)


def read_kind(folder: Path) -> str:
    """What kind of result a folder holds: "score", "adapt"; "score" where nothing can be read."""
    try:
        record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "score"
    return str(record.get("kind", "score")) if isinstance(record, dict) else "score"
