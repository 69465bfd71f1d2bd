"""How well a frozen model would do: held-out accuracy of a ridge readout of every layer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ntpscore.core.cross_validation import (
    HeldOut,
    NestedChoice,
    held_out_kernel_ridge,
    held_out_ridge,
    mean_shifts,
    stratified_folds,
)
from ntpscore.core.side_by_side import side_by_side
from ntpscore.errors import MomentsError
from ntpscore.reading.features import Place
from ntpscore.scoring.measures import (
    HEADLINES,
    TIED,
    Array,
    Measures,
    target_columns,
    to_array,
)
from ntpscore.scoring.mistakes import find_mistakes
from ntpscore.text import LabelledText
from ntpscore.text.groups import number_groups
from ntpscore.text.sample import draw_sample

# The kernel of the words is (n, n), and solving it grows with n³.
WORDS_TEXTS = 3000
# Of the kernel that are made at a time.
_ROWS = 256
# Of a readout that is cheaper.
_ONE_ERROR = 1.0


class Folded:
    """Texts with labels, dealt out to folds that keep groups together.

    Args:
        text: the texts.
        seed: of the folds and resamples.
        rows: numbers of those of the texts that are meant; None means all.
    """

    def __init__(self, text: LabelledText, seed: int, rows: Sequence[int] | None = None) -> None:
        if rows is not None:
            texts = [text.texts[row] for row in rows]
            groups = number_groups(text.groups[list(rows)])
            text = replace(text, texts=texts, labels=text.labels[list(rows)], groups=groups)
        self.text = text
        self.seed = seed
        # The same text twice must not be fitted and judged on.
        self.groups = text.fold_groups
        self.targets = target_columns(text)
        is_classes = text.task == "classification"
        self.classes = torch.from_numpy(text.labels.astype(np.int64)) if is_classes else None
        self.folds = stratified_folds(self.classes, torch.from_numpy(self.groups), seed=seed)
        self.mean_shifts = mean_shifts(torch.from_numpy(self.targets), self.folds)
        means = self.targets.mean(0) - to_array(self.mean_shifts)
        self.measures = Measures.of(text.task, self.targets, self.groups, means, seed)

    def rate(self, held_out: HeldOut) -> dict[str, float]:
        """The penalty and every measure of one readout."""
        estimates, class_scores = to_array(held_out.predictions), to_array(held_out.class_scores)
        return {"penalty": held_out.penalty, **self.measures.rate(estimates, class_scores)}

    def sample(self, size: int, seed: int) -> list[int]:
        """So many of the texts, of each class in proportion."""
        classes = None if self.classes is None else self.classes.numpy()
        return draw_sample(self.groups, size, seed, classes)


def judge_readouts(
    features: Callable[[Place], Tensor],
    places: Sequence[Place],
    folded: Folded,
    on_place: Callable[[Place], None] = lambda _: None,
) -> dict[str, Any]:
    """Held-out accuracy of every layer and pooling, of the words alone and of the majority.

    Every readout is one linear map, by ridge regression on standardised features, judged on folds
    that it did not see. The best is that with the largest held-out R²; `frozen` says what is to be
    expected of it: there the choice too was made without the texts it is judged on.

    Args:
        features: (n, d) of a place, for the n texts.
        places: layers and poolings.
        folded: the texts.
        on_place: called after each.

    Returns:
        For the result's record: `measure` (the headline's name), `n_texts`, `folds`, `majority`,
        `words`, `frozen`, `best` and `cheapest` (layer and pooling), `tied` (all that can't be told
        from the best, paired over texts), `readouts` (a row for each); and of `frozen` `held_out`,
        what is lost on each text, see `Measures.lost`, and `mistakes`, see `find_mistakes`.
    """
    Y = torch.from_numpy(folded.targets)
    measures = folded.measures
    rows: list[dict[str, Any]] = []
    errors: list[Array] = []
    choice = NestedChoice()
    # First, and by a thread, whose memory readouts find again: that of the main thread they don't.
    (words,) = side_by_side(rate_words, [folded])

    def fit(place: Place) -> HeldOut | MomentsError:
        try:
            return held_out_ridge(features(place), Y, folded.folds)
        except MomentsError as error:  # all texts may start or end with the same token
            return error

    for place, held_out in zip(places, side_by_side(fit, places), strict=True):
        if isinstance(held_out, MomentsError):
            failure = held_out
        else:
            rows.append({**place._asdict(), **folded.rate(held_out)})
            errors.append(measures.errors(to_array(held_out.predictions)))
            choice.offer(held_out)
        on_place(place)
    if not rows:
        raise failure
    means = [float(one.mean()) for one in errors]
    best = int(np.argmin(means))
    apart = [measures.difference(one, errors[best]) for one in errors]
    tied = [row for row, (mean, se) in zip(rows, apart, strict=True) if mean <= TIED * se]
    cheap = [row for row, (mean, se) in zip(rows, apart, strict=True) if mean <= _ONE_ERROR * se]
    inside = to_array(choice.predictions)
    scores = to_array(choice.predictions + folded.mean_shifts)
    frozen = measures.rate(inside, scores)
    return {
        "measure": HEADLINES[folded.text.task],
        "n_texts": len(folded.text),
        "n_groups": int(folded.groups.max()) + 1,
        "folds": int(folded.folds.max()) + 1,
        "majority": measures.majority(),
        "words": words,
        "frozen": frozen,
        "best": _name(rows[best]),
        "cheapest": _name(min(cheap, key=lambda row: (row["layer"], row["pooling"] != "mean"))),
        "tied": [_name(row) for row in tied],
        "readouts": rows,
        "held_out": measures.lost(inside, scores),
        "mistakes": find_mistakes(
            folded.text, inside if folded.text.task == "regression" else scores
        ),
    }


def rate_words(folded: Folded) -> dict[str, Any]:
    """What the words alone say of the labels, with no language model.

    TF-IDF of words and pairs of words, and of 2 to 5 characters within words, each of length 1;
    ridge regression with the same folds and relative penalties. Of at most `WORDS_TEXTS` texts.
    """
    if len(folded.text) > WORDS_TEXTS:
        rows = folded.sample(WORDS_TEXTS, folded.seed)
        folded = Folded(folded.text, folded.seed, rows)
    kernel = words_kernel(folded.text.texts)
    failed = {"n_texts": len(folded.text), HEADLINES[folded.text.task]: None}
    if kernel is None:
        return failed
    Y = torch.from_numpy(folded.targets)
    try:
        held_out = held_out_kernel_ridge(kernel, Y, folded.folds, overwrite=True)
    except MomentsError:
        return failed
    return {"n_texts": len(folded.text), **folded.rate(held_out)}


def words_kernel(texts: Sequence[str]) -> Float[Tensor, "n n"] | None:
    """Inner products of texts' TF-IDF, see `rate_words`; None where no text has a word."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    parts = [
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    ]
    matrices = []
    for part in parts:
        try:
            matrices.append(part.fit_transform(texts))
        except ValueError:  # no text has a word, or characters between blanks
            continue
    if not matrices:
        return None
    joined = hstack(matrices).tocsr()
    kernel = torch.empty(len(texts), len(texts), dtype=torch.float64)
    for start in range(0, len(texts), _ROWS):
        part = slice(start, start + _ROWS)
        kernel[part] = torch.from_numpy((joined[part] @ joined.T).toarray())
    return kernel


def _name(row: dict[str, Any]) -> dict[str, Any]:
    return {"layer": row["layer"], "pooling": row["pooling"]}
