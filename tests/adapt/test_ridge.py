"""Ridge regression against scikit-learn, and what it chooses."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntpscore import LanguageModel
from ntpscore.adapt import RidgeConfig, fit_ridge, load_adapt_result, ridge
from ntpscore.adapt.ridge import cross_validate, fit_sharpness, make_head
from ntpscore.errors import ModelError, MomentsError, NtpscoreError
from ntpscore.reading.features import Place, collect_features
from ntpscore.text import LabelledText, Splits, hold_out_texts, load_text
from tests.tolerances import CLOSED_FORM

PLACE = Place(2, "last")


def features(n: int, d: int, c: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, generator=generator, dtype=torch.float64)
    X = X * torch.linspace(0.1, 5, d) + torch.linspace(-3, 3, d)
    Y = X @ torch.randn(d, c, generator=generator, dtype=torch.float64)
    return X, Y + torch.randn(n, c, generator=generator, dtype=torch.float64) + 2.0


@pytest.mark.parametrize(("n", "d"), [(40, 6), (6, 6), (7, 30), (2, 5)])
@pytest.mark.parametrize("penalty", [0.3, 50.0])
def test_the_head_is_scikit_learns_ridge_on_standardised_features(
    n: int, d: int, penalty: float
) -> None:
    X, Y = features(n, d, 3)
    head = make_head(X, Y, penalty, PLACE)
    twin = make_pipeline(StandardScaler(), Ridge(alpha=penalty)).fit(X.numpy(), Y.numpy())
    other = features(9, d, 3, seed=1)[0]
    np.testing.assert_allclose(head.outputs(other), twin.predict(other.numpy()), atol=CLOSED_FORM)
    np.testing.assert_allclose(head.weights.T, twin[-1].coef_, atol=CLOSED_FORM)
    assert head.place == PLACE
    assert head.kind == "targets"


def test_features_that_never_vary_have_no_weight() -> None:
    X, Y = features(20, 4, 1)
    X[:, 1], X[:, 2] = 7.0, 0.0
    head = make_head(X, Y, 1.0, PLACE)
    np.testing.assert_array_equal(head.weights[1:3], 0.0)
    twin = make_pipeline(StandardScaler(), Ridge(alpha=1.0)).fit(X.numpy(), Y.numpy())
    np.testing.assert_allclose(head.outputs(X), twin.predict(X.numpy()).reshape(-1, 1), atol=1e-9)


def test_the_place_that_tells_most_of_labels_is_chosen() -> None:
    X, Y = features(60, 5, 2)
    noise = torch.randn(60, 5, generator=torch.Generator().manual_seed(9))
    folds = torch.arange(60) % 10
    of_place = {Place(0, "mean"): noise, Place(1, "mean"): X, Place(1, "last"): torch.ones(60, 5)}
    candidates = cross_validate(of_place, Y, folds, None)
    # Constant features, such as the embedding of a full stop at every end, are no candidate.
    assert [candidate.place for candidate in candidates] == [Place(0, "mean"), Place(1, "mean")]
    assert candidates[1].held_out.r2 > 0.8
    assert candidates[0].held_out.r2 < 0.2
    with pytest.raises(MomentsError, match="no feature varies"):
        cross_validate({Place(1, "last"): torch.ones(60, 5)}, Y, folds, None)
    (only,) = cross_validate({Place(1, "mean"): X}, Y, folds, 3.0)
    assert only.held_out.penalty == 3.0


def test_sharpness_has_the_least_loss() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=300)
    targets = np.eye(4)[labels]
    # Logits of known sharpness, shrunk as ridge regression shrinks: 5 brings them back.
    logits = np.log(0.6 * targets + 0.1) + rng.gumbel(size=(300, 4)) * 0.05
    found = fit_sharpness(logits / 5, targets, "classification")

    def loss(sharpness: float) -> float:
        z = sharpness * logits / 5
        return float(-(z[np.arange(300), labels] - np.log(np.exp(z).sum(1))).mean())

    assert all(loss(found) <= loss(found * factor) for factor in (0.5, 0.9, 1.1, 2.0))
    assert fit_sharpness(logits, targets, "regression") is None
    # Right each time: as sharp as it may be, and finite.
    assert 500 < fit_sharpness(targets, targets, "multilabel") <= 1000


def test_fit_ridge_chooses_inside_the_train_split(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    result = fit_ridge(tiny, *splits, folder=tmp_path)
    record = result.record
    rows = record["candidates"]
    assert {(row["layer"], row["pooling"]) for row in rows} <= {
        (layer, pooling) for layer in range(4) for pooling in ("mean", "last")
    }
    best = max(rows, key=lambda row: row["r2"])
    assert (record["layer"], record["pooling"]) == (best["layer"], best["pooling"])
    assert record["penalty"] == best["penalty"]
    assert result.test.accuracy > result.test.majority_accuracy + 0.2
    assert best["accuracy"] == pytest.approx(result.test.accuracy, abs=0.15)
    assert record["layers"] == [best["layer"]]
    assert record["trainable_parameters"] == 33 * 3
    loaded = load_adapt_result(tmp_path)
    assert loaded.record == record
    # The labels of the test split have no say.
    shuffled = replace(splits.test, labels=np.roll(splits.test.labels, 7))
    other = fit_ridge(tiny, splits.train, shuffled)
    assert other.record["candidates"] == rows
    torch.testing.assert_close(
        other.readout.head.weights, result.readout.head.weights, rtol=0, atol=0
    )


def test_what_is_given_is_not_chosen(tiny: LanguageModel, splits: Splits) -> None:
    config = RidgeConfig(layer="last", pooling="last", penalty=12.5)
    record = fit_ridge(tiny, splits.train, None, config=config).record
    assert [(row["layer"], row["pooling"]) for row in record["candidates"]] == [(3, "last")]
    assert record["penalty"] == 12.5
    assert fit_ridge(tiny, splits.train, None, config=RidgeConfig(layer=1)).record["layer"] == 1


def test_a_sample_chooses_for_many_texts(
    tiny: LanguageModel, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ridge, "MOST_CHOSEN_ON", 60)
    counted: list[int] = []
    original = ridge.cross_validate

    def count(features: dict[Place, torch.Tensor], *arguments: object) -> Sequence[object]:
        counted.append(len(next(iter(features.values()))))
        return original(features, *arguments)

    monkeypatch.setattr(ridge, "cross_validate", count)
    result = fit_ridge(tiny, *splits)
    assert counted == [60]
    assert result.train.n == 200
    # All texts are fitted.
    X = tiny_features(tiny, splits.train, result.readout.head.place)
    twin = make_head(
        X,
        torch.eye(3, dtype=torch.float64)[torch.from_numpy(splits.train.labels)],
        result.record["penalty"],
        result.readout.head.place,
    )
    torch.testing.assert_close(result.readout.head.weights, twin.weights, rtol=1e-9, atol=1e-12)


def tiny_features(tiny: LanguageModel, text: LabelledText, place: Place) -> torch.Tensor:
    from ntpscore.clock import Clock
    from ntpscore.reading.tokens import tokenize

    tokens = tokenize(text.texts, tiny, None)
    clock = Clock(("forward", "fit", "total"))
    return collect_features(tiny, text.texts, tokens, [place], batch_tokens=2048, clock=clock).get(
        *place
    )


def test_the_same_text_is_never_on_both_sides() -> None:
    frame = pd.DataFrame({"text": ["a", "b", "c", "a", "d", "b"] * 3, "label": ["x", "y"] * 9})
    folds = ridge._folds(load_text(frame), range(18), 0).tolist()
    for text in "abcd":
        assert (
            len({fold for fold, row in zip(folds, frame["text"], strict=True) if row == text}) == 1
        )
    assert len(set(folds)) > 1


def test_other_tasks(tiny: LanguageModel, regression: Splits, multilabel: Splits) -> None:
    result = fit_ridge(tiny, *regression)
    assert result.test.r2 > 0.5
    assert all(row["accuracy"] is None for row in result.record["candidates"])
    assert result.readout.head.sharpness is None
    result = fit_ridge(tiny, *multilabel)
    assert result.test.accuracy > result.test.majority_accuracy
    assert result.readout.head.sharpness > 1


def test_few_texts_are_fitted_too(tiny: LanguageModel, splits: Splits) -> None:
    few = hold_out_texts(splits.train, 0.97, 0).train
    assert len(few) < 10
    result = fit_ridge(tiny, few, None)
    assert np.isfinite(result.train.r2)


def test_nonsense_is_refused(tiny: LanguageModel, splits: Splits) -> None:
    for nonsense, word in (
        ({"penalty": 0.0}, "penalty"),
        ({"pooling": "first"}, "pooling"),
        ({"layer": "1,2"}, "one layer"),
    ):
        with pytest.raises(NtpscoreError, match=word):
            RidgeConfig(**nonsense)
    with pytest.raises(ModelError, match="--layer 9 out of range"):
        fit_ridge(tiny, splits.train, None, config=RidgeConfig(layer=9))
