"""What the released code's float32 does to the score: `published` beside the same order in float64.

Usage: python scripts/published_noise.py RESULTS_FOLDER, of a study whose `score` cells have
`published`. Both scores are of the same hidden states; `published` sums and solves in float32 and
cuts eigenvalues off at 1e-8, `smallest_first` is exact. Prints, at k/d = 0.5 and over the data sets
of each model, how far they are apart, and Spearman's r of each with the other, with the mean length
of the texts in tokens, and with the training accuracy of logistic regression.
"""

import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd

from ntpscore.study.run.cells import load_records
from ntpscore.study.statistics.correlation import spearman
from ntpscore.study.statistics.tables import StudyTables

K_FRACTION = 0.5
COLUMNS = ("model", "layer", "n", "apart", "with each other", "tokens", "tokens, exact",
           "accuracy", "accuracy, exact")  # fmt: skip


def rows(results: str) -> Iterator[tuple[object, ...]]:
    """A row of `COLUMNS` for five layers of each model, and what its layers have in the mean."""
    records = load_records(results)
    tables = StudyTables.of(records)
    lengths = pd.Series(
        {
            (cell["model"], cell["data"]): data["n_tokens"] / data["n_texts"]
            for cell in records
            if cell["method"] == "score" and (data := cell["record"]["data"])
        }
    )
    outcomes = tables.outcomes
    logistic = outcomes[outcomes["outcome"] == "logistic_accuracy"]
    accuracy = logistic.set_index(["model", "data"])["value"].astype(float)
    at_half = tables.scores[np.isclose(tables.scores["k_fraction"].astype(float), K_FRACTION)]
    for model, of_model in at_half.groupby("model"):
        found = []
        for layer, part in of_model.groupby("layer"):
            values = part.pivot_table(index=["model", "data"], columns="score", values="value")
            float32, exact = (
                np.asarray(values[name], np.float64) for name in ("published", "smallest_first")
            )
            others = [np.asarray(of[values.index], np.float64) for of in (lengths, accuracy)]
            of_others = [spearman(score, other) for other in others for score in (float32, exact)]
            found.append((layer, len(values), np.abs(float32 - exact).mean(),
                          spearman(float32, exact), *of_others))  # fmt: skip
        last = len(found) - 1
        for step in range(5):
            layer, n, *numbers = found[round(step * last / 4)]
            yield model, str(int(layer)), n, *numbers
        yield model, "mean", found[0][1], *np.mean([row[2:] for row in found], axis=0)


def table(results: str) -> str:
    """The table that is printed."""
    frame = pd.DataFrame(list(rows(results)), columns=list(COLUMNS))
    signs = dict.fromkeys(COLUMNS[4:], "{:+.2f}".format)
    return frame.to_string(index=False, formatters={"apart": "{:.3f}".format, **signs})


if __name__ == "__main__":
    print(table(sys.argv[1]))
