"""The paper's Figures 2 and 3: a score against what training reached, a point per data set."""

import math
from collections.abc import Callable, Sequence
from textwrap import fill
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ntpscore.errors import DataError
from ntpscore.study.paper.point_labels import label_points, settle_layout
from ntpscore.study.paper.style import (
    COLOURS,
    GREY,
    LABEL_SIZE,
    PANEL,
    PERCENT,
    TICK_SIZE,
    TITLE_SIZE,
    grid_of,
    short_name,
)
from ntpscore.study.statistics.correlation import Values, spearman
from ntpscore.study.statistics.selection import best_configuration, correlations
from ntpscore.study.statistics.summary import fixed_configuration
from ntpscore.study.statistics.sweep import OUTCOME_COLUMNS, SCORE_COLUMNS, Sweep, make_sweep
from ntpscore.study.statistics.tables import pick_columns

Choice = Literal["best", "fixed"]
# How an outcome is labelled, and what it is multiplied with.
_OUTCOME_AXES = {
    "ols_mse": ("mean squared error of least squares\n(one-hot labels, training)", 1.0),
    "logistic_accuracy": ("accuracy of logistic regression\n(% of training texts)", PERCENT),
    "lora_gain": ("LoRA gain (percentage points of test texts)", PERCENT),
}


class _Chosen(NamedTuple):
    """A sweep of one model, and the place and the name of the configuration that is drawn."""

    sweep: Sweep
    configuration: int
    note: str


# What a panel holds, for the labels, which come last of all: x, y and names.
_LabelledPoints = tuple[Values, Values, Sequence[str]]
_Panel = Callable[[Axes, str], _LabelledPoints]


def plot_accuracy_against_score(
    scores: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    score: str,
    choice: Choice = "best",
    k_fraction: float = 0.5,
) -> Figure:
    """Draw a score against the error of least squares and the accuracy of logistic regression.

    Two panels per model, one above the other: a point per data set, a dashed line fitted to them by
    least squares, and Spearman's r in the title. Layer and k are chosen for each panel on its own.

    Args:
        scores: model, data, layer, k_fraction, score and value, and perhaps seed, over which the
            mean is taken.
        outcomes: model, data, outcome and value, and perhaps seed.
        score: which score.
        choice: "best", as the paper: the layer and k of the largest r of the expected sign, which
            favours the score; "fixed": the last layer and `k_fraction`.
        k_fraction: k/d of the fixed choice.

    Returns:
        A figure; a panel that can't be drawn says why.

    Raises:
        DataError: columns are missing, or no panel can be drawn.

    Source:
        Next Token Perception Score, Figure 2.
    """
    panels = [(_draw_correlation, "ols_mse"), (_draw_correlation, "logistic_accuracy")]
    return _draw_figure(scores, outcomes, panels, score, choice, k_fraction)


def plot_gain_against_score(
    scores: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    score: str,
    choice: Choice = "best",
    k_fraction: float = 0.5,
) -> Figure:
    """Draw LoRA's gain against a score and against the error that the probe leaves.

    Two panels per model, one above the other, as `plot_accuracy_against_score` draws them. The
    probe's error, 100 less its accuracy, is what the score has to do better than.

    The arguments and errors are the same; outcomes are `lora_gain` and `probe_accuracy`.

    Source:
        Next Token Perception Score, Figure 3, which has the probe's accuracy for its complement.
    """
    panels = [(_draw_correlation, "lora_gain"), (_draw_probe_error, "lora_gain")]
    return _draw_figure(scores, outcomes, panels, score, choice, k_fraction)


def _draw_figure(
    scores: pd.DataFrame,
    outcomes: pd.DataFrame,
    panels: Sequence[tuple[Callable[[Axes, _Chosen], _LabelledPoints], str]],
    score: str,
    choice: Choice,
    k_fraction: float,
) -> Figure:
    """Panels of each model, each of a way to draw and an outcome."""
    picked = pick_columns(scores, SCORE_COLUMNS, "scores")
    picked = picked[picked["score"] == score]
    if picked.empty:
        raise DataError(f"the scores hold no score {score!r}")
    reached = pick_columns(outcomes, OUTCOME_COLUMNS, "outcomes")

    def panel(draw: Callable[[Axes, _Chosen], _LabelledPoints], outcome: str) -> _Panel:
        return lambda ax, model: draw(
            ax, _choose(picked, reached, score, outcome, model, choice, k_fraction)
        )

    return _draw_models(list(picked["model"].unique()), [panel(*each) for each in panels])


def _choose(
    scores: pd.DataFrame,
    outcomes: pd.DataFrame,
    score: str,
    outcome: str,
    model: str,
    choice: Choice,
    k_fraction: float,
) -> _Chosen:
    sweep = make_sweep(scores, outcomes, score=score, outcome=outcome, models=[model])
    if choice == "best":
        configuration = best_configuration(correlations(sweep)[0])
        note = "chosen by r" if len(sweep.layers) > 1 else "no choice"
    else:
        fixed = fixed_configuration(sweep, k_fraction)
        if fixed is None:
            raise DataError(f"{score!r} has no value at the last layer and k_fraction {k_fraction}")
        configuration, note = fixed, "fixed in advance"
    layer, k = int(sweep.layers[configuration, 0]), float(sweep.k_fractions[configuration])
    at = [
        *([f"layer {layer}"] if layer >= 0 else []),
        *([f"k/d {k:.2f}"] if not math.isnan(k) else []),
    ]
    return _Chosen(sweep, configuration, ", ".join([*at, note]))


def _draw_models(models: Sequence[str], panels: Sequence[_Panel]) -> Figure:
    """A column per model, wrapped after four, with one panel of each kind below the other."""
    blocks, width = grid_of(len(models))
    rows = blocks * len(panels)
    figure = Figure(figsize=(PANEL[0] * width, PANEL[1] * rows), layout="constrained")
    axes = figure.subplots(rows, width, squeeze=False)
    drawn: list[tuple[Axes, _LabelledPoints]] = []
    reasons = []
    for place in range(blocks * width):
        column = axes[place // width * len(panels) :, place % width][: len(panels)]
        for ax, draw in zip(column, panels, strict=True):
            if place >= len(models):
                ax.set_visible(False)
                continue
            try:
                drawn.append((ax, draw(ax, models[place])))
            except DataError as error:
                reasons.append(str(error))
                _write_reason(ax, models[place], reasons[-1])
    if not drawn:
        raise DataError(f"no panel can be drawn: {reasons[0]}")
    settle_layout(figure)
    for ax, (x, y, names) in drawn:
        label_points(ax, x, y, names)
    return figure


def _draw_correlation(ax: Axes, chosen: _Chosen) -> _LabelledPoints:
    x = chosen.sweep.values[0, chosen.configuration]
    return _scatter(ax, chosen.sweep, x, f"{chosen.sweep.score} (share)", chosen.note)


def _draw_probe_error(ax: Axes, chosen: _Chosen) -> _LabelledPoints:
    if chosen.sweep.probe_error is None:
        raise DataError("the accuracy of the probe is missing: its error is not known")
    x = PERCENT * chosen.sweep.probe_error[0]
    return _scatter(ax, chosen.sweep, x, "error of the probe\n(% of test texts)", "no choice")


def _scatter(ax: Axes, sweep: Sweep, x: Values, name: str, note: str) -> _LabelledPoints:
    label, scale = _OUTCOME_AXES[sweep.outcome]
    y = scale * sweep.outcomes[0]
    if np.ptp(x) > 0:
        slope, intercept = np.polyfit(x - x.mean(), y, 1)
        ends = np.array([x.min(), x.max()])
        ax.plot(ends, intercept + slope * (ends - x.mean()), "--", color=GREY, linewidth=1)
    ax.plot(x, y, "o", markersize=4, color=COLOURS[0])
    ax.margins(0.16)
    ax.tick_params(labelsize=TICK_SIZE)
    title = f"{short_name(sweep.models[0])}\nr = {spearman(x, y):.2f}; {note}"
    ax.set_title(title, fontsize=TITLE_SIZE, parse_math=False)
    ax.set_xlabel(name, fontsize=LABEL_SIZE, parse_math=False)
    ax.set_ylabel(label, fontsize=LABEL_SIZE)
    return x, y, sweep.data


def _write_reason(ax: Axes, model: str, reason: str) -> None:
    ax.set_title(short_name(model), fontsize=TITLE_SIZE, parse_math=False)
    ax.text(
        0.5, 0.5, fill(f"not drawn: {reason}", 38), transform=ax.transAxes, ha="center",
        va="center", fontsize=7, parse_math=False,
    )  # fmt: skip
    ax.set_xticks([])
    ax.set_yticks([])
