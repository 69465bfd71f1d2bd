"""What is drawn in a figure, and whether it can be read."""

from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from tests.support.made_up_studies import DATA

# Numbers that went through a table and a figure unchanged but for a mean of two.
SAME = 1e-12


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
    """Every axis is labelled, and no two texts of the figure overlap."""
    figure.draw_without_rendering()
    texts = []
    for ax in panels(figure):
        if ax.axison and len(ax.get_xticks()):
            assert ax.get_xlabel()
            assert ax.get_ylabel()
        labels = [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        low, high = sorted(ax.get_xlim())
        labels += [
            tick for at, tick in zip(ax.get_xticks(), ax.get_xticklabels(), strict=False)
            if low <= at <= high
        ]  # fmt: skip
        low, high = sorted(ax.get_ylim())
        labels += [
            tick for at, tick in zip(ax.get_yticks(), ax.get_yticklabels(), strict=False)
            if low <= at <= high
        ]  # fmt: skip
        texts += [text for text in labels if text.get_text() and text.get_visible()]
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in texts]
    for (one, box), (other, another) in combinations(boxes, 2):
        assert not box.overlaps(another), (one, other)
