"""Sums over leading blocks against the blocks written out."""

import pytest
import torch
from torch import Tensor

from ntpscore.core.leading_blocks import leading_block_sums, leading_sums
from tests.tolerances import SCORE

SHAPES = [(1, 1), (1, 9), (9, 1), (5, 9), (9, 5), (8, 8), (11, 7)]
"""Rows and columns: more of either, and as many."""


def steps(total: int, n_steps: int, kind: str) -> Tensor:
    """How many rows or columns each block has; the last block has all."""
    k = torch.arange(1, n_steps + 1)
    if kind == "at once":
        return torch.where(k < n_steps // 2, 0, total)
    return k.clamp(max=total) if kind == "one by one" else k * total // n_steps


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", ["one by one", "shared out", "at once"])
@pytest.mark.parametrize("columns", ["one by one", "shared out", "at once"])
def test_sums_are_those_of_each_block(shape: tuple[int, int], rows: str, columns: str) -> None:
    v, m = shape
    generator = torch.Generator().manual_seed(v + m)
    T = torch.randn(v, m, generator=generator, dtype=torch.float64)
    Z = torch.randn(3, v, 2, generator=generator, dtype=torch.float64)
    Y = torch.randn(3, m, 2, generator=generator, dtype=torch.float64)
    row_counts, column_counts = steps(v, 12, rows), steps(m, 12, columns)
    squares = (T - Z @ Y.transpose(1, 2)).square()
    blocks = zip(row_counts.tolist(), column_counts.tolist(), strict=True)
    judge = torch.stack([squares[:, :i, :j].sum((1, 2)) for i, j in blocks], 1)
    allowed = SCORE * float(judge.max())
    for many in (Z, Z.repeat(1, 1, 3)):  # where the square is expanded, and where not
        columns_of_many = Y if many is Z else torch.cat([Y, 0 * Y, 0 * Y], 2)
        sums = leading_block_sums(T, many, columns_of_many, row_counts, column_counts)
        torch.testing.assert_close(sums, judge, rtol=0, atol=allowed)


def test_leading_sums_are_those_of_the_first_terms() -> None:
    terms = torch.tensor([[1.0, 2.0, 4.0], [0.0, 1.0, 0.0]])
    sums = leading_sums(terms, torch.tensor([0, 1, 3, 3]))
    assert sums.tolist() == [[0.0, 1.0, 7.0, 7.0], [0.0, 0.0, 1.0, 1.0]]
