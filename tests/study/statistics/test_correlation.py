"""Rank correlations against loops, and what their p-values and intervals promise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntpscore.study.statistics.correlation import (
    bootstrap_interval,
    partial_spearman,
    permutation_p,
    regret_at_1,
    spearman,
    weighted_kendall,
)
from tests.reference import correlation as literal
from tests.reference import study as literal_study
from tests.tolerances import SCORE, SIGMAS


@settings(deadline=None)
@given(st.integers(2, 9).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 6), min_size=n,
                                                                max_size=n)] * 2)))  # fmt: skip
def test_spearman_equals_loops_with_ties(pair: tuple[list[int], list[int]]) -> None:
    x, y = (np.array(one, dtype=float) for one in pair)
    expected = literal.spearman(x.tolist(), y.tolist())
    assert spearman(x, y) == pytest.approx(expected, abs=SCORE, nan_ok=True)
    assert spearman(np.exp(x), y) == pytest.approx(expected, abs=SCORE, nan_ok=True)


def test_weighted_kendall_equals_loops_and_weighs_the_top_most() -> None:
    rng = np.random.default_rng(17)
    for high in (3, 100):
        for _ in range(20):
            x, y = rng.integers(0, high, 8).astype(float), rng.integers(0, high, 8).astype(float)
            x[:2] = y[:2] = 0, high
            expected = literal_study.weighted_kendall(x.tolist(), y.tolist())
            assert weighted_kendall(x, y) == pytest.approx(expected, abs=SCORE)
    x = np.arange(8.0)
    top, bottom = x[[0, 1, 2, 3, 4, 5, 7, 6]], x[[1, 0, 2, 3, 4, 5, 6, 7]]
    assert weighted_kendall(x, top) < weighted_kendall(x, bottom) < weighted_kendall(x, x)
    assert weighted_kendall(x, x) == pytest.approx(1)
    assert math.isnan(weighted_kendall(x, np.ones(8)))
    assert math.isnan(weighted_kendall(x, np.where(x == 3, np.nan, x)))


def test_partial_correlation_is_that_of_residuals() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        z = rng.normal(size=12)
        x, y = z + rng.normal(size=12), -z + rng.normal(size=12)
        expected = literal.partial_spearman(x.tolist(), y.tolist(), z.tolist())
        assert partial_spearman(x, y, z) == pytest.approx(expected, abs=1e-10)
    assert math.isnan(partial_spearman(x, y, x))


def test_permutation_p_is_the_exact_one_up_to_chance() -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        x, y = rng.integers(0, 5, 6).astype(float), rng.normal(size=6)
        exact = literal.exact_p(x.tolist(), y.tolist())
        found = permutation_p(x, y, permutations=20_000)
        assert abs(found - exact) <= SIGMAS * math.sqrt(exact * (1 - exact) / 20_000) + 1e-4


def test_p_is_uniform_where_there_is_nothing() -> None:
    rng = np.random.default_rng(2)
    p = np.array(
        [
            permutation_p(rng.normal(size=12), rng.normal(size=12), permutations=400, seed=i)
            for i in range(400)
        ]
    )
    for level in (0.05, 0.2, 0.5):
        assert abs((p <= level).mean() - level) <= SIGMAS * math.sqrt(level * (1 - level) / 400)
    assert p.min() >= 1 / 401


def test_interval_holds_a_plain_correlation_and_excludes_what_is_far() -> None:
    x = np.arange(12.0)
    y = x + np.random.default_rng(3).normal(size=12)
    low, high = bootstrap_interval(x, y)
    assert 0.5 < low < spearman(x, y) <= high <= 1
    assert bootstrap_interval(x, y) == bootstrap_interval(x, y)
    assert bootstrap_interval(x, -y) == pytest.approx((-high, -low))


def test_a_constant_has_no_correlation() -> None:
    x, y = np.ones(5), np.arange(5.0)
    assert math.isnan(spearman(x, y))
    assert math.isnan(permutation_p(x, y))
    assert all(math.isnan(end) for end in bootstrap_interval(x, y))


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
