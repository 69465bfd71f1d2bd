"""The jackknife: against loops and textbook formulas, and whether its intervals hold."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from ntpscore.core.folds import COVERAGE, ESTIMATED, FEWEST_FOLDS, Folds, jackknife
from ntpscore.core.moments import Moments
from ntpscore.core.scores import score_layer
from ntpscore.errors import MomentsError

D, CLASSES = 4, 3
# Sums of the same numbers in another order.
SAME = {"rtol": 1e-9, "atol": 1e-9}


def literal_jackknife(
    without: list[float], full: float, n_texts: int, of: int
) -> tuple[float, float]:
    """Value and reach, by loops."""
    K = len(without)
    mean = sum(without) / K
    bias = (K - 1) * (mean - full)
    value = full - bias + bias * n_texts / of
    variance = 0.0
    for one in without:
        variance += (one - mean) ** 2 * (K - 1) / K
    variance *= (of - n_texts) / of
    return value, scipy.stats.t.ppf(1 - (1 - COVERAGE) / 2, df=K - 1) * math.sqrt(variance)


@pytest.mark.parametrize(("n_texts", "of"), [(50, 1000), (700, 1000), (1000, 1000)])
def test_jackknife_is_that_of_loops(n_texts: int, of: int) -> None:
    without = np.random.default_rng(n_texts).normal(0.4, 0.1, 12)
    found = jackknife(torch.from_numpy(without), 0.5, n_texts=n_texts, of=of)
    value, reach = literal_jackknife(without.tolist(), 0.5, n_texts, of)
    assert found.value == pytest.approx(value)
    assert found.half_width == pytest.approx(reach)
    assert (found.low, found.high) == pytest.approx((value - reach, value + reach))


def test_all_texts_leave_nothing_open() -> None:
    found = jackknife(torch.tensor([0.3, 0.5, 0.1]), 0.35, n_texts=60, of=60)
    assert (found.low, found.value, found.high) == (0.35, 0.35, 0.35)


def test_interval_of_a_mean_is_the_textbook_one() -> None:
    """Folds of one text: sample mean, its standard error, finite population correction."""
    x = np.random.default_rng(1).normal(size=20)
    without = torch.tensor([(x.sum() - one) / 19 for one in x])
    found = jackknife(without, float(x.mean()), n_texts=20, of=50)
    error = x.std(ddof=1) / math.sqrt(20) * math.sqrt(1 - 20 / 50)
    assert found.value == pytest.approx(x.mean())
    assert found.half_width == pytest.approx(scipy.stats.t.ppf(0.975, 19) * error)


def test_intervals_hold_the_value_of_all_texts() -> None:
    """A biased ratio, from 100 of 400 texts: 95 of 100 intervals should hold that of all 400.

    With 600 draws the share has a standard error of 0.009; four of them are allowed.
    """
    rng = np.random.default_rng(0)
    held, off, plain_off = [], [], []
    for _ in range(600):
        x = rng.exponential(size=400)

        def spread(part: np.ndarray) -> float:
            return float(part.var() / part.mean() ** 2)

        folds = x[:100].reshape(10, 10)
        without = [spread(np.delete(folds, j, axis=0).ravel()) for j in range(10)]
        found = jackknife(torch.tensor(without), spread(x[:100]), n_texts=100, of=400)
        held.append(found.low <= spread(x) <= found.high)
        off.append(found.value - spread(x))
        plain_off.append(spread(x[:100]) - spread(x))
    # Intervals of a skewed statistic hold a little less often than they say.
    assert 0.88 < np.mean(held) < 0.99
    assert abs(np.mean(off)) < 0.5 * abs(np.mean(plain_off))


@pytest.mark.parametrize(("K", "n_texts", "of"), [(1, 5, 10), (5, 0, 10), (5, 11, 10)])
def test_senseless_jackknives_are_refused(K: int, n_texts: int, of: int) -> None:
    with pytest.raises(MomentsError, match="no jackknife"):
        jackknife(torch.zeros(K), 0.0, n_texts=n_texts, of=of)


def empty() -> Moments:
    return Moments([2], D, CLASSES)


def add(moments: Moments, rng: np.random.Generator, n: int = 6) -> None:
    labels = torch.from_numpy(rng.integers(0, CLASSES, n))
    states = torch.from_numpy(rng.normal(size=(1, n, 5, D))) + labels[:, None, None]
    moments.update(states, torch.ones(n, 5), labels)


def filled(rounds: int, seed: int = 0) -> tuple[Folds, Moments, list[bool]]:
    """Folds after so many rounds of six texts, the moments of all, and when there were enough."""
    folds, everything, enough = Folds(2, empty), empty(), []
    rng, twin = np.random.default_rng(seed), np.random.default_rng(seed)
    for _ in range(rounds):
        add(folds.current, rng)
        add(everything, twin)
        enough.append(folds.end_round())
    return folds, everything, enough


@pytest.mark.slow
def test_folds_stay_of_one_size_and_lose_nothing() -> None:
    for rounds in (1, 9, 10, 19, 20, 21, 40, 57, 85):
        folds, everything, enough = filled(rounds)
        *full, current = folds.parts()
        assert len({part.n_texts for part in full}) <= 1
        assert current.n_texts < (full[0].n_texts if full else 7)
        if rounds >= FEWEST_FOLDS:
            assert FEWEST_FOLDS <= len(full) < 2 * FEWEST_FOLDS
        assert enough[-1] == (rounds >= FEWEST_FOLDS and current.n_texts == 0)
        total = sum(full[1:], start=full[0]) + current
        assert total.n_texts == everything.n_texts == 6 * rounds
        torch.testing.assert_close(total.sum_C0, everything.sum_C0, **SAME)
        torch.testing.assert_close(total.sum_M, everything.sum_M, **SAME)


def test_folds_come_back_from_their_parts() -> None:
    folds, _, _ = filled(27)
    again = Folds.of_parts(2, empty, folds.parts(), 27)
    rng, twin = np.random.default_rng(3), np.random.default_rng(3)
    for _ in range(20):
        add(folds.current, rng)
        add(again.current, twin)
        assert folds.end_round() == again.end_round()
    assert len(folds.parts()) == len(again.parts())
    for one, other in zip(folds.parts(), again.parts(), strict=True):
        torch.testing.assert_close(one.sum_N, other.sum_N, **SAME)
    with pytest.raises(MomentsError, match="are not those of 3 rounds"):
        Folds.of_parts(2, empty, folds.parts(), 3)


@pytest.mark.slow
def test_estimates_are_jackknives_of_scores_without_each_fold() -> None:
    draws = [np.random.default_rng(100 + j) for j in range(FEWEST_FOLDS)]
    folds = Folds(2, empty)
    for draw in draws:
        add(folds.current, draw)
        folds.end_round()
    k = 2
    found = folds.estimates(k, of=100)
    assert found.keys() == set(ESTIMATED)

    def scores(left_out: int | None) -> dict[str, float]:
        moments = empty()
        for j in range(FEWEST_FOLDS):
            if j != left_out:
                add(moments, np.random.default_rng(100 + j))
        layer = score_layer(moments.layer(2))
        of_k = {name: float(values[k - 1]) for name, values in layer.values.items()}
        return {**of_k, "r2": layer.r2, "r2_adjusted": layer.r2_adjusted}

    full, without = scores(None), [scores(j) for j in range(FEWEST_FOLDS)]
    for name in ESTIMATED:
        value, reach = literal_jackknife([one[name] for one in without], full[name], 60, 100)
        if name not in ("r2", "r2_adjusted"):
            reach += abs(value - full[name])  # nobody knows that their bias falls as 1/n
        # The solver's rounding, times what the jackknife makes of differences: K − 1.
        assert found[name].value == pytest.approx(value, abs=1e-7)
        assert found[name].half_width == pytest.approx(reach, abs=1e-7)
