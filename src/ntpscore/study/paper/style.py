"""What the figures of a study have in common.

Colours are those of Okabe and Ito, which colour-blind readers tell apart; markers and dashes say
the same without colour.
"""

import math

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "^", "s", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":")
GREY = "0.6"
PERCENT = 100.0
PANEL = (3.4, 3.1)
TITLE_SIZE = 8.5
LABEL_SIZE = 8
TICK_SIZE = 7
_PANELS_PER_ROW = 4


def grid_of(panels: int) -> tuple[int, int]:
    """Rows and columns for so many panels."""
    return math.ceil(panels / _PANELS_PER_ROW), min(panels, _PANELS_PER_ROW)


def short_name(model: str) -> str:
    """The name of a model without that of its owner."""
    return model.rpartition("/")[2]
