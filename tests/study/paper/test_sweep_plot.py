"""r of every layer and k, with the configurations that are marked in it."""

import numpy as np
import pytest

from ntpscore.errors import DataError
from ntpscore.study.paper.sweep_plot import plot_sweep
from tests.support.drawn import assert_legible


@pytest.mark.parametrize("sign", [1, -1])
def test_sweep_figure_marks_the_best_and_the_fixed_configuration(sign: int) -> None:
    layers, k = (one.ravel() for one in np.meshgrid([0, 4, 8], [0.25, 0.5, 0.75], indexing="ij"))
    r = np.array([0.1, -0.2, 0.3, -0.7, np.nan, 0.6, 0.2, 0.15, -0.1])
    order = np.random.default_rng(0).permutation(9)
    figure = plot_sweep(layers[order], k[order], r[order], sign=sign, title="r of $retained$")
    assert_legible(figure)
    ax, bar = figure.axes
    np.testing.assert_array_equal(np.ma.filled(ax.images[0].get_array(), np.nan), r.reshape(3, 3))
    assert ax.images[0].get_clim() == (-1, 1)
    assert bar.get_ylabel() == "Spearman's r (-1 to 1)"
    marks = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    best = ("best: layer 4, k/d 0.75, r = 0.60", [[2, 1]])
    if sign < 0:
        best = ("best: layer 4, k/d 0.25, r = -0.70", [[0, 1]])
    fixed = ("fixed in advance: layer 8, k/d 0.50, r = 0.15", [[1, 2]])
    assert marks == dict([best, fixed])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(marks)


def test_sweep_figure_without_the_fixed_k_marks_the_best_alone() -> None:
    figure = plot_sweep([0, 1], [0.25, 0.25], [0.1, 0.2])
    assert [line.get_label() for line in figure.axes[0].lines] == [
        "best: layer 1, k/d 0.25, r = 0.20"
    ]


def test_sweep_figure_refuses_what_is_no_grid() -> None:
    with pytest.raises(DataError, match="2 layers, 1 k_fractions and 2 r"):
        plot_sweep([0, 1], [0.5], [0.1, 0.2])
    with pytest.raises(DataError, match="without k"):
        plot_sweep([0, 1], [np.nan, np.nan], [0.1, 0.2])
    with pytest.raises(DataError, match=r"layer 1 at k/d 0.5 stands twice"):
        plot_sweep([1, 1], [0.5, 0.5], [0.1, 0.2])
    with pytest.raises(DataError, match="no configuration has an r"):
        plot_sweep([0, 1], [0.5, 0.5], [np.nan, np.nan])
