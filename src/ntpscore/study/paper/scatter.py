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
from ntpscore.figures import GREY, PAGE, PERCENT, in_style, palette
from ntpscore.study.paper.point_labels import label_points, settle_layout
from ntpscore.study.statistics.correlation import Values, spearman
from ntpscore.study.statistics.selection import best_configuration, correlations
from ntpscore.study.statistics.summary import fixed_configuration
from ntpscore.study.statistics.sweep import OUTCOME_COLUMNS, SCORE_COLUMNS, Sweep, make_sweep
from ntpscore.study.statistics.tables import pick_columns

Choice = Literal["best", "fixed"]
# How an outcome is labelled, and what it is multiplied with.
_OUTCOME_AXES = {
    "ols_mse": ("mean squared error of\nleast squares (training texts)", 1.0),
    "logistic_accuracy": ("accuracy of logistic regression\n(% of training texts)", PERCENT),
    "lora_gain": ("LoRA gain\n(percentage points of test texts)", PERCENT),
}


class _Chosen(NamedTuple):
    """A sweep of one model, and the place and the name of the configuration that is drawn."""

    sweep: Sweep
    configuration: int
    note: str


# What a panel holds, for the labels, which come last of all: x, y and names.
LabelledPoints = tuple[Values, Values, Sequence[str]]
Panel = Callable[[Axes, str], LabelledPoints]
_PER_ROW, _HEIGHT = 2, 2.7


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
    panels: Sequence[tuple[Callable[[Axes, _Chosen], LabelledPoints], str]],
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

    def panel(draw: Callable[[Axes, _Chosen], LabelledPoints], outcome: str) -> Panel:
        return lambda ax, model: draw(
            ax, _choose(picked, reached, score, outcome, model, choice, k_fraction)
        )

    return draw_models(list(picked["model"].unique()), [panel(*each) for each in panels])


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


@in_style
def draw_models(models: Sequence[str], panels: Sequence[Panel]) -> Figure:
    """Draw a column per model, wrapped after two, with one panel of each kind below the other.

    Args:
        models: their names.
        panels: each draws into axes what there is of a model, and returns the points to label.

    Returns:
        A figure; a panel that can't be drawn says why.

    Raises:
        DataError: no panel can be drawn.
    """
    width = min(len(models), _PER_ROW)
    rows = math.ceil(len(models) / _PER_ROW) * len(panels)
    figure = Figure(figsize=(PAGE / _PER_ROW * width, _HEIGHT * rows))
    axes = figure.subplots(rows, width, squeeze=False)
    drawn: list[tuple[Axes, LabelledPoints]] = []
    reasons = []
    for place in range(axes.size // len(panels)):
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
    for ax, _ in drawn:
        ax.margins(0.16)
        ax.locator_params(nbins=5)
    settle_layout(figure)
    for ax, (x, y, names) in drawn:
        label_points(ax, x, y, names)
    return figure


def short_name(model: str) -> str:
    """The name of a model without that of its owner."""
    return model.rpartition("/")[2]


def _draw_correlation(ax: Axes, chosen: _Chosen) -> LabelledPoints:
    x = chosen.sweep.values[0, chosen.configuration]
    return _scatter(ax, chosen.sweep, x, f"{chosen.sweep.score} (share)", chosen.note)


def _draw_probe_error(ax: Axes, chosen: _Chosen) -> LabelledPoints:
    if chosen.sweep.probe_error is None:
        raise DataError("the accuracy of the probe is missing: its error is not known")
    x = PERCENT * chosen.sweep.probe_error[0]
    return _scatter(ax, chosen.sweep, x, "error of the probe\n(% of test texts)", "no choice")


def _scatter(ax: Axes, sweep: Sweep, x: Values, name: str, note: str) -> LabelledPoints:
    label, scale = _OUTCOME_AXES[sweep.outcome]
    y = scale * sweep.outcomes[0]
    if np.ptp(x) > 0:
        slope, intercept = np.polyfit(x - x.mean(), y, 1)
        ends = np.array([x.min(), x.max()])
        ax.plot(ends, intercept + slope * (ends - x.mean()), "--", color=GREY, linewidth=1)
    ax.plot(x, y, "o", color=palette()[0])
    ax.set_title(f"{short_name(sweep.models[0])}\nr = {spearman(x, y):.2f}; {note}")
    ax.set_xlabel(name)
    ax.set_ylabel(label)
    return x, y, sweep.data


def _write_reason(ax: Axes, model: str, reason: str) -> None:
    ax.set_title(short_name(model))
    text = fill(f"not drawn: {reason}", 38)
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=7)
    ax.set_xticks([])
    ax.set_yticks([])
