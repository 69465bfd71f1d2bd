"""Which layers are meant: numbers, ranges, and `last`."""

import re

from ntpscore.errors import NtpscoreError

_LAYER = r"(\d+|last|-1)"
_PART = re.compile(rf"{_LAYER}(?:-{_LAYER})?")
MOST_LAYERS = 10_000


def read_layers(layers: str, last: int = MOST_LAYERS) -> tuple[int, ...]:
    """Hidden-state indices from numbers and ranges with both ends, such as `0,4,8-12` or `6-last`.

    Args:
        layers: what was typed; `last` and `-1` both mean the last layer.
        last: its number.
    """
    numbers: list[int] = []
    for part in layers.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise NtpscoreError(
                f"--layers {layers!r} is not understood: give numbers and ranges, such as "
                "0,4,8-12, and last (or -1) for the last layer"
            )
        first, end = (last if end in ("last", "-1") else int(end) for end in
                      (match[1], match[2] or match[1]))  # fmt: skip
        if max(first, end) > MOST_LAYERS:
            raise NtpscoreError(f"--layers {layers!r} is out of range of any model")
        if first > end:
            raise NtpscoreError(
                f"--layers {layers!r}: {part.strip()} runs backwards or past the end"
            )
        numbers += range(first, end + 1)
    return tuple(numbers)
