"""Least squares from moments, and ridge regression, against normal equations and scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeCV

from ntpscore.core.cross_validation import held_out_ridge, solve_ridge, stratified_folds
from ntpscore.core.factored_metric import factor_metric
from ntpscore.core.moments import LayerMoments, Moments
from ntpscore.core.probe import LeastSquares
from ntpscore.core.subspaces import solve_subspaces
from ntpscore.errors import MomentsError
from tests.reference import cases
from tests.reference.adapt import literal
from tests.support.feeding import layer_of
from tests.tolerances import CLOSED_FORM


def features(n: int, d: int, c: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * rng.uniform(0.5, 2, size=d) + rng.normal(size=d)
    return X, X @ rng.normal(size=(d, c)) + rng.normal(size=(n, c)) + 3.0


def moments_of(X: np.ndarray, Y: np.ndarray) -> LayerMoments:
    moments = Moments([0], X.shape[1], Y.shape[1])
    moments.update([torch.from_numpy(X)[:, None]], torch.ones(len(X), 1), torch.from_numpy(Y))
    return moments.layer(0)


@given(seed=st.integers(0, 1000), d=st.integers(1, 6), c=st.integers(1, 3))
def test_weights_equal_those_of_the_normal_equations(seed: int, d: int, c: int) -> None:
    X, Y = features(40, d, c, seed)
    moments = moments_of(X, Y)
    W, b = literal.least_squares(X, Y, 0.0)
    error = ((X @ W + b - Y) ** 2).mean()
    # From the factored N, and anew.
    for fit in (LeastSquares.of(moments), LeastSquares.of(moments, factor_metric(moments.N))):
        np.testing.assert_allclose(fit.weights.numpy(), W, atol=CLOSED_FORM)
        np.testing.assert_allclose(fit.intercept.numpy(), b, atol=CLOSED_FORM)
        assert fit.mse == pytest.approx(error, rel=CLOSED_FORM)
        assert float(fit.r2[0]) == pytest.approx(1 - error / Y.var(0).mean(), abs=CLOSED_FORM)
        assert fit.mse_cross_validated == pytest.approx(
            literal.cross_validated_error(X, Y, 0.0), rel=CLOSED_FORM
        )
        assert fit.rank == d


@pytest.mark.parametrize("shift", [0.0, 1.0, 30.0, 1e3])
def test_what_v_sees_of_a_fit_does_not_hang_on_the_mean(shift: float) -> None:
    moments = layer_of(cases.classification_case(d=12, n=200))
    delta = shift * torch.linspace(1, 0.1, 12, dtype=torch.float64)
    cross = torch.outer(moments.mu, delta)
    shifted = replace(
        moments, mu=moments.mu + delta, M=moments.M + torch.outer(delta, moments.p),
        N=moments.N + cross + cross.T + torch.outer(delta, delta),
        M_shuffled=moments.M_shuffled + delta[:, None] * moments.p_shuffled[:, None],
    )  # fmt: skip
    before, after = (
        LeastSquares.of(of, spaces.N).seen_by(spaces).explained
        for of, spaces in ((of, solve_subspaces(of)) for of in (moments, shifted))
    )
    # N holds the covariance beside the square of the shift.
    tolerance = 1e-14 * max(1.0, shift**2)
    torch.testing.assert_close(after, before, rtol=0, atol=tolerance)


def test_directions_that_never_vary_have_no_weight() -> None:
    X, Y = features(40, 3, 2, 0)
    doubled = np.column_stack([X, X[:, :1], np.ones(40)])
    fit = LeastSquares.of(moments_of(doubled, Y))
    assert fit.rank == 3
    W, b = literal.least_squares(X, Y, 0.0)
    outputs = doubled @ fit.weights.numpy() + fit.intercept.numpy()
    np.testing.assert_allclose(outputs, X @ W + b, atol=1e-7)


def test_more_features_than_texts_leave_nothing_to_cross_validate() -> None:
    X, Y = features(4, 6, 1, 0)
    fit = LeastSquares.of(moments_of(X, Y))
    assert fit.rank == 3
    assert fit.mse < 1e-9
    assert fit.mse_cross_validated == float("inf")
    assert np.isnan(fit.r2_adjusted)
    assert fit.r2_chance == 1.0
    assert np.isnan(replace(fit, moments=replace(fit.moments, n_texts=1)).r2_chance)


def test_features_that_never_vary_are_refused() -> None:
    with pytest.raises(MomentsError, match="second moment is zero"):
        LeastSquares.of(moments_of(np.ones((5, 2)), np.arange(5.0)[:, None]))


@pytest.mark.parametrize("shape", [(40, 7), (15, 15), (12, 30)])
def test_ridge_is_that_of_scikit_learn(shape: tuple[int, int]) -> None:
    X, Y = features(*shape, 2, 0)
    X = np.column_stack([X, np.full(len(X), 7.0)])
    deviations = np.where(X.std(0) > 1e-9, X.std(0), 1.0)
    theirs = Ridge(alpha=0.7).fit(X / deviations, Y)
    weights, mean, scale = (
        one.numpy() for one in solve_ridge(torch.from_numpy(X), torch.from_numpy(Y), 0.7)
    )
    np.testing.assert_allclose(scale, deviations, atol=1e-12)
    np.testing.assert_allclose(weights, theirs.coef_.T, atol=1e-9)
    intercept = Y.mean(0) - mean / scale @ weights
    np.testing.assert_allclose(intercept, theirs.intercept_, atol=1e-8)


@pytest.mark.parametrize("n", [180, 199, 201, 400])
def test_the_penalty_is_as_good_as_scikit_learns_around_n_equal_to_d(n: int) -> None:
    """Where least squares fits all labels, cross-validation must not take the weakest penalty."""
    d, c = 200, 4
    rng = np.random.default_rng(n)
    means = 0.25 * rng.normal(size=(c, d))
    y, y_test = np.arange(n) % c, np.arange(2000) % c
    X, X_test = (means[labels] + rng.normal(size=(len(labels), d)) for labels in (y, y_test))
    Y = np.eye(c)[y]
    groups = torch.arange(n)
    held_out = held_out_ridge(
        torch.from_numpy(X),
        torch.from_numpy(Y),
        stratified_folds(torch.from_numpy(y), groups),
    )
    solved = solve_ridge(torch.from_numpy(X), torch.from_numpy(Y), held_out.penalty)
    weights, mean, scale = (one.numpy() for one in solved)
    ours = (((X_test - mean) / scale @ weights + Y.mean(0)).argmax(1) == y_test).mean()
    theirs = RidgeCV(held_out.penalties.numpy()).fit(X / X.std(0), Y)
    reached = (theirs.predict(X_test / X.std(0)).argmax(1) == y_test).mean()
    weakest = Ridge(1e-9).fit(X, Y)
    # As good as leaving single texts out, within three standard errors of 2,000 test texts.
    assert ours > reached - 0.03
    if n < 250:
        assert ours > (weakest.predict(X_test).argmax(1) == y_test).mean() + 0.1
