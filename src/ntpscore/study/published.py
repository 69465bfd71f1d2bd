"""The 96 points that the paper's authors published, run through our statistics."""

from importlib.resources import files

import pandas as pd

from ntpscore.errors import DataError
from ntpscore.study.correlation import (
    bootstrap_interval,
    partial_spearman,
    permutation_p,
    spearman,
)

_FEWEST = 4
# What each figure sets its own score against.
_FIGURES = {
    "accuracy": "ntps_fig2_accuracy",
    "mse": "ntps_fig2_mse",
    "lora_gain": "ntps_fig3",
}
COLUMNS = (
    "model", "outcome", "without", "n", "r", "low", "high", "p", "r_headroom", "r_given_headroom",
)  # fmt: skip


def load_published() -> pd.DataFrame:
    """The published points, a row per model and data set.

    Returns:
        Columns model, data, the score of each figure (`ntps_fig2_accuracy`, `ntps_fig2_mse`,
        `ntps_fig3`), and the outcomes: accuracy (logistic regression, training), mse (least
        squares, training), probe and lora (test accuracies), lora_gain (their difference) and
        headroom (one minus the probe's accuracy).

    Source:
        Figures 2 and 3 of Next Token Perception Score; see `data/SOURCES.md` beside this file.
    """
    with (files("ntpscore.study") / "data" / "published_figures.csv").open(
        encoding="utf-8"
    ) as file:
        points = pd.read_csv(file)
    points = points.rename(
        columns={
            "dataset": "data",
            "train_accuracy": "accuracy",
            "train_mse": "mse",
            "linear_probe_test_accuracy": "probe",
            "lora_test_accuracy": "lora",
        }
    )
    points["lora_gain"] = points["lora"] - points["probe"]
    points["headroom"] = 1 - points["probe"]
    return points


def correlate_published(without: str = "medical", *, seed: int = 0) -> pd.DataFrame:
    """Spearman's r of the published scores with the published outcomes, per model.

    The authors chose layer and k for each figure by the r that is computed here, so neither p nor
    interval allows for that choice: both are too good. What the points can be asked is whether the
    score says more of the LoRA gain than the headroom does.

    Args:
        without: a part of a data set's name: every r is given with and without such data sets.
        seed: of permutations and bootstrap.

    Returns:
        Two rows per model and outcome (`accuracy`, `mse`, `lora_gain`), `without` being empty in
        the first and naming what is left out in the second: n data sets, r, its 95 % bootstrap
        interval (low, high) and its permutation p; for the gain also r of the headroom with it, and
        r of the score with it given the headroom.

    Raises:
        DataError: no data set's name holds that, or fewer than four would be left.
    """
    points = load_published()
    left_out = points["data"].str.contains(without, case=False, regex=False)
    names = sorted(points["data"].unique())
    if not without or not left_out.any():
        raise DataError(f"no data set is called {without!r}; there are {', '.join(names)}")
    if points.loc[~left_out, "data"].nunique() < _FEWEST:
        raise DataError(f"without {without!r} fewer than {_FEWEST} data sets would be left")
    rows = []
    for model, group in points.groupby("model", sort=False):
        for outcome, score in _FIGURES.items():
            for omitted, part in (("", group), (without, group[~left_out[group.index]])):
                x, y = part[score].to_numpy(), part[outcome].to_numpy()
                row = {"model": model, "outcome": outcome, "without": omitted, "n": len(part)}
                row |= {"r": spearman(x, y), "p": permutation_p(x, y, seed=seed)}
                row |= bootstrap_interval(x, y, seed=seed)._asdict()
                if outcome == "lora_gain":
                    headroom = part["headroom"].to_numpy()
                    row["r_headroom"] = spearman(headroom, y)
                    row["r_given_headroom"] = partial_spearman(x, y, headroom)
                rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))
