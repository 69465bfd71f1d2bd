"""Kinds of figures: values with intervals, lines with bands, heat maps, points, bars."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ntpscore.plain_text import plain
from ntpscore.report.blocks import Cell, Figure, Table, number

_SERIES, _LONGEST = 6, 40
# Of names below an axis; layers that each have a tick.
_LONGEST_BELOW, _FEW_LAYERS = 20, 12
_ROW, _MARGIN = 34, 110
Number = float | None


class Ends(NamedTuple):
    """A value and the ends of its interval, if there is one."""

    value: Number
    low: Number = None
    high: Number = None

    @classmethod
    def of(cls, row: Mapping[str, Any], name: str) -> "Ends":
        """`NAME`, `NAME_low` and `NAME_high` of a record, those that are there."""
        return cls(*(row.get(f"{name}{end}") for end in ("", "_low", "_high")))

    def interval(self, percent: bool) -> str:
        """The ends in words; nothing without them."""
        if self.low is None or self.high is None:
            return ""
        form = ".1%" if percent else ".3g"
        return f"({self.low:{form}} to {self.high:{form}})"


class Valued(NamedTuple):
    """A value by name and, where there are several, series; in a plane with its other value, x."""

    name: str
    ends: Ends
    series: str = ""
    x: Number = None


class Line(NamedTuple):
    """A line through values, with a band where they have intervals."""

    name: str
    x: Sequence[float]
    y: Sequence[Ends]
    dash: str = "solid"
    markers: bool = True


def short(name: str) -> str:
    """A name that fits beside an axis."""
    return plain(name, longest=_LONGEST)


def draw_values(
    title: str, axis: str, rows: Sequence[Valued], *, percent: bool = False, alt: str = ""
) -> Figure:
    """A dot with its interval for each value, names down the side, the first on top."""
    names = list(dict.fromkeys(row.name for row in rows))
    series = list(dict.fromkeys(row.series for row in rows))
    form = _form(percent)
    data = []
    for i, name in enumerate(series):
        own = [row for row in rows if row.series == name and row.ends.value is not None]
        # Series of a name stand one below the other.
        shift = 0.6 * ((i + 0.5) / len(series) - 0.5)
        data.append({
            "type": "scatter", "mode": "markers", "name": short(name), "showlegend": bool(name),
            "x": [row.ends.value for row in own],
            "y": [names.index(row.name) + shift for row in own], "error_x": _errors(own),
            "marker": {"size": 10, "color": _colour(i), "symbol": i},
            "customdata": [[short(row.name), row.ends.interval(percent)] for row in own],
            "hovertemplate": f"%{{customdata[0]}}<br>{'%{fullData.name}<br>' if name else ''}"
            f"%{{x:{form}}} %{{customdata[1]}}<extra></extra>",
        })  # fmt: skip
    columns = ("", *([""] if any(series) else []), axis, "low", "high")
    cells: list[list[Cell]] = [
        [row.name, *([row.series] if any(series) else []), *row.ends] for row in rows
    ]
    summary = "; ".join(f"{row.name} {row.series} {number(row.ends.value)}" for row in rows[:6])
    layout = {
        "xaxis": _axis(axis, percent) | {"tickangle": 0},
        "yaxis": _named(names) | {"range": [len(names) - 0.5, -0.5]},
    }
    height = _MARGIN + max(_ROW, 16 * len(series)) * len(names) + 20 * (len(series) > 1)
    names_table = 1 + any(series)
    return Figure(
        title, alt or f"{axis}: {summary}.", data, layout,
        Table(title, columns, cells, names=names_table), height,
    )  # fmt: skip


def draw_lines(
    title: str,
    x_axis: str,
    y_axis: str,
    lines: Sequence[Line],
    *,
    alt: str,
    percent: bool = False,
    log: bool = False,
) -> Figure:
    """Lines over a common axis, each with its band; a line of two dashes has no markers."""
    data: list[dict[str, Any]] = []
    rows: list[list[Cell]] = []
    for i, line in enumerate(lines):
        known = [(x, y) for x, y in zip(line.x, line.y, strict=True) if None not in y]
        if known:
            data.append({
                "type": "scatter", "mode": "lines", "fill": "toself", "hoverinfo": "skip",
                "x": [x for x, _ in (*known, *known[::-1])],
                "y": [*(y.high for _, y in known), *(y.low for _, y in known[::-1])],
                "line": {"width": 0}, "fillcolor": f"--band-{i % _SERIES + 1}",
                "showlegend": False,
            })  # fmt: skip
        data.append({
            "type": "scatter", "mode": "lines+markers" if line.markers else "lines",
            "name": short(line.name), "x": list(line.x), "y": [y.value for y in line.y],
            "customdata": [y.interval(percent) for y in line.y],
            "line": {"color": _colour(i), "width": 2, "dash": line.dash},
            "marker": {"size": 6, "symbol": i},
            "hovertemplate": f"%{{fullData.name}}<br>{x_axis} %{{x}}<br>%{{y:{_form(percent)}}} "
            "%{customdata}<extra></extra>",
        })  # fmt: skip
        rows += [[line.name, x, *y] for x, y in zip(line.x, line.y, strict=True)]
    layout: dict[str, dict[str, Any]] = {
        "xaxis": {"title": {"text": x_axis}}, "yaxis": _axis(y_axis, percent),
    }  # fmt: skip
    if x_axis == "layer" and max(max(line.x) for line in lines) < _FEW_LAYERS:
        layout["xaxis"]["dtick"] = 1
    if log:
        layout["yaxis"] |= {"type": "log", "tickformat": "", "exponentformat": "power"}
    return Figure(title, alt, data, layout, Table(title, ("", x_axis, y_axis, "low", "high"), rows))


def draw_heat(
    title: str,
    axes: tuple[str, str],
    names: tuple[Sequence[str], Sequence[str]],
    values: Sequence[Sequence[Number]],
    *,
    alt: str,
    unit: str,
    hover: Sequence[Sequence[str]],
    table: Table,
    limits: tuple[float, float] | None = None,
    top_down: bool = False,
    diverging: bool = False,
    is_small: bool = False,
) -> Figure:
    """A heat map: columns by rows, with what is told of each cell in words.

    Args:
        title: what it shows.
        axes: what columns and rows are.
        names: of columns and rows.
        values: a list for each row.
        alt: what is to be seen.
        unit: what the colours are of.
        hover: lines of text for each cell; they end at each newline.
        table: the same as text.
        limits: of the colours; None means what occurs.
        top_down: the first row is on top.
        diverging: the middle of the colours is 0.
        is_small: several stand side by side.
    """
    columns = [plain(name, longest=_LONGEST_BELOW) for name in names[0]]
    rows = [short(name) for name in names[1]]
    ends = {} if limits is None else {"zmin": limits[0], "zmax": limits[1]}
    trace = {
        "type": "heatmap", "x": list(range(len(columns))), "y": list(range(len(rows))),
        "z": [list(row) for row in values], "colorscale": "RdBu" if diverging else "Cividis",
        "customdata": [[cell.split("\n") for cell in row] for row in hover], **ends,
        "colorbar": {
            "thickness": 12, "outlinewidth": 0, "title": {"text": unit, "side": "right"}
        },
        "hovertemplate": "<br>".join(
            f"%{{customdata[{i}]}}" for i in range(len(hover[0][0].split("\n")))
        ) + "<extra></extra>",
    }  # fmt: skip
    turned = max(map(len, columns), default=0) > 6
    most = 7 if is_small else 40
    layout = {
        "xaxis": {
            "title": {"text": axes[0]}, **_named(columns, most), "tickangle": -60 if turned else 0
        },
        "yaxis": {"title": {"text": axes[1]}, **_named(rows, most)},
    }  # fmt: skip
    if top_down:
        layout["yaxis"]["autorange"] = "reversed"
    height = 280 if is_small else min(max(200 + 22 * len(rows), 360), 900)
    return Figure(title, alt, [trace], layout, table, height, is_small)


def draw_points(
    title: str,
    x_axis: str,
    y_axis: str,
    points: Sequence[Valued],
    *,
    alt: str,
    percent: bool = False,
    log: bool = False,
    joined: bool = False,
) -> Figure:
    """Points with a legend of their names, or all of them alike (`joined`)."""
    groups = [list(points)] if joined else [[point] for point in points]
    data = [
        {
            "type": "scatter", "mode": "markers", "name": short(group[0].name),
            "showlegend": not joined, "x": [point.x for point in group],
            "y": [point.ends.value for point in group], "error_y": _errors(group),
            "marker": {"size": 6 if joined else 11, "color": _colour(i), "symbol": i},
            "customdata": [[short(point.name), point.ends.interval(percent)] for point in group],
            "hovertemplate": f"%{{customdata[0]}}<br>{x_axis}: %{{x:.4~g}}<br>{y_axis}: "
            f"%{{y:{_form(percent)}}} %{{customdata[1]}}<extra></extra>",
        }
        for i, group in enumerate(groups) if group
    ]  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": x_axis}, **(_log([p.x for p in points]) if log else {})},
        "yaxis": _axis(y_axis, percent),
    }
    rows: list[list[Cell]] = [[point.name, point.x, *point.ends] for point in points]
    return Figure(title, alt, data, layout, Table(title, ("", x_axis, y_axis, "low", "high"), rows))


def draw_bars(title: str, axis: str, counts: dict[str, float], *, alt: str) -> Figure:
    """A bar for each name, the first on top."""
    names, values = list(counts), list(counts.values())
    trace = {
        "type": "bar", "orientation": "h", "x": values, "y": list(range(len(names))),
        "marker": {"color": _colour(0)}, "customdata": [short(name) for name in names],
        "hovertemplate": "%{customdata}: %{x:,}<extra></extra>",
    }  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": axis}, "rangemode": "tozero"},
        "yaxis": _named(names) | {"range": [len(names) - 0.5, -0.5]},
    }
    table = Table(title, ("", axis), [[name, value] for name, value in counts.items()])
    return Figure(title, alt, [trace], layout, table, min(_MARGIN + 24 * len(names), 900))


def _named(names: Sequence[str], most: int = 40) -> dict[str, Any]:
    """An axis of names, by numbers: two long names may be cut to the same."""
    step = max(1, -(-len(names) // most))
    return {
        "tickvals": list(range(0, len(names), step)), "ticktext": [short(n) for n in names[::step]],
    }  # fmt: skip


def _log(values: Sequence[Number]) -> dict[str, Any]:
    """A logarithmic axis with ticks at 1, 2 and 5 times powers of ten, of few values too."""
    known = [value for value in values if value]
    low, high = min(known, default=1) / 2, max(known, default=1) * 2
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    return {
        "type": "log", "range": [math.log10(low), math.log10(high)], "tickformat": "~s",
        "tickvals": [tick for tick in ticks if low <= tick <= high], "tickangle": 0,
    }  # fmt: skip


def _errors(rows: Sequence[Valued]) -> dict[str, Any]:
    known = [Ends(0.0, 0.0, 0.0) if None in row.ends else row.ends for row in rows]
    return {
        "type": "data", "symmetric": False, "thickness": 2, "width": 5,
        "array": [(ends.high or 0) - (ends.value or 0) for ends in known],
        "arrayminus": [(ends.value or 0) - (ends.low or 0) for ends in known],
        "visible": any(ends.low != ends.high for ends in known),
    }  # fmt: skip


def _colour(i: int) -> str:
    return f"--series-{i % _SERIES + 1}"


def _form(percent: bool) -> str:
    return ".1%" if percent else ".3~g"


def _axis(title: str, percent: bool) -> dict[str, Any]:
    return {"title": {"text": title}, "tickformat": ".0%" if percent else ""}
