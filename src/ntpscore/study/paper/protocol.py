"""The paper's own protocol on a study's results: in sample, at the best layer and k."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ntpscore.core.score_names import FURTHER_SCORES, SCORES
from ntpscore.errors import DataError
from ntpscore.study.paper.published import published_r
from ntpscore.study.statistics.correlation import partial_spearman, spearman
from ntpscore.study.statistics.selection import best_configuration, correlations
from ntpscore.study.statistics.sweep import Sweep, make_sweep
from ntpscore.study.statistics.tables import KEYS, StudyTables, mean_over_seeds

# The paper's outcomes by their names here; `own_layer_mse` sets each layer's score against the
# error of least squares on that very layer.
PROTOCOL_OUTCOMES = {
    "logistic_accuracy": "accuracy",
    "ols_mse": "mse",
    "own_layer_mse": "mse",
    "lora_gain": "lora_gain",
}
PROTOCOL_COLUMNS = (
    "model", "outcome", "score", "n", "expected", "r", "layer", "k_fraction",
    "r_given_classes", "r_classes", "r_classes_outcome", "published_low", "published_high",
)  # fmt: skip
_OF_LAYERS = ("r2",)


def protocol_table(
    records: Sequence[dict[str, Any]], *, scores: Sequence[str] | None = None
) -> pd.DataFrame:
    """Spearman's r of each score with the paper's outcomes, as the paper's Figures 2 and 3 give it.

    Layers 0 … L − 1, and of these and the grid of k the best with the sign that theory asks for;
    outcomes of the training texts, but for the LoRA gain. Nothing corrects for the choice: the
    table shows whether our runs match the paper's, `study tables` what that means.

    Args:
        records: cells of a study.
        scores: only these; all if None.

    Returns:
        The columns of `PROTOCOL_COLUMNS`, a row per model, outcome and score: r over n data sets at
        that layer and k, and with the number of classes held fixed; r of the number of classes
        with the score there and with the outcome; and from where to where the r of the paper's
        eight models run.

    Raises:
        DataError: no score and outcome are known of enough data sets.
    """
    tables = StudyTables.of(records)
    classes = _classes(records)
    rows: list[dict[str, object]] = []
    wanted = (*SCORES, *FURTHER_SCORES, *_OF_LAYERS) if scores is None else scores
    for model, of_model in tables.scores.groupby("model", sort=False):
        below = of_model[of_model["layer"] < of_model["layer"].max()]
        names = [name for name in wanted if (below["score"] == name).any()]
        for outcome, theirs in PROTOCOL_OUTCOMES.items():
            published = published_r(theirs)
            for name in names:
                try:
                    sweep, at = _best(below, tables.outcomes, records, str(model), name, outcome)
                except DataError:
                    continue
                x, y = sweep.values[0, at], sweep.outcomes[0]
                given = np.array([classes[data] for data in sweep.data], dtype=np.float64)
                rows.append({
                    "model": model, "outcome": outcome, "score": name, "n": len(sweep.data),
                    "expected": sweep.sign, "r": spearman(x, y), "layer": sweep.layers[at, 0],
                    "k_fraction": sweep.k_fractions[at],
                    "r_given_classes": partial_spearman(x, y, given),
                    "r_classes": spearman(x, given), "r_classes_outcome": spearman(given, y),
                    "published_low": min(published), "published_high": max(published),
                })  # fmt: skip
    if not rows:
        raise DataError("no score and outcome of the paper are known of four data sets: run more")
    return pd.DataFrame(rows, columns=list(PROTOCOL_COLUMNS))


def _best(
    scores: pd.DataFrame,
    outcomes: pd.DataFrame,
    records: Sequence[dict[str, Any]],
    model: str,
    score: str,
    outcome: str,
) -> tuple[Sweep, int]:
    """The sweep that has the best configuration, and the place of that."""
    if outcome != "own_layer_mse":
        sweep = make_sweep(scores, outcomes, score=score, outcome=outcome, models=[model])
        return sweep, best_configuration(correlations(sweep)[0])
    errors = _layer_errors(records)
    sweeps = []
    for layer, of_layer in scores.groupby("layer"):
        reached = errors[errors["layer"] == layer].drop(columns="layer")
        sweep = make_sweep(of_layer, reached, score=score, outcome="ols_mse", models=[model])
        r = correlations(sweep)[0]
        sweeps.append((r.max(), sweep, best_configuration(r)))
    return max(sweeps, key=lambda sweep: sweep[0])[1:]


def _layer_errors(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The error of least squares of every layer, as outcomes with a layer."""
    rows = [
        {**{key: r[key] for key in KEYS}, "layer": row["layer"], "outcome": "ols_mse",
         "value": row["ols_mse"]}
        for r in records
        if r["method"] == "score"
        for row in r["record"]["layers"]
    ]  # fmt: skip
    return mean_over_seeds(pd.DataFrame(rows))


def _classes(records: Sequence[dict[str, Any]]) -> dict[str, int]:
    """The number of classes of each data set."""
    return {
        r["data"]: len(r["record"]["data"]["classes"]) for r in records if r["method"] == "score"
    }


def protocol_limits(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """What stands against comparing with the paper: texts per dimension, and fits without error.

    Returns:
        A row per model: `texts_per_dimension`, the mean over data sets of n/d, and of how many of
        `n` data sets the training accuracy is at least .998 (`saturated`), hence tied but for
        rounding.
    """
    ratio = pd.DataFrame(
        [
            {"model": r["model"],
             "ratio": r["record"]["data"]["n_texts"] / r["record"]["model"]["width"]}
            for r in records
            if r["method"] == "score"
        ]
    ).groupby("model", sort=False)["ratio"].mean()  # fmt: skip
    outcomes = StudyTables.of(records).outcomes
    accuracy = outcomes[outcomes["outcome"] == "logistic_accuracy"].groupby("model")["value"]
    return pd.DataFrame(
        {"texts_per_dimension": ratio, "saturated": accuracy.agg(lambda a: int((a >= 0.998).sum())),
         "n": accuracy.size()}
    )  # fmt: skip
