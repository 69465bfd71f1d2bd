"""Sums of squares over leading blocks of a matrix, for every k at once."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# So few rows of a matrix stay in a core's cache while they are worked on.
_ROWS = 64


@dataclass(frozen=True)
class LeadingBlocks:
    """Leading blocks of a (v, m) matrix, from step to step with more rows and columns.

    Attributes:
        rows: (d,) how many rows the block of each step has.
        columns: (d,) how many columns.
        row_steps: (v,) the step at which each row enters.
        column_steps: (m,) the step at which each column enters.
        depths: (v,) how many columns have entered when each row does: their entries in the row come
            in with the row, the others with their columns.
        bands: for a few rows at a time the first, the one behind the last, and their least and
            largest depth.
    """

    rows: Int[Tensor, " d"]
    columns: Int[Tensor, " d"]
    row_steps: Int[Tensor, " v"]
    column_steps: Int[Tensor, " m"]
    depths: Int[Tensor, " v"]
    bands: list[tuple[int, int, int, int]]

    @classmethod
    def of(cls, T: Tensor, rows: Int[Tensor, " d"], columns: Int[Tensor, " d"]) -> "LeadingBlocks":
        """Blocks of a matrix of T's shape."""
        v, m = T.shape
        row_steps = torch.searchsorted(rows, torch.arange(1, v + 1, device=T.device))
        column_steps = torch.searchsorted(columns, torch.arange(1, m + 1, device=T.device))
        depths = torch.searchsorted(column_steps, row_steps, right=True)
        ends = depths.tolist()
        bands = [
            (start, min(start + _ROWS, v), ends[start], ends[min(start + _ROWS, v) - 1])
            for start in range(0, v, _ROWS)
        ]
        return cls(rows, columns, row_steps, column_steps, depths, bands)

    def _gather(
        self, by_row: Float[Tensor, "v ..."], by_column: Float[Tensor, "m ..."]
    ) -> Float[Tensor, "d ..."]:
        """Sums over each block from those over the entries that come in with a row or column."""
        sums = by_row.new_zeros(len(self.rows), *by_row.shape[1:])
        sums.index_add_(0, self.row_steps, by_row).index_add_(0, self.column_steps, by_column)
        return sums.cumsum(0)

    def _with_row(self, start: int, stop: int, low: int, high: int) -> Bool[Tensor, "rows columns"]:
        """Of a band's columns between its least and largest depth, what comes in with its row."""
        between = torch.arange(low, high, device=self.depths.device)
        return between < self.depths[start:stop, None]

    def sums(
        self, T: Float[Tensor, "v m"], Z: Float[Tensor, "v r"], Y: Float[Tensor, "m r"]
    ) -> Float[Tensor, " d"]:
        """Sums of the squares of `T − Z Yᵀ` in each block."""
        by_row, by_column = T.new_zeros(len(T)), T.new_zeros(T.shape[1])
        for start, stop, low, high in self.bands:
            squares = torch.addmm(T[start:stop], Z[start:stop], Y.T, alpha=-1).square_()
            edge = squares[:, low:high]
            with_row = edge * self._with_row(start, stop, low, high)
            by_row[start:stop] = squares[:, :low].sum(1) + with_row.sum(1)
            by_column[low:high] += (edge - with_row).sum(0)
            by_column[high:] += squares[:, high:].sum(0)
        return self._gather(by_row, by_column)

    def sums_of_many(
        self, T: Float[Tensor, "v m"], Z: Float[Tensor, "P v r"], Y: Float[Tensor, "P m r"]
    ) -> Float[Tensor, "P d"]:
        """Sums of the squares of `T − Z Yᵀ` in each block for many Z and Y, without forming them.

        The square is expanded; the mixed term needs one product with T for all together, the last
        one cumulated r × r products.
        """
        P, m, r = Y.shape
        # Sums over the r products of each are quickest with P as the last dimension.
        Y_joined = Y.permute(1, 2, 0).reshape(m, r * P)
        Z_joined = Z.permute(1, 2, 0).reshape(-1, r * P)
        plain_row, plain_column = T.new_zeros(len(T)), T.new_zeros(m)
        mixed_row, mixed_column = torch.empty_like(Z_joined), torch.zeros_like(Y_joined)
        for start, stop, low, high in self.bands:
            left, edge, right = T[start:stop].tensor_split((low, high), dim=1)
            with_row = edge * self._with_row(start, stop, low, high)
            with_column = edge - with_row
            plain_row[start:stop] = left.square().sum(1) + with_row.square().sum(1)
            plain_column[low:high] += with_column.square().sum(0)
            plain_column[high:] += right.square().sum(0)
            z = Z_joined[start:stop]
            mixed_row[start:stop] = (left @ Y_joined[:low]).addmm_(with_row, Y_joined[low:high])
            mixed_column[low:high].addmm_(with_column.T, z)
            mixed_column[high:].addmm_(right.T, z)
        mixed = self._gather(
            mixed_row.mul_(Z_joined).view(-1, r, P).sum(1),
            mixed_column.mul_(Y_joined).view(-1, r, P).sum(1),
        ).T
        last = [self._squared_updates(z, y) for z, y in zip(Z, Y, strict=True)]
        return self._gather(plain_row, plain_column) - 2 * mixed + torch.stack(last)

    def _squared_updates(self, Z: Float[Tensor, "v r"], Y: Float[Tensor, "m r"]) -> Tensor:
        """(d,) sums of the squares of `Z Yᵀ` in each block."""
        left, right = torch.triu_indices(Z.shape[1], Z.shape[1], device=Z.device)
        Z, Y = Z.T.contiguous(), Y.T.contiguous()
        of_rows = entered(Z[left] * Z[right], self.rows)
        of_columns = entered(Y[left] * Y[right], self.columns)
        # Pairs of different columns stand for both orders.
        weights = torch.where(left == right, 1.0, 2.0).to(Z)
        return weights @ (of_rows * of_columns)


def entered(terms: Float[Tensor, "*sets q"], counts: Int[Tensor, " d"]) -> Float[Tensor, "*sets d"]:
    """Sums over the leading counts[k] terms, for each k."""
    sums = torch.nn.functional.pad(terms.cumsum(-1), (1, 0))
    return sums[..., counts]
