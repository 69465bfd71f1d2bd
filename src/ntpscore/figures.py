"""The one style of all figures, and how they are written."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from ntpscore.errors import OutputError
from ntpscore.extras import need_package
from ntpscore.files import replacing

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What tells groups apart without colour.
MARKERS = ("o", "^", "s", "D", "v", "P", "X")
DASHES = ("-", "--", ":")
GREY = "0.5"
PERCENT = 100.0
PAGE = 7.0  # inches: what is drawn wider is shrunk in print
_Given = ParamSpec("_Given")
_Drawn = TypeVar("_Drawn", "Axes", "Figure")


def figure_style() -> "AbstractContextManager[None]":
    """The style sheet of the project (`ntpscore.mplstyle`), for as long as the context lasts.

    Whatever else the caller has set does not show, and is there again afterwards.

    Raises:
        OutputError: matplotlib is not installed.
    """
    need_package("matplotlib", "report", "drawing", OutputError)
    import matplotlib.style

    return matplotlib.style.context("ntpscore.ntpscore", after_reset=True)


def palette() -> list[str]:
    """The colours of the style."""
    import matplotlib as mpl

    with figure_style():
        colours: list[str] = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    return colours


def in_style(draw: Callable[_Given, _Drawn]) -> Callable[_Given, _Drawn]:
    """Let a function that draws axes or a figure draw them in the style."""

    @wraps(draw)
    def styled(*args: _Given.args, **kwargs: _Given.kwargs) -> _Drawn:
        with figure_style():
            drawn = draw(*args, **kwargs)
            # Ticks are made when they are first drawn, in the style of that time.
            figure = drawn.get_figure(root=True)
            if figure is not None:
                figure.draw_without_rendering()
        return drawn

    return styled


def write_figure(path: str | Path, figure: "Figure") -> None:
    """Write a figure in the format that the ending gives; see `replacing`."""
    with figure_style(), replacing(Path(path), ValueError, verb="draw into") as temporary:
        figure.savefig(temporary)
