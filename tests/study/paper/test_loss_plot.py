"""Figure S1: lines are means of the models, and can be told apart."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from ntpscore.errors import DataError
from ntpscore.study.paper.loss_plot import plot_training_losses
from tests.support.drawn import SAME, assert_legible, panels


def make_losses() -> pd.DataFrame:
    rows = []
    for method, data in product(("scratch", "probe"), ("sst2", "imdb")):
        for model, steps in (("a", (10, 20, 40)), ("b", (20, 30, 40, 50))):
            rows += [
                {"model": model, "data": data, "seed": 0, "method": method, "step": step,
                 "loss": (1 if data == "sst2" else 2) * (5 if model == "a" else 1) / step}
                for step in steps
            ]  # fmt: skip
    return pd.DataFrame(rows)


def test_loss_lines_are_means_of_the_models_where_all_have_a_loss() -> None:
    figure = plot_training_losses(make_losses())
    assert_legible(figure)
    shown = panels(figure)
    assert [ax.get_title() for ax in shown] == ["sst2", "imdb"]
    for ax, scale in zip(shown, (1, 2), strict=True):
        assert len(ax.lines) == 2
        for line in ax.lines:
            # At 30, model a is half-way between 20 and 40.
            a, b = [5 / 20, (5 / 20 + 5 / 40) / 2, 5 / 40], [1 / 20, 1 / 30, 1 / 40]
            mean = scale * (np.array(a) + b) / 2
            np.testing.assert_allclose(line.get_xdata(), [20, 30, 40])
            np.testing.assert_allclose(line.get_ydata(), mean, atol=SAME)
        styles = {(line.get_color(), line.get_linestyle()) for line in ax.lines}
        assert len(styles) == 2
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["probe (mean of 2 models)", "scratch (mean of 2 models)"]
    for line, handle in zip(shown[0].lines, figure.legends[0].get_lines(), strict=True):
        assert handle.get_color() == line.get_color()
        assert handle.get_linestyle() == line.get_linestyle()


def test_losses_of_runs_without_common_steps_or_of_no_known_method_are_refused() -> None:
    losses = make_losses()
    apart = losses[(losses["model"] == "a") & (losses["step"] < 20) | (losses["model"] == "b")]
    with pytest.raises(DataError, match="sst2 have no step in common"):
        plot_training_losses(apart)
    with pytest.raises(DataError, match="got of distillation"):
        plot_training_losses(losses.assign(method="distillation"))
    with pytest.raises(DataError, match="got none"):
        plot_training_losses(losses[:0])
    with pytest.raises(DataError, match="lack the columns step, loss"):
        plot_training_losses(losses.drop(columns=["step", "loss"]))
