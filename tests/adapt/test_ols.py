"""Least squares in closed form against the normal equations and scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ntpscore import LanguageModel, ScoreConfig, score
from ntpscore.adapt import OlsConfig, fit_ols, load_adapt_result
from ntpscore.adapt.ols import accumulate
from ntpscore.core.moments import Moments
from ntpscore.errors import ModelError, MomentsError, NtpscoreError
from ntpscore.text import Splits
from tests.tolerances import LEAST_SQUARES


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
    assert (
        result.record["best_layer"]
        == min(rows, key=lambda row: row["cross_validated_mse"])["layer"]
    )
    assert len(result.predictions) == 50
    right = (result.predictions["label"] == result.predictions["predicted"]).mean()
    assert right == pytest.approx(result.test.accuracy)
    loaded = load_adapt_result(tmp_path / "out")
    assert loaded.record == result.record
    assert loaded.loss_curve.empty


def test_fit_ols_agrees_with_score(tiny: LanguageModel, splits: Splits) -> None:
    scores = score(tiny, splits.train, config=ScoreConfig(shuffles=0, feature_texts=0))
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
    assert result.record["fits"][0]["penalty"] > 0
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
