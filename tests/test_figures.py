"""One style for all figures, which leaves the caller's own as it was."""

from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from ntpscore.figures import MARKERS, PAGE, figure_style, in_style, palette, write_figure


@in_style
def draw() -> Figure:
    figure = Figure(figsize=(2, 2))
    figure.subplots().set_title("costs $5 and $6")
    return figure


def test_palette_is_that_of_okabe_and_ito_without_the_yellow_that_paper_hides() -> None:
    okabe_ito = {"#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"}
    assert set(palette()) == okabe_ito
    assert len(palette()) == len(set(MARKERS)) == 7


def test_the_style_ends_with_the_figure_whatever_the_caller_has_set() -> None:
    with mpl.rc_context({"font.size": 31, "axes.spines.top": True, "svg.fonttype": "path"}):
        before = dict(mpl.rcParams)
        figure = draw()
        assert dict(mpl.rcParams) == before
        (ax,) = figure.axes
        assert not ax.spines["top"].get_visible()
        assert {tick.get_fontsize() for tick in ax.get_xticklabels()} == {7}
        assert not ax.title.get_parse_math()
    with figure_style(), pytest.raises(ZeroDivisionError), figure_style():
        _ = 1 / 0


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"),
                                               ("svg", b"<?xml")])  # fmt: skip
def test_the_ending_of_the_file_decides_its_format(
    tmp_path: Path, ending: str, start: bytes
) -> None:
    path = tmp_path / f"figure.{ending}"
    write_figure(path, draw())
    written = path.read_bytes()
    assert written.startswith(start)
    assert (b"costs $5 and $6" in written) == (ending == "svg")  # text is text
    assert PAGE == 7
