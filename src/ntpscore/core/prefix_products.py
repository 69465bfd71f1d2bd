"""Sums of products of prefix sums: what a batch adds to the autoregressive moments.

In float64, a kernel in C does it on a processor with AVX-512, where it could be compiled; torch
does it everywhere else, with the same result but for the order of the sums. Graphics cards that are
slow in float64 take other products: see `Precision`.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ntpscore.core.digit_products import (
    MOST_ROWS,
    MULTIPLE,
    Digits,
    cut_into_digits,
    digit_product,
    triton_takes,
)
from ntpscore.core.float32_pairs import lacks_float64, pair_products, pair_totals

try:
    from ntpscore.core import _prefix_products as kernel
except ImportError:  # no compiler where the package was installed
    HAS_KERNEL = False
    LACKS_KERNEL = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
else:
    HAS_KERNEL, LACKS_KERNEL = kernel.is_supported(), False
"""`LACKS_KERNEL`: it was not compiled, and this processor could run it."""

Precision = Literal["float64", "exact-int8", "float32-pairs", "float32"]
"""How products of prefix sums are made:

- `float64`: in float64.
- `exact-int8`: exactly, by 8-bit integers, from prefix sums and tokens that were rounded to 31 bits
  of the largest entry of their column.
- `float32-pairs`: in float32, by high and low parts; where the hidden states are, for devices that
  have no float64 (untested there).
- `float32`: in float32, added up in float64 from batch to batch.

Against `float64`, the second moves scores by 1e-7 at most where hidden states have 16 bits, and by
1e-6 where they have 32 and the condition number of C0 is below `SAFE_CONDITION`; the last by up to
3e-2 where three rotated directions are 1,000 times larger than the others, `float32-pairs` then by
up to 1e-3 (docs/log.md)."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
SAFE_CONDITION = 1e8
# As many as 32 bits hold: with three, scores move by 1e-5 where three rotated directions are 1,000
# times larger than the others.
_DIGITS = 4
DTYPE = torch.float64
# As the kernel numbers them.
_TYPES = {torch.bfloat16: 0, torch.float16: 1, torch.float32: 2, torch.float64: 3}
# Columns that the kernel takes at a time.
_PANEL = 24
# Making the upper half of a Gram matrix by so many blocks takes 0.7 of the time of the whole;
# blocks of fewer columns don't fill a graphics card.
_GRAM_BLOCKS, _FEWEST_COLUMNS = 4, 1024


def prefix_totals(
    hidden_states: Float[Tensor, "b t d"], lengths: Int[Tensor, " b"]
) -> tuple[Float[Tensor, "b d"], Float[Tensor, ""]]:
    """The sum of each text's tokens, and the power of what is to be predicted.

    Args:
        hidden_states: (b, t, d), each text's tokens first, then padding of any content.
        lengths: (b,) tokens of each text, each at least 1.

    Returns:
        (b, d) `S_ℓ`, and `Σ Σ_{i>1} ‖x_i‖²`, in float64.
    """
    b, t, d = hidden_states.shape
    if lacks_float64(hidden_states.device):
        return pair_totals(hidden_states, lengths)
    if triton_takes(hidden_states):
        from ntpscore.core.prefix_kernels import survey

        totals, powers, *_ = survey(hidden_states.contiguous(), lengths)
        return totals, powers.sum()
    if not _kernel_takes(hidden_states):
        tokens = _tokens(hidden_states, lengths)
        return tokens.sum(1), tokens[:, 1:].square().sum()
    states = _readable(hidden_states)
    lengths = _readable_lengths(lengths)
    total = torch.empty(b, d, dtype=DTYPE)
    power = kernel.prefix_totals(
        states.data_ptr(), _TYPES[states.dtype], lengths.data_ptr(), b, t, d, total.data_ptr()
    )
    return total, torch.tensor(power, dtype=DTYPE)


def prepare_prefix_products(
    hidden_states: Float[Tensor, "b t d"],
    lengths: Int[Tensor, " b"],
    C0: Float[Tensor, "d d"],
    C1: Float[Tensor, "d d"],
    precision: Precision = "float64",
) -> Callable[[], None]:
    """A call that adds a batch's products of prefix sums, in place.

    What needs memory is done before it, so that sums of which memory ran out on the way were not
    changed.

    Args:
        hidden_states: as `prefix_totals`.
        lengths: as `prefix_totals`.
        C0: float64; `Σ Σ_{i<ℓ} S_i S_iᵀ` is added on and above its diagonal. What stands below
            means nothing.
        C1: float64; `Σ Σ_{i<ℓ} S_i x_{i+1}ᵀ` is added.
        precision: of the products.

    Source:
        Next Token Perception Score, eqs. 21-25: `X L1 L1ᵀ Xᵀ` and `X L1 L2ᵀ Xᵀ`.
    """
    b, t, d = hidden_states.shape
    if precision == "float64" and _kernel_takes(hidden_states):
        _check_sums(d, C0, C1)
        states = _readable(hidden_states)
        lengths = _readable_lengths(lengths)
        # The call, and not only its addresses, keeps the tensors alive.
        return _prepare_shared(
            lambda first, step, scratch: kernel.add_prefix_products(
                states.data_ptr(), _TYPES[states.dtype], lengths.data_ptr(), b, t, d,
                first, step, C0.data_ptr(), C1.data_ptr(), scratch,
            ),
            d,
        )  # fmt: skip
    blocks = _blocks(d, hidden_states.device)
    if precision == "float32-pairs":
        return partial(_add_blocks, C0, C1, pair_products(hidden_states, lengths, blocks))
    if precision == "exact-int8":
        return partial(_add_blocks, C0, C1, _exact_products(hidden_states, lengths, blocks))
    both = _pairs(hidden_states, lengths)
    if precision == "float32":
        both = both.float()
    products = [(start, both[:, start:stop].T @ both[:, start:]) for start, stop in blocks]
    return partial(_add_blocks, C0, C1, products)


def _blocks(d: int, device: torch.device) -> list[tuple[int, int]]:
    """Rows of C0 that are made together: below the first of their columns nothing is."""
    most = _GRAM_BLOCKS if device.type == "cpu" else d // _FEWEST_COLUMNS
    n = max(1, min(_GRAM_BLOCKS, most))
    edges = [d * i // n // MULTIPLE * MULTIPLE for i in range(n)]
    return [(start, stop) for start, stop in itertools.pairwise([*edges, d]) if start < stop]


def _add_blocks(C0: Tensor, C1: Tensor, products: list[tuple[int, Tensor]]) -> None:
    """Each block is of C0 from its first row and column on, and beside it of all columns of C1."""
    for start, product in products:
        rows, width = slice(start, start + len(product)), len(C0) - start
        C0[rows, start:] += product[:, :width]
        C1[rows] += product[:, width:]


def _exact_products(
    hidden_states: Float[Tensor, "b t d"],
    lengths: Int[Tensor, " b"],
    blocks: list[tuple[int, int]],
) -> list[tuple[int, Tensor]]:
    """What `_add_blocks` takes, by 8-bit digits: of as many rows at once as are exact."""
    b, t, _ = hidden_states.shape
    return [
        (start, torch.cat([
            digit_product(sums, sums, start, stop, start), digit_product(sums, tokens, start, stop)
        ], 1))
        for first in range(0, b * (t - 1), MOST_ROWS)
        for sums, tokens in [_cut(hidden_states, lengths, first)]
        for start, stop in blocks
    ]  # fmt: skip


def _pairs(
    hidden_states: Float[Tensor, "b t d"], lengths: Int[Tensor, " b"]
) -> Float[Tensor, "n 2*d"]:
    """Prefix sums S_i, beside them the tokens x_{i+1}, in float64; zeros beyond the last pair."""
    b, t, d = hidden_states.shape
    if triton_takes(hidden_states):
        from ntpscore.core.prefix_kernels import prefix_pairs

        return prefix_pairs(hidden_states.contiguous(), lengths)
    tokens = _tokens(hidden_states, lengths)
    has_next = torch.arange(1, t, device=tokens.device) < lengths[:, None]
    prefix = tokens[:, :-1].cumsum(1).masked_fill_(~has_next[:, :, None], 0.0)
    return torch.cat([prefix, tokens[:, 1:]], 2).reshape(b * (t - 1), 2 * d)


def _cut(
    hidden_states: Float[Tensor, "b t d"], lengths: Int[Tensor, " b"], first: int
) -> tuple[Digits, Digits]:
    """Digits of at most `MOST_ROWS` of the prefix sums, and of the tokens after them."""
    b, t, d = hidden_states.shape
    rows = min(MOST_ROWS, b * (t - 1) - first)
    if not triton_takes(hidden_states):
        both = _pairs(hidden_states, lengths)[first : first + rows]
        return cut_into_digits(both[:, :d], _DIGITS), cut_into_digits(both[:, d:], _DIGITS)
    from ntpscore.core.prefix_kernels import survey, write_digits

    hidden_states = hidden_states.contiguous()
    *_, largest_sum, largest_token = survey(hidden_states, lengths)
    sums = Digits.empty(largest_sum.amax(0), rows, _DIGITS)
    tokens = Digits.empty(largest_token.amax(0), rows, _DIGITS)
    write_digits(
        hidden_states, lengths, first, rows,
        (sums.digits, sums.units), (tokens.digits, tokens.units),
    )  # fmt: skip
    return sums, tokens


def prepare_gram(rows: Float[Tensor, "n d"], C: Float[Tensor, "d d"]) -> Callable[[], None]:
    """A call that adds `rowsᵀ rows` on and above the diagonal of C, in place; both are float64.

    What stands below means nothing: see `symmetric`. What needs memory is done before the call.
    """
    n, d = rows.shape
    if _kernel_takes(rows):
        _check_sums(d, C)
        rows = rows.to(DTYPE).contiguous()
        return _prepare_shared(
            lambda first, step, scratch: kernel.add_gram(
                rows.data_ptr(), n, d, first, step, C.data_ptr(), scratch
            ),
            d,
        )
    return partial(_add_gram, C, rows)


def _add_gram(C: Tensor, rows: Tensor) -> None:
    for start, stop in _blocks(len(C), C.device):
        C[start:stop, start:].addmm_(rows[:, start:stop].T, rows[:, start:])


def symmetric(upper: Float[Tensor, "*l d d"]) -> Float[Tensor, "*l d d"]:
    """The symmetric matrices that have these upper triangles."""
    return upper.triu() + upper.triu(1).mT


def _kernel_takes(values: Tensor) -> bool:
    return HAS_KERNEL and values.device.type == "cpu"


def _readable(hidden_states: Tensor) -> Tensor:
    """Hidden states as the kernel reads them: contiguous, of a type that it knows."""
    if hidden_states.dtype not in _TYPES:
        hidden_states = hidden_states.to(torch.float32)
    return hidden_states.contiguous()


def _readable_lengths(lengths: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
    """Lengths as the kernel reads them."""
    return lengths.to("cpu", torch.int64).contiguous()


def _tokens(
    hidden_states: Float[Tensor, "b t d"], lengths: Int[Tensor, " b"]
) -> Float[Tensor, "b t d"]:
    """In float64, with zeros for padding."""
    padding = torch.arange(hidden_states.shape[1], device=lengths.device) >= lengths[:, None]
    return hidden_states.to(DTYPE, copy=True).masked_fill_(padding[:, :, None], 0.0)


def _check_sums(width: int, *sums: Tensor) -> None:
    """The kernel writes where it is told to.

    Raises:
        ValueError: it would write elsewhere than into a (width, width) float64 matrix.
    """
    for matrix in sums:
        if matrix.shape != (width, width) or matrix.dtype != DTYPE or not matrix.is_contiguous():
            raise ValueError(
                f"sums must be contiguous float64 of shape {(width, width)}, got {matrix.dtype} of "
                f"shape {tuple(matrix.shape)}"
            )


def _prepare_shared(run: Callable[[int, int, int], None], width: int) -> Callable[[], None]:
    """The kernel on as many threads as torch would use, each on a share of the panels."""
    threads = min(torch.get_num_threads(), -(-width // _PANEL))
    # torch puts what it allocates on multiples of 64 bytes; so is the length of each row.
    return partial(
        _run_shares, run, torch.empty(threads, kernel.scratch_length(width), dtype=DTYPE)
    )


def _run_shares(run: Callable[[int, int, int], None], scratch: Float[Tensor, "threads _"]) -> None:
    """One share for each row of memory to work in."""
    places = [row.data_ptr() for row in scratch]
    threads = len(places)
    if threads == 1:
        run(0, 1, places[0])
        return
    pool = _pool(threads, os.getpid())
    shares = [pool.submit(run, first, threads, at) for first, at in enumerate(places)]
    for done in shares:
        done.result()


@cache
def _pool(threads: int, _process: int) -> ThreadPoolExecutor:
    """One for each process: a forked one has none of the threads."""
    return ThreadPoolExecutor(threads, thread_name_prefix="prefix-products")
