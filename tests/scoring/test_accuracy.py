"""Held-out accuracy of readouts, against scikit-learn and the literal choice."""

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_union

from ntpscore.core.cross_validation import NestedChoice, held_out_ridge
from ntpscore.errors import MomentsError
from ntpscore.reading.features import Place
from ntpscore.scoring import accuracy as module
from ntpscore.scoring.accuracy import Folded, judge_readouts, rate_words
from tests.support.labelled_texts import labelled_text

N, WIDTH = 120, 12


@pytest.fixture(scope="module")
def folded() -> Folded:
    words = [["rain", "snow", "wind"], ["bread", "soup", "rice"], ["bus", "train", "tram"]]
    rng = np.random.default_rng(0)
    labels = np.arange(N) % 3
    texts = [
        " ".join(rng.choice(words[label if rng.random() < 0.7 else rng.integers(3)], 2))
        + f" number{i}"
        for i, label in enumerate(labels)
    ]
    return Folded(labelled_text(texts, labels), seed=0)


def made_features(strength: float, seed: int, folded: Folded) -> torch.Tensor:
    noise = torch.randn(N, WIDTH, generator=torch.Generator().manual_seed(seed))
    noise[:, :3] += strength * torch.from_numpy(folded.targets).float()
    return noise


def candidates(folded: Folded) -> dict[Place, torch.Tensor]:
    strengths = [0.3, 1.5, 1.6, 0.8]
    return {
        Place(layer, pooling): made_features(strength - shift, seed, folded)
        for layer, strength in enumerate(strengths)
        for pooling, shift, seed in (("mean", 0.0, layer), ("last", 0.2, layer + 50))
    }


def test_readouts_are_those_of_scikit_learn(folded: Folded) -> None:
    features = candidates(folded)
    found = judge_readouts(features.__getitem__, list(features), folded)
    assert len(found["readouts"]) == len(features)
    for row in found["readouts"]:
        X = features[Place(row["layer"], row["pooling"])].double().numpy()
        X = (X - X.mean(0)) / X.std(0)
        predicted = cross_val_predict(
            Ridge(alpha=row["penalty"]), X, folded.targets, cv=PredefinedSplit(folded.folds.numpy())
        )
        error = np.square(folded.targets - predicted).sum()
        means = cross_val_predict(
            Ridge(alpha=1e12), X, folded.targets, cv=PredefinedSplit(folded.folds.numpy())
        )
        spread = np.square(folded.targets - means).sum()
        assert row["r2"] == pytest.approx(1 - error / spread, abs=1e-6)  # alpha is not infinite


def test_mistakes_are_those_of_the_frozen_figure(folded: Folded) -> None:
    features = candidates(folded)
    found = judge_readouts(features.__getitem__, list(features), folded)
    counts = found["mistakes"]["confusion"]
    assert sum(n for row in counts.values() for n in row.values()) == N
    right = sum(row.get(name, 0) for name, row in counts.items())
    assert right / N == pytest.approx(found["frozen"]["accuracy"])
    assert right == N - found["held_out"].sum()


def test_best_and_tied_are_told_and_choosing_costs(folded: Folded) -> None:
    features = candidates(folded)
    found = judge_readouts(features.__getitem__, list(features), folded)
    rows = found["readouts"]
    best = max(rows, key=lambda row: row["r2"])
    assert found["best"] == {"layer": best["layer"], "pooling": best["pooling"]}
    assert found["best"] in found["tied"]
    assert {"layer": 0, "pooling": "last"} not in found["tied"]
    assert found["cheapest"]["layer"] <= best["layer"]
    assert found["cheapest"] in found["tied"]
    Y = torch.from_numpy(folded.targets)
    each = [held_out_ridge(X, Y, folded.folds) for X in features.values()]
    nested = NestedChoice()
    for held_out in each:
        nested.offer(held_out)
    scores = nested.predictions + each[0].mean_shifts
    right = scores.argmax(1).numpy() == folded.text.labels
    assert found["frozen"]["accuracy"] == pytest.approx(right.mean())
    error = float((Y - nested.predictions).square().sum()) / len(Y)
    assert found["frozen"]["r2"] == pytest.approx(1 - error / each[0].mean_error, rel=1e-9)
    assert found["frozen"]["r2"] <= best["r2"]
    np.testing.assert_array_equal(found["held_out"], ~right)


def test_words_are_those_of_scikit_learn(folded: Folded) -> None:
    found = rate_words(folded)
    vectors = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    ).fit_transform(folded.text.texts)
    predicted = cross_val_predict(
        Ridge(alpha=found["penalty"]),
        vectors.toarray(),
        folded.targets,
        cv=PredefinedSplit(folded.folds.numpy()),
    )
    error = np.square(folded.targets - predicted).sum()
    base = np.empty_like(folded.targets)
    for fold in range(int(folded.folds.max()) + 1):
        inside = folded.folds.numpy() == fold
        base[inside] = folded.targets[~inside].mean(0)
    assert found["r2"] == pytest.approx(
        1 - error / np.square(folded.targets - base).sum(), rel=1e-8
    )
    assert found["accuracy"] > 0.6


def test_words_of_many_texts_are_judged_on_some(
    folded: Folded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORDS_TEXTS", 60)
    assert rate_words(folded)["n_texts"] == 60


def test_texts_without_words_have_no_figure() -> None:
    text = labelled_text(["?" * (1 + i % 3) for i in range(40)], np.arange(40) % 2)
    assert rate_words(Folded(text, seed=0))["n_texts"] == 40


def test_the_same_text_twice_is_never_in_two_folds() -> None:
    texts = [f"text {i // 2}" for i in range(80)]
    folded = Folded(labelled_text(texts, np.arange(80) % 2), seed=0)
    assert (folded.folds[::2] == folded.folds[1::2]).all()


def test_labels_at_random_are_judged_at_chance(folded: Folded) -> None:
    features = {Place(layer, "mean"): made_features(0.0, layer, folded) for layer in range(4)}
    found = judge_readouts(features.__getitem__, list(features), folded)
    assert found["frozen"]["accuracy_low"] < 1 / 3 < found["frozen"]["accuracy_high"]
    assert found["frozen"]["r2"] < 0.05


def test_a_place_without_features_is_left_out(folded: Folded) -> None:
    features = {
        Place(0, "last"): torch.ones(N, WIDTH),
        Place(1, "mean"): made_features(1, 0, folded),
    }
    found = judge_readouts(features.__getitem__, list(features), folded)
    assert [row["layer"] for row in found["readouts"]] == [1]
    with pytest.raises(MomentsError, match="no feature varies"):
        judge_readouts(features.__getitem__, [Place(0, "last")], folded)


def test_few_texts_of_many_features_are_judged_too() -> None:
    labels = np.arange(40) % 2
    text = labelled_text([f"text {i}" for i in range(40)], labels)
    folded = Folded(text, seed=0)
    X = torch.randn(40, 200, generator=torch.Generator().manual_seed(0))
    X[:, 0] += 6 * torch.from_numpy(labels)
    X[:, 1:30] += torch.from_numpy(labels)[:, None]
    found = judge_readouts({Place(0, "mean"): X}.__getitem__, [Place(0, "mean")], folded)
    assert found["frozen"]["accuracy"] > 0.8
