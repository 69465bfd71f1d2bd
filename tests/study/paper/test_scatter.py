"""Figures 2 and 3 show the numbers of the tables, and nothing in them overlaps."""

from collections.abc import Callable
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from ntpscore.errors import DataError
from ntpscore.study.paper.scatter import plot_accuracy_against_score, plot_gain_against_score
from tests.support.drawn import SAME, assert_legible, mean_of, names, panels, points
from tests.support.made_up_studies import DATA, K_FRACTIONS, LAYERS, MODELS, make_study


def brute_force_best(scores: pd.DataFrame, y: np.ndarray, model: str, sign: int) -> tuple:
    found = {}
    for layer, k in product(LAYERS, K_FRACTIONS):
        x = mean_of(scores, model, score="retained", layer=layer, k_fraction=k)
        found[layer, k] = sign * spearmanr(x, y).statistic
    return max(found, key=found.__getitem__)


@pytest.mark.slow
def test_accuracy_figure_shows_each_outcome_at_its_best_configuration() -> None:
    scores, outcomes = make_study()
    before = plt.get_fignums()
    figure = plot_accuracy_against_score(scores, outcomes, score="retained")
    assert plt.get_fignums() == before
    assert_legible(figure)
    shown = panels(figure)
    assert len(shown) == 4
    kinds = (("ols_mse", -1, 1.0), ("logistic_accuracy", 1, 100.0))
    for ax, ((outcome, sign, scale), model) in zip(shown, product(kinds, MODELS), strict=True):
        y = mean_of(outcomes, model, outcome=outcome)
        layer, k = brute_force_best(scores, y, model, sign)
        x = mean_of(scores, model, score="retained", layer=layer, k_fraction=k)
        np.testing.assert_allclose(points(ax), np.column_stack([x, scale * y]), atol=100 * SAME)
        assert names(ax) == list(DATA)
        r = spearmanr(x, y).statistic
        assert ax.get_title() == (
            f"{model.removeprefix('lab/')}\nr = {r:.2f}; layer {layer}, k/d {k:.2f}, chosen by r"
        )


def test_fit_line_is_least_squares() -> None:
    scores, outcomes = make_study()
    ax = panels(plot_accuracy_against_score(scores, outcomes, score="r2", choice="fixed"))[0]
    (dashed,) = (line for line in ax.lines if line.get_linestyle() == "--")
    xy = points(ax)
    design = np.column_stack([xy[:, 0], np.ones(len(xy))])
    slope, intercept = np.linalg.lstsq(design, xy[:, 1])[0]
    drawn = np.asarray(dashed.get_xydata())
    # Six points of order one: two least-squares solvers agree to rounding.
    np.testing.assert_allclose(drawn[:, 1], slope * drawn[:, 0] + intercept, atol=SAME)


def test_gain_figure_sets_the_probe_error_beside_the_score() -> None:
    scores, outcomes = make_study()
    figure = plot_gain_against_score(scores, outcomes, score="retained", choice="fixed")
    assert_legible(figure)
    shown = panels(figure)
    for i, model in enumerate(MODELS):
        gain = 100 * mean_of(outcomes, model, outcome="lora_gain")
        x = mean_of(scores, model, score="retained", layer=2, k_fraction=0.5)
        probe_error = 100 - 100 * mean_of(outcomes, model, outcome="probe_accuracy")
        for ax, across in ((shown[i], x), (shown[2 + i], probe_error)):
            np.testing.assert_allclose(points(ax), np.column_stack([across, gain]), atol=100 * SAME)
            assert f"r = {spearmanr(across, gain).statistic:.2f};" in ax.get_title()
        assert "layer 2, k/d 0.50, fixed in advance" in shown[i].get_title()


def test_a_model_without_outcomes_has_a_panel_that_says_so() -> None:
    scores, outcomes = make_study()
    without_gain = (outcomes["model"] == MODELS[1]) & (outcomes["outcome"] == "lora_gain")
    without_probe = (outcomes["model"] == MODELS[0]) & (outcomes["outcome"] == "probe_accuracy")
    figure = plot_gain_against_score(
        scores, outcomes[~without_gain & ~without_probe], score="retained"
    )
    first, second, third, fourth = panels(figure)
    assert names(first) == list(DATA)
    for ax, reason in ((second, "lora_gain"), (third, "probe"), (fourth, "lora_gain")):
        assert not ax.lines
        (text,) = ax.texts
        assert text.get_text().startswith("not drawn: ")
        assert reason in text.get_text()


@pytest.mark.slow
def test_five_models_wrap_into_three_blocks_and_leave_the_rest_empty() -> None:
    scores, outcomes = make_study()
    many = [f"m{i}" for i in range(5)]
    scores, outcomes = (
        pd.concat([table[table["model"] == MODELS[0]].assign(model=m) for m in many])
        for table in (scores, outcomes)
    )
    figure = plot_accuracy_against_score(scores, outcomes, score="r2")
    assert len(figure.axes) == 12
    assert len(panels(figure)) == 10


@pytest.mark.parametrize("plot", [plot_accuracy_against_score, plot_gain_against_score])
def test_study_figures_refuse_tables_without_the_numbers(plot: Callable[..., Figure]) -> None:
    scores, outcomes = make_study()
    with pytest.raises(DataError, match="no score 'leep'"):
        plot(scores, outcomes, score="leep")
    with pytest.raises(DataError, match="lack the columns layer"):
        plot(scores.drop(columns="layer"), outcomes, score="r2")
    with pytest.raises(DataError, match="hold no value"):
        plot(scores, outcomes[:0], score="r2")
    with pytest.raises(DataError, match=r"no panel can be drawn: .*k_fraction 0.3"):
        plot(scores, outcomes, score="retained", choice="fixed", k_fraction=0.3)
    with pytest.raises(DataError, match="no panel can be drawn"):
        plot(scores, outcomes[outcomes["outcome"] == "scratch_accuracy"], score="r2")


def test_a_score_without_layer_and_k_is_no_choice() -> None:
    scores, outcomes = make_study()
    rival = scores[(scores["score"] == "r2") & (scores["layer"] == 2)]
    rival = rival.assign(score="leep", layer=np.nan)
    ax = panels(plot_accuracy_against_score(rival, outcomes, score="leep"))[0]
    assert ax.get_title().endswith("; no choice")


def test_a_score_that_is_the_same_everywhere_has_a_reason_and_no_line() -> None:
    scores, outcomes = make_study()
    flat = scores[scores["score"] == "r2"]
    flat = flat.assign(value=flat["value"].where(flat["model"] == MODELS[0], 0.5))
    figure = plot_accuracy_against_score(flat, outcomes, score="r2")
    assert "not drawn" in panels(figure)[1].texts[0].get_text()
