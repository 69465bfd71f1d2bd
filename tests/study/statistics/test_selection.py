"""Statistics of a sweep against loops, and what they promise where there is nothing to find."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from ntpscore.errors import DataError
from ntpscore.study.statistics.correlation import spearman
from ntpscore.study.statistics.selection import (
    correlations,
    data_set_orders,
    leave_one_model_out,
    leave_one_out_selection,
    max_statistic_test,
)
from ntpscore.study.statistics.sweep import Sweep
from tests.reference import study as literal
from tests.support.sweeps import random_sweep
from tests.tolerances import SCORE, SIGMAS

STUDIES = 200


def lists(sweep: Sweep) -> tuple[list[list[list[float]]], list[list[float]], int]:
    return sweep.values.tolist(), sweep.outcomes.tolist(), sweep.sign


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("ties", [False, True])
def test_max_statistic_equals_loops_over_all_orders(sign: int, ties: bool) -> None:
    rng = np.random.default_rng(5)
    sweeps = [
        random_sweep(rng, models=m, configurations=c, data_sets=5, sign=sign, ties=ties)
        for m, c in ((1, 4), (2, 3))
    ]
    expected = literal.max_statistic([lists(sweep) for sweep in sweeps])
    for found, (p, best, family) in zip(max_statistic_test(sweeps), expected, strict=True):
        assert found.p == pytest.approx(p, abs=SCORE)
        assert found.p_best == pytest.approx(best, abs=SCORE)
        assert found.p_family == pytest.approx(family, abs=SCORE)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("ties", [False, True])
def test_selection_without_a_data_set_equals_loops(sign: int, ties: bool) -> None:
    rng = np.random.default_rng(6)
    for models in (1, 3):
        sweep = random_sweep(rng, models=models, configurations=7, data_sets=5, sign=sign,
                             signal=0.3, ties=ties)  # fmt: skip
        found = leave_one_out_selection(sweep, permutations=120)
        values, outcomes, _ = lists(sweep)
        r, chosen = literal.left_out_data(values, outcomes, sign)
        assert sign * found.r == pytest.approx(sign * r, abs=SCORE)
        assert found.configurations.tolist() == chosen
        under = [
            literal.left_out_data(values, [[row[i] for i in order] for row in outcomes], sign)[0]
            for order in data_set_orders(5, 120, 0)[:: 1 if models == 1 else 120]
        ]
        if models == 1:
            assert found.p == pytest.approx(np.mean([one >= r - 1e-9 for one in under]), abs=SCORE)


def test_with_one_configuration_nothing_is_selected() -> None:
    sweep = random_sweep(np.random.default_rng(7), configurations=1)
    plain = spearman(sweep.values[0, 0], sweep.outcomes[0])
    assert leave_one_out_selection(sweep, permutations=50).r == pytest.approx(plain, abs=SCORE)
    test = max_statistic_test([sweep], permutations=500)[0]
    assert test.p_best == test.p_family == test.p[0]


@pytest.mark.parametrize("sign", [pytest.param(1, marks=pytest.mark.slow), -1])
def test_selection_without_a_model_equals_loops(sign: int) -> None:
    sweep = random_sweep(np.random.default_rng(8), models=4, data_sets=5, sign=sign, alike=0.5)
    found = leave_one_model_out(sweep, permutations=120)
    values, outcomes, _ = lists(sweep)
    r, chosen = literal.left_out_models(values, outcomes, sign)
    assert found.r_by_fold == pytest.approx(r, abs=SCORE)
    assert found.r == pytest.approx(np.mean(r), abs=SCORE)
    assert found.configurations.tolist() == chosen
    under = [
        np.mean(literal.left_out_models(values, [[y[i] for i in o] for y in outcomes], sign)[0])
        for o in data_set_orders(5, 120, 0)
    ]
    assert found.p == pytest.approx(np.mean([one >= found.r - 1e-9 for one in under]), abs=SCORE)


@pytest.mark.slow
def test_p_of_the_best_is_uniform_where_there_is_nothing() -> None:
    rng = np.random.default_rng(10)
    tests: list[tuple[Callable[[Sweep], float], dict[str, int]]] = [
        (lambda s: max_statistic_test([s], permutations=99)[0].p_best, {"models": 1}),
        (lambda s: max_statistic_test([s], permutations=99)[0].p_best, {"models": 3}),
        (lambda s: leave_one_out_selection(s, permutations=99).p, {"models": 2}),
        (lambda s: leave_one_model_out(s, permutations=99).p, {"models": 3}),
    ]
    for p_value, shape in tests:
        p = np.array([p_value(random_sweep(rng, alike=0.7, **shape)) for _ in range(STUDIES)])
        for level in (0.05, 0.2, 0.5):
            slack = SIGMAS * math.sqrt(level * (1 - level) / STUDIES)
            assert abs((p <= level).mean() - level) <= slack


@pytest.mark.slow
def test_family_p_holds_its_level_over_all_models() -> None:
    rng = np.random.default_rng(11)
    least = []
    for _ in range(STUDIES):
        together = random_sweep(rng, models=3, alike=0.7)
        alone = [one_model(together, m) for m in range(3)]
        found = max_statistic_test(alone, permutations=99)
        assert all(test.p_family >= test.p_best for test in found)
        least.append(min(test.p_family for test in found))
    assert abs(np.mean(np.array(least) <= 0.05) - 0.05) <= SIGMAS * math.sqrt(0.05 * 0.95 / STUDIES)


def one_model(sweep: Sweep, m: int) -> Sweep:
    return Sweep(
        **(
            vars(sweep)
            | {
                "models": (sweep.models[m],),
                "layers": sweep.layers[:, m : m + 1],
                "last": sweep.last[m : m + 1],
                "values": sweep.values[m : m + 1],
                "outcomes": sweep.outcomes[m : m + 1],
            }
        )
    )


@pytest.mark.slow
def test_left_out_data_sets_give_no_r_where_there_is_nothing_and_the_best_does() -> None:
    rng = np.random.default_rng(12)
    best, left_out = [], []
    for _ in range(STUDIES):
        sweep = random_sweep(rng, configurations=200)
        best.append(correlations(sweep)[0].max())
        left_out.append(leave_one_out_selection(sweep, permutations=1).r)
    assert np.mean(best) > 0.7
    assert abs(np.mean(left_out)) <= SIGMAS * np.std(left_out) / math.sqrt(STUDIES)


def test_models_left_out_are_optimistic_where_models_are_alike() -> None:
    rng = np.random.default_rng(13)
    mean = {
        alike: np.mean(
            [
                leave_one_model_out(random_sweep(rng, models=3, alike=alike), permutations=1).r
                for _ in range(100)
            ]
        )
        for alike in (0.0, 0.9)
    }
    assert abs(mean[0.0]) < 0.1
    assert mean[0.9] > 0.3


def test_planted_signal_is_found() -> None:
    rng = np.random.default_rng(14)
    p_best, p_left_out = [], []
    for _ in range(50):
        sweep = random_sweep(rng, configurations=100, signal=0.8, sign=-1)
        p_best.append(max_statistic_test([sweep], permutations=199)[0].p_best)
        p_left_out.append(leave_one_out_selection(sweep, permutations=199).p)
    assert np.mean(np.array(p_best) <= 0.05) > 0.6
    assert np.mean(np.array(p_left_out) <= 0.05) > 0.6


def test_orders_begin_with_the_one_found_and_are_all_of_them_where_few() -> None:
    few = data_set_orders(4, 24, 0)
    assert len(np.unique(few, axis=0)) == len(few) == 24
    many = data_set_orders(12, 100, 3)
    assert many.shape == (101, 12)
    for orders in (few, many):
        assert orders[0].tolist() == list(range(orders.shape[1]))
        assert (np.sort(orders, axis=1) == np.arange(orders.shape[1])).all()
    assert (many == data_set_orders(12, 100, 3)).all()


def test_what_cant_be_tested_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="the same data sets"):
        max_statistic_test([random_sweep(rng), random_sweep(rng, data_sets=11)])
    with pytest.raises(DataError, match="the same data sets"):
        max_statistic_test([])
    with pytest.raises(DataError, match="two models"):
        leave_one_model_out(random_sweep(rng))
    with pytest.raises(DataError, match="test nothing"):
        max_statistic_test([random_sweep(rng)], permutations=0)
