"""The paper's grid of k."""

GRID_STEPS = 20


def grid_of_k(width: int) -> list[int]:
    """The paper's grid k/d = 0.05, 0.10, …, 0.95, rounded down, without repeats and zeros."""
    return sorted({step * width // GRID_STEPS for step in range(1, GRID_STEPS)} - {0}) or [1]
