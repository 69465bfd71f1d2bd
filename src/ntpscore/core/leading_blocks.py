"""Sums of squares over leading blocks of a matrix, for every k at once."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ntpscore.core.grid import GRID_STEPS


def leading_block_sums(
    T: Float[Tensor, "v m"],
    Z: Float[Tensor, "sets v r"],
    Y: Float[Tensor, "sets m r"],
    rows: Int[Tensor, " d"],
    columns: Int[Tensor, " d"],
) -> Float[Tensor, "sets d"]:
    """Sums of the squares of `T − Z Yᵀ` over its first rows[k] rows and columns[k] columns.

    Of all sets but the first the square is expanded, which loses digits where Z Yᵀ cancels T, but
    is many times faster.

    Args:
        T: (v, m).
        Z: (sets, v, r).
        Y: (sets, m, r).
        rows: (d,) how many rows the block of each step has, ascending to v.
        columns: (d,) how many columns, ascending to m.
    """
    blocks = _Blocks(T, rows, columns)
    # With so many columns the expanded square is no less work.
    exact = 1 if Z.shape[2] ** 2 <= T.shape[1] else len(Z)
    sums = [
        blocks.squares(torch.addmm(T, z, y.T, alpha=-1))[:, None]
        for z, y in zip(Z[:exact], Y[:exact], strict=True)
    ]
    if exact < len(Z):
        plain = blocks.squares(T)[:, None]
        mixed = blocks.products(T, Z[exact:], Y[exact:])
        pairs = torch.triu_indices(Z.shape[2], Z.shape[2], device=T.device)
        weights = torch.where(pairs[0] == pairs[1], 1.0, 2.0).to(T)
        last = torch.stack(
            [
                weights
                @ (
                    leading_sums(_products(z, pairs), rows)
                    * leading_sums(_products(y, pairs), columns)
                )
                for z, y in zip(Z[exact:], Y[exact:], strict=True)
            ],
            1,
        )
        sums.append(plain - 2 * mixed + last)
    return torch.cat(sums, 1).T


def leading_squares(
    X: Float[Tensor, "v m"], rows: Int[Tensor, " d"], columns: Int[Tensor, " d"]
) -> Float[Tensor, " d"]:
    """Sums of the squares of X over its first rows[k] rows and columns[k] columns.

    Args:
        X: (v, m).
        rows: (d,) how many rows the block of each step has, ascending to v.
        columns: (d,) how many columns, ascending to m.
    """
    return _Blocks(X, rows, columns).squares(X)


def columns_at(width: int, rank: int) -> Int[Tensor, " d"]:
    """(d,) how many of a basis' columns the share of it that each k = 1 … d stands for has.

    A k of the grid, which is rounded down, stands for its step, as in the released code; any other
    for k/d.

    Args:
        width: d.
        rank: how many columns there are in all.
    """
    k = torch.arange(1, width + 1)
    step = (GRID_STEPS * k + width - 1) // width
    on_grid = step * width // GRID_STEPS == k
    return torch.where(on_grid, step * rank // GRID_STEPS, k * rank // width)


def leading_sums(
    terms: Float[Tensor, "*sets q"], counts: Int[Tensor, " d"]
) -> Float[Tensor, "*sets d"]:
    """Sums over the first counts[k] terms, for each k."""
    sums = torch.nn.functional.pad(terms.cumsum(-1), (1, 0))
    # Several times faster than an index.
    return sums.gather(-1, counts.expand(*sums.shape[:-1], -1))


def _products(X: Float[Tensor, "q r"], pairs: Int[Tensor, "2 pairs"]) -> Float[Tensor, "pairs q"]:
    """Products of two columns, for each pair of them."""
    X = X.T.contiguous()
    return X.index_select(0, pairs[0]) * X.index_select(0, pairs[1])


class _Blocks:
    """The leading blocks of a matrix, and with what each entry comes in: its row or its column.

    Attributes:
        with_row: (v, m) whether the column of an entry has entered when its row does, 1 or 0.
    """

    with_row: Float[Tensor, "v m"]

    def __init__(self, T: Tensor, rows: Tensor, columns: Tensor) -> None:
        v, m = T.shape
        self.row_steps = torch.searchsorted(rows, torch.arange(1, v + 1, device=T.device))
        self.column_steps = torch.searchsorted(columns, torch.arange(1, m + 1, device=T.device))
        self.with_row = (self.column_steps <= self.row_steps[:, None]).to(T.dtype)
        self.n_steps = len(rows)

    def squares(self, X: Float[Tensor, "v m"]) -> Float[Tensor, " d"]:
        """Sums of squares."""
        squares = X.square()
        with_row = squares * self.with_row
        return self._gather(with_row.sum(1), squares.sub_(with_row).sum(0))

    def products(
        self, T: Float[Tensor, "v m"], Z: Float[Tensor, "P v r"], Y: Float[Tensor, "P m r"]
    ) -> Float[Tensor, "d P"]:
        """Sums of T times `Z Yᵀ`, entry by entry."""
        P, _, r = Y.shape
        joined_Z, joined_Y = (X.permute(1, 0, 2).reshape(-1, P * r) for X in (Z, Y))
        T_row = T * self.with_row
        by_row = (T_row @ joined_Y).mul_(joined_Z).view(-1, P, r).sum(2)
        by_column = ((T - T_row).T @ joined_Z).mul_(joined_Y).view(-1, P, r).sum(2)
        return self._gather(by_row, by_column)

    def _gather(
        self, by_row: Float[Tensor, "v ..."], by_column: Float[Tensor, "m ..."]
    ) -> Float[Tensor, "d ..."]:
        """Sums over each block from those of the entries that come in with a row or column."""
        sums = by_row.new_zeros(self.n_steps, *by_row.shape[1:])
        sums.index_add_(0, self.row_steps, by_row).index_add_(0, self.column_steps, by_column)
        return sums.cumsum(0)
