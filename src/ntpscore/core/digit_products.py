"""Products of float64 matrices by way of 8-bit integers, which graphics cards multiply exactly.

Every column is rounded to a multiple of a power of two of its own and written with signed digits of
base 256. The product of two digits is exact, sums of many are exact in 32 bits, and only adding the
few sums that belong to a pair of columns, each by its weight, rounds again, in float64. So what
comes out is the product of factors whose entries are off by at most `rounding(n_digits)` of the
largest entry of their column: never more than the data were moved, whatever the conditioning.

Source: Ozaki, Ogita, Oishi, Rump 2012, "Error-free transformations of matrix multiplication by
using fast routines of matrix multiplication" (Numerical Algorithms 59); Ootomo, Ozaki, Yokota 2024,
"DGEMM on integer matrix multiplication unit" (arXiv 2306.11975).
"""

import importlib.util
import sys
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float, Int8
from torch import Tensor

HAS_TRITON = importlib.util.find_spec("triton") is not None
FEWEST_DIGITS, MOST_DIGITS = 2, 4
# Rows that may be summed over: products of digits are at most 2^14, their sums stay below 2^31.
MOST_ROWS = 2**17 - 16
# A number below this, times 256 to the power of its further digits, has a first digit of 8 bits.
_FIRST_DIGIT = 127.4
# `torch._int_mm` is wrong for a single column on processors; on graphics cards it wants multiples
# of 8, more than 16 rows, both factors with what is summed over side by side, and is fast where
# rows begin at multiples of 16 bytes.
MULTIPLE, _FEWEST = 16, 32
# Added, and taken away bit by bit, it turns the bytes of an integer into signed digits.
_HALVES = 0x808080


@dataclass(frozen=True)
class Digits:
    """The columns of a matrix (n, d), rounded and cut into digits.

    Attributes:
        digits: (d', D, n') the digits of each column, the first ones first; zeros fill up d and n.
        units: (d,) the value of 1 in the last digit, a power of two.
    """

    digits: Int8[Tensor, "d_ D n_"]
    units: Float[Tensor, " d"]

    @classmethod
    def empty(cls, largest: Float[Tensor, " d"], n: int, n_digits: int) -> "Digits":
        """Zeros in place of the digits of n rows, with the units that fit the largest entries.

        Raises:
            ValueError: there are too many rows or digits for sums of 32 bits.
        """
        d = len(largest)
        wide, long = (max(_FEWEST, -(-size // MULTIPLE) * MULTIPLE) for size in (d, n))
        if not FEWEST_DIGITS <= n_digits <= MOST_DIGITS or n > MOST_ROWS:
            raise ValueError(f"{n} rows of {n_digits} digits don't fit into sums of 32 bits")
        exponents = torch.log2(largest / _FIRST_DIGIT).ceil() - 8 * (n_digits - 1)
        units = torch.exp2(torch.where(largest > 0, exponents, 0.0))
        return cls(largest.new_zeros(wide, n_digits, long, dtype=torch.int8), units)


def triton_takes(values: Tensor) -> bool:
    """Whether the kernels of `ntpscore.core.prefix_kernels` run where these values are."""
    return HAS_TRITON and values.device.type == "cuda" and _kernels_run(values.device)


@cache
def _kernels_run(device: torch.device) -> bool:
    """Triton needs a compiler, and may not know the card."""
    try:
        from ntpscore.core.prefix_kernels import try_kernels

        return try_kernels(device)
    except Exception:  # noqa: BLE001  # whatever it is, plain torch does it too
        return False


def rounding(n_digits: int) -> float:
    """By how much an entry is rounded at most, as a share of the largest of its column."""
    return 1.0 / (_FIRST_DIGIT * 256.0 ** (n_digits - 1))


def cut_into_digits(rows: Float[Tensor, "n d"], n_digits: int) -> Digits:
    """Round the columns of a float64 matrix to so many digits.

    Args:
        rows: (n, d), n at most `MOST_ROWS`.
        n_digits: `FEWEST_DIGITS` to `MOST_DIGITS`.

    Raises:
        ValueError: as `Digits.empty`.
    """
    n, d = rows.shape
    cut = Digits.empty(rows.abs().amax(0) if n else rows.new_zeros(d), n, n_digits)
    integers = (rows / cut.units).add_(0.5).floor_().to(torch.int32)
    # Bytes of v + 128·(1 + 256 + …), less 128 each: of the last byte the sign is there already.
    signed = integers.add_(_HALVES).bitwise_xor_(_HALVES)
    parts = signed.view(torch.int8).view(n, d, MOST_DIGITS)
    parts = parts if sys.byteorder == "big" else parts.flip(2)
    cut.digits[:d, :, :n] = parts[:, :, MOST_DIGITS - n_digits :].permute(1, 2, 0)
    return cut


def digit_product(
    left: Digits, right: Digits, first: int = 0, last: int | None = None, start: int = 0
) -> Float[Tensor, "d e"]:
    """A block of `leftᵀ right`, exact but for the last rounding in float64.

    Args:
        left: of a matrix (n, d).
        right: of a matrix (n, e).
        first: row of the product, a multiple of 16.
        last: row of the product, the first that is left out; None means d.
        start: column of the product, a multiple of 16; all from there on are made.
    """
    left_units, right_units = left.units[first:last], right.units[start:]
    D, E = left.digits.shape[1], right.digits.shape[1]
    rows, columns = left.digits[first:last].flatten(0, 1), right.digits[start:].flatten(0, 1)
    # Every digit with every other.
    parts = torch._int_mm(rows, columns.T)  # noqa: SLF001  # torch has no other exact product
    if triton_takes(parts):
        from ntpscore.core.prefix_kernels import combine_digits

        return combine_digits(parts, (D, E), left_units, right_units)
    by_digit = parts.view(-1, D, len(columns) // E, E)[: len(left_units), :, : len(right_units)]
    product = torch.zeros_like(by_digit[:, 0, :, 0], dtype=torch.float64)
    for both in reversed(range(D + E - 1)):
        product *= 1 / 256
        for i in range(max(0, both - E + 1), min(both, D - 1) + 1):
            product += by_digit[:, i, :, both - i]
    return product.mul_((left_units * 256.0 ** (D + E - 2))[:, None]).mul_(right_units)
