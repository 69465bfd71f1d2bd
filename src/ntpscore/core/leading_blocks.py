"""Sums of squares over leading blocks of a matrix, for every k at once."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

# So few rows of a matrix stay in a core's cache while they are worked on.
_ROWS = 64


def leading_block_sums(
    T: Float[Tensor, "v m"],
    Z: Float[Tensor, "v r"],
    Y: Float[Tensor, "m r"],
    rows: Int[Tensor, " d"],
    columns: Int[Tensor, " d"],
) -> Float[Tensor, " d"]:
    """Sums of the squares of `T − Z Yᵀ` over its first rows[k] rows and columns[k] columns.

    Args:
        T: (v, m).
        Z: (v, r).
        Y: (m, r).
        rows: (d,) how many rows the block of each step has, ascending to v.
        columns: (d,) how many columns, ascending to m.
    """
    # The steps at which each row and each column enters; an entry comes in with the later one.
    row_steps = torch.searchsorted(rows, torch.arange(1, len(T) + 1, device=T.device))
    column_steps = torch.searchsorted(columns, torch.arange(1, T.shape[1] + 1, device=T.device))
    sums, with_columns = T.new_zeros(len(rows)), T.new_zeros(T.shape[1])
    for start in range(0, len(T), _ROWS):
        band = slice(start, start + _ROWS)
        squares = torch.addmm(T[band], Z[band], Y.T, alpha=-1).square_()
        with_row = squares * (column_steps <= row_steps[band, None])
        sums.index_add_(0, row_steps[band], with_row.sum(1))
        with_columns += squares.sub_(with_row).sum(0)
    return sums.index_add_(0, column_steps, with_columns).cumsum(0)


def leading_sums(
    terms: Float[Tensor, "*sets q"], counts: Int[Tensor, " d"]
) -> Float[Tensor, "*sets d"]:
    """Sums over the first counts[k] terms, for each k."""
    return torch.nn.functional.pad(terms.cumsum(-1), (1, 0))[..., counts]
