"""Texts that are no independent ones: the same text again, or of one patient, thread or author."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ntpscore.text.table import is_missing

Groups = npt.NDArray[np.int64]


def text_key(text: str) -> str:
    """What repetitions of a text share: all but the blanks at the ends of its lines."""
    return "\n".join(line.strip() for line in text.split("\n")).strip()


def group_key(chosen: Any) -> str | None:
    """What texts of one group share in the column that the user named; None where it is blank."""
    if isinstance(chosen, float) and chosen.is_integer():
        chosen = int(chosen)  # a column that lacks some is one of floats
    return None if is_missing(chosen) else str(chosen).strip()


def find_groups(texts: Sequence[str], chosen: Sequence[Any] | None = None) -> Groups:
    """The group of each text: texts that are the same, or that the user says belong together.

    Args:
        texts: n of them.
        chosen: n values, equal for texts of one group; a missing one says nothing.

    Returns:
        (n,) numbers from 0 on, in the order of their first texts. Texts that either the text or the
        choice joins, by whatever chain, are one group.
    """
    groups = number_groups(map(text_key, texts))
    if chosen is None:
        return groups
    # Each group of texts and each value that was chosen is a node, each row an edge.
    keys = list(map(group_key, chosen))
    is_chosen = [key is not None for key in keys]
    values = number_groups(compress(keys, is_chosen))
    n = len(texts) + len(values)
    edges = (np.ones(len(values)), (groups[is_chosen], values + len(texts)))
    parts = connected_components(coo_array(edges, shape=(n, n)), directed=False)[1]
    return number_groups(parts[groups].tolist())


def number_groups(groups: Iterable[Hashable]) -> Groups:
    """Groups numbered from 0 on in the order of their first texts."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], np.int64)


def count_repetitions(texts: Sequence[str], labels: npt.NDArray[Any]) -> tuple[int, int]:
    """How many texts repeat an earlier one, and how many different ones have several labels.

    Args:
        texts: n of them.
        labels: (n,) or (n, c).

    Returns:
        repeated: n less the number of different texts.
        contradicting: different texts whose repetitions have not all the same label.
    """
    labels_of: dict[str, set[bytes]] = defaultdict(set)
    for text, label in zip(texts, labels, strict=True):
        labels_of[text_key(text)].add(np.asarray(label).tobytes())
    return len(texts) - len(labels_of), sum(len(of_text) > 1 for of_text in labels_of.values())


def draw_whole_groups(groups: Groups, size: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw rows at random, whole groups only, as many as fit into a size.

    Groups come in random order, and each that still fits is taken; if none fits, a smallest one is.

    Args:
        groups: (n,) of the rows to draw from.
        size: how many rows to draw, fewer than n.
        rng: draws. Without groups of several rows the draw is that of `choice`.

    Returns:
        Indices of rows, at least one.
    """
    members, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    if len(sizes) == len(groups):
        return rng.choice(len(groups), size, replace=False)
    order = rng.permutation(len(sizes))
    is_taken = np.zeros(len(sizes), dtype=bool)
    left = size
    for group in order:
        if sizes[group] <= left:
            is_taken[group] = True
            left -= int(sizes[group])
    if not is_taken.any():
        is_taken[order[int(np.argmin(sizes[order]))]] = True
    return np.flatnonzero(is_taken[members])
