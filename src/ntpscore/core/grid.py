"""The paper's grid of k."""

import torch
from jaxtyping import Int
from torch import Tensor

GRID_STEPS = 20


def grid_of_k(width: int) -> list[int]:
    """The paper's grid k/d = 0.05, 0.10, …, 0.95, rounded down, without repeats and zeros."""
    return sorted({step * width // GRID_STEPS for step in range(1, GRID_STEPS)} - {0}) or [1]


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
