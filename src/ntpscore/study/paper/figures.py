"""The figures of a study, in the paper's layout: tables in, matplotlib figures out.

Colours are those of Okabe and Ito, which colour-blind readers tell apart; markers and dashes say
the same without colour.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from ntpscore.errors import DataError
from ntpscore.study.paper.point_labels import label_line_ends, label_points, settle_layout
from ntpscore.study.statistics.correlation import Values, spearman
from ntpscore.study.statistics.selection import best_configuration, correlations
from ntpscore.study.statistics.summary import fixed_configuration
from ntpscore.study.statistics.sweep import CELL_COLUMNS, OUTCOME_COLUMNS, Sweep, make_sweep
from ntpscore.study.statistics.tidy import pick_columns

Choice = Literal["best", "fixed"]
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = ("o", "^", "s", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")
_GREY = "0.6"
_UNDECIDED = ("unclear", "other")
_PERCENT = 100.0
_PANELS_PER_ROW = 4
_PANEL = (3.4, 3.1)
_INCHES_PER_LINE = 0.17
_TITLE_SIZE = 8.5
_LABEL_SIZE = 8
_TICK_SIZE = 7
_METHODS = ("probe", "lora", "scratch")
_LOSS_COLUMNS = ("model", "data", "method", "step", "loss")

# How an outcome is labelled, and what it is multiplied with.
_OUTCOME_AXES = {
    "ols_mse": ("mean squared error of least squares\n(one-hot labels, training)", 1.0),
    "logistic_accuracy": ("accuracy of logistic regression\n(% of training texts)", _PERCENT),
    "lora_gain": ("LoRA gain (percentage points of test texts)", _PERCENT),
}


class _Chosen(NamedTuple):
    """A sweep of one model, and the place and the name of the configuration that is drawn."""

    sweep: Sweep
    configuration: int
    note: str


# What a panel holds, for the labels, which come last of all.
_Points = tuple[Values, Values, Sequence[str]]
_Panel = Callable[[Axes, str], _Points]


def plot_accuracy_against_score(
    cells: pd.DataFrame,
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
        cells: model, data, layer, k_fraction, score and value, and perhaps seed, over which the
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
    tables = _study_tables(cells, outcomes, score)

    def against(outcome: str) -> _Panel:
        return lambda ax, model: _draw_correlation(
            ax, _choose(*tables, score, outcome, model, choice, k_fraction)
        )

    panels = [against("ols_mse"), against("logistic_accuracy")]
    return _draw_models(list(tables[0]["model"].unique()), panels)


def plot_gain_against_score(
    cells: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    score: str,
    choice: Choice = "best",
    k_fraction: float = 0.5,
) -> Figure:
    """Draw LoRA's gain against a score and against the headroom that the probe leaves.

    Two panels per model, one above the other, as `plot_accuracy_against_score` draws them. The
    headroom, 100 less the probe's accuracy, is what the score has to do better than.

    Args:
        cells: as for `plot_accuracy_against_score`.
        outcomes: likewise, with `lora_gain` and `probe_accuracy`.
        score: which score.
        choice: as there.
        k_fraction: as there.

    Returns:
        A figure; a panel that can't be drawn says why.

    Raises:
        DataError: columns are missing, or no panel can be drawn.

    Source:
        Next Token Perception Score, Figure 3, which has the probe's accuracy for its complement.
    """
    tables = _study_tables(cells, outcomes, score)

    def chosen(model: str) -> _Chosen:
        return _choose(*tables, score, "lora_gain", model, choice, k_fraction)

    panels: list[_Panel] = [
        lambda ax, model: _draw_correlation(ax, chosen(model)),
        lambda ax, model: _draw_headroom(ax, chosen(model)),
    ]
    return _draw_models(list(tables[0]["model"].unique()), panels)


def plot_word_projection(
    words: Sequence[str],
    projections: Mapping[str, npt.ArrayLike],
    emotion: Sequence[str],
    part_of_speech: Sequence[str],
) -> Figure:
    """Draw words projected onto the first two columns of U and of V.

    Two rows, U and V, of two panels: marked by emotion, and by part of speech. Every word is a
    point; names stand where there is room, those of the first words first. Signs of axes are
    arbitrary.

    Args:
        words: w words.
        projections: "U" and "V", (w, 2) each.
        emotion: (w,) the label that each word goes with.
        part_of_speech: (w,).

    Raises:
        DataError: the lengths differ, or there is no word.

    Source:
        Next Token Perception Score, Figure 1.
    """
    names = [str(word) for word in words]
    if not names:
        raise DataError("there are no words to draw")
    groups = {
        "emotion": [str(g) for g in emotion],
        "part of speech": [str(g) for g in part_of_speech],
    }
    if any(len(group) != len(names) for group in groups.values()):
        raise DataError(f"{len(names)} words need an emotion and a part of speech each")
    figure = Figure(figsize=(10, 9.4), layout="constrained")
    axes = figure.subplots(2, 2, sharex="row", sharey="row")
    subspaces = {"U": "perception", "V": "next token"}
    for row, (symbol, meaning) in zip(axes, subspaces.items(), strict=True):
        if symbol not in projections:
            raise DataError(f"projections lack {symbol}: U and V are drawn")
        points = np.asarray(projections[symbol], dtype=np.float64)
        if points.shape != (len(names), 2):
            raise DataError(
                f"the projection onto {symbol} is of shape {points.shape}: {len(names)} words need "
                f"({len(names)}, 2)"
            )
        for ax, (kind, group) in zip(row, groups.items(), strict=True):
            _draw_groups(ax, points, group)
            ax.margins(0.08)
            ax.set_title(f"{symbol}ᵀx, {meaning}: by {kind}", fontsize=10)
            ax.set_xlabel(f"column 1 of {symbol} (no unit)")
            ax.set_ylabel(f"column 2 of {symbol} (no unit)")
    for column, kind in enumerate(groups):
        handles, labels = axes[1, column].get_legend_handles_labels()
        axes[1, column].legend(
            handles, labels, title=kind, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4,
            fontsize=8, title_fontsize=8, frameon=False,
        )  # fmt: skip
    settle_layout(figure)
    for row, symbol in zip(axes, subspaces, strict=True):
        points = np.asarray(projections[symbol], dtype=np.float64)
        for ax in row:
            label_points(ax, points[:, 0], points[:, 1], names, near_only=True)
    return figure


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
    missing = [column for column in _LOSS_COLUMNS if column not in losses.columns]
    if missing:
        raise DataError(f"the losses lack the columns {', '.join(missing)}")
    unknown = sorted(set(losses["method"]) - set(_METHODS))
    if unknown or losses.empty:
        found = f"of {', '.join(unknown)}" if unknown else "none"
        raise DataError(f"losses of {', '.join(_METHODS)} are drawn: got {found}")
    methods = [method for method in _METHODS if (losses["method"] == method).any()]
    data = list(losses["data"].unique())
    figure = _line_figure(len(methods), len(data))
    axes = figure.subplots(1, len(methods), squeeze=False)[0]
    lines = []
    for ax, method in zip(axes, methods, strict=True):
        of_method = losses[losses["method"] == method]
        curves = {
            name: _mean_curve(of_method[of_method["data"] == name])
            for name in data
            if (of_method["data"] == name).any()
        }
        lines.append((ax, _draw_lines(ax, curves, data)))
        models = of_method["model"].nunique()
        ax.set_title(
            f"{method}: mean of {models} model{'s' if models > 1 else ''}", fontsize=_TITLE_SIZE
        )
        ax.set_xlabel("training step", fontsize=_LABEL_SIZE)
        ax.set_ylabel("cross-entropy of training texts (nats)", fontsize=_LABEL_SIZE)
        ax.set_ylim(bottom=0)
        ax.tick_params(labelsize=_TICK_SIZE)
    return _label_lines(figure, lines)


def plot_score_by_layer(
    cells: pd.DataFrame, *, score: str, k_fraction: float | None = 0.5
) -> Figure:
    """Draw a score over the layers, a panel per model and a line per data set.

    Args:
        cells: model, data, layer, k_fraction, score and value, and perhaps seed and `chance`, whose
            mean over data sets is drawn as a thick grey line.
        score: which score.
        k_fraction: k/d at which; None for a score without k.

    Raises:
        DataError: columns are missing, or the cells don't hold the score there.
    """
    table = cells[cells["score"] == score] if "score" in cells.columns else cells
    picked = pick_columns(table, CELL_COLUMNS, f"cells of {score!r}")
    at = _at_k(picked, k_fraction)
    if at.empty:
        known = sorted({round(float(k), 6) for k in picked["k_fraction"].dropna()})
        there = f"k_fraction {', '.join(map(str, known))}" if known else "no k_fraction: pass None"
        raise DataError(f"{score!r} is not at k_fraction {k_fraction}: the cells have {there}")
    models, data = list(at["model"].unique()), list(at["data"].unique())
    figure = _line_figure(len(models), len(data))
    rows, width = _grid_of(len(models))
    axes = figure.subplots(rows, width, squeeze=False, sharey=True).ravel()
    lines = []
    for ax, model in zip(axes, models, strict=False):
        of_model = at[at["model"] == model]
        curves = {
            str(name): (part["layer"].to_numpy(np.float64), part["value"].to_numpy(np.float64))
            for name, part in of_model.sort_values("layer").groupby("data", sort=False)
        }
        drawn = _draw_lines(ax, curves, data)
        if "chance" in table.columns:
            chance = _at_k(table[table["model"] == model], k_fraction).groupby("layer")["chance"]
            curve = chance.mean().dropna()
            if len(curve):
                drawn["chance"] = ax.plot(curve.index, curve, color="0.7", linewidth=3, zorder=1)[0]
        lines.append((ax, drawn))
        ax.set_title(_short(model), fontsize=_TITLE_SIZE, parse_math=False)
        ax.set_xlabel("layer (0: embedding)", fontsize=_LABEL_SIZE)
        at_k = "" if k_fraction is None else f" at k/d = {k_fraction:.2f}"
        ax.set_ylabel(f"{score}{at_k} (share)", fontsize=_LABEL_SIZE, parse_math=False)
        ax.tick_params(labelsize=_TICK_SIZE, labelleft=True)
    for ax in axes[len(models) :]:
        ax.set_visible(False)
    return _label_lines(figure, lines)


def plot_sweep(
    layers: Sequence[int] | npt.NDArray[np.int64],
    k_fractions: Sequence[float] | Values,
    r: Sequence[float] | Values,
    *,
    sign: int = 1,
    k_fraction: float = 0.5,
    title: str = "",
) -> Figure:
    """Draw Spearman's r of every configuration: layer by k.

    The configuration that is fixed in advance, the last layer at `k_fraction`, has a square around
    it, the best one, which is known only afterwards, a star in it. A configuration without r is
    hatched.

    Args:
        layers: (C,) of each configuration.
        k_fractions: (C,) k/d.
        r: (C,); NaN where it is not defined.
        sign: 1 if r is expected to be above zero, -1 if below: the best is the largest `sign * r`.
        k_fraction: k/d of the fixed configuration.
        title: what was correlated with what.

    Raises:
        DataError: the lengths differ, a configuration stands twice or has no k, or no r is defined.
    """
    table = _sweep_table(layers, k_fractions, r)
    grid = table.pivot_table(index="layer", columns="k_fraction", values="r", dropna=False)
    values = grid.to_numpy(dtype=np.float64)
    oriented = np.where(np.isnan(values), -np.inf, sign * values)
    best = divmod(int(oriented.argmax()), values.shape[1])
    figure = Figure(
        figsize=(1.8 + 0.32 * max(values.shape[1], 12), 2.3 + 0.16 * max(values.shape[0], 8)),
        layout="constrained",
    )
    ax = figure.subplots()
    ax.set_facecolor("0.9")
    ax.patch.set(hatch="///", edgecolor="0.6")
    # One hue's worth of luminance from -1 to 1, so that grey tells the sign too.
    image = ax.imshow(values, origin="lower", aspect="auto", vmin=-1, vmax=1, cmap="cividis")
    bar = figure.colorbar(image, ax=ax)
    bar.set_label("Spearman's r (-1 to 1)", fontsize=_LABEL_SIZE)
    bar.ax.tick_params(labelsize=_TICK_SIZE)
    marks = {"best": (best, {"marker": "*", "markersize": 11, "markerfacecolor": "black"})}
    fixed = np.flatnonzero(np.abs(grid.columns.to_numpy(dtype=np.float64) - k_fraction) < 1e-6)
    if len(fixed):
        style = {"marker": "s", "markersize": 11, "markerfacecolor": "none"}
        marks["fixed in advance"] = ((len(grid) - 1, int(fixed[0])), style)
    for name, ((row, column), style) in marks.items():
        at = f"layer {grid.index[row]}, k/d {grid.columns[column]:.2f}"
        label = f"{name}: {at}, r = {values[row, column]:.2f}"
        _mark(ax, column, row, label=label, **style)
    ax.set_xticks(range(len(grid.columns)), [f"{k:.2f}" for k in grid.columns], rotation=90)
    step = math.ceil(len(grid) / 16)
    ax.set_yticks(range(0, len(grid), step), [str(layer) for layer in grid.index[::step]])
    ax.tick_params(labelsize=_TICK_SIZE)
    ax.set_xlabel("k / d (share of the width)", fontsize=_LABEL_SIZE)
    ax.set_ylabel("layer (0: embedding)", fontsize=_LABEL_SIZE)
    ax.set_title(title, fontsize=_TITLE_SIZE, parse_math=False)
    figure.legend(loc="outside lower center", fontsize=8, frameon=False)
    return figure


def _sweep_table(
    layers: Sequence[int] | npt.NDArray[np.int64],
    k_fractions: Sequence[float] | Values,
    r: Sequence[float] | Values,
) -> pd.DataFrame:
    if not len(layers) == len(k_fractions) == len(r):
        raise DataError(
            f"{len(layers)} layers, {len(k_fractions)} k_fractions and {len(r)} r don't fit: one "
            "of each per configuration"
        )
    table = pd.DataFrame({"layer": layers, "k_fraction": k_fractions, "r": r})
    if table["k_fraction"].isna().any():
        raise DataError("a score without k has no sweep over k to draw")
    table["k_fraction"] = table["k_fraction"].round(6)
    twice = table[table.duplicated(["layer", "k_fraction"])]
    if len(twice):
        first = twice.iloc[0]
        raise DataError(f"layer {first['layer']:.0f} at k/d {first['k_fraction']} stands twice")
    if table["r"].isna().all():
        raise DataError("no configuration has an r: there is nothing to draw")
    return table


def _mark(ax: Axes, x: float, y: float, **style: Any) -> None:
    """A mark with a white and a dark rim, which shows on light and dark."""
    rim = withStroke(linewidth=3, foreground="black")
    style |= {"markeredgecolor": "white", "markeredgewidth": 1.2, "path_effects": [rim]}
    ax.plot([x], [y], linestyle="none", **style)


def _study_tables(
    cells: pd.DataFrame, outcomes: pd.DataFrame, score: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    picked = pick_columns(cells, CELL_COLUMNS, "cells")
    picked = picked[picked["score"] == score]
    if picked.empty:
        raise DataError(f"the cells hold no score {score!r}")
    return picked, pick_columns(outcomes, OUTCOME_COLUMNS, "outcomes")


def _choose(
    cells: pd.DataFrame,
    outcomes: pd.DataFrame,
    score: str,
    outcome: str,
    model: str,
    choice: Choice,
    k_fraction: float,
) -> _Chosen:
    sweep = make_sweep(cells, outcomes, score=score, outcome=outcome, models=[model])
    if choice == "best":
        configuration = best_configuration(correlations(sweep)[0])
        note = "chosen by r" if len(sweep.layers) > 1 else "no choice"
    else:
        found = fixed_configuration(sweep, k_fraction)
        if found is None:
            raise DataError(f"{score!r} has no value at the last layer and k_fraction {k_fraction}")
        configuration, note = found, "fixed in advance"
    layer, k = int(sweep.layers[configuration, 0]), float(sweep.k_fractions[configuration])
    at = [
        *([f"layer {layer}"] if layer >= 0 else []),
        *([f"k/d {k:.2f}"] if not math.isnan(k) else []),
    ]
    return _Chosen(sweep, configuration, ", ".join([*at, note]))


def _draw_models(models: Sequence[str], panels: Sequence[_Panel]) -> Figure:
    """A column per model, wrapped after four, with one panel of each kind below the other."""
    blocks, width = _grid_of(len(models))
    rows = blocks * len(panels)
    figure = Figure(figsize=(_PANEL[0] * width, _PANEL[1] * rows), layout="constrained")
    axes = figure.subplots(rows, width, squeeze=False)
    drawn: list[tuple[Axes, _Points]] = []
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


def _grid_of(panels: int) -> tuple[int, int]:
    """Rows and columns for so many panels."""
    return math.ceil(panels / _PANELS_PER_ROW), min(panels, _PANELS_PER_ROW)


def _draw_correlation(ax: Axes, chosen: _Chosen) -> _Points:
    sweep = chosen.sweep
    label, scale = _OUTCOME_AXES[sweep.outcome]
    x, y = sweep.values[0, chosen.configuration], scale * sweep.outcomes[0]
    _scatter(ax, x, y, f"{_short(sweep.models[0])}\nr = {spearman(x, y):.2f}; {chosen.note}")
    ax.set_xlabel(f"{sweep.score} (share)", fontsize=_LABEL_SIZE, parse_math=False)
    ax.set_ylabel(label, fontsize=_LABEL_SIZE)
    return x, y, sweep.data


def _draw_headroom(ax: Axes, chosen: _Chosen) -> _Points:
    sweep = chosen.sweep
    if sweep.headroom is None:
        raise DataError("the accuracy of the probe is missing: no headroom is known")
    label, scale = _OUTCOME_AXES[sweep.outcome]
    x, y = _PERCENT * sweep.headroom[0], scale * sweep.outcomes[0]
    _scatter(ax, x, y, f"{_short(sweep.models[0])}\nr = {spearman(x, y):.2f}; headroom, no choice")
    ax.set_xlabel(
        "headroom: 100 - accuracy of the probe\n(percentage points)", fontsize=_LABEL_SIZE
    )
    ax.set_ylabel(label, fontsize=_LABEL_SIZE)
    return x, y, sweep.data


def _scatter(ax: Axes, x: Values, y: Values, title: str) -> None:
    if np.ptp(x) > 0:
        slope, intercept = np.polyfit(x - x.mean(), y, 1)
        ends = np.array([x.min(), x.max()])
        ax.plot(ends, intercept + slope * (ends - x.mean()), "--", color=_GREY, linewidth=1)
    ax.plot(x, y, "o", markersize=4, color=_COLOURS[0])
    ax.margins(0.16)
    ax.tick_params(labelsize=_TICK_SIZE)
    ax.set_title(title, fontsize=_TITLE_SIZE, parse_math=False)


def _write_reason(ax: Axes, model: str, reason: str) -> None:
    ax.set_title(_short(model), fontsize=_TITLE_SIZE, parse_math=False)
    ax.text(
        0.5, 0.5, fill(f"not drawn: {reason}", 38), transform=ax.transAxes, ha="center",
        va="center", fontsize=7, parse_math=False,
    )  # fmt: skip
    ax.set_xticks([])
    ax.set_yticks([])


def _draw_groups(ax: Axes, points: Values, group: Sequence[str]) -> None:
    """Points of a colour and a shape per group; small and grey for words that belong to none."""
    counts = pd.Series(group).value_counts()
    kinds = [str(kind) for kind in counts.index if kind not in _UNDECIDED]
    for kind in (*kinds, *_UNDECIDED):
        rows = np.array([one == kind for one in group])
        if not rows.any():
            continue
        style: dict[str, Any] = {"marker": ".", "color": _GREY, "markersize": 4}
        if kind in kinds:
            i = kinds.index(kind)
            style = {
                "marker": _MARKERS[i % len(_MARKERS)],
                "color": _COLOURS[i % len(_COLOURS)],
                "markersize": 4.5,
                # A second round of colours and shapes is hollow.
                "fillstyle": "full" if i < len(_COLOURS) else "none",
            }
        ax.plot(points[rows, 0], points[rows, 1], linestyle="none", label=kind, **style)


def _line_figure(panels: int, lines: int) -> Figure:
    rows, width = _grid_of(panels)
    height = max(_PANEL[1], 1 + _INCHES_PER_LINE * lines)
    return Figure(figsize=(4.4 * width, height * rows), layout="constrained")


def _draw_lines(
    ax: Axes, curves: Mapping[str, tuple[Values, Values]], every: Sequence[str]
) -> dict[str, Line2D]:
    """Draw curves, each in the style of its place in `every`, and leave room for their names."""
    lines = {}
    for name, (x, y) in curves.items():
        i = every.index(name)
        lines[name] = ax.plot(
            x,
            y,
            color=_COLOURS[i % len(_COLOURS)],
            linestyle=_DASHES[i % len(_DASHES)],
            linewidth=1.2,
            marker="." if len(x) < 3 else None,
        )[0]
    start = min(float(x[0]) for x, _ in curves.values())
    end = max(float(x[-1]) for x, _ in curves.values())
    span = (end - start) or 1.0
    ax.set_xlim(start - 0.02 * span, end + 0.42 * span)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xticks([tick for tick in ax.get_xticks() if start <= tick <= end])
    return lines


def _label_lines(figure: Figure, lines: Sequence[tuple[Axes, Mapping[str, Line2D]]]) -> Figure:
    settle_layout(figure)
    for ax, drawn in lines:
        label_line_ends(ax, list(drawn.values()), list(drawn))
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


def _at_k(cells: pd.DataFrame, k_fraction: float | None) -> pd.DataFrame:
    k = cells["k_fraction"]
    return cells[k.isna() if k_fraction is None else (k - k_fraction).abs() < 1e-6]


def _short(model: str) -> str:
    return model.rpartition("/")[2]
