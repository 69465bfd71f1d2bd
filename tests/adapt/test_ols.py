"""Least squares in closed form against the normal equations and scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from ntpscore import LanguageModel, ScoreConfig, score
from ntpscore.adapt import OlsConfig, fit_ols, load_adapt_result
from ntpscore.adapt.head import LinearHead
from ntpscore.adapt.ols import accumulate, solve_least_squares
from ntpscore.core.moments import LayerMoments, Moments
from ntpscore.errors import ModelError, MomentsError, NtpscoreError
from ntpscore.text import Splits
from tests.reference.adapt import literal
from tests.tolerances import CLOSED_FORM, LEAST_SQUARES


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
    fit = solve_least_squares(moments_of(X, Y))
    W, b = literal.least_squares(X, Y, 0.0)
    np.testing.assert_allclose(fit.weights.numpy(), W, atol=CLOSED_FORM)
    np.testing.assert_allclose(fit.intercept.numpy(), b, atol=CLOSED_FORM)
    error = ((X @ W + b - Y) ** 2).mean()
    assert fit.mse == pytest.approx(error, rel=CLOSED_FORM)
    assert fit.r2 == pytest.approx(1 - error / Y.var(0).mean(), abs=CLOSED_FORM)
    assert fit.gcv == pytest.approx(literal.cross_validated_error(X, Y, 0.0), rel=CLOSED_FORM)
    assert fit.rank == d
    assert fit.ridge == 0.0
    head = LinearHead(0, fit.weights, fit.intercept)
    np.testing.assert_allclose(head.outputs(torch.from_numpy(X)), X @ W + b, atol=CLOSED_FORM)


@pytest.mark.parametrize("seed", range(3))
def test_ridge_is_the_best_by_generalised_cross_validation(seed: int) -> None:
    X, Y = features(15, 10, 2, seed)
    fit = solve_least_squares(moments_of(X, Y), ridge=True)
    assert fit.gcv == pytest.approx(literal.cross_validated_error(X, Y, fit.ridge), rel=1e-8)
    for factor in (0.3, 0.56, 1.8, 3.2):
        assert literal.cross_validated_error(X, Y, factor * fit.ridge) >= fit.gcv * (1 - 1e-9)
    sklearn = Ridge(alpha=15 * fit.ridge).fit(X, Y)
    np.testing.assert_allclose(fit.weights.numpy(), sklearn.coef_.T, atol=1e-8)
    np.testing.assert_allclose(fit.intercept.numpy(), sklearn.intercept_, atol=1e-8)
    assert fit.mse == pytest.approx(((sklearn.predict(X) - Y) ** 2).mean(), rel=1e-8)
    assert 0 < fit.degrees_of_freedom < 10


def test_directions_that_never_vary_have_no_weight() -> None:
    X, Y = features(40, 3, 2, 0)
    doubled = np.column_stack([X, X[:, :1], np.ones(40)])
    fit = solve_least_squares(moments_of(doubled, Y))
    assert fit.rank == 3
    W, b = literal.least_squares(X, Y, 0.0)
    head = LinearHead(0, fit.weights, fit.intercept)
    np.testing.assert_allclose(head.outputs(torch.from_numpy(doubled)), X @ W + b, atol=1e-7)


def test_more_features_than_texts_leave_nothing_to_cross_validate() -> None:
    X, Y = features(4, 6, 1, 0)
    fit = solve_least_squares(moments_of(X, Y))
    assert fit.rank == 3
    assert fit.mse < 1e-9
    assert fit.gcv == float("inf")


def test_fit_ols_reports_every_layer_and_the_best_on_top(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    result = fit_ols(tiny, splits.train, splits.test, folder=tmp_path / "out")
    rows = result.record["fits"]
    assert [row["layer"] for row in rows] == [0, 1, 2, 3]
    assert result.test is not None
    assert result.train is not None
    assert result.train.accuracy > result.train.majority_accuracy
    (best,) = (row for row in rows if row["layer"] == result.record["best_layer"])
    assert result.test.accuracy == best["test"]["accuracy"]
    assert result.record["layer"] == result.readout.head.layer == best["layer"]
    assert result.test.accuracy_interval is not None
    for row in rows:
        # Closed forms and outputs say the same.
        assert row["mse"] == pytest.approx(row["train"]["mse"], rel=1e-6)
        assert row["r2"] == pytest.approx(row["train"]["r2"], abs=1e-6)
    assert result.record["best_layer"] == min(rows, key=lambda row: row["gcv"])["layer"]
    assert len(result.predictions) == 50
    right = (result.predictions["label"] == result.predictions["predicted"]).mean()
    assert right == pytest.approx(result.test.accuracy)
    loaded = load_adapt_result(tmp_path / "out")
    assert loaded.record == result.record
    assert loaded.loss_curve.empty


def test_fit_ols_agrees_with_score(tiny: LanguageModel, splits: Splits) -> None:
    scores = score(tiny, splits.train, config=ScoreConfig(shuffles=0))
    result = fit_ols(tiny, splits.train, None)
    for ours, theirs in zip(result.record["fits"], scores.record["layers"], strict=True):
        # Means of tokens are float32 here, sums of float64 there.
        assert ours["r2"] == pytest.approx(theirs["r2"], abs=1e-4)
        assert ours["mse"] == pytest.approx(theirs["ols_mse"], abs=1e-4)
    again = fit_ols(tiny, splits.train, splits.test, moments=scores.moments)
    assert again.train.accuracy is None
    for ours, theirs in zip(again.record["fits"], scores.record["layers"], strict=True):
        assert ours["r2"] == pytest.approx(theirs["r2"], abs=LEAST_SQUARES)
    assert again.test.accuracy is not None


def test_moments_of_something_else_are_refused(tiny: LanguageModel, splits: Splits) -> None:
    with pytest.raises(MomentsError, match="score the same model and texts"):
        fit_ols(tiny, splits.train, None, moments=Moments([3], 32, 3))


def test_regression_and_multilabel(
    tiny: LanguageModel, regression: Splits, multilabel: Splits
) -> None:
    config = OlsConfig(layers=(1,), ridge=True)
    result = fit_ols(tiny, regression.train, regression.test, config=config)
    assert result.test.accuracy is None
    assert result.test.r2 > 0.2
    assert result.record["fits"][0]["ridge"] > 0
    # In the units of the data.
    lengths = np.array([len(text) / 7 for text in regression.test.texts])
    np.testing.assert_allclose(result.predictions["label label"], lengths)
    result = fit_ols(tiny, multilabel.train, multilabel.test, config=config)
    assert result.test.accuracy > result.test.majority_accuracy
    assert {"label the", "predicted the"} <= set(result.predictions.columns)


def test_accumulate_in_parts_equals_at_once(
    splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    whole = accumulate(X, splits.train, 2)
    monkeypatch.setattr("ntpscore.adapt.ols.TEXTS_AT_ONCE", 7)
    parts = accumulate(X, splits.train, 2)
    torch.testing.assert_close(parts.N, whole.N, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts.M, whole.M, rtol=1e-12, atol=1e-12)
    assert parts.n_texts == 200


def test_few_texts_warn_and_nonsense_is_refused(tiny: LanguageModel, splits: Splits) -> None:
    from ntpscore.text import hold_out_texts

    few = hold_out_texts(splits.train, 0.9, 0).train
    result = fit_ols(tiny, few, None, config=OlsConfig(layers=(2,)))
    # No layer is better than another where all fit anything.
    assert result.record["best_layer"] is None
    assert any("say nothing" in warning for warning in result.record["warnings"])
    with pytest.raises(ModelError, match="--layer 4 out of range"):
        fit_ols(tiny, few, None, config=OlsConfig(layers=(4,)))
    with pytest.raises(NtpscoreError, match="layers"):
        OlsConfig(layers=())
    with pytest.raises(NtpscoreError, match="batch_tokens"):
        OlsConfig(batch_tokens=0)
