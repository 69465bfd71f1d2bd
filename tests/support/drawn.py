"""What is drawn in a figure, and whether it can be read."""

from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from ntpscore.figures import PAGE
from tests.support.made_up_studies import DATA

# Numbers that went through a table and a figure unchanged but for a mean of two.
SAME = 1e-12
# Points of text that is read in print, where figures of a page's width keep their size.
SMALLEST = 6.5


def panels(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_visible()]


def points(ax: Axes) -> np.ndarray:
    """(n, 2) of the markers."""
    (line,) = (line for line in ax.lines if line.get_linestyle() == "None")
    return np.asarray(line.get_xydata())


def names(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts if isinstance(text, Annotation)]


def mean_of(table: pd.DataFrame, model: str, **at: object) -> np.ndarray:
    """Per data set the mean over seeds, in a loop."""
    rows = table[table["model"] == model]
    for key, value in at.items():
        rows = rows[rows[key] == value]
    return np.array([np.mean(rows.loc[rows["data"] == data, "value"]) for data in DATA])


def assert_legible(figure: Figure) -> None:
    """Every axis and colour bar is labelled, no two texts overlap, none is tiny or cut off."""
    figure.draw_without_rendering()
    texts = [text for text in figure.texts if text.get_text()]
    shared = [bool(figure.get_supxlabel()), bool(figure.get_supylabel())]
    for ax in panels(figure):
        bar = ax.get_label() == "<colorbar>"
        if ax.axison and (bar or len(ax.get_xticks())):
            assert bar or ax.get_xlabel() or shared[0]
            assert ax.get_ylabel() or shared[1]
        labels = [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            low, high = sorted(limits)
            labels += [
                tick.label1 if tick.label1.get_visible() else tick.label2
                for tick in axis.get_major_ticks()
                if low <= tick.get_loc() <= high
            ]
        texts += [text for text in labels if text.get_text() and text.get_visible()]
    legends = [*figure.legends, *(ax.get_legend() for ax in panels(figure))]
    texts += [text for legend in legends if legend for text in legend.get_texts()]
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in texts]
    assert boxes
    for (one, box), (other, another) in combinations(boxes, 2):
        assert not box.overlaps(another), (one, other)
    assert min(text.get_fontsize() for text in texts) >= SMALLEST
    assert figure.get_figwidth() <= PAGE
    for text, box in boxes:
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, text
