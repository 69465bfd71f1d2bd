"""The paper's Figure S1: training losses."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ntpscore.errors import DataError
from ntpscore.study.paper.style import (
    COLOURS,
    DASHES,
    LABEL_SIZE,
    PANEL,
    TICK_SIZE,
    TITLE_SIZE,
)
from ntpscore.study.statistics.correlation import Values
from ntpscore.study.statistics.sweep import check_columns

_METHODS = ("probe", "lora", "scratch")
_LOSS_COLUMNS = ("model", "data", "method", "step", "loss")


def plot_training_losses(losses: pd.DataFrame) -> Figure:
    """Draw training losses, a panel per method and a line per data set.

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
    methods = [method for method in _METHODS if (losses["method"] == method).any()]
    styles = {
        name: {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i % len(DASHES)]}
        for i, name in enumerate(losses["data"].unique())
    }
    figure = Figure(figsize=(4.0 * len(methods) + 1.4, PANEL[1]), layout="constrained")
    axes = figure.subplots(1, len(methods), squeeze=False)[0]
    lines: dict[str, Line2D] = {}
    for ax, method in zip(axes, methods, strict=True):
        of_method = losses[losses["method"] == method]
        for name, of_data in of_method.groupby("data", sort=False):
            steps, loss = _mean_curve(of_data)
            marker = "." if len(steps) < 3 else None
            (line,) = ax.plot(steps, loss, linewidth=1.2, marker=marker, **styles[str(name)])
            lines.setdefault(str(name), line)
        models = of_method["model"].nunique()
        ax.set_title(
            f"{method}: mean of {models} model{'s' if models > 1 else ''}", fontsize=TITLE_SIZE
        )
        ax.set_xlabel("training step", fontsize=LABEL_SIZE)
        ax.set_ylabel("cross-entropy of training texts (nats)", fontsize=LABEL_SIZE)
        ax.set_ylim(bottom=0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.tick_params(labelsize=TICK_SIZE)
    handles = [lines[name] for name in styles]
    figure.legend(handles, list(styles), loc="outside right center", fontsize=7, frameon=False)
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
