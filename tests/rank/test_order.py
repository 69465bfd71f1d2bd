"""Models in order of held-out accuracy."""

import numpy as np
import pytest

from ntpscore.rank.order import rank_held_out


def lost(wrong: set[int], n: int = 200) -> dict[int, float]:
    return {text: float(text in wrong) for text in range(n)}


GROUPS = list(range(200))


def test_models_that_differ_by_chance_share_a_rank() -> None:
    wrong = {"a": set(range(20)), "b": set(range(3, 25)), "c": set(range(80))}
    losses = {name: lost(texts) for name, texts in wrong.items()}
    values = {name: 1 - np.mean(list(one.values())) for name, one in losses.items()}
    assert rank_held_out(values, losses, GROUPS) == {"a": 1, "b": 1, "c": 3}


def test_differences_are_paired() -> None:
    """Of 200 texts one model loses 40 and another the same 40 and 8 more: that is no chance."""
    losses = {"a": lost(set(range(40))), "b": lost(set(range(48)))}
    assert rank_held_out({"a": 0.8, "b": 0.76}, losses, GROUPS) == {"a": 1, "b": 2}
    # Were the same 8 texts one text eight times, it might be.
    groups = [min(max(text, 40), 47) if 40 <= text < 48 else text for text in range(200)]
    together = [40 if 40 <= text < 48 else group for text, group in enumerate(groups)]
    assert rank_held_out({"a": 0.8, "b": 0.76}, losses, together) == {"a": 1, "b": 1}


@pytest.mark.parametrize("shared", [0, 1])
def test_models_without_texts_in_common_are_told_apart(shared: int) -> None:
    losses = {"a": {0: 0.0, 1: 0.0}, "b": {2 - shared: 1.0, 5: 1.0}}
    assert rank_held_out({"a": 1.0, "b": 0.0}, losses, GROUPS) == {"a": 1, "b": 2}
