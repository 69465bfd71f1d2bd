"""Intervals by drawing data sets anew, against loops, and what they hold."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ntpscore.study.statistics.bootstrap import resampled_correlations, selected_interval
from ntpscore.study.statistics.correlation import percentile_interval
from ntpscore.study.statistics.selection import (
    correlations,
)
from tests.reference import study as literal
from tests.support.sweeps import random_sweep
from tests.tolerances import SCORE, SIGMAS

STUDIES = 300


@pytest.mark.parametrize("ties", [False, True])
def test_resampled_correlations_are_those_of_repeated_data_sets(ties: bool) -> None:
    n = 7
    sweep = random_sweep(np.random.default_rng(9), models=2, configurations=70, data_sets=n,
                         sign=-1, ties=ties)  # fmt: skip
    found = resampled_correlations(sweep, resamples=6, seed=4)
    weights = np.random.default_rng(4).multinomial(n, np.full(n, 1 / n), size=6)
    values, outcomes, sign = sweep.values.tolist(), sweep.outcomes.tolist(), sweep.sign
    for row, weight in zip(found, weights, strict=True):
        drawn = [i for i in range(n) for _ in range(weight[i])]
        expected = literal.resampled(values, outcomes, sign, drawn)
        assert row == pytest.approx(expected, abs=SCORE, nan_ok=True)


@pytest.mark.parametrize(
    ("signal", "configurations", "shared"),
    [(0.0, 60, 0.0), (0.0, 60, 0.8), (0.7, 60, 0.0), (0.9, 60, 0.0), (0.0, 1, 0.0), (0.9, 1, 0.0)],
)
def test_interval_of_the_selected_holds_its_true_correlation(
    signal: float, configurations: int, shared: float
) -> None:
    """`shared` is the variance that the noise of all configurations has in common."""
    rng = np.random.default_rng(15)
    truth = 6 / math.pi * math.asin(signal / 2)
    studies, held, naive, widths = 100, [], [], []
    for i in range(studies):
        sweep = random_sweep(rng, configurations=configurations)
        noise = np.sqrt(shared) * rng.normal(size=12) + np.sqrt(1 - shared) * sweep.values
        values = signal * sweep.outcomes[:, None] + np.sqrt(1 - signal**2) * noise
        sweep = replace(sweep, values=values)
        draws = resampled_correlations(sweep, resamples=200, seed=i)
        r = correlations(sweep).mean(axis=0)
        low, high = selected_interval(draws, r, 12)
        assert -1 <= low <= r.max() <= high <= 1
        widths.append(high - low)
        held.append(low <= truth <= high)
        low, high = percentile_interval(draws[:, int(r.argmax())])
        naive.append(low <= truth <= high)
    # 95 % but for the chance of so few studies.
    assert np.mean(held) >= 0.95 - SIGMAS * math.sqrt(0.95 * 0.05 / studies)
    if configurations > 1 and not shared:
        assert np.mean(held) >= 0.95
        # The interval of a configuration that had been fixed in advance is none for one that was
        # not; and the more is found, the more is known.
        assert np.mean(naive) < 0.8
        assert np.mean(widths) < {0.0: 1.45, 0.7: 1.1, 0.9: 0.6}[signal]


def test_interval_of_a_fixed_configuration_holds_its_true_correlation() -> None:
    rng = np.random.default_rng(16)
    held = []
    for i in range(200):
        sweep = random_sweep(rng, configurations=1, signal=0.6)
        low, high = percentile_interval(resampled_correlations(sweep, resamples=300, seed=i)[:, 0])
        held.append(low <= 6 / math.pi * math.asin(0.3) <= high)
    assert abs(np.mean(held) - 0.95) <= SIGMAS * math.sqrt(0.95 * 0.05 / 200)
