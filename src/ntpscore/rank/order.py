"""Models in order: by held-out accuracy, and by every metric."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ntpscore.metrics import METRICS
from ntpscore.rank.result import CONSENSUS
from ntpscore.rank.values import RANKED_BY, LayerRole, Value
from ntpscore.scoring.measures import TIED, paired_difference
from ntpscore.text.groups import number_groups

# Values closer than this, relative to the larger, are one value: what the rounding of a pass in
# float32 leaves apart.
_TIE = 1e-6


def rank_held_out(
    values: Mapping[str, float], lost: Mapping[str, Mapping[int, float]], groups: Sequence[Any]
) -> dict[str, int]:
    """Ranks from 1, the largest value first; models that can't be told apart share a rank.

    A model is tied with the best of its rank where the mean of their paired differences, on the
    texts that both were judged on, is within its 95 % interval of 0.

    Args:
        values: held-out accuracy (or R²) by model.
        lost: what each model loses on each text, see `ScoreResult.held_out`.
        groups: of each text, see `LabelledText.fold_groups`.
    """
    return _rank(values, lambda first, name: _tied(lost[first], lost[name], groups))


def _rank(merits: Mapping[str, float], tied: Callable[[str, str], bool]) -> dict[str, int]:
    """Ranks from 1, the largest first; a name that is tied with the first of a rank shares it."""
    ranks: dict[str, int] = {}
    first: str | None = None
    for position, name in enumerate(sorted(merits, key=lambda one: -merits[one]), start=1):
        if first is None or not tied(first, name):
            first, rank = name, position
        ranks[name] = rank
    return ranks


def compare_lost(
    one: Mapping[int, float], other: Mapping[int, float], groups: Sequence[Any]
) -> tuple[float, float, float] | None:
    """What one model loses more on a text than another, and the ends of its 95 % interval.

    Args:
        one: see `rank_held_out`.
        other: likewise; texts that only one was judged on don't count.
        groups: likewise.

    Returns:
        None with fewer than two texts.
    """
    texts = sorted(one.keys() & other.keys())
    if len(texts) < 2:
        return None
    mean, error = paired_difference(
        np.array([one[text] for text in texts]),
        np.array([other[text] for text in texts]),
        number_groups([groups[text] for text in texts]),
    )
    return mean, mean - TIED * error, mean + TIED * error


def _tied(one: Mapping[int, float], other: Mapping[int, float], groups: Sequence[Any]) -> bool:
    difference = compare_lost(one, other, groups)
    return difference is not None and difference[1] <= 0 <= difference[2]


def rank_values(
    at: LayerRole, by_model: dict[str, dict[LayerRole, dict[str, Value]]], sort_by: str
) -> list[dict[str, Any]]:
    """The rows of one place, models in order of their rank by `sort_by`."""
    table = {name: dict(by_place[at]) for name, by_place in by_model.items()}
    ranks = {}
    for metric in RANKED_BY:
        values = {name: of_model[metric].value for name, of_model in table.items()}
        merit = METRICS[metric].merit if metric in METRICS else float
        ranks[metric] = rank_with_ties(
            {name: merit(value) for name, value in values.items()},
            {name: abs(value) for name, value in values.items()},
        )
    counted = [
        name
        for name, metric in METRICS.items()
        if not metric.baseline and len(ranks[name]) == len(table)
    ]
    consensus = {
        name: sum(ranks[metric][name] for metric in counted) / len(counted) if counted else math.nan
        for name in table
    }
    for name, mean_rank in consensus.items():
        reason = None if counted else "no metric is defined for every model"
        table[name] = {CONSENSUS: Value(mean_rank, reason=reason), **table[name]}
    ranks[CONSENSUS] = rank_with_ties({name: -mean for name, mean in consensus.items()})
    nowhere = len(table) + 1
    order = sorted(table, key=lambda name: ranks[sort_by].get(name, nowhere))
    return [
        {
            "at": at,
            "model": name,
            "metric": metric,
            "layer": value.layer,
            "k": value.k,
            "value": value.value,
            "rank": ranks[metric].get(name),
            "tied": list(ranks[metric].values()).count(ranks[metric].get(name, 0)) > 1,
            "reason": value.reason,
        }
        for name in order
        for metric, value in table[name].items()
    ]


def rank_with_ties(
    merits: dict[str, float], sizes: dict[str, float] | None = None
) -> dict[str, int]:
    """Ranks from 1, the highest merit first; equal merits share a rank, and the next ones skip.

    Merits within 1e-6 of the first of their group, relative to the larger, are equal.

    Args:
        merits: by name; NaN is left out.
        sizes: what the differences are relative to; of the merits themselves if None. A merit may
            be the small distance of a value from 1, in which the value's rounding is large.
    """
    known = {name: merit for name, merit in merits.items() if not math.isnan(merit)}
    sizes = sizes or {name: abs(merit) for name, merit in known.items()}

    def equal(one: str, other: str) -> bool:
        # Infinite ones have no difference; an infinite size would make all others equal.
        size = max(sizes[one], sizes[other])
        near = math.isfinite(size) and abs(known[one] - known[other]) <= _TIE * size
        return known[one] == known[other] or near

    return _rank(known, equal)
