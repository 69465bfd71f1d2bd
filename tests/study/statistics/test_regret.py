"""What choosing by a score costs."""

import math

import numpy as np
import pytest

from ntpscore.study.statistics.regret import regret_at_1


def test_regret_is_what_the_choice_lacks() -> None:
    outcome = np.array([0.9, 0.7, 0.4])
    assert regret_at_1(np.array([3.0, 2.0, 1.0]), outcome) == 0
    assert regret_at_1(np.array([1.0, 2.0, 3.0]), outcome) == pytest.approx(0.5)
    # Two share the highest score: either is chosen with equal chance.
    assert regret_at_1(np.array([1.0, 2.0, 2.0]), outcome) == pytest.approx(0.35)
    assert regret_at_1(np.array([np.inf, -np.inf, 0.0]), outcome) == 0


@pytest.mark.parametrize(("score", "outcome"), [([], []), ([1, np.nan], [1, 2]), ([1], [np.nan])])
def test_regret_of_nothing_known_is_not_defined(score: list[float], outcome: list[float]) -> None:
    assert math.isnan(regret_at_1(np.array(score, float), np.array(outcome, float)))
