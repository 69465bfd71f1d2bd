"""Which layers are meant: numbers, ranges, and `last`."""

import pytest

from ntpscore.errors import NtpscoreError
from ntpscore.models.layers import read_layers


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("3", (3,)),
        ("0,4,8-10", (0, 4, 8, 9, 10)),
        (" 1 , 2 ", (1, 2)),
        ("last", (12,)),
        ("-1", (12,)),
        ("0,10-last", (0, 10, 11, 12)),
        ("10--1", (10, 11, 12)),
        ("last-last", (12,)),
    ],
)
def test_read_layers_reads_numbers_ranges_and_last(text: str, layers: tuple[int, ...]) -> None:
    assert read_layers(text, 12) == layers


@pytest.mark.parametrize(
    "text", ["", "x", "1-", "-2", "5-3", "last-3", "1,,2", "0-99999999999", "²"]
)
def test_read_layers_refuses_anything_else(text: str) -> None:
    with pytest.raises(NtpscoreError, match="--layers"):
        read_layers(text, 12)
