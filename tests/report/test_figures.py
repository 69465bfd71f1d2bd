"""Figures hold the values they were given, in what plotly takes."""

from typing import Any

import plotly.graph_objects as go
import pytest

from ntpscore.report.blocks import Figure, Table
from ntpscore.report.figures import (
    Ends,
    Line,
    Valued,
    draw_bars,
    draw_heat,
    draw_lines,
    draw_points,
    draw_values,
)


def check(figure: Figure) -> Any:
    """Plotly's own figure, which refuses what it doesn't know."""

    def paint(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: paint(one) for key, one in value.items()}
        if isinstance(value, list):
            return [paint(one) for one in value]
        return "#000000" if isinstance(value, str) and value.startswith("--") else value

    made = go.Figure(paint(figure.data), paint(figure.layout))
    assert len(made.data) == len(figure.data)
    return made


def test_values_have_their_intervals_and_series_stand_apart() -> None:
    rows = [
        Valued("one", Ends(0.5, 0.4, 0.7), "a"),
        Valued("one", Ends(0.6), "b"),
        Valued("two", Ends(None), "a"),
    ]
    figure = draw_values("title", "accuracy", rows, percent=True)
    first, second = check(figure).data
    assert list(first.x) == [0.5]
    assert list(first.error_x.array) == [pytest.approx(0.2)]
    assert list(first.error_x.arrayminus) == [pytest.approx(0.1)]
    assert not second.error_x.visible
    assert first.y[0] < second.y[0]
    assert first.customdata[0][1] == "(40.0% to 70.0%)"
    assert figure.layout["yaxis"]["ticktext"] == ["one", "two"]
    assert figure.table.rows[0] == ["one", "a", 0.5, 0.4, 0.7]
    assert "one a 0.500" in figure.alt


def test_a_line_has_a_band_where_its_interval_is_known() -> None:
    line = Line("l", [0, 1, 2], [Ends(1, 0.5, 1.5), Ends(2), Ends(3, 2.5, 3.5)])
    band, drawn = check(draw_lines("t", "layer", "y", [line], alt="what")).data
    assert list(band.x) == [0, 2, 2, 0]
    assert list(band.y) == [1.5, 3.5, 2.5, 0.5]
    assert list(drawn.y) == [1, 2, 3]
    assert drawn.customdata[1] == ""
    (alone,) = check(
        draw_lines("t", "x", "y", [Line("l", [1], [Ends(1.0)])], alt="what", log=True)
    ).data
    assert list(alone.y) == [1]


def test_a_heat_map_tells_each_cell_and_long_names_are_cut() -> None:
    names = ["short", "a very long name that has no place beside any axis at all"]
    table = Table("t", ("a",), [])
    figure = draw_heat(
        "t", ("x", "y"), (names, names), [[0.1, None], [0.3, 1.0]], alt="what", unit="share",
        hover=[["a\nb", "c\nd"], ["e\nf", "g\nh"]], table=table, limits=(0, 1), top_down=True,
    )  # fmt: skip
    (trace,) = check(figure).data
    assert trace.z[0][1] is None
    assert trace.customdata[1][0] == ["e", "f"]
    assert trace.hovertemplate == "%{customdata[0]}<br>%{customdata[1]}<extra></extra>"
    assert figure.layout["xaxis"]["ticktext"][1].startswith("a very long")
    assert len(figure.layout["xaxis"]["ticktext"][1]) <= 20


@pytest.mark.parametrize("cost", [[3.0, 4.0], [1e6, 7e9], [5.0]])
def test_a_logarithmic_axis_has_ticks_for_few_values_too(cost: list[float]) -> None:
    points = [Valued(f"m{i}", Ends(0.5, 0.4, 0.6), x=x) for i, x in enumerate(cost)]
    figure = draw_points("t", "seconds", "accuracy", points, alt="what", log=True)
    check(figure)
    axis = figure.layout["xaxis"]
    assert len(axis["tickvals"]) >= 2
    low, high = (10**end for end in axis["range"])
    assert all(low <= one <= high for one in (*axis["tickvals"], *cost))


def test_bars_and_joined_points_have_every_value() -> None:
    (bars,) = check(draw_bars("t", "texts", {"a": 3, "b": 4}, alt="what")).data
    assert list(bars.x) == [3, 4]
    points = [Valued("t", Ends(1.0), x=2.0), Valued("t", Ends(3.0), x=4.0)]
    (joined,) = check(draw_points("t", "true", "said", points, alt="what", joined=True)).data
    assert (list(joined.x), list(joined.y)) == ([2, 4], [1, 3])
