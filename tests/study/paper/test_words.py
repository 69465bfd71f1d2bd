"""Words at the embedding layer against the embedding table and literal eigenproblems."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ntpscore import LabelledText, LanguageModel, ScoreConfig, load_model, load_text
from ntpscore.errors import DataError, ModelError
from ntpscore.study.paper.words import (
    COLUMNS,
    find_words,
    over_represented,
    project_words,
    tag_words,
)
from tests.reference.moments import moments_of_texts
from tests.reference.scores import factored_u_v
from tests.support.labelled_texts import WORDS, make_rows, write_rows

# Coordinates relative to the largest: float32 embeddings of one-off words are exact, the moments
# are summed in float64, and N and C0 have condition numbers of about 1e4 with gaps between the
# leading eigenvalues of a tenth or more: 1e4 · EPS / 0.1 ≈ 2e-11, times a margin.
PROJECTION = 1e-8
CONFIG = ScoreConfig(skip_sanity_check=True)


@pytest.fixture(scope="module")
def tiny(tiny_model_dir: Path) -> LanguageModel:
    return load_model(tiny_model_dir)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> LabelledText:
    return load_text(write_rows(tmp_path_factory.mktemp("words") / "rows.jsonl", make_rows(200)))


@pytest.fixture(scope="module")
def table(tiny: LanguageModel, text: LabelledText) -> pd.DataFrame:
    return project_words(tiny, text, n_words=30, config=CONFIG)


def test_words_are_projected_as_the_literal_eigenproblems_say(
    tiny: LanguageModel, text: LabelledText, table: pd.DataFrame
) -> None:
    E = tiny.model.get_input_embeddings().weight.double().numpy()
    tokenizer = tiny.tokenizer
    Y = np.eye(len(text.classes))[text.labels]
    m = moments_of_texts([E[tokenizer(one)["input_ids"]].T for one in text.texts], Y)
    pairs = factored_u_v(m.N, m.M, m.C0, m.C1)
    # The byte-level tokenizer writes a space as Ġ: " cat" alone is what it is in running text.
    X = np.array([E[tokenizer(f" {word}")["input_ids"]].mean(axis=0) for word in table["word"]])
    for column, axis in (
        ("u1", pairs.U[:, 0]), ("u2", pairs.U[:, 1]), ("v1", pairs.V[:, 0]), ("v2", pairs.V[:, 1])
    ):  # fmt: skip
        wanted, found = X @ axis, table[column].to_numpy()
        sign = math.copysign(1, wanted @ found)
        np.testing.assert_allclose(
            found, sign * wanted, rtol=0, atol=PROJECTION * np.abs(wanted).max()
        )


def test_words_are_the_most_frequent_ones_with_their_counts(
    text: LabelledText, table: pd.DataFrame
) -> None:
    assert tuple(table.columns) == COLUMNS
    everything = " ".join(text.texts).split()
    counts = {word: everything.count(word) for word in set(everything)}
    assert dict(zip(table["word"], table["count"], strict=True)) == {
        word: counts[word] for word in table["word"]
    }
    assert table["count"].is_monotonic_decreasing
    assert table["count"].min() >= max(
        count for word, count in counts.items() if word not in set(table["word"])
    )


def test_words_of_a_label_get_it_and_fillers_get_none(
    tiny: LanguageModel, text: LabelledText
) -> None:
    table = project_words(tiny, text, config=CONFIG).set_index("word")
    for label, words in WORDS.items():
        found = table.loc[words, "emotion"]
        assert set(found) <= {label, "unclear"}
        # A word that is in few texts may be there by chance.
        assert (found == label).mean() > 0.7
    fillers = table.drop([word for words in WORDS.values() for word in words])
    assert (fillers["emotion"] == "unclear").mean() > 0.7


def test_log_odds_are_those_of_the_formula(text: LabelledText) -> None:
    by_text = [one.split() for one in text.texts]
    table = over_represented(["cat", "the"], by_text, text)
    total = sum(map(len, by_text))
    for row in table.to_dict("records"):
        found = {}
        for label, name in enumerate(text.classes):
            inside = [
                w for ws, one in zip(by_text, text.labels, strict=True) if one == label for w in ws
            ]
            outside = [
                w for ws, one in zip(by_text, text.labels, strict=True) if one != label for w in ws
            ]
            y, rest = inside.count(row["word"]), outside.count(row["word"])
            prior = (y + rest) / 10
            delta = math.log((y + prior) / (len(inside) + total / 10 - y - prior)) - math.log(
                (rest + prior) / (len(outside) + total / 10 - rest - prior)
            )
            found[name] = (delta / math.sqrt(1 / (y + prior) + 1 / (rest + prior)), delta)
        z, delta = max(found.values())
        # Sums and logarithms of numbers of order one.
        assert (row["z"], row["log_odds"]) == pytest.approx((z, delta), abs=1e-12)


def test_labels_at_random_leave_nineteen_words_in_twenty_unclear(text: LabelledText) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(300)]
    by_text = [list(rng.choice(words, 60)) for _ in text.texts]
    share = (over_represented(words, by_text, text)["emotion"] != "unclear").mean()
    # At most 0.05, to four standard errors of a share of 300; the prior takes some off it.
    assert 0 < share < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 300)


def test_words_are_letters_in_small_with_apostrophes_inside() -> None:
    assert find_words("I DIDN’T say 'no' to 2 Cafés, e-mail_me/x") == [
        "i", "didn't", "say", "no", "to", "cafés", "e", "mail", "me", "x",
    ]  # fmt: skip


def test_parts_of_speech_are_those_of_running_text() -> None:
    by_text = [
        find_words("she quickly bought the happy dog and could not run over the hill"),
        [],
        find_words("wow the dog slept"),
    ]
    words = [
        "she",
        "quickly",
        "bought",
        "the",
        "happy",
        "dog",
        "and",
        "could",
        "over",
        "hill",
        "wow",
    ]
    assert tag_words(words, by_text) == [
        "function word", "adverb", "verb", "function word", "adjective", "noun", "function word",
        "function word", "function word", "noun", "other",
    ]  # fmt: skip


def test_what_has_no_words_or_classes_is_refused(
    tiny: LanguageModel, tmp_path: Path, text: LabelledText
) -> None:
    with pytest.raises(DataError, match="n_words is 0"):
        project_words(tiny, text, n_words=0)
    numbers = [{"text": "1 2", "label": "a"}, {"text": "3 4 5", "label": "b"}]
    with pytest.raises(DataError, match="no words of letters"):
        project_words(tiny, load_text(write_rows(tmp_path / "n.jsonl", numbers)), config=CONFIG)
    targets = [{"text": "a cat", "label": 0.5}, {"text": "a dog", "label": 1.5}]
    with pytest.raises(DataError, match="labels are for regression"):
        project_words(tiny, load_text(write_rows(tmp_path / "t.jsonl", targets)), config=CONFIG)
    # Both labels have the same mean, so M is of rank one.
    two = [
        {"text": one, "label": label} for one in ("the cat", "a dog ran") for label in ("a", "b")
    ]
    with pytest.raises(ModelError, match="U has 1 column at layer 0"):
        project_words(tiny, load_text(write_rows(tmp_path / "o.jsonl", two)), config=CONFIG)


def test_a_tokenizer_that_joins_words_is_refused(
    tiny: LanguageModel, text: LabelledText, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = type(tiny.tokenizer).__call__

    def joining(self: Any, one: object, **options: Any) -> Any:
        if one == "the" or str(one).startswith("the "):
            return {"input_ids": [len(one)]}
        return whole(self, one, **options)

    monkeypatch.setattr(type(tiny.tokenizer), "__call__", joining)
    with pytest.raises(ModelError, match=r"joins .* to the word before it"):
        project_words(tiny, text, config=CONFIG)
