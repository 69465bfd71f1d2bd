"""What the frozen readout gets wrong: which class it takes for which, and where it is sure."""

from typing import Any

import numpy as np

from ntpscore.plain_text import plain
from ntpscore.scoring.measures import Array
from ntpscore.text import LabelledText

# Mistakes that are kept, and characters of their texts.
MOST, LONGEST = 20, 300


def find_mistakes(text: LabelledText, estimates: Array) -> dict[str, Any]:
    """Counts of all mistakes, and the most telling ones.

    Args:
        text: the n texts.
        estimates: (n, c) held out, of one-hot classes, indicators or targets; see `HeldOut`.

    Returns:
        `confusion`: by class, how many of its texts are put into which class, zeros left out.
        `by_label`, of several labels at once: by label, how many texts `have` it, are `said` to,
        and both (`right`). `texts`: the mistakes of which the readout is most confident, of targets
        those farthest off, no text twice: `text`, cut; `true` and `said`: lists of labels, or of
        targets in their own unit; `confidence`: the share of the class among all estimates, none
        of them below 0; of several labels, of the label that is most surely wrong; None of targets.
    """
    classes, record = text.classes, {}
    rows = np.arange(len(text))
    sure: Array | None = None
    if text.task == "classification":
        true, said = text.labels.astype(np.int64), estimates.argmax(1)
        counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
        np.add.at(counts, (true, said), 1)
        record["confusion"] = {
            name: {classes[i]: int(row[i]) for i in np.flatnonzero(row)}
            for name, row in zip(classes, counts, strict=True)
        }
        shares = estimates.clip(min=0)
        sure = shares[rows, said] / shares.sum(1)
        telling = np.where(true == said, -1.0, sure)
        names = [[[classes[i]] for i in column] for column in (true, said)]
    elif text.task == "multilabel":
        has, gets = text.labels > 0.5, estimates > 0.5
        record["by_label"] = {
            name: {"have": int(a.sum()), "said": int(b.sum()), "right": int((a & b).sum())}
            for name, a, b in zip(classes, has.T, gets.T, strict=True)
        }
        doubt = np.where(gets, estimates, 1 - estimates).clip(max=1)
        telling = sure = np.where(has == gets, -1.0, doubt).max(1)
        names = [
            [[classes[i] for i in np.flatnonzero(row)] for row in each] for each in (has, gets)
        ]
    else:
        telling = np.square(text.labels - estimates).sum(1)
        unit = np.array(text.target_sd), np.array(text.target_mean)
        names = [
            np.round(each * unit[0] + unit[1], 6).tolist() for each in (text.labels, estimates)
        ]
    kept: dict[str, dict[str, Any]] = {}
    for row in np.argsort(-telling, kind="stable"):
        if telling[row] < 0 or len(kept) == MOST:
            break
        kept.setdefault(text.texts[row], {
            "text": plain(text.texts[row], longest=LONGEST),
            "true": names[0][row],
            "said": names[1][row],
            "confidence": None if sure is None else float(sure[row]),
        })  # fmt: skip
    return {**record, "texts": [*kept.values()]}
