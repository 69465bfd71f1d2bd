"""What the kept features say of the readouts to be had: their accuracy, and that of more labels."""

from typing import Any

from ntpscore.errors import MomentsError
from ntpscore.progress import Progress
from ntpscore.reading.features import Features, Place
from ntpscore.scoring.accuracy import Folded, judge_readouts
from ntpscore.scoring.learning_curve import DRAWS, SHARES, trace_learning_curve
from ntpscore.text import LabelledText


def judge_features(
    features: Features | None, text: LabelledText, seed: int, bar: Progress
) -> dict[str, Any]:
    """`accuracy` and `learning_curve` of a result's record.

    Args:
        features: of some of the texts, or of all; None where none were kept.
        text: all texts.
        seed: of folds, resamples and draws.
        bar: shows how far it is.

    Returns:
        Both; where nothing can be judged, `frozen` and `best` are None and `reason` says why.
    """
    if features is None:
        return _nothing("no features were kept (--feature-texts 0)")
    kept = features.texts
    try:
        folded = Folded(text, seed) if len(kept) == len(text) else Folded(text, seed).part(kept)
        bar.start("judging", len(features.places), "readouts")
        accuracy = judge_readouts(
            lambda place: features.get(*place), features.places, folded, lambda _: bar.advance(1)
        )
    except MomentsError as error:
        return _nothing(str(error))
    bar.start("learning curve", DRAWS * (len(SHARES) - 1) + 1, "fits")
    best = Place(**accuracy["best"])
    curve = trace_learning_curve(features.get(*best), folded, lambda: bar.advance(1))
    return {"accuracy": accuracy, "learning_curve": curve}


def _nothing(reason: str) -> dict[str, Any]:
    unknown: dict[str, Any] = {"frozen": None, "best": None, "readouts": [], "reason": reason}
    return {"accuracy": unknown, "learning_curve": None}
