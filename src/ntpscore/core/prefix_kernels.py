"""What is made of hidden states, in one pass over memory, on graphics cards that Triton knows.

Plain torch (`ntpscore.core.prefix_products`, `ntpscore.core.digit_products`) makes float64 copies
and takes a dozen passes over them for the same.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Tokens and columns that one program holds at a time.
_TOKENS, _COLUMNS = 64, 32
# Entries of a product that one program adds up.
_ENTRIES = 1024


# None of these is compiled anew for batches of other lengths: that takes a second.
@triton.jit(do_not_specialize=["size", "t"])
def _survey(
    states, lengths, computed, size, t, d, stride_b, stride_t,
    TOKENS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    text = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = columns < d
    length = tl.load(lengths + text)
    total = tl.zeros((COLUMNS,), tl.float64)
    power = tl.zeros((COLUMNS,), tl.float64)
    largest_sum = tl.zeros((COLUMNS,), tl.float64)
    largest_token = tl.zeros((COLUMNS,), tl.float64)
    for start in range(0, t, TOKENS):
        position = start + tl.arange(0, TOKENS)
        present = (position < length)[:, None] & inside[None, :]
        paired = (position + 1 < length)[:, None] & inside[None, :]
        at = states + text * stride_b + position[:, None] * stride_t + columns[None, :]
        token = tl.load(at, mask=present, other=0.0).to(tl.float64)
        following = tl.load(at + stride_t, mask=paired, other=0.0).to(tl.float64)
        prefix = total[None, :] + tl.cumsum(token, 0)
        total += tl.sum(token, 0)
        power += tl.sum(following * following, 0)
        largest_sum = tl.maximum(largest_sum, tl.max(tl.where(paired, tl.abs(prefix), 0.0), 0))
        largest_token = tl.maximum(largest_token, tl.max(tl.abs(following), 0))
    to = computed + text * d + columns
    tl.store(to, total, mask=inside)
    tl.store(to + size, power, mask=inside)
    tl.store(to + 2 * size, largest_sum, mask=inside)
    tl.store(to + 3 * size, largest_token, mask=inside)


@triton.jit
def _store(values, units, at, stride_digit, stored, DIGITS: tl.constexpr):
    integers = tl.floor(values / units + 0.5).to(tl.int32)
    signed = (integers + 0x808080) ^ 0x808080
    for place in tl.static_range(DIGITS):
        digit = (signed >> (8 * (DIGITS - 1 - place))).to(tl.int8)
        tl.store(at + place * stride_digit, digit, mask=stored)


@triton.jit(do_not_specialize=["t", "first_row", "n_rows"])
def _cut(
    states, lengths, sum_units, token_units, sums, tokens, t, d, stride_b, stride_t,
    rows, first_row, n_rows,
    SUM_DIGITS: tl.constexpr, TOKEN_DIGITS: tl.constexpr,
    TOKENS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    text = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
    inside = columns < d
    length = tl.load(lengths + text)
    sum_unit = tl.load(sum_units + columns, mask=inside, other=1.0)[None, :]
    token_unit = tl.load(token_units + columns, mask=inside, other=1.0)[None, :]
    total = tl.zeros((COLUMNS,), tl.float64)
    for start in range(0, t - 1, TOKENS):
        position = start + tl.arange(0, TOKENS)
        paired = ((position + 1 < length)[:, None]) & inside[None, :]
        at = states + text * stride_b + position[:, None] * stride_t + columns[None, :]
        token = tl.load(at, mask=paired, other=0.0).to(tl.float64)
        following = tl.load(at + stride_t, mask=paired, other=0.0).to(tl.float64)
        prefix = total[None, :] + tl.cumsum(token, 0)
        total += tl.sum(token, 0)
        row = text * (t - 1) + position - first_row
        stored = ((position < t - 1) & (row >= 0) & (row < n_rows))[:, None] & inside[None, :]
        prefix = tl.where(paired, prefix, 0.0)
        to_sums = sums + columns[None, :] * (SUM_DIGITS * rows) + row[:, None]
        _store(prefix, sum_unit, to_sums, rows, stored, SUM_DIGITS)
        to_tokens = tokens + columns[None, :] * (TOKEN_DIGITS * rows) + row[:, None]
        _store(following, token_unit, to_tokens, rows, stored, TOKEN_DIGITS)


@triton.jit
def _combine(
    parts, left_units, right_units, product, e, stride,
    LEFT_DIGITS: tl.constexpr, RIGHT_DIGITS: tl.constexpr, ENTRIES: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * ENTRIES + tl.arange(0, ENTRIES)
    inside = columns < e
    at = parts + row * LEFT_DIGITS * stride + columns * RIGHT_DIGITS
    total = tl.zeros((ENTRIES,), tl.float64)
    for less in tl.static_range(LEFT_DIGITS + RIGHT_DIGITS - 1):
        total *= 0.00390625
        for i in tl.static_range(LEFT_DIGITS):
            j = LEFT_DIGITS + RIGHT_DIGITS - 2 - less - i
            if j >= 0 and j < RIGHT_DIGITS:
                total += tl.load(at + i * stride + j, mask=inside, other=0).to(tl.float64)
    unit = tl.load(left_units + row) * tl.load(right_units + columns, mask=inside, other=0.0)
    tl.store(product + row * e + columns, total * unit, mask=inside)


@triton.jit(do_not_specialize=["t"])
def _pairs(
    states, lengths, both, t, d, stride_b, stride_t, TOKENS: tl.constexpr, COLUMNS: tl.constexpr
):
    text = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = columns < d
    length = tl.load(lengths + text)
    total = tl.zeros((COLUMNS,), tl.float64)
    for start in range(0, t - 1, TOKENS):
        position = start + tl.arange(0, TOKENS)
        paired = ((position + 1 < length)[:, None]) & inside[None, :]
        at = states + text * stride_b + position[:, None] * stride_t + columns[None, :]
        token = tl.load(at, mask=paired, other=0.0).to(tl.float64)
        following = tl.load(at + stride_t, mask=paired, other=0.0).to(tl.float64)
        prefix = total[None, :] + tl.cumsum(token, 0)
        total += tl.sum(token, 0)
        stored = (position < t - 1)[:, None] & inside[None, :]
        to = both + (text * (t - 1) + position)[:, None] * (2 * d) + columns[None, :]
        tl.store(to, tl.where(paired, prefix, 0.0), mask=stored)
        tl.store(to + d, following, mask=stored)


def try_kernels(device: torch.device) -> bool:
    """Whether all of these can be compiled and run on a device, and find what they should."""
    d, t = 16, 3
    states = torch.ones(1, t, d, device=device)
    lengths = torch.full((1,), t, device=device)
    total, power, largest_sum, largest_token = survey(states, lengths)
    both = prefix_pairs(states, lengths)
    units = torch.ones(d, dtype=torch.float64, device=device)
    sums, tokens = torch.zeros(2, d, 2, t - 1, dtype=torch.int8, device=device)
    write_digits(states, lengths, 0, t - 1, (sums, units), (tokens, units))
    parts = torch.full((2 * d, 2 * d), 3, dtype=torch.int32, device=device)
    computed = torch.stack([
        total.sum(), power.sum(), largest_sum.sum(), largest_token.sum(), both.sum(),
        sums[:, 1].sum(), tokens[:, 1].sum(), combine_digits(parts, (2, 2), units, units)[0, 0],
    ])  # fmt: skip
    # Tokens of ones: prefix sums 1 and 2, digits of which only the last is not zero.
    expected = [t * d, (t - 1) * d, (t - 1) * d, d, 5 * d, 3 * d, 2 * d, 3 * 257**2]
    return computed.tolist() == expected


def survey(hidden_states: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What one look at each text's tokens tells of every column, each (b, d) in float64.

    Args:
        hidden_states: (b, t, d), contiguous along d.
        lengths: (b,) tokens of each text.

    Returns:
        The sum of the tokens; the sum of squares of those after the first; the largest of the
        prefix sums S_1 … S_{ℓ−1}, and of the tokens after them.
    """
    b, t, d = hidden_states.shape
    surveyed = torch.empty(4, b, d, dtype=torch.float64, device=hidden_states.device)
    _survey[(b, triton.cdiv(d, _COLUMNS))](
        hidden_states, lengths, surveyed, b * d, t, d, *hidden_states.stride()[:2],
        TOKENS=_TOKENS, COLUMNS=_COLUMNS,
    )  # fmt: skip
    total, power, largest_sum, largest_token = surveyed
    return total, power, largest_sum, largest_token


def write_digits(
    hidden_states: Tensor,
    lengths: Tensor,
    first_row: int,
    n_rows: int,
    sums: tuple[Tensor, Tensor],
    tokens: tuple[Tensor, Tensor],
) -> None:
    """Cut rows of the prefix sums and of the tokens after them into digits.

    Args:
        hidden_states: (b, t, d), contiguous along d.
        lengths: (b,).
        first_row: of the b·(t − 1) rows.
        n_rows: how many.
        sums: (d', D, n') int8 to write to, and (d,) float64 units.
        tokens: likewise.
    """
    b, t, d = hidden_states.shape
    _cut[(b, triton.cdiv(d, _COLUMNS))](
        hidden_states, lengths, sums[1], tokens[1], sums[0], tokens[0], t, d,
        *hidden_states.stride()[:2], sums[0].shape[2], first_row, n_rows,
        SUM_DIGITS=sums[0].shape[1], TOKEN_DIGITS=tokens[0].shape[1],
        TOKENS=_TOKENS, COLUMNS=_COLUMNS,
    )  # fmt: skip


def prefix_pairs(hidden_states: Tensor, lengths: Tensor) -> Tensor:
    """(b·(t − 1), 2 d) float64: prefix sums S_i, and beside them the tokens x_{i+1} after them.

    Zeros beyond the last pair of a text.

    Args:
        hidden_states: (b, t, d), contiguous along d.
        lengths: (b,).
    """
    b, t, d = hidden_states.shape
    both = torch.empty(b * (t - 1), 2 * d, dtype=torch.float64, device=hidden_states.device)
    _pairs[(b, triton.cdiv(d, _COLUMNS))](
        hidden_states, lengths, both, t, d, *hidden_states.stride()[:2],
        TOKENS=_TOKENS, COLUMNS=_COLUMNS,
    )  # fmt: skip
    return both


def combine_digits(
    parts: Tensor, digits: tuple[int, int], left_units: Tensor, right_units: Tensor
) -> Tensor:
    """(d, e) float64: products of columns from the exact products of all their digits.

    Args:
        parts: (at least d·D, at least e·E) int32, contiguous; the first digits of a column first.
        digits: D and E.
        left_units: (d,) float64, the value of 1 in the last digit.
        right_units: (e,) float64.
    """
    d, e = len(left_units), len(right_units)
    product = left_units.new_empty(d, e)
    weight = 256.0 ** (sum(digits) - 2)
    _combine[(d, triton.cdiv(e, _ENTRIES))](
        parts, left_units * weight, right_units, product, e, parts.stride(0),
        LEFT_DIGITS=digits[0], RIGHT_DIGITS=digits[1], ENTRIES=_ENTRIES,
    )  # fmt: skip
    return product
