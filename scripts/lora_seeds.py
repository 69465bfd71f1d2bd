"""How far a second run of LoRA, on other texts in another order, lands from the first.

Usage: python scripts/lora_seeds.py RESULTS [RESULTS …], of studies with `lora` cells of the same
models and data sets and of different seeds. Prints the test accuracy of each data set by seed, of
the models that more than one was run of, and the mean and the largest of their distances.
"""

import sys

import pandas as pd

from ntpscore.study.run.cells import load_records
from ntpscore.study.statistics.tables import outcomes_table


def by_seed(*results: str) -> pd.DataFrame:
    """The test accuracy of LoRA: a row per model and data set, a column per seed."""
    outcomes = outcomes_table(load_records(*results))
    of_lora = outcomes[outcomes["outcome"] == "lora_accuracy"]
    table = of_lora.pivot_table(index=["model", "data"], columns="seed", values="value")
    return table.dropna().astype(float)


def table(*results: str) -> str:
    """The table that is printed, and the line below it."""
    accuracies = by_seed(*results)
    apart = accuracies.max(axis=1) - accuracies.min(axis=1)
    printed = accuracies.reset_index().to_string(index=False, float_format="{:.3f}".format)
    return f"{printed}\n\napart: {apart.mean():.3f} in the mean, {apart.max():.3f} at most"


if __name__ == "__main__":
    print(table(*sys.argv[1:]))
