"""Sums of products of prefix sums, in float64: what a batch adds to the autoregressive moments.

On a processor with AVX-512 a kernel in C does it where it could be compiled; torch does it on
graphics cards and everywhere else, with the same result but for the order of the sums.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

try:
    from ntpscore.core import _prefix_products as kernel
except ImportError:  # no compiler where the package was installed
    HAS_KERNEL = False
else:
    HAS_KERNEL = kernel.is_supported()

DTYPE = torch.float64
# As the kernel numbers them.
_TYPES = {torch.bfloat16: 0, torch.float16: 1, torch.float32: 2, torch.float64: 3}
# Columns that the kernel takes at a time.
_PANEL = 24
_GRAM_BLOCKS = 4


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

    Source:
        Next Token Perception Score, eqs. 21-25: `X L1 L1ᵀ Xᵀ` and `X L1 L2ᵀ Xᵀ`.
    """
    b, t, d = hidden_states.shape
    if _kernel_takes(hidden_states):
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
    tokens = _tokens(hidden_states, lengths)
    has_next = torch.arange(1, t, device=tokens.device) < lengths[:, None]
    prefix = tokens[:, :-1].cumsum(1).masked_fill_(~has_next[:, :, None], 0.0).reshape(-1, d)
    following = tokens[:, 1:].reshape(-1, d)
    return partial(_add_both, prepare_gram(prefix, C0), C1, prefix, following)


def _add_both(add_to_C0: Callable[[], None], C1: Tensor, prefix: Tensor, following: Tensor) -> None:
    add_to_C0()
    C1.addmm_(prefix.T, following)


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
    return partial(_add_product if rows.device.type != "cpu" else _add_blocks, C, rows)


def _add_product(C: Tensor, rows: Tensor) -> None:
    C.addmm_(rows.T, rows)


def _add_blocks(C: Tensor, rows: Tensor) -> None:
    """Blocks of the upper half take 0.7 of the time of the whole."""
    d = rows.shape[1]
    edges = [d * i // _GRAM_BLOCKS for i in range(_GRAM_BLOCKS + 1)]
    for start, end in itertools.pairwise(edges):
        C[start:end, start:].addmm_(rows[:, start:end].T, rows[:, start:])


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
    for one in sums:
        if one.shape != (width, width) or one.dtype != DTYPE or not one.is_contiguous():
            raise ValueError(
                f"sums must be contiguous float64 of shape {(width, width)}, got {one.dtype} of "
                f"shape {tuple(one.shape)}"
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
