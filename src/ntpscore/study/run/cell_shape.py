"""What a study reads of a cell's file, and where a damaged or foreign file has something else."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from ntpscore.adapt.methods import METHODS
from ntpscore.core.score_names import FURTHER_SCORES, SCORES

# A number beyond is no measurement, and its square is infinite.
_LARGEST = 1e100
_MISSING = object()

# Says what is wrong with a value of JSON, given what it is called.
Check = Callable[[Any, str], str | None]


def _wrong(value: Any, place: str) -> str:
    return f"its {place} is {'missing' if value is _MISSING else f'{value!r:.80}'}"


def of_kind(*kinds: type) -> Check:
    """A value of one of these types; of numbers those that are finite, and no truth values."""

    def check(value: Any, place: str) -> str | None:
        fits = isinstance(value, kinds)
        if fits and isinstance(value, int | float):
            fits = not isinstance(value, bool) and abs(value) < _LARGEST
        return None if fits else _wrong(value, place)

    return check


NUMBER, WHOLE, TEXT, OBJECT = of_kind(int, float), of_kind(int), of_kind(str), of_kind(dict)


def maybe(check: Check) -> Check:
    """Null, or what passes a check."""
    return lambda value, place: None if value is None else check(value, place)


def optional(check: Check) -> Check:
    """Missing, null, or what passes a check."""
    return lambda value, place: None if value is _MISSING else maybe(check)(value, place)


def each(check: Check, length: int | None = None) -> Check:
    """A list, so long, whose items pass a check."""

    def check_list(value: Any, place: str) -> str | None:
        if not isinstance(value, list) or length not in (None, len(value)):
            return _wrong(value, place)
        found = (check(item, f"{place}[{i}]") for i, item in enumerate(value))
        return next((one for one in found if one), None)

    return check_list


def having(**checks: Check) -> Check:
    """An object whose values of these keys pass these checks."""

    def check_object(value: Any, place: str) -> str | None:
        if not isinstance(value, dict):
            return _wrong(value, place)
        found = (
            check(value.get(key, _MISSING), f"{place}.{key}" if place else key)
            for key, check in checks.items()
        )
        return next((one for one in found if one), None)

    return check_object


def _rising(layers: Any, place: str) -> str | None:
    if found := each(WHOLE)(layers, place):
        return found
    is_rising = min(layers, default=0) >= 0 and all(low < high for low, high in pairwise(layers))
    return None if is_rising else f"{_wrong(layers, place)}, not layers in their order"


def _layers(rows: Any, place: str) -> str | None:
    row = having(
        layer=WHOLE, r2=maybe(NUMBER), r2_adjusted=maybe(NUMBER), ols_mse=maybe(NUMBER),
        next_token_k90=optional(NUMBER),
    )  # fmt: skip
    if rows == []:
        return _wrong(rows, place)
    return each(row)(rows, place) or _rising([row["layer"] for row in rows], f"{place}[].layer")


def _grid(grid: Any, place: str) -> str | None:
    """Of every score a table, layers by k."""
    if found := having(layer=_rising, k_fraction=each(NUMBER))(grid, place):
        return found
    shape = len(grid["layer"]), len(grid["k_fraction"])
    for score in (one for one in (*SCORES, *FURTHER_SCORES) if one in grid):
        for column in ("value", "z"):
            try:
                table = np.array(grid[score][column], dtype=np.float64)
                fits = table.shape == shape or table.size == shape[0] == 0
                fits = fits and not (np.abs(table) >= _LARGEST).any()
            except (LookupError, TypeError, ValueError, OverflowError):
                fits = False
            if not fits:
                return f"its {place}.{score}.{column} is no table of numbers, layers by k"
    return None


def _losses(losses: Any, place: str) -> str | None:
    step = losses.get("step") if isinstance(losses, dict) else None
    length = len(step) if isinstance(step, list) else None
    return having(step=each(WHOLE), loss=each(NUMBER, length))(losses, place)


def _above_zero(value: Any, place: str) -> str | None:
    return WHOLE(value, place) or (None if value > 0 else _wrong(value, place))


def _seconds(seconds: Any, place: str) -> str | None:
    if not isinstance(seconds, dict):
        return NUMBER(seconds, place)
    return having(**dict.fromkeys(["total", *seconds], NUMBER))(seconds, place)


def _held_out(accuracy: Any, place: str) -> str | None:
    if not isinstance(accuracy, dict) or accuracy.get("measure") != "accuracy":
        return OBJECT(accuracy, place)
    reached, perhaps = having(accuracy=NUMBER), having(accuracy=maybe(NUMBER))
    row = having(layer=WHOLE, pooling=TEXT, r2=NUMBER, accuracy=NUMBER)
    return having(
        readouts=each(row), words=perhaps, majority=reached, sum_of_kernels=optional(reached)
    )(accuracy, place)


_EVALUATION = having(
    accuracy=maybe(NUMBER), accuracy_interval=maybe(each(NUMBER, 2)), macro_f1=maybe(NUMBER),
    majority_accuracy=maybe(NUMBER),
)  # fmt: skip
_FIT = {"train": _EVALUATION, "test": maybe(_EVALUATION)}
_READ = {
    "data": having(n_texts=WHOLE, classes=each(TEXT)), "model": having(width=_above_zero),
    "accuracy": optional(_held_out),
}  # fmt: skip
_SCORED = having(**_READ, layers=_layers)
_RECORDS = {
    "score": _SCORED,
    "held_out": having(**_READ),
    "rank": having(rows=each(having(metric=TEXT, at=TEXT, value=maybe(NUMBER)))),
    **dict.fromkeys(METHODS, having(**_FIT, converged=optional(having(**_FIT)))),
    "lora": having(**_FIT, samples_seen=WHOLE),
}
_CELL = having(model=TEXT, data=TEXT, method=TEXT, seed=WHOLE, status=TEXT)
_ALL_DONE = having(seconds=_seconds, versions=optional(OBJECT))


def misfit(cell: dict[str, Any]) -> str | None:
    """What is wrong with the content of a cell's file, in words; None if nothing is."""
    if found := _CELL(cell, ""):
        return found
    if cell["status"] != "done":
        return having(error=TEXT)(cell, "")
    method = cell["method"]
    return (
        having(record=_ALL_DONE)(cell, "")
        or (method in _RECORDS and having(record=_RECORDS[method])(cell, ""))
        or (method == "score" and having(scores=_grid)(cell, ""))
        or having(
            rescored=optional(having(record=_SCORED, scores=_grid)), losses=optional(_losses)
        )(cell, "")
    ) or None
