"""Spearman's r at every layer and k of a score: where the best configuration was chosen from."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ntpscore.errors import DataError
from ntpscore.figures import PAGE, in_style
from ntpscore.study.statistics.correlation import Values


@in_style
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
    figure = Figure(figsize=(PAGE, 1.9 + 0.11 * max(len(grid), 8)))
    ax = figure.subplots()
    ax.set_facecolor("0.9")
    ax.patch.set(hatch="///", edgecolor="0.6")
    image = ax.imshow(values, origin="lower", aspect="auto", vmin=-1, vmax=1, cmap="RdBu_r")
    figure.colorbar(image, ax=ax).set_label("Spearman's r (-1 to 1)")
    marks = {"best": (best, {"marker": "*", "markersize": 11, "markerfacecolor": "black"})}
    fixed = np.flatnonzero(np.abs(grid.columns.to_numpy(dtype=np.float64) - k_fraction) < 1e-6)
    if len(fixed):
        style = {"marker": "s", "markersize": 11, "markerfacecolor": "none"}
        marks["fixed in advance"] = ((len(grid) - 1, int(fixed[0])), style)
    for name, ((row, column), style) in marks.items():
        at = f"layer {grid.index[row]}, k/d {grid.columns[column]:.2f}"
        label = f"{name}: {at}, r = {values[row, column]:.2f}"
        _mark(ax, column, row, label=label, **style)
    step = math.ceil(values.shape[1] / 12)
    columns = range(step - 1, values.shape[1], step)
    ax.set_xticks(columns, [f"{grid.columns[i]:.2f}" for i in columns])
    step = math.ceil(len(grid) / 16)
    ax.set_yticks(range(0, len(grid), step), [str(layer) for layer in grid.index[::step]])
    ax.set_xlabel("k / d (share of the width)")
    ax.set_ylabel("layer (0: embedding)")
    ax.set_title(title)
    figure.legend(loc="outside lower center", labelspacing=1)
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
    ax.plot([x], [y], linestyle="none", clip_on=False, **style)
