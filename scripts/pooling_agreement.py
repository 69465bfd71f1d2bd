"""How far the scores of summed tokens order data sets as those of their mean do.

Usage: python scripts/pooling_agreement.py RESULTS_OF_MEANS RESULTS_OF_SUMS, of two studies with
`score` cells of the same model and data sets. Prints for every score Spearman's r of the one with
the other over the data sets, at k/d = 0.5: the mean, least and largest over layers, and the last
layer's. `published` is left out: the released code knows the mean alone.
"""

import sys

import numpy as np
import pandas as pd

from ntpscore.study.run.cells import load_records
from ntpscore.study.statistics.correlation import spearman
from ntpscore.study.statistics.tables import StudyTables

K_FRACTION = 0.5
INDEX = ["score", "model", "layer", "data"]


def values(results: str) -> pd.Series:
    """Every score of every model, layer and data set."""
    scores = StudyTables.of(load_records(results)).scores
    fraction = scores["k_fraction"].astype(float)
    here = scores[np.isclose(fraction, K_FRACTION) | fraction.isna()]
    return here.set_index(INDEX)["value"].astype(float).sort_index()


def table(of_means: str, of_sums: str) -> str:
    """The table that is printed."""
    both = pd.concat({"mean": values(of_means), "sum": values(of_sums)}, axis=1).dropna()
    both = both.drop("published", level="score", errors="ignore")
    rows = []
    for score, of_score in both.groupby("score", sort=False):
        by_layer = pd.Series(
            {
                layer: spearman(part["mean"].to_numpy(), part["sum"].to_numpy())
                for layer, part in of_score.groupby("layer")
            }
        )
        if by_layer.notna().any():
            sets = of_score.index.get_level_values("data").nunique()
            ends = by_layer.min(), by_layer.max()
            rows.append((score, sets, by_layer.mean(), *ends, by_layer.iloc[-1]))
    frame = pd.DataFrame(rows, columns=["score", "n", "mean", "least", "largest", "last layer"])
    return frame.to_string(index=False, float_format="{:+.2f}".format)


if __name__ == "__main__":
    print(table(*sys.argv[1:3]))
