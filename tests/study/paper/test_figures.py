"""The figures show the numbers of the tables, and nothing in them overlaps."""

from itertools import combinations, product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from scipy.stats import spearmanr

from ntpscore.errors import DataError
from ntpscore.study.paper.figures import (
    plot_accuracy_against_score,
    plot_gain_against_score,
    plot_score_by_layer,
    plot_sweep,
    plot_training_losses,
    plot_word_projection,
)
from tests.support.made_up_studies import DATA, K_FRACTIONS, LAYERS, MODELS, make_study

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


def brute_force_best(cells: pd.DataFrame, y: np.ndarray, model: str, sign: int) -> tuple:
    found = {}
    for layer, k in product(LAYERS, K_FRACTIONS):
        x = mean_of(cells, model, score="retained", layer=layer, k_fraction=k)
        found[layer, k] = sign * spearmanr(x, y).statistic
    return max(found, key=found.__getitem__)


def test_accuracy_figure_shows_each_outcome_at_its_best_configuration() -> None:
    cells, outcomes = make_study()
    before = plt.get_fignums()
    figure = plot_accuracy_against_score(cells, outcomes, score="retained")
    assert plt.get_fignums() == before
    assert_legible(figure)
    shown = panels(figure)
    assert len(shown) == 4
    kinds = (("ols_mse", -1, 1.0), ("logistic_accuracy", 1, 100.0))
    for ax, ((outcome, sign, scale), model) in zip(shown, product(kinds, MODELS), strict=True):
        y = mean_of(outcomes, model, outcome=outcome)
        layer, k = brute_force_best(cells, y, model, sign)
        x = mean_of(cells, model, score="retained", layer=layer, k_fraction=k)
        np.testing.assert_allclose(points(ax), np.column_stack([x, scale * y]), atol=100 * SAME)
        assert names(ax) == list(DATA)
        r = spearmanr(x, y).statistic
        assert ax.get_title() == (
            f"{model.removeprefix('lab/')}\nr = {r:.2f}; layer {layer}, k/d {k:.2f}, chosen by r"
        )


def test_fit_line_is_least_squares() -> None:
    cells, outcomes = make_study()
    ax = panels(plot_accuracy_against_score(cells, outcomes, score="r2", choice="fixed"))[0]
    (dashed,) = (line for line in ax.lines if line.get_linestyle() == "--")
    xy = points(ax)
    design = np.column_stack([xy[:, 0], np.ones(len(xy))])
    slope, intercept = np.linalg.lstsq(design, xy[:, 1])[0]
    drawn = np.asarray(dashed.get_xydata())
    # Six points of order one: two least-squares solvers agree to rounding.
    np.testing.assert_allclose(drawn[:, 1], slope * drawn[:, 0] + intercept, atol=SAME)


def test_gain_figure_sets_the_headroom_beside_the_score() -> None:
    cells, outcomes = make_study()
    figure = plot_gain_against_score(cells, outcomes, score="retained", choice="fixed")
    assert_legible(figure)
    shown = panels(figure)
    for i, model in enumerate(MODELS):
        gain = 100 * mean_of(outcomes, model, outcome="lora_gain")
        x = mean_of(cells, model, score="retained", layer=2, k_fraction=0.5)
        headroom = 100 - 100 * mean_of(outcomes, model, outcome="probe_accuracy")
        for ax, across in ((shown[i], x), (shown[2 + i], headroom)):
            np.testing.assert_allclose(points(ax), np.column_stack([across, gain]), atol=100 * SAME)
            assert f"r = {spearmanr(across, gain).statistic:.2f};" in ax.get_title()
        assert "layer 2, k/d 0.50, fixed in advance" in shown[i].get_title()


def test_a_model_without_outcomes_has_a_panel_that_says_so() -> None:
    cells, outcomes = make_study()
    without_gain = (outcomes["model"] == MODELS[1]) & (outcomes["outcome"] == "lora_gain")
    without_probe = (outcomes["model"] == MODELS[0]) & (outcomes["outcome"] == "probe_accuracy")
    figure = plot_gain_against_score(
        cells, outcomes[~without_gain & ~without_probe], score="retained"
    )
    first, second, third, fourth = panels(figure)
    assert names(first) == list(DATA)
    for ax, reason in ((second, "lora_gain"), (third, "probe"), (fourth, "lora_gain")):
        assert not ax.lines
        (text,) = ax.texts
        assert text.get_text().startswith("not drawn: ")
        assert reason in text.get_text()


def test_five_models_wrap_into_two_blocks_and_leave_the_rest_empty() -> None:
    cells, outcomes = make_study()
    many = [f"m{i}" for i in range(5)]
    cells, outcomes = (
        pd.concat([table[table["model"] == MODELS[0]].assign(model=m) for m in many])
        for table in (cells, outcomes)
    )
    figure = plot_accuracy_against_score(cells, outcomes, score="r2")
    assert len(figure.axes) == 16
    assert len(panels(figure)) == 10


@pytest.mark.parametrize("plot", [plot_accuracy_against_score, plot_gain_against_score])
def test_study_figures_refuse_tables_without_the_numbers(plot) -> None:
    cells, outcomes = make_study()
    with pytest.raises(DataError, match="no score 'leep'"):
        plot(cells, outcomes, score="leep")
    with pytest.raises(DataError, match="lack the columns layer"):
        plot(cells.drop(columns="layer"), outcomes, score="r2")
    with pytest.raises(DataError, match="hold no value"):
        plot(cells, outcomes[:0], score="r2")
    with pytest.raises(DataError, match=r"no panel can be drawn: .*k_fraction 0.3"):
        plot(cells, outcomes, score="retained", choice="fixed", k_fraction=0.3)
    with pytest.raises(DataError, match="no panel can be drawn"):
        plot(cells, outcomes[outcomes["outcome"] == "scratch_accuracy"], score="r2")


def test_a_score_without_layer_and_k_is_no_choice() -> None:
    cells, outcomes = make_study()
    rival = cells[(cells["score"] == "r2") & (cells["layer"] == 2)]
    rival = rival.assign(score="leep", layer=np.nan)
    ax = panels(plot_accuracy_against_score(rival, outcomes, score="leep"))[0]
    assert ax.get_title().endswith("; no choice")


def test_a_score_that_is_the_same_everywhere_has_a_reason_and_no_line() -> None:
    cells, outcomes = make_study()
    flat = cells[cells["score"] == "r2"]
    flat = flat.assign(value=flat["value"].where(flat["model"] == MODELS[0], 0.5))
    figure = plot_accuracy_against_score(flat, outcomes, score="r2")
    assert "not drawn" in panels(figure)[1].texts[0].get_text()


def make_words() -> tuple[list[str], dict[str, np.ndarray], list[str], list[str]]:
    rng = np.random.default_rng(2)
    words = [f"word{i}" for i in range(24)]
    projections = {"U": rng.normal(size=(24, 2)), "V": 0.01 * rng.normal(size=(24, 2))}
    emotion = [("joy", "sadness", "unclear")[i % 3] for i in range(24)]
    part = [("noun", "verb", "other", "function word")[i % 4] for i in range(24)]
    return words, projections, emotion, part


def test_word_figure_has_each_word_in_its_group_in_four_panels() -> None:
    words, projections, emotion, part = make_words()
    figure = plot_word_projection(words, projections, emotion, part)
    assert_legible(figure)
    for ax, (symbol, group) in zip(panels(figure), product("UV", (emotion, part)), strict=True):
        assert ax.get_title().startswith(f"{symbol}ᵀx")
        drawn = {line.get_label(): np.asarray(line.get_xydata()) for line in ax.lines}
        assert set(drawn) == set(group)
        for kind, xy in drawn.items():
            of_kind = projections[symbol][[one == kind for one in group]]
            np.testing.assert_array_equal(xy, of_kind)
        looks = {(line.get_marker(), line.get_color()) for line in ax.lines}
        assert len(looks) == len(drawn)
        assert set(names(ax)) <= set(words)
        assert len(names(ax)) > 6
    legends = [ax.get_legend() for ax in panels(figure)]
    assert [legend is not None for legend in legends] == [False, False, True, True]
    assert {text.get_text() for text in legends[2].get_texts()} == set(emotion)


def test_more_groups_than_colours_go_on_hollow() -> None:
    words, projections, _, part = make_words()
    many = [f"label {i % 9}" for i in range(24)]
    ax = panels(plot_word_projection(words, projections, many, part))[0]
    looks = {(line.get_marker(), line.get_color(), line.get_fillstyle()) for line in ax.lines}
    assert len(looks) == 9


def test_word_figure_refuses_what_does_not_fit() -> None:
    words, projections, emotion, part = make_words()
    with pytest.raises(DataError, match="no words"):
        plot_word_projection([], projections, [], [])
    with pytest.raises(DataError, match="24 words need an emotion"):
        plot_word_projection(words, projections, emotion[:3], part)
    with pytest.raises(DataError, match="lack V"):
        plot_word_projection(words, {"U": projections["U"]}, emotion, part)
    with pytest.raises(DataError, match=r"onto V is of shape \(2, 24\)"):
        plot_word_projection(words, {**projections, "V": projections["V"].T}, emotion, part)


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
    assert [ax.get_title() for ax in shown] == ["probe: mean of 2 models",
                                                "scratch: mean of 2 models"]  # fmt: skip
    for ax in shown:
        assert names(ax) == ["sst2", "imdb"]
        for line, scale in zip(ax.lines, (1, 2), strict=True):
            # At 30, model a is half-way between 20 and 40.
            a, b = [5 / 20, (5 / 20 + 5 / 40) / 2, 5 / 40], [1 / 20, 1 / 30, 1 / 40]
            mean = scale * (np.array(a) + b) / 2
            np.testing.assert_allclose(line.get_xdata(), [20, 30, 40])
            np.testing.assert_allclose(line.get_ydata(), mean, atol=SAME)
        styles = {(line.get_color(), line.get_linestyle()) for line in ax.lines}
        assert len(styles) == 2
        assert max(ax.get_xticks()) <= 40


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


def test_layer_figure_has_a_line_per_data_set_and_chance() -> None:
    cells, _ = make_study()
    figure = plot_score_by_layer(cells, score="retained", k_fraction=0.25)
    assert_legible(figure)
    for ax, model in zip(panels(figure), MODELS, strict=True):
        assert ax.get_title() == model.removeprefix("lab/")
        assert names(ax) == [*DATA, "chance"]
        *lines, chance = ax.lines
        wanted = np.array(
            [mean_of(cells, model, score="retained", layer=layer, k_fraction=0.25)
             for layer in LAYERS]
        ).T  # fmt: skip
        for line, values in zip(lines, wanted, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), LAYERS)
            np.testing.assert_allclose(line.get_ydata(), values, atol=SAME)
        np.testing.assert_allclose(chance.get_ydata(), 0.25, atol=SAME)
        assert all(tick == round(tick) for tick in ax.get_xticks())


def test_layer_figure_of_a_score_without_k_has_no_chance() -> None:
    cells, _ = make_study()
    figure = plot_score_by_layer(cells, score="r2", k_fraction=None)
    assert all(names(ax) == list(DATA) for ax in panels(figure))
    assert panels(figure)[0].get_ylabel() == "r2 (share)"
    one_layer = cells[cells["layer"] == 2].drop(columns="chance")
    ax = panels(plot_score_by_layer(one_layer, score="r2", k_fraction=None))[0]
    assert {line.get_marker() for line in ax.lines} == {"."}


def test_layer_figure_says_which_k_there_are() -> None:
    cells, _ = make_study()
    with pytest.raises(DataError, match=r"k_fraction 0\.25, 0\.5, 0\.75"):
        plot_score_by_layer(cells, score="retained", k_fraction=0.3)
    with pytest.raises(DataError, match="pass None"):
        plot_score_by_layer(cells, score="r2", k_fraction=0.5)
    with pytest.raises(DataError, match="cells of 'leep' hold no value"):
        plot_score_by_layer(cells, score="leep")


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
