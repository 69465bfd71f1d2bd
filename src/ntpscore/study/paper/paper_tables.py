"""The paper's two tables, from the tables of a study."""

import numpy as np
import pandas as pd

from ntpscore.errors import DataError
from ntpscore.figures import PERCENT
from ntpscore.study.statistics.sweep import OUTCOME_COLUMNS, SCORE_COLUMNS, at_last_layer
from ntpscore.study.statistics.tables import pick_columns


def probe_against_scratch(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of a linear probe on the pretrained model and of training from scratch.

    Args:
        outcomes: model, data, outcome and value, and perhaps seed, over which the mean is taken.

    Returns:
        Per cent; a row per data set and two columns per model, `probe` and `scratch`, in the order
        they have in `outcomes`; NaN where a run is missing.

    Raises:
        DataError: columns are missing, or there is neither outcome.

    Source:
        Next Token Perception Score, Table 1.
    """
    picked = pick_columns(outcomes, OUTCOME_COLUMNS, "outcomes")
    methods = {"probe_accuracy": "probe", "scratch_accuracy": "scratch"}
    picked = picked[picked["outcome"].isin(list(methods))]
    if picked.empty:
        raise DataError(f"the outcomes hold none of {', '.join(methods)}")
    wide = picked.assign(outcome=picked["outcome"].map(methods)).pivot_table(
        index="data", columns=["model", "outcome"], values="value"
    )
    columns = pd.MultiIndex.from_product(
        [picked["model"].unique(), methods.values()], names=["model", "accuracy_percent"]
    )
    return PERCENT * wide.reindex(index=picked["data"].unique(), columns=columns)


def score_after_lora(
    scores: pd.DataFrame, rescored: pd.DataFrame, *, score: str, k_fraction: float = 0.5
) -> pd.DataFrame:
    """A score of the models as they came and after LoRA, on the last layer of each.

    Args:
        scores: model, data, layer, k_fraction, score and value before LoRA, and perhaps seed, over
            which the mean is taken.
        rescored: the same after LoRA.
        score: which score.
        k_fraction: k/d; of no account to a score without k.

    Returns:
        A row per data set and three columns per model: `before`, `after`, and `change` in per cent
        of what it was, NaN where that was not above zero.

    Raises:
        DataError: columns are missing, or nothing is left to compare.

    Source:
        Next Token Perception Score, Table 2, which gives the change alone.
    """
    keys = ["model", "data"]
    both = []
    for table, name in ((scores, "before"), (rescored, "after")):
        picked = pick_columns(table, SCORE_COLUMNS, "scores" if name == "before" else "rescored")
        at = at_last_layer(picked[picked["score"] == score])
        same_k = at["k_fraction"].isna() | ((at["k_fraction"] - k_fraction).abs() < 1e-6)
        both.append(at[same_k].set_index(keys)["value"].rename(name))
    joined = pd.concat(both, axis=1, join="inner")
    if joined.empty:
        raise DataError(
            f"no model and data set has {score!r} before and after LoRA at the layer and "
            "k_fraction that were asked for"
        )
    known = joined["before"].where(joined["before"] > 0)
    joined["change"] = PERCENT * (joined["after"] - joined["before"]) / known
    names = [joined.index.unique(level=key) for key in keys]
    columns = pd.MultiIndex.from_product([names[0], joined.columns], names=["model", score])
    wide = pd.DataFrame(joined.unstack("model")).swaplevel(axis=1)
    return wide.reindex(index=names[1], columns=columns)


def changes_after_lora(
    scores: pd.DataFrame, rescored: pd.DataFrame, *, k_fraction: float = 0.5
) -> pd.DataFrame:
    """On how many data sets LoRA raises each score, and on how many it lowers it.

    Args:
        scores: as in `score_after_lora`.
        rescored: likewise.
        k_fraction: likewise.

    Returns:
        A row per score that is known of both, and the columns `rises`, `falls` and `change`, the
        mean change in per cent, over all models and data sets.
    """
    rows = {}
    for name in rescored["score"].unique():
        try:
            wide = score_after_lora(scores, rescored, score=name, k_fraction=k_fraction)
        except DataError:
            continue
        changes = wide.xs("change", axis=1, level=1).stack().to_numpy()
        rows[name] = {"rises": (changes > 0).sum(), "falls": (changes < 0).sum(),
                      "change": np.nanmean(changes)}  # fmt: skip
    if not rows:
        raise DataError("no score is known before and after LoRA")
    return pd.DataFrame.from_dict(rows, orient="index")
