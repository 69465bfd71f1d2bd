"""Draw a sample of rows."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ntpscore.errors import DataError


def draw_sample(n_rows: int, size: int, seed: int) -> list[int]:
    """Draw rows, each as likely as the other.

    Args:
        n_rows: How many there are.
        size: How many to draw, at most `n_rows`.
        seed: The same seed draws the same rows.

    Returns:
        Row indices in rising order.
    """
    rng = np.random.default_rng(seed)
    return _sorted(rng.choice(n_rows, size, replace=False))


def draw_stratified_sample(classes: npt.NDArray[np.int64], size: int, seed: int) -> list[int]:
    """Draw rows so that each class keeps its share.

    Args:
        classes: The class index of each row; every index up to the largest occurs.
        size: How many to draw, at most as many as there are rows.
        seed: The same seed draws the same rows.

    Returns:
        Row indices in rising order.

    Raises:
        DataError: there are more classes than rows to draw.
    """
    sizes = share_out(size, [int(count) for count in np.bincount(classes)])
    rng = np.random.default_rng(seed)
    drawn = [
        rng.choice(np.flatnonzero(classes == label), share, replace=False)
        for label, share in enumerate(sizes)
    ]
    return _sorted(np.concatenate(drawn))


def share_out(size: int, counts: Sequence[int]) -> list[int]:
    """Share a sample out among classes in proportion, by the largest remainder, one at least.

    Args:
        size: Of the sample, at most the sum of the counts.
        counts: Rows of each class, all positive.

    Returns:
        The sample's rows of each class; they add up to `size`.

    Raises:
        DataError: there are more classes than rows in the sample.
    """
    if size < len(counts):
        raise DataError(
            f"a sample of {size} is too small for {len(counts)} classes: let --max-texts be at "
            f"least {len(counts)}"
        )
    total = sum(counts)
    shares = [size * count // total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda i: -(size * counts[i] % total))
    for i in by_remainder[: size - sum(shares)]:
        shares[i] += 1
    for i, share in enumerate(shares):
        if share == 0:  # its row comes from the class that is most above its exact share
            others = [j for j in range(len(shares)) if shares[j] > 1]
            richest = max(others, key=lambda j: shares[j] * total - size * counts[j])
            shares[richest] -= 1
            shares[i] = 1
    return shares


def _sorted(rows: npt.NDArray[np.int64]) -> list[int]:
    return [int(row) for row in np.sort(rows)]
