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

import sys
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int8
from torch import Tensor

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
        first_to_last: (d', D·n') the digits of each column: all its first ones, all its second
            ones, …; zeros fill up d and n.
        last_to_first: the same digits with the last ones in front.
        units: (d,) the value of 1 in the last digit, a power of two.
        n_digits: D.
    """

    first_to_last: Int8[Tensor, "d_ m"]
    last_to_first: Int8[Tensor, "d_ m"]
    units: Float[Tensor, " d"]
    n_digits: int

    @property
    def n_rows(self) -> int:
        """Rows n' of the matrix, filled up."""
        return self.first_to_last.shape[1] // self.n_digits


def rounding(n_digits: int) -> float:
    """By how much an entry is rounded at most, as a share of the largest of its column."""
    return 1.0 / (_FIRST_DIGIT * 256.0 ** (n_digits - 1))


def cut_into_digits(rows: Float[Tensor, "n d"], n_digits: int) -> Digits:
    """Round the columns of a float64 matrix to so many digits.

    Args:
        rows: (n, d) with n · n_digits at most `MOST_PRODUCTS`.
        n_digits: 1 to `MOST_DIGITS`.

    Raises:
        ValueError: there are too many rows or digits for sums in 32 bits.
    """
    n, d = rows.shape
    wide, long = (max(_FEWEST, -(-size // _MULTIPLE) * _MULTIPLE) for size in (d, n))
    if not 1 <= n_digits <= MOST_DIGITS or long * n_digits > MOST_PRODUCTS:
        raise ValueError(f"{n} rows of {n_digits} digits don't fit into sums of 32 bits")
    largest = rows.abs().amax(0) if n else rows.new_zeros(d)
    exponents = torch.log2(largest / _FIRST_DIGIT).ceil() - 8 * (n_digits - 1)
    units = torch.exp2(torch.where(largest > 0, exponents, 0.0))
    integers = (rows / units).round_().to(torch.int32)
    # Bytes of v + 128·(1 + 256 + …), less 128 each: of the last byte the sign is there already.
    signed = integers.add_(_HALVES).bitwise_xor_(_HALVES)
    parts = signed.view(torch.int8).view(n, d, MOST_DIGITS)
    if sys.byteorder == "big":
        parts = parts.flip(2)
    first_to_last = rows.new_zeros(wide, n_digits, long, dtype=torch.int8)
    last_to_first = torch.zeros_like(first_to_last)
    last_to_first[:d, :, :n] = parts[:, :, :n_digits].permute(1, 2, 0)
    first_to_last[:d, :, :n] = last_to_first[:d, :, :n].flip(1)
    return Digits(first_to_last.flatten(1), last_to_first.flatten(1), units, n_digits)


def add_digit_product(C: Float[Tensor, "d e"], left: Digits, right: Digits) -> None:
    """Add `leftᵀ right` of two matrices of as many rows to C, in place.

    Args:
        C: (d, e), float64; rows and columns of a block of the product may be left out at the end.
        left: of (n, d).
        right: of (n, e).
    """
    d, e, n = len(left.units), len(right.units), left.n_rows
    total: Tensor | None = None
    # Digits count from the first; those whose weights are equal lie side by side in both factors.
    for both in reversed(range(left.n_digits + right.n_digits - 1)):
        first, last = max(0, both - right.n_digits + 1), min(both, left.n_digits - 1)
        start = right.n_digits - 1 - (both - first)
        columns = (last - first + 1) * n
        exact = torch._int_mm(  # noqa: SLF001  # the only product of 8-bit integers that torch has
            left.first_to_last[:, first * n : first * n + columns],
            right.last_to_first[:, start * n : start * n + columns].T,
        )[:d, :e]
        total = exact.double() if total is None else torch.add(exact, total, alpha=2.0**-8)
    assert total is not None  # noqa: S101  # there is a digit
    weight = 256.0 ** (left.n_digits + right.n_digits - 2)
    C.addcmul_(total.mul_((left.units * weight)[:, None]), right.units)
