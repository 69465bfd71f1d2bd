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

import torch
from jaxtyping import Float, Int8
from torch import Tensor

HAS_TRITON = importlib.util.find_spec("triton") is not None
MOST_DIGITS = 4
# Sums of so many products of digits, each at most 2^14, stay within 32 bits.
MOST_PRODUCTS = 2**31 // 2**14 - 1
# A number below this, times 256 to the power of its further digits, has a first digit of 8 bits.
_FIRST_DIGIT = 127.4
# `torch._int_mm` is wrong for a single column on processors; on graphics cards it wants multiples
# of 8, more than 16 rows, and is fast where rows begin at multiples of 16 bytes.
_MULTIPLE, _FEWEST = 16, 32
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
        """Zeros in place of the digits of n rows, with the units that fit the largest entries."""
        d = len(largest)
        wide, long = (max(_FEWEST, -(-size // _MULTIPLE) * _MULTIPLE) for size in (d, n))
        if not 1 <= n_digits <= MOST_DIGITS or long * n_digits > MOST_PRODUCTS:
            raise ValueError(f"{n} rows of {n_digits} digits don't fit into sums of 32 bits")
        exponents = torch.log2(largest / _FIRST_DIGIT).ceil() - 8 * (n_digits - 1)
        units = torch.exp2(torch.where(largest > 0, exponents, 0.0))
        return cls(largest.new_zeros(wide, n_digits, long, dtype=torch.int8), units)


def triton_takes(values: Tensor) -> bool:
    """Whether the kernels of `ntpscore.core.prefix_kernels` run where these values are."""
    return HAS_TRITON and values.device.type == "cuda"


def rounding(n_digits: int) -> float:
    """By how much an entry is rounded at most, as a share of the largest of its column."""
    return 1.0 / (_FIRST_DIGIT * 256.0 ** (n_digits - 1))


def most_rows(n_digits: int) -> int:
    """Rows of a matrix of so many digits whose products are exact."""
    return MOST_PRODUCTS // n_digits // _MULTIPLE * _MULTIPLE


def cut_into_digits(rows: Float[Tensor, "n d"], n_digits: int) -> Digits:
    """Round the columns of a float64 matrix to so many digits.

    Args:
        rows: (n, d), n at most `most_rows(n_digits)`.
        n_digits: 1 to `MOST_DIGITS`.

    Raises:
        ValueError: there are too many rows or digits for sums in 32 bits.
    """
    n, d = rows.shape
    cut = Digits.empty(rows.abs().amax(0) if n else rows.new_zeros(d), n, n_digits)
    integers = (rows / cut.units).add_(0.5).floor_().to(torch.int32)
    # Bytes of v + 128·(1 + 256 + …), less 128 each: of the last byte the sign is there already.
    signed = integers.add_(_HALVES).bitwise_xor_(_HALVES)
    parts = signed.view(torch.int8).view(n, d, MOST_DIGITS)
    if sys.byteorder == "little":
        parts = parts.flip(2)
    cut.digits[:d, :, :n] = parts[:, :, MOST_DIGITS - n_digits :].permute(1, 2, 0)
    return cut


def digit_product(left: Digits, right: Digits) -> Float[Tensor, "d e"]:
    """`leftᵀ right` of matrices (n, d) and (n, e), exact but for the last rounding in float64."""
    d, e, n = len(left.units), len(right.units), left.digits.shape[2]
    D, E = left.digits.shape[1], right.digits.shape[1]
    # Pairs of digits of equal weight lie side by side in both factors, if those of one are turned.
    first_to_last, last_to_first = left.digits.flatten(1), right.digits.flip(1).flatten(1)
    parts = left.digits.new_empty(D + E - 1, len(first_to_last), len(last_to_first),
                                  dtype=torch.int32)  # fmt: skip
    for both, part in enumerate(parts):
        first, last = max(0, both - E + 1), min(both, D - 1)
        start, columns = E - 1 - (both - first), (last - first + 1) * n
        torch._int_mm(  # noqa: SLF001  # the only product of 8-bit integers that torch has
            first_to_last[:, first * n : first * n + columns],
            last_to_first[:, start * n : start * n + columns].T,
            out=part,
        )
    left_units = left.units * 256.0 ** (D + E - 2)
    if triton_takes(parts):
        from ntpscore.core.prefix_kernels import combine_parts

        return combine_parts(parts, left_units, right.units)
    total = parts[-1, :d, :e].double()
    for part in parts[:-1].flip(0):
        total = torch.add(part[:d, :e], total, alpha=2.0**-8)
    return total.mul_(left_units[:, None]).mul_(right.units)
