"""Words at the embedding layer: what U and V make of them, the label and the class they are of."""

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Literal

import numpy as np
import pandas as pd
import torch
from scipy.stats import norm
from torch import Tensor

from ntpscore.core.subspaces import solve_subspaces
from ntpscore.errors import DataError, ModelError
from ntpscore.extras import need_package
from ntpscore.models import LanguageModel, stream_hidden_states
from ntpscore.scoring.config import ScoreConfig
from ntpscore.scoring.run import score_text
from ntpscore.study.statistics.correlation import Values
from ntpscore.text import LabelledText

COLUMNS = ("word", "count", "emotion", "log_odds", "z", "part_of_speech", "u1", "u2", "v1", "v2")
UNCLEAR = "unclear"
# Letters of any script, with apostrophes inside.
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
# A word in the middle of a text has another before it. At layer 0 it changes the word's position.
_BEFORE = "the"
_PRIOR_SHARE = 0.1
_CHANCE = 0.05
_EMBEDDING = 0
_AXES = 2

PartOfSpeech = Literal["noun", "verb", "adjective", "adverb", "function word", "other"]
# By the beginnings of the tags of the Penn Treebank. Modal verbs are function words; forms of be,
# have and do are verbs, as the tags don't tell auxiliaries.
_PARTS: dict[str, PartOfSpeech] = {
    "NN": "noun",
    "VB": "verb",
    "JJ": "adjective",
    "RB": "adverb",
    **dict.fromkeys(
        ("CC", "DT", "EX", "IN", "MD", "PDT", "POS", "PRP", "RP", "TO", "WDT", "WP", "WRB"),
        "function word",
    ),
}


def project_words(
    language_model: LanguageModel,
    text: LabelledText,
    *,
    n_words: int = 300,
    config: ScoreConfig | None = None,
) -> pd.DataFrame:
    """Project the most frequent words onto the first two columns of U and of V of layer 0.

    A word's representation is the mean of its tokens' hidden states at layer 0, which is the
    embedding (plus the position's, where the model adds one there): of the tokens that the word,
    in small letters, adds to a text that was "the" before, so with the space that stands before a
    word in running text. U and V are those of the paper, of uncentred moments: the first column of
    U is close to what all texts have in common. Their signs are arbitrary.

    Args:
        language_model: from `load_model`.
        text: labelled with classes, two at least.
        n_words: how many of the most frequent words, capital letters or not.
        config: how the moments of layer 0 are collected; its layers and shuffles don't matter.

    Returns:
        A row per word, the most frequent first: `word`; `count`; `emotion`, the label it is most
        over-represented under, or "unclear"; the `log_odds` of that label and their `z` (see
        `over_represented`); `part_of_speech` (see `tag_words`); the projections `u1`, `u2`, `v1`
        and `v2`.

    Raises:
        DataError: the labels are no classes, or the texts have no words.
        ModelError: the tokenizer joins words, or U or V has fewer than two columns.

    Source:
        Next Token Perception Score, Figure 1.
    """
    if n_words < 1:
        raise DataError(f"n_words is {n_words}: at least 1 is needed")
    if text.task != "classification":
        raise DataError(f"words go with classes: the labels are for {text.task}")
    config = config or ScoreConfig()
    by_text = [find_words(content) for content in text.texts]
    counts = Counter(word for words in by_text for word in words)
    if not counts:
        raise DataError("the texts hold no words of letters")
    words = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    words = words[:n_words]
    axes = _first_axes(language_model, text, config)
    embedded = torch.stack([_embed(language_model, word) for word in words])
    table = over_represented(words, by_text, text)
    table["count"] = [counts[word] for word in words]
    table["part_of_speech"] = tag_words(words, by_text)
    table[["u1", "u2", "v1", "v2"]] = (embedded @ axes).numpy()
    return table[list(COLUMNS)]


def find_words(text: str) -> list[str]:
    """The words of a text in small letters: letters, with apostrophes inside."""
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]


def over_represented(
    words: Sequence[str], by_text: Sequence[Sequence[str]], text: LabelledText
) -> pd.DataFrame:
    """The label under which each word is most over-represented.

    With y_wc the count of word w under label c, n_c the count of all words there, and a prior of a
    tenth of all words of the texts, α in all and α_w of them w, the log odds are
    `log((y_wc + α_w) / (n_c + α − y_wc − α_w))` less the same for all other labels together, and z
    is that by the root of `1/(y_wc + α_w) + 1/(y_w,others + α_w)`. The prior keeps rare words from
    large odds.

    Args:
        words: w words.
        by_text: the words of each text.
        text: the texts' labels.

    Returns:
        The columns word, emotion, log_odds and z. The emotion is the label of the largest z, or
        "unclear" where shuffled labels would give so large a z, the largest of all labels, to more
        than one word in twenty (Bonferroni over labels, not over words).

    Source:
        Monroe, Colaresi and Quinn 2008, Fightin' Words: log odds ratio, informative Dirichlet
        prior.
    """
    place = {word: i for i, word in enumerate(words)}
    y = np.zeros((len(words), len(text.classes)))
    n = np.zeros(len(text.classes))
    for words_of_text, label in zip(by_text, text.labels.astype(np.int64), strict=True):
        n[label] += len(words_of_text)
        for word in words_of_text:
            if word in place:
                y[place[word], label] += 1
    alpha = _PRIOR_SHARE * y.sum(axis=1, keepdims=True)
    others = y.sum(axis=1, keepdims=True) - y
    prior = _PRIOR_SHARE * n.sum()
    log_odds = _log_odds(y + alpha, n + prior) - _log_odds(others + alpha, n.sum() - n + prior)
    z = log_odds / np.sqrt(1 / (y + alpha) + 1 / (others + alpha))
    clear = norm.isf(_CHANCE / len(text.classes))
    best = z.argmax(axis=1)
    rows = np.arange(len(words))
    return pd.DataFrame(
        {
            "word": list(words),
            "emotion": [
                text.classes[c] if z[w, c] >= clear else UNCLEAR
                for w, c in zip(rows, best, strict=True)
            ],
            "log_odds": log_odds[rows, best],
            "z": z[rows, best],
        }
    )


def _log_odds(count: Values, total: Values) -> Values:
    return np.asarray(np.log(count / (total - count)))


def tag_words(words: Sequence[str], by_text: Sequence[Sequence[str]]) -> list[PartOfSpeech]:
    """The part of speech that each word has most often in these texts.

    English only. The tagger goes by a lexicon and the neighbouring words, and takes words that it
    doesn't know for nouns.

    Args:
        words: w words.
        by_text: the words of each text, in order; each of `words` is in one.

    Returns:
        (w,) "noun", "verb", "adjective", "adverb", "function word" (pronouns, determiners,
        prepositions, conjunctions, particles, modal verbs), or "other".

    Source:
        Brill 1992, A simple rule-based part of speech tagger, with the lexicon that TextBlob ships.
    """
    need_package("textblob", "study", "telling parts of speech")
    sentences = [" ".join(words_of_text) for words_of_text in by_text if words_of_text]
    # The library leaves the files of its lexicon to the garbage collector to close.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        from textblob.en import tag

        tagged = tag("\n".join(sentences), tokenize=False)
    votes: dict[str, Counter[PartOfSpeech]] = {word: Counter() for word in words}
    for word, (_, penn) in zip(chain.from_iterable(by_text), tagged, strict=True):
        if word in votes:
            votes[word][_part(penn)] += 1
    return [votes[word].most_common(1)[0][0] for word in words]


def _part(penn: str) -> PartOfSpeech:
    # "PRP$" and "NNP-LOC" begin with what the table has.
    for length in (3, 2):
        if penn[:length] in _PARTS:
            return _PARTS[penn[:length]]
    return "other"


def _first_axes(language_model: LanguageModel, text: LabelledText, config: ScoreConfig) -> Tensor:
    """(d, 4) the first two columns of U and of V at layer 0."""
    config = replace(config, layers=(_EMBEDDING,), shuffles=0)
    moments = score_text(language_model, text, config=config, progress=False).moments
    subspaces = solve_subspaces(moments.layer(_EMBEDDING))
    for name, columns in (("U", subspaces.U), ("V", subspaces.V)):
        if columns.shape[1] < _AXES:
            raise ModelError(
                f"{name} has {columns.shape[1]} column at layer 0 of {language_model.id}: two are "
                "needed to draw words, from two classes or more"
            )
    return torch.cat([subspaces.U[:, :_AXES], subspaces.V[:, :_AXES]], 1).cpu()


def _embed(language_model: LanguageModel, word: str) -> Tensor:
    """(d,) the mean hidden state at layer 0 of the tokens that the word adds after another."""
    before, both = (
        language_model.tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in (_BEFORE, f"{_BEFORE} {word}")
    )
    if both[: len(before)] != before or len(both) == len(before):
        raise ModelError(
            f"the tokenizer of {language_model.id} joins {word!r} to the word before it: words "
            "have no tokens of their own"
        )
    states: list[Tensor] = []
    stream_hidden_states(
        language_model,
        torch.tensor([both], device=language_model.device),
        None,
        lambda _layer, hidden: states.append(hidden[0, len(before) :].cpu().double().mean(0)),
        [_EMBEDDING],
    )
    return states[0]
