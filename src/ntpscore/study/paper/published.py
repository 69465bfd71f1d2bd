"""The 96 points that the paper's authors published, run through our statistics."""

from importlib.resources import files
from typing import TYPE_CHECKING

import pandas as pd

from ntpscore.errors import DataError
from ntpscore.extras import need_package
from ntpscore.figures import GREY, PERCENT, palette
from ntpscore.study.statistics.correlation import (
    bootstrap_interval,
    partial_spearman,
    permutation_p,
    spearman,
)
from ntpscore.study.statistics.sweep import FEWEST_DATA_SETS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ntpscore.study.paper.scatter import LabelledPoints

# What each figure sets its own score against.
_FIGURES = {
    "accuracy": "ntps_fig2_accuracy",
    "mse": "ntps_fig2_mse",
    "lora_gain": "ntps_fig3",
}
COLUMNS = (
    "model", "outcome", "without", "n", "r", "low", "high", "p", "r_probe_error",
    "r_given_probe_error",
)  # fmt: skip


def load_published() -> pd.DataFrame:
    """The published points, a row per model and data set.

    Returns:
        Columns model, data, the score of each figure (`ntps_fig2_accuracy`, `ntps_fig2_mse`,
        `ntps_fig3`), and the outcomes: accuracy (logistic regression, training), mse (least
        squares, training), probe and lora (test accuracies), lora_gain (their difference) and
        probe_error (one minus the probe's accuracy).

    Source:
        Figures 2 and 3 of Next Token Perception Score; see `data/SOURCES.md` beside this file.
    """
    with (files("ntpscore.study.paper") / "data" / "published_figures.csv").open(
        encoding="utf-8"
    ) as file:
        points = pd.read_csv(file)
    points = points.rename(
        columns={
            "dataset": "data",
            "train_accuracy": "accuracy",
            "train_mse": "mse",
            "linear_probe_test_accuracy": "probe",
            "lora_test_accuracy": "lora",
        }
    )
    points["lora_gain"] = points["lora"] - points["probe"]
    points["probe_error"] = 1 - points["probe"]
    return points


def published_r(outcome: str) -> list[float]:
    """Spearman's r of the published scores with an outcome of `_FIGURES`, one per model."""
    models = load_published().groupby("model", sort=False)
    return [
        spearman(part[_FIGURES[outcome]].to_numpy(), part[outcome].to_numpy()) for _, part in models
    ]


def correlate_published(without: str = "medical", *, seed: int = 0) -> pd.DataFrame:
    """Spearman's r of the published scores with the published outcomes, per model.

    The authors chose layer and k for each figure by the r that is computed here, so neither p nor
    interval allows for that choice: both are too good. What the points can be asked is whether the
    score says more of the LoRA gain than the probe's error does.

    Args:
        without: a part of a data set's name: every r is given with and without such data sets.
        seed: of permutations and bootstrap.

    Returns:
        Two rows per model and outcome (`accuracy`, `mse`, `lora_gain`), `without` being empty in
        the first and naming what is left out in the second: n data sets, r, its 95 % bootstrap
        interval (low, high) and its permutation p; for the gain also r of the probe's error with
        it, and r of the score with it given that error.

    Raises:
        DataError: no data set's name holds that, or fewer than four would be left.
    """
    points = load_published()
    left_out = _named(points, without)
    if points.loc[~left_out, "data"].nunique() < FEWEST_DATA_SETS:
        raise DataError(
            f"without {without!r} fewer than {FEWEST_DATA_SETS} data sets would be left"
        )
    rows = []
    for model, group in points.groupby("model", sort=False):
        for outcome, score in _FIGURES.items():
            for omitted, part in (("", group), (without, group[~left_out[group.index]])):
                x, y = part[score].to_numpy(), part[outcome].to_numpy()
                row = {"model": model, "outcome": outcome, "without": omitted, "n": len(part)}
                row |= {"r": spearman(x, y), "p": permutation_p(x, y, seed=seed)}
                row |= bootstrap_interval(x, y, seed=seed)._asdict()
                if outcome == "lora_gain":
                    probe_error = part["probe_error"].to_numpy()
                    row["r_probe_error"] = spearman(probe_error, y)
                    row["r_given_probe_error"] = partial_spearman(x, y, probe_error)
                rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def plot_published(table: pd.DataFrame) -> "Figure":
    """Draw the published score against the LoRA gain, a panel per model.

    Data sets that the table also leaves out are open circles; titles have r with its 95 % bootstrap
    interval. The scores of different panels are on no common scale.

    Args:
        table: as `correlate_published` returns it.
    """
    need_package("matplotlib", "study", "drawing")
    from ntpscore.study.paper.scatter import draw_models, short_name

    points = load_published()
    left_out = str(table["without"].iloc[-1])
    open_circle = _named(points, left_out)

    def panel(ax: "Axes", model: str) -> "LabelledPoints":
        part = points[points["model"] == model]
        x, y = part["ntps_fig3"].to_numpy(), PERCENT * part["lora_gain"].to_numpy()
        hollow = open_circle[part.index].to_numpy()
        ax.axhline(0, color=GREY, alpha=0.5, linewidth=0.6)
        ax.plot(x[~hollow], y[~hollow], "o", color=palette()[0])
        ax.plot(x[hollow], y[hollow], "o", color=palette()[0], fillstyle="none")
        rows = table[(table["model"] == model) & (table["outcome"] == "lora_gain")]
        every, rest = (
            f"r = {row.r:.2f} ({row.low:.2f} to {row.high:.2f})"
            for row in rows.sort_values("without").itertuples()
        )
        ax.set_title(f"{short_name(model)}: {every}\nwithout {left_out} (○) {rest}")
        ax.set_xlabel("published score (share)")
        ax.set_ylabel("LoRA gain (percentage points)")
        return x, y, part["data"].map(short_name).tolist()

    return draw_models(list(points["model"].unique()), [panel])


def _named(points: pd.DataFrame, part: str) -> "pd.Series[bool]":
    named = points["data"].str.contains(part, case=False, regex=False)
    if not part or not named.any():
        names = ", ".join(sorted(points["data"].unique()))
        raise DataError(f"no data set is called {part!r}; there are {names}")
    return named
