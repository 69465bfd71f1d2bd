"""The paper's Figure 1: words on the first two columns of U and of V."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ntpscore.errors import DataError
from ntpscore.figures import GREY, MARKERS, PAGE, in_style, palette
from ntpscore.study.paper.point_labels import label_points, settle_layout
from ntpscore.study.statistics.correlation import Values

_UNDECIDED = ("unclear", "other")


@in_style
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
    figure = Figure(figsize=(PAGE, PAGE))
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
            ax.set_title(f"{symbol}ᵀx, {meaning}: by {kind}")
            ax.set_xlabel(f"column 1 of {symbol} (no unit)")
            ax.set_ylabel(f"column 2 of {symbol} (no unit)")
    for column, kind in enumerate(groups):
        handles, labels = axes[1, column].get_legend_handles_labels()
        axes[1, column].legend(
            handles, labels, title=kind, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3,
        )  # fmt: skip
    settle_layout(figure)
    for row, symbol in zip(axes, subspaces, strict=True):
        points = np.asarray(projections[symbol], dtype=np.float64)
        for ax in row:
            label_points(ax, points[:, 0], points[:, 1], names, near_only=True)
    return figure


def _draw_groups(ax: Axes, points: Values, group: Sequence[str]) -> None:
    """Points of a colour and a shape per group; small and grey for words that belong to none."""
    colours = palette()
    counts = pd.Series(group).value_counts()
    kinds = [str(kind) for kind in counts.index if kind not in _UNDECIDED]
    for kind in (*kinds, *_UNDECIDED):
        rows = np.array([name == kind for name in group])
        if not rows.any():
            continue
        style: dict[str, Any] = {"marker": ".", "color": GREY, "markersize": 3}
        if kind in kinds:
            i = kinds.index(kind)
            style = {
                "marker": MARKERS[i % len(MARKERS)],
                "color": colours[i % len(colours)],
                "markersize": 3.5,
                # A second round of colours and shapes is hollow.
                "fillstyle": "full" if i < len(colours) else "none",
            }
        ax.plot(points[rows, 0], points[rows, 1], linestyle="none", label=kind, **style)
