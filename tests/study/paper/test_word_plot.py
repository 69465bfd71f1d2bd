"""Figure 1: each word in its group, in four panels."""

from itertools import product

import numpy as np
import pytest

from ntpscore.errors import DataError
from ntpscore.study.paper.word_plot import plot_word_projection
from tests.support.drawn import assert_legible, names, panels


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


@pytest.mark.slow
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
