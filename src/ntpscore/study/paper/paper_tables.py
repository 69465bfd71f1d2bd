"""The paper's two tables, from the tables of a study."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from ntpscore.errors import DataError
from ntpscore.study.statistics.sweep import OUTCOME_COLUMNS, SCORE_COLUMNS
from ntpscore.study.statistics.tables import pick_columns

_PERCENT = 100.0


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
    return _PERCENT * wide.reindex(index=picked["data"].unique(), columns=columns)


class AfterLora(NamedTuple):
    """What LoRA did to a score.

    Attributes:
        table: a row per data set and three columns per model: `before`, `after`, and `change` in
            per cent of what it was, NaN where that was not above zero.
        risen: how many scores are higher after than before.
        runs: how many there are.
    """

    table: pd.DataFrame
    risen: int
    runs: int


def score_after_lora(
    scores: pd.DataFrame,
    rescored: pd.DataFrame,
    *,
    score: str,
    configurations: Mapping[str, tuple[int, float]] | None = None,
    k_fraction: float = 0.5,
) -> AfterLora:
    """A score of the models as they came and after LoRA.

    Args:
        scores: model, data, layer, k_fraction, score and value before LoRA, and perhaps seed, over
            which the mean is taken.
        rescored: the same after LoRA.
        score: which score.
        configurations: layer and k/d of each model; by default its last layer and `k_fraction`.
        k_fraction: the same k/d for all models, unless `configurations` are given; of no account to
            a score without k.

    Raises:
        DataError: columns are missing, a model has no configuration, or nothing is left to compare.

    Source:
        Next Token Perception Score, Table 2, which gives the change alone.
    """
    keys = ["model", "data"]
    both = []
    for table, name in ((scores, "before"), (rescored, "after")):
        picked = pick_columns(table, SCORE_COLUMNS, "scores" if name == "before" else "rescored")
        of_score = picked[picked["score"] == score]
        at = _at(of_score, configurations, k_fraction)
        both.append(at.set_index(keys)["value"].rename(name))
    joined = pd.concat(both, axis=1, join="inner")
    if joined.empty:
        raise DataError(
            f"no model and data set has {score!r} before and after LoRA at the layer and "
            "k_fraction that were asked for"
        )
    known = joined["before"].where(joined["before"] > 0)
    joined["change"] = _PERCENT * (joined["after"] - joined["before"]) / known
    names = [joined.index.unique(level=key) for key in keys]
    columns = pd.MultiIndex.from_product([names[0], joined.columns], names=["model", score])
    wide = pd.DataFrame(joined.unstack("model")).swaplevel(axis=1)
    table = wide.reindex(index=names[1], columns=columns)
    risen = int((joined["after"] > joined["before"]).sum())
    return AfterLora(table, risen, len(joined))


def _at(
    scores: pd.DataFrame,
    configurations: Mapping[str, tuple[int, float]] | None,
    k_fraction: float,
) -> pd.DataFrame:
    """The rows at each model's configuration."""
    if configurations is None:
        layer = scores.groupby("model")["layer"].transform("max")
        k = pd.Series(k_fraction, index=scores.index)
    else:
        unknown = sorted(set(scores["model"]) - set(configurations))
        if unknown:
            raise DataError(f"configurations lack {', '.join(unknown)}: give layer and k_fraction")
        layer = scores["model"].map({model: at[0] for model, at in configurations.items()})
        k = scores["model"].map({model: at[1] for model, at in configurations.items()})
    same_k = scores["k_fraction"].isna() | ((scores["k_fraction"] - k).abs() < 1e-6)
    return scores[(scores["layer"] == layer) & same_k]
