"""The paper's Figure S1: training losses."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntpscore.errors import DataError
from ntpscore.figures import DASHES, PAGE, in_style, palette
from ntpscore.study.statistics.correlation import Values
from ntpscore.study.statistics.sweep import check_columns

_PER_ROW = 4
_METHODS = ("probe", "lora", "scratch")
_LOSS_COLUMNS = ("model", "data", "method", "step", "loss")


@in_style
def plot_training_losses(losses: pd.DataFrame) -> Figure:
    """Draw training losses, a panel per data set and a line per method.

    A line is the mean over models and seeds, between the first and the last step that all of them
    have.

    Args:
        losses: model, data, method, step and loss, and perhaps seed.

    Raises:
        DataError: the table is empty, lacks a column, or has a method that isn't known.

    Source:
        Next Token Perception Score, Figure S1.
    """
    check_columns(losses, _LOSS_COLUMNS, "losses")
    unknown = sorted(set(losses["method"]) - set(_METHODS))
    if unknown or losses.empty:
        got = f"of {', '.join(unknown)}" if unknown else "none"
        raise DataError(f"losses of {', '.join(_METHODS)} are drawn: got {got}")
    names = list(losses["data"].unique())
    width = min(len(names), _PER_ROW)
    rows = math.ceil(len(names) / width)
    figure = Figure(figsize=(0.4 + (PAGE - 0.4) / _PER_ROW * width, 0.8 + 1.45 * rows))
    axes = figure.subplots(rows, width, sharex=True, squeeze=False).flat
    lines: dict[str, Line2D] = {}
    for ax, name in zip(axes, names, strict=False):
        for method, colour, dash in zip(_METHODS, palette(), DASHES, strict=False):
            runs = losses[(losses["data"] == name) & (losses["method"] == method)]
            if runs.empty:
                continue
            steps, loss = _mean_curve(runs)
            marker = "." if len(steps) < 3 else None
            (lines[method],) = ax.plot(
                steps, loss, color=colour, linestyle=dash, marker=marker, linewidth=1
            )
        ax.set_title(str(name))
        ax.set_ylim(bottom=0)
        ax.locator_params(axis="x", nbins=3, integer=True)
        ax.tick_params(labelbottom=True)
    for ax in list(axes)[len(names) :]:
        ax.set_visible(False)
    figure.supxlabel("training step", fontsize="medium")
    figure.supylabel("cross-entropy of training texts (nats)", fontsize="medium")
    models = {method: losses.loc[losses["method"] == method, "model"].nunique() for method in lines}
    labels = [f"{method} (mean of {n} model{'s' * (n > 1)})" for method, n in models.items()]
    figure.legend(list(lines.values()), labels, loc="outside upper center", ncols=len(lines))
    return figure


def _mean_curve(losses: pd.DataFrame) -> tuple[Values, Values]:
    """Steps and the mean loss of all runs, where all of them have one."""
    keys = ["model", *(["seed"] if "seed" in losses.columns else [])]
    runs = [
        (run["step"].to_numpy(np.float64), run["loss"].to_numpy(np.float64))
        for _, run in losses.sort_values("step").groupby(keys)
    ]
    low, high = max(step[0] for step, _ in runs), min(step[-1] for step, _ in runs)
    steps = np.unique(np.concatenate([step for step, _ in runs]))
    steps = steps[(steps >= low) & (steps <= high)]
    if not len(steps):
        raise DataError(f"the runs on {losses['data'].iloc[0]} have no step in common to average")
    return steps, np.mean([np.interp(steps, step, loss) for step, loss in runs], axis=0)
