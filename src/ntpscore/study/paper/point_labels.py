"""Labels of points that neither overlap each other nor hide a point.

adjustText, a library for it, leaves one to five overlaps on each of our figures however long it
works, and can't leave out names that have no room.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from ntpscore.study.statistics.correlation import Values

FONT_SIZE = 6.5
_LEADER = "0.55"
# Distances of a label from its point and from other labels, in points of 1/72 inch.
_NEAREST = 4.0
_RINGS = (1.0, 1.6, 2.5, 4.0, 6.0, 9.0, 13.0, 18.0)
_DIRECTIONS = 16
_GAP = 1.0
# Square pixels.
_ROUNDING = 1e-6
_MARKER = 5.0


def settle_layout(figure: Figure) -> None:
    """Lay the figure out once and for all, so that what is measured stays where it is."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def label_points(
    ax: Axes, x: Values, y: Values, names: Sequence[str], *, near_only: bool = False
) -> list[Annotation]:
    """Write a name beside every point.

    Each name, in the order given, takes the nearest of some hundred places around its point that is
    free of points and of earlier names and within the axes; from a place further off a thin line
    leads to the point. Where no place is free the name takes the one that hides least. The figure
    is measured as it stands: its layout must be final.

    Args:
        ax: holds the points already.
        x: (n,) in data units.
        y: (n,).
        names: n texts.
        near_only: write only names that have room right beside their point.

    Returns:
        The labels that were written.
    """
    figure, unit = _figure_of(ax)
    points = ax.transData.transform(np.column_stack([x, y]))
    reach = _MARKER / 2 * unit
    # Edges of what a label may not hide: the points, then earlier labels.
    taken = np.concatenate([points - reach, points + reach], axis=1)
    frame = np.array(ax.get_window_extent().extents)
    labels = []
    for name, point, at in zip(names, points, zip(x, y, strict=True), strict=True):
        size = np.array(_text_size(figure, name, _GAP * unit))
        best, least = (0.0, point), math.inf
        for ring, centre in _places(point, size, unit, near_only=near_only):
            box = np.concatenate([centre - size / 2, centre + size / 2])
            outside = size.prod() - _shared_areas(box, frame[None])[0]
            hidden = float(_shared_areas(box, taken).sum() + outside)
            if hidden < least:
                best, least = (ring, centre), hidden
            if hidden <= _ROUNDING:
                break
        if near_only and least > _ROUNDING:
            continue
        ring, centre = best
        taken = np.vstack([taken, [*(centre - size / 2), *(centre + size / 2)]])
        labels.append(_annotate(ax, name, at, (centre - point) / unit, leader=ring > 1))
    return labels


def _figure_of(ax: Axes) -> tuple[Figure, float]:
    """The figure, and its pixels per point."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("labels need axes that are in a figure")
    return figure, figure.dpi / 72


def _text_size(figure: Figure, text: str, gap: float) -> tuple[float, float]:
    """Width and height of a label in pixels, with a gap around it."""
    probe = Text(0, 0, text, fontsize=FONT_SIZE, parse_math=False)
    probe.set_figure(figure)
    box = probe.get_window_extent()
    return box.width + 2 * gap, box.height + 2 * gap


def _places(
    point: Values, size: Values, unit: float, *, near_only: bool
) -> Iterator[tuple[float, Values]]:
    """Centres around a point, nearest first, so that a box of this size stays off the point."""
    angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    for ring in _RINGS[:1] if near_only else _RINGS:
        for angle in angles:
            towards = np.array([math.cos(angle), math.sin(angle)])
            yield ring, point + towards * (ring * _NEAREST * unit + size / 2)


def _shared_areas(box: Values, others: Values) -> Values:
    """The area that a box has in common with each other box: (4,) and (n, 4), left to top."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    areas: Values = np.maximum(high - low, 0).prod(axis=1)
    return areas


def _annotate(
    ax: Axes, name: str, at: tuple[float, float], offset: npt.NDArray[np.float64], *, leader: bool
) -> Annotation:
    arrow = {"arrowstyle": "-", "color": _LEADER, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
    return ax.annotate(
        name,
        at,
        (float(offset[0]), float(offset[1])),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=FONT_SIZE,
        parse_math=False,
        arrowprops=arrow if leader else None,
    )
