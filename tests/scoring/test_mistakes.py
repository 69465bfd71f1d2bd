"""Mistakes of held-out estimates, counted and chosen text by text."""

from dataclasses import replace

import numpy as np
import pytest

from ntpscore.scoring.mistakes import LONGEST, MOST, find_mistakes
from tests.support.labelled_texts import labelled_text

N = 90


@pytest.fixture
def estimates() -> np.ndarray:
    """They add up to 1 on each text, as those of one-hot classes do."""
    drawn = np.random.default_rng(0).normal(0.3, 0.4, (N, 3))
    return drawn + (1 - drawn.sum(1, keepdims=True)) / 3


def test_confusion_counts_every_text_and_mistakes_are_the_most_confident(
    estimates: np.ndarray,
) -> None:
    labels = np.arange(N) % 3
    found = find_mistakes(labelled_text([f"text {i}" for i in range(N)], labels), estimates)
    counts = dict.fromkeys([(i, j) for i in range(3) for j in range(3)], 0)
    wrong = []
    for i in range(N):
        said = max(range(3), key=lambda j: estimates[i, j])
        counts[labels[i], said] += 1
        shares = [max(one, 0) for one in estimates[i]]
        if said != labels[i]:
            wrong.append((shares[said] / sum(shares), i, labels[i], said))
    for (true, said), count in counts.items():
        assert found["confusion"][f"class {true}"].get(f"class {said}", 0) == count
    # Where a single class is above 0 all confidence is there: of equal ones the first text first.
    top = sorted(wrong, key=lambda one: (-one[0], one[1]))[:MOST]
    assert len(found["texts"]) == MOST < len(wrong)
    for one, (confidence, i, true, said) in zip(found["texts"], top, strict=True):
        assert one["confidence"] == pytest.approx(confidence)
        assert one["text"] == f"text {i}"
        assert (one["true"], one["said"]) == ([f"class {true}"], [f"class {said}"])


def test_a_text_stands_once_cut_and_with_nothing_hidden(estimates: np.ndarray) -> None:
    labels = np.arange(N) % 3
    texts = ["\u202e" + "long " * 200] * N
    (shown,) = find_mistakes(labelled_text(texts, labels), estimates)["texts"]
    assert len(shown["text"]) <= LONGEST + len(r"\u202e")
    assert shown["text"].startswith(r"\u202elong")


def test_nothing_wrong_is_no_mistake() -> None:
    labels = np.arange(6) % 3
    found = find_mistakes(labelled_text(list("abcdef"), labels), np.eye(3)[labels])
    assert found["texts"] == []
    assert found["confusion"] == {f"class {i}": {f"class {i}": 2} for i in range(3)}


def test_several_labels_are_counted_each_and_a_text_has_all_it_got(estimates: np.ndarray) -> None:
    indicators = (np.random.default_rng(1).random((N, 3)) > 0.5).astype(np.float64)
    text = labelled_text([f"text {i}" for i in range(N)], np.arange(N) % 3)
    found = find_mistakes(replace(text, labels=indicators, task="multilabel"), estimates)
    for j in range(3):
        have, said = indicators[:, j] == 1, estimates[:, j] > 0.5
        assert found["by_label"][f"class {j}"] == {
            "have": sum(have), "said": sum(said), "right": sum(have & said)
        }  # fmt: skip
    first = found["texts"][0]
    row = int(first["text"].split()[1])
    assert first["true"] == [f"class {j}" for j in range(3) if indicators[row, j]]
    assert first["said"] == [f"class {j}" for j in range(3) if estimates[row, j] > 0.5]
    doubts = [
        min(estimates[i, j] if estimates[i, j] > 0.5 else 1 - estimates[i, j], 1)
        for i in range(N)
        for j in range(3)
        if (estimates[i, j] > 0.5) != indicators[i, j]
    ]
    assert first["confidence"] == pytest.approx(max(doubts))


def test_targets_farthest_off_are_told_in_their_own_unit(estimates: np.ndarray) -> None:
    values = 100 + 7 * np.random.default_rng(2).normal(size=N)
    text = labelled_text([f"text {i}" for i in range(N)], values, "regression")
    found = find_mistakes(text, estimates[:, :1])
    said = estimates[:, 0] * values.std() + values.mean()
    order = sorted(range(N), key=lambda i: -abs(said[i] - values[i]))
    assert [one["text"] for one in found["texts"]] == [f"text {i}" for i in order[:MOST]]
    for one, i in zip(found["texts"], order, strict=False):
        assert one["true"] == [pytest.approx(values[i], abs=1e-6)]  # rounded to as much
        assert one["said"] == [pytest.approx(said[i], abs=1e-6)]
        assert one["confidence"] is None
