"""Labels of points that neither overlap each other nor hide a point.

adjustText, a library for it, leaves some on each of our figures (docs/log.md has the counts) and
can't leave out names that have no room.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from ntpscore.study.statistics.correlation import Values

_FONT_SIZE = 6.5
# In points of 1/72 inch: the nearest a label comes to its point, and further off as multiples of
# that; the gap between labels; the width of a marker.
_NEAREST, _RINGS = 4.0, (1.0, 1.6, 2.5, 4.0, 6.0, 9.0, 13.0, 18.0)
_GAP, _MARKER = 1.0, 5.0
_ANGLES = 2 * np.pi * np.arange(16) / 16
_LEADER = {"arrowstyle": "-", "color": "0.55", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
# Square pixels.
_ROUNDING = 1e-6


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
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("labels need axes that are in a figure")
    unit = figure.dpi / 72
    frame = np.array([ax.get_window_extent().extents])
    points = ax.transData.transform(np.column_stack([x, y]))
    # What a label may not hide: the points, then earlier labels.
    taken = np.hstack([points - _MARKER / 2 * unit, points + _MARKER / 2 * unit])
    rings, angles = np.meshgrid(_RINGS[:1] if near_only else _RINGS, _ANGLES, indexing="ij")
    rings, towards = (
        rings.reshape(-1, 1),
        np.column_stack([np.cos(angles.flat), np.sin(angles.flat)]),
    )
    labels = []
    for name, at, point in zip(names, zip(x, y, strict=True), points, strict=True):
        text = Text(text=name, fontsize=_FONT_SIZE, parse_math=False, figure=figure)
        size = np.array(text.get_window_extent().size) + 2 * _GAP * unit
        offsets = towards * (rings * _NEAREST * unit + size / 2)
        boxes = np.hstack([point + offsets - size / 2, point + offsets + size / 2])
        hidden = _shared_areas(boxes, taken) + size.prod() - _shared_areas(boxes, frame)
        place = int(np.maximum(hidden, _ROUNDING).argmin())
        if near_only and hidden[place] > _ROUNDING:
            continue
        taken = np.vstack([taken, boxes[place]])
        labels.append(
            ax.annotate(
                name, at, offsets[place] / unit, textcoords="offset points", ha="center",
                va="center", fontsize=_FONT_SIZE, parse_math=False,
                arrowprops=_LEADER if rings[place] > 1 else None,
            )
        )  # fmt: skip
    return labels


def _shared_areas(boxes: Values, others: Values) -> Values:
    """The area that each box has in common with all others: (m, 4) and (n, 4), left to top."""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    areas: Values = np.maximum(high - low, 0).prod(axis=2).sum(axis=1)
    return areas
