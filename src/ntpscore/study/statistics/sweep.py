"""A sweep: one score at every layer and k, of one or more models, against one outcome.

Two tidy tables go in, made by whoever ran the study. *scores* holds a value per `model`, `data`,
`layer`, `k_fraction` and `score` in the column `value`; layer and k_fraction are missing where a
score has none. *outcomes* holds one per `model`, `data` and `outcome`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ntpscore.errors import DataError
from ntpscore.study.statistics.correlation import Values

# The outcomes of a study, and whether a score that is high where a frozen model does well should
# rise (1) or fall (-1) with them.
OUTCOMES = {
    "ols_mse": -1,
    "logistic_accuracy": 1,
    "probe_accuracy": 1,
    "lora_accuracy": 1,
    "lora_gain": -1,
    "lora_gain_frozen": -1,
}
SCORE_COLUMNS = ("model", "data", "layer", "k_fraction", "score", "value")
OUTCOME_COLUMNS = ("model", "data", "outcome", "value")
# Values closer than this, relative to the larger, are one value, and what is this small beside the
# largest of its row is nothing: rounding has no order that a rank may see.
_TIE, _NOTHING = 1e-6, 1e-12
# Three data sets can be ordered in six ways: no p-value would be below 1/6.
FEWEST_DATA_SETS = 4


@dataclass(frozen=True)
class Sweep:
    """One score at C configurations, of m models on n data sets, against one outcome.

    Attributes:
        score: its name.
        outcome: its name.
        sign: 1 if the score is expected to rise with the outcome, -1 if to fall.
        models: (m,).
        data: (n,) the data sets with an outcome under every model and any value at all.
        layers: (C, m) the layer of each model; -1 where the score has none.
        last: (m,) the last layer of each model, defined or not.
        k_fractions: (C,) k/d; NaN where the score has none.
        values: (m, C, n) without NaN; what differs by rounding alone over the data sets is equal.
        outcomes: (m, n) without NaN; likewise.
        probe_error: (m, n) one minus the accuracy of the linear probe; None where it is not known.
        r2: (m, n) what least squares explains of the labels on the last layer; likewise.
        classes: (m, n) the number of classes; likewise.
        undefined: configurations left out since they have no value on some data set, or the same
            on all.
        dropped: data sets left out since they have no outcome, or no value at all.
    """

    score: str
    outcome: str
    sign: int
    models: tuple[str, ...]
    data: tuple[str, ...]
    layers: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    k_fractions: Values
    values: Values
    outcomes: Values
    probe_error: Values | None
    r2: Values | None
    classes: Values | None
    undefined: int
    dropped: tuple[str, ...]


def make_sweep(
    scores: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    score: str,
    outcome: str,
    models: Sequence[str] | None = None,
    score_sign: int = 1,
) -> Sweep:
    """Collect one score and one outcome from the tables of a study.

    Several models are set side by side by relative depth: the model with the fewest layers, D,
    gives the configurations, and of a model with more the layer nearest to each of D evenly spaced
    depths is taken.

    Nothing is imputed. A data set without the outcome, or without any value of the score, under one
    of the models is left out for all of them; then a configuration without a value on one of those
    left, or with the same value on all of them, is left out. Values within 1e-6 of each other,
    relative to the larger, are the same: least squares with fewer texts than features has an r2 of
    one on every data set, and the last digits of it are no order.

    Args:
        scores: see the module; the scores `r2` and `n_classes`, where they are there, give
            `Sweep.r2` and `Sweep.classes`.
        outcomes: see the module; `probe_accuracy`, where it is there, gives `Sweep.probe_error`.
        score: which score.
        outcome: one of `OUTCOMES`.
        models: which models; all in `scores` by default.
        score_sign: -1 for a score that is *low* where a frozen model does well.

    Raises:
        DataError: columns or names are missing, a value stands twice, an outcome does not vary, or
            fewer than four data sets or no configuration is left.
    """
    check_tables(scores, outcomes)
    if outcome not in OUTCOMES:
        raise DataError(f"there is no outcome {outcome!r}: choose from {', '.join(OUTCOMES)}")
    if score_sign not in (1, -1):
        raise DataError(f"score_sign is {score_sign}: a score counts up (1) or down (-1)")
    explained = scores[scores["score"] == "r2"]
    classes = scores[scores["score"] == "n_classes"]
    scores = scores[scores["score"] == score]
    names = tuple(dict.fromkeys(scores["model"] if models is None else models))
    missing = [name for name in names if not (scores["model"] == name).any()]
    if not names or missing:
        whose = f" of {', '.join(missing)}" if missing else ""
        raise DataError(f"the scores hold no score {score!r}{whose}")
    targets = _wide(outcomes[outcomes["outcome"] == outcome], names)
    probe = _wide(outcomes[outcomes["outcome"] == "probe_accuracy"], names)
    # Rows: layer and k; columns: data sets.
    by_model = [_grid(scores[scores["model"] == name], name) for name in names]
    every = sorted(set(targets.columns) | set().union(*(grid.columns for grid in by_model)))
    data_sets = [
        data
        for data in every
        if data in targets.columns
        and targets[data].notna().all()
        and all(data in grid.columns and grid[data].notna().any() for grid in by_model)
    ]
    if len(data_sets) < FEWEST_DATA_SETS:
        raise DataError(
            f"{len(data_sets)} data sets have both {score!r} and {outcome!r} under "
            f"{', '.join(names)}: correlations need {FEWEST_DATA_SETS}"
        )
    layers, k_fractions, values = _side_by_side([grid[data_sets] for grid in by_model])
    values = tie_rounding(values)
    varies = (values != values[:, :, :1]).any(axis=2).all(axis=0)
    defined = varies & ~np.isnan(values).any(axis=(0, 2))
    if not defined.any():
        raise DataError(
            f"no configuration of {score!r} is defined on, and differs over, the {len(data_sets)} "
            "data sets"
        )
    reached = tie_rounding(targets[data_sets].to_numpy(dtype=np.float64))
    for model, row in zip(names, reached, strict=True):
        if (row == row[0]).all():
            raise DataError(f"{outcome} of {model} is {row[0]} on every data set: nothing to order")
    return Sweep(
        score=score,
        outcome=outcome,
        sign=OUTCOMES[outcome] * score_sign,
        models=names,
        data=tuple(data_sets),
        layers=layers[defined],
        last=layers[-1],
        k_fractions=k_fractions[defined],
        values=values[:, defined],
        outcomes=reached,
        probe_error=_all_known(1 - probe.reindex(columns=data_sets)),
        r2=_all_known(_wide(at_last_layer(explained), names).reindex(columns=data_sets)),
        classes=_all_known(_wide(classes, names).reindex(columns=data_sets)),
        undefined=int((~defined).sum()),
        dropped=tuple(data for data in every if data not in data_sets),
    )


def tie_rounding(values: Values) -> Values:
    """Values along the last axis, those that differ by rounding alone made equal.

    A mean over seeds or a difference of two accuracies rounds to one of several neighbours; ranks
    would see an order in that.

    Args:
        values: (…, n); NaN and infinite ones stay what they are.
    """
    order = values.argsort(axis=-1)
    ordered = np.take_along_axis(values, order, axis=-1)
    sizes = np.where(np.isfinite(ordered), np.abs(ordered), 0.0)
    slack = np.maximum(
        _TIE * np.maximum(sizes[..., 1:], sizes[..., :-1]),
        _NOTHING * sizes.max(axis=-1, keepdims=True),
    )
    with np.errstate(invalid="ignore"):  # of infinite ones
        apart = ~(np.diff(ordered, axis=-1) <= slack)
    place = np.arange(1, values.shape[-1])
    first = np.zeros(values.shape, dtype=np.int64)
    first[..., 1:] = np.maximum.accumulate(np.where(apart, place, 0), axis=-1)
    tied = np.empty_like(values)
    np.put_along_axis(tied, order, np.take_along_axis(ordered, first, axis=-1), axis=-1)
    return tied


def check_tables(scores: pd.DataFrame, outcomes: pd.DataFrame) -> None:
    """Check that the tables of a study are what the module says."""
    for table, columns, name in (
        (scores, SCORE_COLUMNS, "scores"),
        (outcomes, OUTCOME_COLUMNS, "outcomes"),
    ):
        check_columns(table, columns, name)
        keys = [column for column in columns if column != "value"]
        twice = table[table.duplicated(keys)]
        if len(twice):
            first = ", ".join(f"{key} {twice.iloc[0][key]}" for key in keys)
            raise DataError(f"the {name} hold two values for {first}: keep one")


def check_columns(table: pd.DataFrame, columns: Sequence[str], name: str) -> None:
    """Check that the table of that name has these columns."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(f"the {name} lack the columns {', '.join(missing)}")


def _all_known(table: pd.DataFrame) -> Values | None:
    return None if table.isna().any(axis=None) else tie_rounding(table.to_numpy(dtype=np.float64))


def at_last_layer(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of each model's last layer."""
    return scores[scores["layer"] == scores.groupby("model")["layer"].transform("max")]


def _wide(chosen: pd.DataFrame, models: tuple[str, ...]) -> pd.DataFrame:
    """Models by data sets."""
    return chosen.set_index(["model", "data"])["value"].unstack("data").reindex(list(models))


def _grid(scores: pd.DataFrame, model: str) -> pd.DataFrame:
    """Configurations, sorted by layer and k, by data sets."""
    filled = scores.assign(
        layer=scores["layer"].fillna(-1), k_fraction=scores["k_fraction"].round(6)
    )
    # A missing k would drop out of the index.
    filled["k_fraction"] = filled["k_fraction"].fillna(-1.0)
    grid = filled.set_index(["layer", "k_fraction", "data"])["value"].unstack("data")
    layers = grid.index.get_level_values("layer")
    if (layers == -1).any() and (layers != -1).any():
        raise DataError(f"{model} has values of one score with a layer and without")
    return grid


def _side_by_side(
    grids: list[pd.DataFrame],
) -> tuple[npt.NDArray[np.int64], Values, Values]:
    """Layers (C, m), k_fractions (C,) and values (m, C, n) at matching depths."""
    levels = [np.unique(grid.index.get_level_values("layer")) for grid in grids]
    depths = min(len(level) for level in levels)
    shared = set.intersection(*({float(k) for _, k in grid.index} for grid in grids))
    if not shared:
        raise DataError("the models share no k_fraction: score them at the same ones")
    shares = [depth / (depths - 1) if depths > 1 else 1.0 for depth in range(depths)]
    layers = [[level[round(share * (len(level) - 1))] for share in shares] for level in levels]
    ks = sorted(shared)
    values = [
        grid.reindex(pd.MultiIndex.from_product([at, ks])).to_numpy(dtype=np.float64)
        for grid, at in zip(grids, layers, strict=True)
    ]
    return (
        np.repeat(np.array(layers, dtype=np.int64).T, len(ks), axis=0),
        np.tile([np.nan if k < 0 else k for k in ks], depths),
        np.array(values),
    )
