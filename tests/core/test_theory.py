"""Theorem 1's maps and losses against loops over texts, Theorem 2's bounds against fits."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ntpscore.core.moments import LayerMoments
from ntpscore.core.probe import LeastSquares
from ntpscore.core.subspaces import Subspaces, solve_subspaces
from ntpscore.core.theory import solve_losses
from tests.reference import cases, theory
from tests.reference import moments as literal
from tests.reference.cases import Case
from tests.support.feeding import layer_of, metric_condition
from tests.tolerances import LEAST_SQUARES, ROUNDING_SLACK, SCORE, conditioned

REGULAR = cases.regular_cases()
LARGE = cases.large_direction_cases()
SINGULAR = cases.singular_cases()


def named(chosen: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", chosen, ids=[case.name for case in chosen])


def losses_of_every_k(moments: LayerMoments, spaces: Subspaces) -> SimpleNamespace:
    """The losses as (m,) tensors; that of the probe knows no k."""
    losses = [solve_losses(moments, spaces, k) for k in range(1, spaces.V.shape[1] + 1)]
    assert [of_k.k for of_k in losses] == list(range(1, len(losses) + 1))
    by_name = {
        name: torch.tensor([getattr(of_k, name) for of_k in losses], dtype=torch.float64)
        for name in ("next_token", "excess", "excess_lower", "excess_upper")
    }
    half = solve_losses(moments, spaces)
    assert half == losses[half.k - 1]
    assert half.k == (len(losses) + 1) // 2
    return SimpleNamespace(probe=losses[0].probe, **by_name)


@named(REGULAR)
def test_theorem1_losses_equal_loops_over_texts(case: Case) -> None:
    moments = layer_of(case)
    spaces = solve_subspaces(moments)
    losses = losses_of_every_k(moments, spaces)
    assert losses.next_token.shape == (case.d,)
    for k in (1, 3, 5):
        V = spaces.V[:, :k].numpy()
        W = theory.next_token_weights(moments.C0.numpy(), moments.C1.numpy(), V)
        assert float(losses.next_token[k - 1]) == pytest.approx(
            theory.next_token_loss_from_texts(case.texts, V, W), rel=LEAST_SQUARES
        )
    U = spaces.U.numpy()
    Z = theory.label_weights(moments.N.numpy(), moments.M.numpy(), U)
    assert losses.probe == pytest.approx(
        theory.label_loss_from_texts(case.texts, case.Y, U, Z), rel=LEAST_SQUARES
    )


@named([*REGULAR, *LARGE, *SINGULAR])
def test_the_probes_fits_give_the_same_excess_without_a_basis_of_their_own(case: Case) -> None:
    moments = layer_of(case)
    spaces = solve_subspaces(moments)
    fits = LeastSquares.of(moments, spaces.N).seen_by(spaces)
    size = float(moments.YY.trace())
    for k in range(1, spaces.V.shape[1] + 1):
        found = solve_losses(moments, spaces, k, fits)
        alone = solve_losses(moments, spaces, k)
        tolerance = conditioned(metric_condition(moments))
        assert found.excess == pytest.approx(alone.excess, rel=0, abs=tolerance * size)
        assert replace(found, excess=0.0) == replace(alone, excess=0.0)


def test_theorem1_losses_cannot_be_improved() -> None:
    case = REGULAR[0]
    moments = layer_of(case)
    spaces = solve_subspaces(moments)
    losses = losses_of_every_k(moments, spaces)
    V, U = spaces.V[:, :3].numpy(), spaces.U.numpy()
    W = theory.next_token_weights(moments.C0.numpy(), moments.C1.numpy(), V)
    Z = theory.label_weights(moments.N.numpy(), moments.M.numpy(), U)
    rng = np.random.default_rng(0)
    for _ in range(10):
        worse = W + 0.01 * rng.standard_normal(W.shape)
        assert theory.next_token_loss_from_texts(case.texts, V, worse) > float(losses.next_token[2])
        worse = Z + 0.01 * rng.standard_normal(Z.shape)
        assert theory.label_loss_from_texts(case.texts, case.Y, U, worse) > losses.probe


def test_labels_without_signal_lose_nothing() -> None:
    moments = layer_of(REGULAR[0])
    moments = replace(moments, M=torch.zeros_like(moments.M))
    losses = losses_of_every_k(moments, solve_subspaces(moments))
    assert losses.probe == pytest.approx(float(moments.YY.trace()))
    for of_k in (losses.excess, losses.excess_lower, losses.excess_upper):
        assert not of_k.any()


@named([*REGULAR, *LARGE])
def test_excess_loss_equals_two_fits_for_every_k(case: Case) -> None:
    moments = layer_of(case)
    spaces = solve_subspaces(moments)
    losses = losses_of_every_k(moments, spaces)
    assert losses.excess.shape == (case.d,)
    features = literal.pooled_features(case.texts)
    U, V, Q = (basis.numpy() for basis in (spaces.U, spaces.V, spaces.Q))
    power = float(moments.YY.trace())
    tolerance = max(LEAST_SQUARES, conditioned(metric_condition(moments))) * power
    for k in range(1, case.d + 1):
        # Q_k spans what V_k spans, and lstsq copes with it.
        fits = theory.excess_loss_from_features(features, case.Y, U, Q[:, :k])
        assert float(losses.excess[k - 1]) == pytest.approx(fits, abs=tolerance)
        formula = theory.excess_loss(moments.N.numpy(), U, spaces.labels.values.numpy(), V[:, :k])
        assert float(losses.excess[k - 1]) == pytest.approx(formula, abs=tolerance)


@named([*REGULAR, *LARGE])
def test_theorem2_bounds_equal_literal_ones(case: Case) -> None:
    moments = layer_of(case)
    spaces = solve_subspaces(moments)
    losses = losses_of_every_k(moments, spaces)
    U, V = spaces.U.numpy(), spaces.V.numpy()
    tolerance = 10 * conditioned(metric_condition(moments))
    for k in range(1, case.d + 1):
        judge = theory.theorem2_bounds(moments.N.numpy(), U, spaces.labels.values.numpy(), V[:, :k])
        scale = float(losses.excess_upper[0])
        assert float(losses.excess_lower[k - 1]) == pytest.approx(
            judge.lower, abs=tolerance * scale
        )
        assert float(losses.excess_upper[k - 1]) == pytest.approx(
            judge.upper, abs=tolerance * scale
        )


def assert_bounds_hold(case: Case) -> None:
    moments = layer_of(case)
    losses = losses_of_every_k(moments, solve_subspaces(moments))
    power = float(moments.YY.trace())
    slack = (ROUNDING_SLACK + conditioned(metric_condition(moments))) * power
    assert bool((losses.excess_lower - slack <= losses.excess).all())
    assert bool((losses.excess <= losses.excess_upper + slack).all())
    assert bool((losses.excess_lower >= 0).all())
    assert bool((losses.excess.diff() <= slack).all())


@named([*REGULAR, *LARGE, *cases.ill_conditioned_cases(), *SINGULAR])
def test_theorem2_bounds_hold(case: Case) -> None:
    assert_bounds_hold(case)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), d=st.integers(2, 9), t=st.integers(1, 5))
def test_theorem2_bounds_hold_for_random_targets(seed: int, d: int, t: int) -> None:
    assert_bounds_hold(cases.regression_case(seed=seed, d=d, n=60, t=t))


def test_theorem2_bounds_meet_where_metric_and_fit_are_flat() -> None:
    """Texts ±2e_i twice over: N = I, and labels that use every direction alike."""
    d = 4
    tokens = 2.0 * np.vstack([np.eye(d), -np.eye(d)])
    texts = [np.column_stack([x, x]) for x in tokens]
    case = Case("flat", texts, tokens[:, :2], None)
    moments = layer_of(case)
    torch.testing.assert_close(moments.N, torch.eye(d).double(), rtol=0, atol=SCORE)
    losses = losses_of_every_k(moments, solve_subspaces(moments))
    torch.testing.assert_close(losses.excess_lower, losses.excess_upper, rtol=0, atol=SCORE)
    torch.testing.assert_close(losses.excess, losses.excess_upper, rtol=0, atol=SCORE)


@named(SINGULAR)
def test_excess_loss_with_singular_metrics_equals_two_fits(case: Case) -> None:
    moments = layer_of(case)
    spaces = solve_subspaces(moments)
    losses = losses_of_every_k(moments, spaces)
    assert not losses.excess_lower.any()
    features = literal.pooled_features(case.texts)
    for k in range(1, spaces.V.shape[1] + 1):
        fits = theory.excess_loss_from_features(
            features, case.Y, spaces.U.numpy(), spaces.Q[:, :k].numpy()
        )
        assert float(losses.excess[k - 1]) == pytest.approx(fits, abs=1e-8)


@pytest.mark.parametrize("of_prefixes", ["all", "most"])
@pytest.mark.parametrize("of_means", ["all", "most"])
def test_excess_loss_where_the_metrics_see_different_directions(
    of_prefixes: str, of_means: str
) -> None:
    """Where both see most directions they are as many, but others."""
    plain = layer_of(REGULAR[0])

    def projector(seen: str, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        n_seen = plain.width if seen == "all" else plain.width - 2
        columns = torch.randn(plain.width, n_seen, generator=generator, dtype=torch.float64)
        Q = torch.linalg.qr(columns).Q
        return Q @ Q.T

    P, R = projector(of_prefixes, 0), projector(of_means, 1)
    moments = replace(plain, C0=P @ plain.C0 @ P, C1=P @ plain.C1, N=R @ plain.N @ R, M=R @ plain.M)
    N, M = moments.N.numpy(), moments.M.numpy()
    spaces = solve_subspaces(moments)
    losses = losses_of_every_k(moments, spaces)
    assert len(losses.excess) == spaces.V.shape[1]
    tolerance = conditioned(metric_condition(moments)) * float(plain.YY.trace())
    everything = np.trace(M.T @ np.linalg.pinv(N, rcond=1e-10, hermitian=True) @ M)
    for k, exact in enumerate(losses.excess.tolist(), 1):
        Q = spaces.Q[:, :k].numpy()
        inverse = np.linalg.pinv(Q.T @ N @ Q, rcond=1e-10, hermitian=True)
        kept = np.trace(M.T @ Q @ inverse @ Q.T @ M)
        assert exact == pytest.approx(everything - kept, abs=tolerance)
