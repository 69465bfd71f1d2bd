"""Groups of dependent texts: what meaningless labels fit, against a simulation, and shuffles."""

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ntpscore.core.controls import share_kept, shuffled_labels
from ntpscore.core.grouping import Grouping, adjusted_r2

SIZES = [1] * 200 + [2] * 20 + [3] * 10 + [5] * 8 + [9] * 2


def _groups(sizes: list[int]) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))


def _r2(X: np.ndarray, y: np.ndarray) -> float:
    """Literal least squares with intercept."""
    A = np.column_stack([np.ones(len(X)), X])
    left = y - A @ np.linalg.lstsq(A, y, rcond=None)[0]
    return 1 - float(left @ left) / float((y - y.mean()) @ (y - y.mean()))


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("rank", [5, 60, 200])
def test_chance_r2_is_that_of_meaningless_labels(rank: int, correlation: float) -> None:
    rng = np.random.default_rng(0)
    groups = _groups(SIZES).numpy()
    found = []
    for _ in range(60):
        X = rng.normal(size=(len(SIZES), rank))[groups]
        y = correlation**0.5 * rng.normal(size=len(SIZES))[groups]
        y += (1 - correlation) ** 0.5 * rng.normal(size=len(groups))
        found.append(_r2(X, y))
    counts = torch.tensor(SIZES).unique(return_counts=True)
    sizes = tuple(zip(*(values.tolist() for values in counts), strict=True))
    chance = Grouping(sizes, correlation).chance_r2(rank, len(groups))
    # Five standard errors of the simulated mean, and a hundredth for the equivalent.
    error = float(np.std(found)) / len(found) ** 0.5
    assert abs(np.mean(found) - chance) < 5 * error + 0.01


@given(st.integers(2, 400), st.integers(0, 300))
def test_chance_r2_of_single_texts_is_rank_over_n(n: int, rank: int) -> None:
    expected = min(1.0, rank / (n - 1))
    assert Grouping(((1, n),), 1.0).chance_r2(rank, n) == pytest.approx(expected, abs=1e-9)


@given(st.integers(2, 100), st.integers(1, 9), st.integers(0, 99))
def test_groups_of_one_size_and_label_count_as_one_text_each(G: int, m: int, rank: int) -> None:
    expected = min(1.0, rank / (G - 1))
    chance = Grouping(((m, G),), 1.0).chance_r2(rank, m * G)
    assert chance == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.integers(1, 6), min_size=3, max_size=30), st.floats(0, 1))
def test_chance_r2_rises_with_rank_up_to_one(sizes: list[int], correlation: float) -> None:
    counts = torch.tensor(sizes).unique(return_counts=True)
    grouping = Grouping(tuple(zip(*(v.tolist() for v in counts), strict=True)), correlation)
    chances = [grouping.chance_r2(rank, sum(sizes)) for rank in range(len(sizes))]
    assert all(0 <= a <= b + 1e-9 for a, b in itertools.pairwise(chances))
    assert chances[-1] == 1.0


def test_adjusted_r2_is_ezekiels_and_undefined_where_all_is_fitted() -> None:
    assert adjusted_r2(0.5, 10 / 99) == pytest.approx(1 - 0.5 * 99 / 89)
    assert np.isnan(adjusted_r2(1.0, 1.0))


def test_correlation_is_that_of_labels_in_groups() -> None:
    groups = _groups([4] * 300)
    generator = torch.Generator().manual_seed(0)
    of_group = torch.randint(2, (300,), generator=generator)[groups]
    of_text = torch.randint(2, (1200,), generator=generator)
    for labels, expected in ((of_group, 1.0), (of_text, 0.0)):
        for form in (labels, labels[:, None].double()):
            grouping = Grouping.of(groups, form)
            assert grouping is not None
            assert grouping.correlation == pytest.approx(expected, abs=0.06)
            assert grouping.sizes == ((4, 300),)
    assert Grouping.of(torch.arange(5), torch.tensor([0, 1, 0, 1, 0])) is None


def test_record_is_json_and_comes_back() -> None:
    grouping = Grouping(((1, 5), (3, 2)), 0.25)
    assert Grouping.of_record(json.loads(json.dumps(grouping.record))) == grouping
    assert Grouping.of_record(None) is None


@given(st.lists(st.integers(1, 4), min_size=2, max_size=12), st.integers(0, 50))
def test_groups_with_one_label_each_exchange_it_whatever_their_size(
    sizes: list[int], seed: int
) -> None:
    groups = _groups(sizes)
    labels = groups * 7  # tells the group
    shuffled = labels[shuffled_labels(len(groups), 3, seed, groups, labels)]
    for row in shuffled:
        of_group = [row[groups == g].unique().tolist() for g in range(len(sizes))]
        assert all(len(values) == 1 for values in of_group)
        assert sorted(v for (v,) in of_group) == [7 * g for g in range(len(sizes))]
    assert share_kept(groups, labels) == 0


@given(st.lists(st.integers(1, 4), min_size=2, max_size=12), st.integers(0, 50))
def test_groups_with_several_labels_exchange_rows_of_them_with_groups_of_their_size(
    sizes: list[int], seed: int
) -> None:
    sizes = [2, *sizes]
    groups = _groups(sizes)
    labels = torch.arange(len(groups))
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
    mixed = groups[order]  # members of a group need not be neighbours
    sources = shuffled_labels(len(groups), 3, seed, mixed, labels)
    for source in sources:
        assert sorted(source.tolist()) == labels.tolist()
        for g, size in enumerate(sizes):
            of_group = source[mixed == g]
            assert len(mixed[of_group].unique()) == 1
            assert sizes[int(mixed[of_group][0])] == size
            assert of_group.tolist() == sorted(of_group.tolist())
    alone = sum(size for size in sizes if sizes.count(size) == 1)
    assert share_kept(mixed, labels) == alone / len(groups)


def test_shuffles_without_groups_are_permutations_as_ever() -> None:
    plain = shuffled_labels(30, 4, 7)
    single = torch.arange(30)
    assert torch.equal(shuffled_labels(30, 4, 7, single, single % 2), plain)
    assert torch.equal(shuffled_labels(30, 4, 7, single), plain)


@pytest.mark.slow
@pytest.mark.parametrize("consistent", [True, False])
def test_coin_toss_labels_of_repeated_texts_are_at_chance_of_shuffles(consistent: bool) -> None:
    """z of r2 has mean 0 and deviation 1; by permutations of single texts it does not."""
    rng = np.random.default_rng(1)
    sizes = [1] * 60 + [2] * 15 + [4] * 8 + [6] * 5
    groups = _groups(sizes)
    by_group, by_text = [], []
    for trial in range(60):
        X = rng.normal(size=(len(sizes), 12))[groups.numpy()]
        # Contradictions come in pairs of a text, so that groups have something to exchange.
        labels = rng.integers(2, size=len(sizes))[groups.numpy()]
        if not consistent:
            labels = np.where(np.arange(len(labels)) % 7 == 0, 1 - labels, labels)
        y = torch.from_numpy(labels)
        for z, sources in (
            (by_group, shuffled_labels(len(y), 30, trial, groups, y)),
            (by_text, shuffled_labels(len(y), 30, trial)),
        ):
            shuffled = [_r2(X, y[source].double().numpy()) for source in sources]
            z.append((_r2(X, y.double().numpy()) - np.mean(shuffled)) / np.std(shuffled, ddof=1))
    # The mean of 60 has a standard error of .13, and the estimated deviations add little to it.
    assert abs(np.mean(by_group)) < 0.6
    assert np.std(by_group) < 1.6
    assert np.mean(by_text) > 1.5


def test_correlation_of_classes_is_that_of_their_indicators() -> None:
    rng = torch.Generator().manual_seed(0)
    groups = _groups(SIZES)
    for classes in (1, 2, 7, 400):
        labels = torch.randint(classes, (len(groups),), generator=rng)
        labels = torch.where(torch.rand(len(groups), generator=rng) < 0.5, groups % classes, labels)
        indicators = torch.nn.functional.one_hot(labels, classes).double()
        found, expected = Grouping.of(groups, labels), Grouping.of(groups, indicators)
        assert found.sizes == expected.sizes
        assert found.correlation == pytest.approx(expected.correlation, rel=1e-12)  # rounding
