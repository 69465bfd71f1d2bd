"""Chance levels and shuffles."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ntpscore.core.controls import interpolate, retained_chance, shuffled_labels
from tests.reference import scores
from tests.tolerances import SCORE, SIGMAS

EQUIVALENT = 0.02
"""What the deterministic equivalent may be off at d = 50: its error falls as one over the number of
directions that share k, and is largest for the first few k on a steep spectrum. Measured: 0.01."""


def chance_of(N: Tensor, M: Tensor, k: Tensor) -> Tensor:
    fit = (M * (torch.linalg.pinv(N, rtol=1e-13, hermitian=True) @ M)).sum()
    return retained_chance(N, M, float(fit), k)


@pytest.mark.parametrize(
    "decay", [1.0, *(pytest.param(decay, marks=pytest.mark.slow) for decay in (0.0, 0.5, 2.0))]
)
def test_retained_chance_equals_random_directions(decay: float) -> None:
    d, draws = 50, 150
    rng = np.random.default_rng(0)
    spread = np.arange(1, d + 1.0) ** -decay
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    N = turn @ np.diag(spread) @ turn.T
    # Labels that use every direction alike, and labels that use the largest only.
    for signal in (np.sqrt(spread), spread):
        M = turn @ (signal[:, None] * rng.standard_normal((d, 3)))
        k = torch.tensor([1, 3, 10, 25, 40, 49])
        found = chance_of(torch.from_numpy(N), torch.from_numpy(M), k)
        for value, columns in zip(found.tolist(), k.tolist(), strict=True):
            zeros = np.zeros(d), np.zeros(3)
            sampled = scores.retained_chance(N, M, *zeros, columns, rng=rng, draws=draws)
            off = abs(value - sampled.value)
            assert off < EQUIVALENT + SIGMAS * sampled.standard_error, columns


def test_retained_chance_of_equal_variances_is_the_share_of_directions() -> None:
    M = torch.randn(30, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    k = torch.arange(0, 31)
    found = chance_of(torch.eye(30).double(), M, k)
    torch.testing.assert_close(found, k / 30.0, rtol=0, atol=1e-4, check_dtype=False)


@pytest.mark.parametrize("rank", [3, 12])
def test_retained_chance_runs_from_nothing_to_all(rank: int) -> None:
    generator = torch.Generator().manual_seed(rank)
    features = torch.randn(12, rank, generator=generator, dtype=torch.float64)
    N = features @ features.T
    M = features @ torch.randn(rank, 2, generator=generator, dtype=torch.float64)
    found = chance_of(N, M, torch.arange(0, 13))
    assert found[0] == 0
    assert bool((found.diff() >= 0).all())
    # Ridges end at a ten-thousandth of the smallest eigenvalue.
    assert bool((found[rank:] > 1 - 1e-3).all())
    assert bool((found[1:rank] < 1).all())
    assert bool((found <= 1).all())


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e6])
def test_retained_chance_where_a_large_mean_was_taken_off(mean: float) -> None:
    """Rounding then leaves eigenvalues that are far below zero."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(15, 40, generator=generator, dtype=torch.float64) + mean
    Y = torch.randn(15, 2, generator=generator, dtype=torch.float64)
    mu = X.mean(0)
    N, M = X.T @ X / 15 - torch.outer(mu, mu), X.T @ (Y - Y.mean(0)) / 15
    N = (N + N.T) / 2
    values = torch.linalg.eigvalsh(N)
    assert not mean or float(values[0]) < -1e-15 * mean**2
    found = retained_chance(N, M, float((Y - Y.mean(0)).square().sum()) / 15, torch.arange(0, 41))
    assert found[0] == 0
    assert bool((found.diff() >= 0).all())
    assert float(found[-1]) > 1 - 1e-3


def test_retained_chance_without_any_fit_is_not_a_number() -> None:
    for N in (torch.eye(3).double(), torch.zeros(3, 3).double()):
        found = chance_of(N, torch.zeros(3, 2).double(), torch.tensor([1, 2]))
        assert bool(found.isnan().all())


INTERPOLATION = 1e-3
"""What 128 ridges over the whole spectrum, with straight lines between them, may be off. Measured:
below 3e-4."""


def literal_equivalents(N: np.ndarray, M: np.ndarray, ks: list[int]) -> list[float]:
    """The fits of the ridge regressions with k degrees of freedom, each ridge by bisection."""
    values, vectors = np.linalg.eigh(N)
    seen = values > 1e-13 * values[-1]
    values, power = values[seen], np.square(vectors[:, seen].T @ M).sum(1)
    fits = []
    for k in ks:
        low, high = -30.0, 30.0
        for _ in range(200):
            middle = (low + high) / 2
            if (values / (values + 10.0**middle)).sum() > k:
                low = middle
            else:
                high = middle
        fit = (power / (values + 10.0**low)).sum() / (power / values).sum()
        fits.append(float(fit) if k < len(values) else 1.0)
    return fits


@pytest.mark.parametrize("decades", [0, 2, 4, 8])
@pytest.mark.parametrize("labels", ["all", "largest", "smallest", "dependent"])
@pytest.mark.parametrize("rank", [70, 40])
def test_retained_chance_equals_one_ridge_regression_per_k(
    decades: int, labels: str, rank: int
) -> None:
    d = 70
    rng = np.random.default_rng(decades)
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0][:, :rank]
    values = np.logspace(2, 2 - decades, rank)
    N = (turn * values) @ turn.T
    size = {"largest": values, "smallest": values**0.25}.get(labels, np.sqrt(values))
    M = turn @ (size[:, None] * rng.standard_normal((rank, 3)))
    if labels == "dependent":
        M[:, 2] = -M[:, 0] - M[:, 1]
    k = torch.arange(1, d + 1)
    judge = literal_equivalents(N, M, k.tolist())
    found = chance_of(torch.from_numpy((N + N.T) / 2), torch.from_numpy(M), k)
    np.testing.assert_allclose(found.numpy(), judge, rtol=0, atol=INTERPOLATION)


def test_interpolate_starts_at_the_origin_and_ends_flat() -> None:
    knots, heights = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([10.0, 20.0, 0.0])
    x = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 9.0])
    found = interpolate(x, knots, heights)
    assert found.tolist() == [0.0, 5.0, 10.0, 15.0, 20.0, 10.0, 0.0, 0.0]


@given(
    knots=st.lists(st.floats(0.01, 100), min_size=1, max_size=6, unique=True),
    x=st.lists(st.floats(0, 200), min_size=1, max_size=6),
    seed=st.integers(0, 100),
)
def test_interpolate_equals_numpy(knots: list[float], x: list[float], seed: int) -> None:
    knots = sorted(knots)
    heights = np.random.default_rng(seed).standard_normal(len(knots))
    judge = np.interp(x, [0.0, *knots], [0.0, *heights])
    found = interpolate(*(torch.tensor(v, dtype=torch.float64) for v in (x, knots)),
                        torch.from_numpy(heights))  # fmt: skip
    np.testing.assert_allclose(found.numpy(), judge, rtol=0, atol=SCORE * 10)


@given(n=st.integers(1, 40), shuffles=st.integers(0, 5), seed=st.integers(0, 1000))
def test_shuffled_labels_are_permutations(n: int, shuffles: int, seed: int) -> None:
    found = shuffled_labels(n, shuffles, seed)
    assert found.shape == (shuffles, n)
    assert found.dtype == torch.long
    for row in found.tolist():
        assert sorted(row) == list(range(n))


def test_shuffled_labels_hang_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = shuffled_labels(100, 4, 7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(shuffled_labels(100, 4, 7), one)
    assert not torch.equal(shuffled_labels(100, 4, 8), one)
    # More shuffles begin with the same ones, and no two are equal.
    assert torch.equal(shuffled_labels(100, 6, 7)[:4], one)
    assert len({tuple(row) for row in one.tolist()}) == 4
