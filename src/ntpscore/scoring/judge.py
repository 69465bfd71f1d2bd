"""What the kept features say of the readouts to be had: their accuracy, and that of more labels."""

from typing import Any, NamedTuple

import numpy as np
import torch

from ntpscore.errors import MomentsError
from ntpscore.progress import Progress
from ntpscore.reading.features import Features, Place
from ntpscore.scoring.accuracy import WORDS_TEXTS, Folded, judge_readouts
from ntpscore.scoring.learning_curve import DRAWS, SHARES, trace_learning_curve
from ntpscore.scoring.measures import Array
from ntpscore.text import LabelledText

# What lives at the same time: matrices of words by words, copies of a layer's features in each of
# the threads, and of estimates or labels there, which have a column for each class.
_KERNELS, _COPIES, _ESTIMATES = 4, 2, 16


class Judged(NamedTuple):
    """For a result: three entries of its record, and a column of a table.

    Attributes:
        accuracy: see `judge_readouts`; `frozen` and `best` are None where nothing can be judged,
            and `reason` says why.
        learning_curve: see `trace_learning_curve`.
        mistakes: see `find_mistakes`; None where nothing can be judged.
        held_out: what is lost on each text, by its number.
    """

    accuracy: dict[str, Any]
    learning_curve: dict[str, Any] | None
    mistakes: dict[str, Any] | None
    held_out: dict[int, float]


def judge_bytes(n_texts: int, width: int, n_outputs: int) -> int:
    """Bytes that `judge_features` takes at its peak, as measured, what is mapped not counted."""
    words = min(n_texts, WORDS_TEXTS)
    of_words = _KERNELS * words**2 + _ESTIMATES * words * n_outputs
    of_readout = n_texts * (_COPIES * width + _ESTIMATES * n_outputs)
    return 8 * max(of_words, torch.get_num_threads() * of_readout)


def judge_features(
    features: Features | None, text: LabelledText, seed: int, bar: Progress
) -> Judged:
    """Judge every readout, and trace the learning curve of the best."""
    if features is None:
        return _nothing("no features were kept (--feature-texts 0)")
    chosen = features.texts

    def on_place(_: Place) -> None:
        features.release()
        bar.advance(1)

    try:
        folded = Folded(text, seed, chosen)
        bar.start("judging", len(features.places), "readouts")
        accuracy = judge_readouts(
            lambda place: features.get(*place), features.places, folded, on_place
        )
    except MomentsError as error:
        return _nothing(str(error))
    held_out: Array = accuracy.pop("held_out")
    mistakes = accuracy.pop("mistakes")
    bar.start("learning curve", DRAWS * (len(SHARES) - 1) + 1, "fits")
    best = Place(**accuracy["best"])
    curve = trace_learning_curve(features.get(*best), folded, lambda: bar.advance(1))
    lost = dict(zip(chosen, np.round(held_out, 6).tolist(), strict=True))
    return Judged(accuracy, curve, mistakes, lost)


def _nothing(reason: str) -> Judged:
    return Judged({"frozen": None, "best": None, "readouts": [], "reason": reason}, None, None, {})
