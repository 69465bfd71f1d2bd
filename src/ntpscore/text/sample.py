"""Draw a sample of rows."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ntpscore.errors import DataError
from ntpscore.text.groups import Groups, draw_whole_groups


def draw_sample(
    groups: Groups, size: int, seed: int, classes: npt.NDArray[np.int64] | None = None
) -> list[int]:
    """Draw rows in whole groups, each as likely as the other, or so that classes keep their shares.

    Args:
        groups: The group of each row. A group of several classes counts for that of its first row.
        size: How many rows to draw at most, no more than there are.
        seed: The same seed draws the same rows.
        classes: The class index of each row; every index up to the largest occurs.

    Returns:
        Row indices in rising order.
    """
    if classes is None:
        strata = classes = np.zeros(len(groups), dtype=np.int64)
    else:
        strata = classes[np.unique(groups, return_index=True)[1]][groups]
    counts = np.bincount(strata, minlength=int(classes.max()) + 1)
    present = np.flatnonzero(counts)
    sizes = share_out(size, [int(counts[label]) for label in present], len(counts))
    rng = np.random.default_rng(seed)
    drawn = []
    for label, share in zip(present, sizes, strict=True):
        rows = np.flatnonzero(strata == label)
        drawn.append(rows[draw_whole_groups(groups[rows], share, rng)])
    return sorted(np.concatenate(drawn).tolist())


def share_out(size: int, counts: Sequence[int], n_classes: int | None = None) -> list[int]:
    """Share a sample out among classes in proportion, by the largest remainder, one at least.

    Args:
        size: Of the sample, at most the sum of the counts.
        counts: Rows of each class, all positive.
        n_classes: How many classes there are, if not all have a count.

    Returns:
        The sample's rows of each class; they add up to `size`.
    """
    n_classes = n_classes or len(counts)
    if size < n_classes:
        raise DataError(
            f"a sample of {size} is too small for {n_classes} classes: let --max-texts be at "
            f"least {n_classes}"
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
