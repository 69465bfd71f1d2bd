"""Logistic regression: what scikit-learn says on the same features."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntpscore import LanguageModel
from ntpscore.adapt import LogisticConfig, fit_logistic, load_adapt_result
from ntpscore.adapt import logistic as logistic_module
from ntpscore.adapt.logistic import LBFGS, SAGA, fit_classes, fit_label
from ntpscore.adapt.result import STAGES
from ntpscore.clock import Clock
from ntpscore.errors import NtpscoreError
from ntpscore.reading.features import Place, collect_features
from ntpscore.reading.tokens import tokenize
from ntpscore.text import Splits


def test_both_fits_equal_those_of_scikit_learn(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    result = fit_logistic(tiny, splits.train, splits.test, folder=tmp_path)
    X, X_test = (
        collect_features(
            tiny, text.texts, tokenize(text.texts, tiny, None), [Place(3)], batch_tokens=4096,
            clock=Clock(STAGES),
        ).get(3).numpy()
        for text in splits
    )  # fmt: skip
    solvers = {
        "saga": LogisticRegression(solver="saga", tol=0.01, max_iter=1000, random_state=0),
        "lbfgs": LogisticRegression(tol=1e-6, max_iter=10_000),
    }
    fits = {
        name: make_pipeline(StandardScaler(), solver).fit(X, splits.train.labels)
        for name, solver in solvers.items()
    }
    converged = result.record["converged"]
    # One text more or less may lie on the border, since the features are scaled in float32 here.
    assert result.train.accuracy == pytest.approx(
        fits["saga"].score(X, splits.train.labels), abs=0.0051
    )
    assert result.test.accuracy == pytest.approx(
        fits["saga"].score(X_test, splits.test.labels), abs=0.0201
    )
    assert converged["test"]["accuracy"] == pytest.approx(
        fits["lbfgs"].score(X_test, splits.test.labels), abs=0.0201
    )
    probabilities = fits["lbfgs"].predict_proba(X)
    loss = -np.log(probabilities[np.arange(200), splits.train.labels]).mean()
    assert converged["train"]["loss"] == pytest.approx(loss, rel=1e-3)
    assert converged["converged"]
    # Stopped early it fits the texts no better.
    assert result.train.loss >= converged["train"]["loss"]
    assert load_adapt_result(tmp_path).record == result.record
    assert result.record["layers"] == [3]


def test_two_classes_have_two_columns(tiny: LanguageModel, splits: Splits) -> None:
    labels = (splits.train.labels > 0).astype(int)
    X = np.random.default_rng(0).normal(size=(200, 3)) + labels[:, None]
    fit = fit_classes(LBFGS, X, labels, 2, LogisticConfig())
    twin = LogisticRegression(tol=1e-6).fit(X, labels)
    odds = np.exp(X @ fit.weights + fit.intercept)
    odds /= odds.sum(1, keepdims=True)
    np.testing.assert_allclose(odds, twin.predict_proba(X), atol=1e-6)


def test_a_class_without_texts_is_never_said(splits: Splits) -> None:
    X = np.random.default_rng(0).normal(size=(200, 3))
    labels = (splits.train.labels > 0) * 2
    fit = fit_classes(LBFGS, X, labels, 3, LogisticConfig())
    assert set((X @ fit.weights + fit.intercept).argmax(1)) <= {0, 2}


def test_labels_are_fitted_one_by_one(tiny: LanguageModel, multilabel: Splits) -> None:
    config = LogisticConfig(layer=0)
    result = fit_logistic(tiny, multilabel.train, multilabel.test, config=config)
    assert result.test.accuracy > result.test.majority_accuracy
    assert set(result.predictions.columns) >= {"label the", "predicted the"}


def test_a_label_that_never_varies_has_the_odds_of_its_frequency() -> None:
    X = np.zeros((9, 2))
    fit = fit_label(SAGA, X, np.ones(9), LogisticConfig())
    np.testing.assert_allclose(X @ fit.weights + fit.intercept, np.log(9.5 / 0.5))


def test_a_fit_that_does_not_converge_says_so(
    tiny: LanguageModel, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logistic_module, "LBFGS", {**LBFGS, "max_iter": 2})
    result = fit_logistic(tiny, splits.train, None)
    assert not result.record["converged"]["converged"]
    assert any("did not converge" in warning for warning in result.record["warnings"])
    assert result.test is None
    assert result.predictions is None


def test_same_seed_same_result(tiny: LanguageModel, splits: Splits) -> None:
    one, other = (fit_logistic(tiny, splits.train, splits.test) for _ in range(2))
    assert one.test == other.test
    assert one.train == other.train


def test_bad_input(tiny: LanguageModel, regression: Splits) -> None:
    with pytest.raises(NtpscoreError, match="--method ols"):
        fit_logistic(tiny, regression.train, None)
    for nonsense in ({"C": 0.0}, {"batch_tokens": 0}, {"seed": -1}):
        with pytest.raises(NtpscoreError):
            LogisticConfig(**nonsense)
