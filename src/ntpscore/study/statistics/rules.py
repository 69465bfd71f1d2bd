"""Rules that choose layer and k before anything is trained, against the best that hindsight finds.

The paper chooses both by the correlation that it then reports, and leaves open how to choose them
beforehand. A rule here sees the model, the texts and the labels, never an outcome.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from ntpscore.core.grid import GRID_STEPS
from ntpscore.core.score_names import FURTHER_SCORES, SCORES
from ntpscore.errors import DataError
from ntpscore.study.run.cells import nominal_k_fraction
from ntpscore.study.statistics.selection import (
    best_configuration,
    correlations,
    leave_one_out_selection,
    max_statistic_test,
)
from ntpscore.study.statistics.sweep import FEWEST_DATA_SETS, OUTCOMES, Sweep, make_sweep
from ntpscore.study.statistics.tables import (
    KEYS,
    mean_over_seeds,
    outcomes_table,
    score_grid,
    scores_table,
)

_DEPTH = 2 / 3
_MIDDLE = 0.5
# Each of these makes every choice anew.
_LEFT_OUT_PERMUTATIONS = 1_000
RULE_COLUMNS = ("model", "score", "outcome", "n", "rule", "r", "p")
# Not of a rule: the best of every layer and k, and what such a choice is worth on data it did not
# see.
BEST, LEFT_OUT = "best of the sweep", "left out"


LayerAndK = tuple[int, float]


def _last(layers: pd.DataFrame) -> int:
    return int(layers.index.max())


def _deep(layers: pd.DataFrame) -> int:
    return round(_DEPTH * _last(layers))


def _best_fit(layers: pd.DataFrame) -> int:
    explained = layers["r2_adjusted"].to_numpy()
    if np.isnan(explained).all():
        raise ValueError("r2_adjusted is defined on no layer")
    return int(layers.index[int(np.nanargmax(explained))])


def _z_peak(of_score: pd.DataFrame, _: pd.DataFrame) -> LayerAndK:
    z = of_score["z"].to_numpy(dtype=np.float64)
    if np.isnan(z).all():
        raise ValueError("the score has no spread under shuffles")
    row = of_score.iloc[int(np.nanargmax(z))]
    return int(row["layer"]), float(row["k_fraction"])


def _rule(choose: Callable[[pd.DataFrame], int], *, k90: bool) -> "SelectionRule":
    def rule(_: pd.DataFrame, layers: pd.DataFrame) -> LayerAndK:
        layer = choose(layers)
        return layer, float(layers["k90"][layer]) if k90 else _MIDDLE

    return rule


SelectionRule = Callable[[pd.DataFrame, pd.DataFrame], LayerAndK]
# The layer: the last, which the probe reads; two thirds of the way up; the one that explains most
# of the labels (`r2_adjusted`). k: the middle of the grid; the smallest that keeps 90 % of that
# layer's next-token eigenvalues. Or both at once: where the score stands farthest above its
# shuffles.
SELECTION_RULES: Mapping[str, SelectionRule] = {
    "last layer, k/d 0.5": _rule(_last, k90=False),
    "last layer, k90": _rule(_last, k90=True),
    "depth 2/3, k/d 0.5": _rule(_deep, k90=False),
    "depth 2/3, k90": _rule(_deep, k90=True),
    "r2 layer, k/d 0.5": _rule(_best_fit, k90=False),
    "r2 layer, k90": _rule(_best_fit, k90=True),
    "z peak": _z_peak,
}


def chosen_scores(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """What every rule chooses, and finds there.

    Returns:
        The columns model, data, seed, score, rule, layer, k_fraction and value. A rule that finds
        nothing to go by, such as a score without spread under shuffles, has no row.
    """
    rows = []
    for record in records:
        if record["method"] != "score":
            continue
        keys = {key: record[key] for key in KEYS}
        width = record["record"]["model"]["width"]
        layers = pd.DataFrame(record["record"]["layers"]).set_index("layer")
        # Older cells don't say how many directions of the next token matter.
        layers = layers.reindex(columns=["r2_adjusted", "next_token_k90"]).astype(np.float64)
        layers["k90"] = [
            np.nan if np.isnan(k) else nominal_k_fraction(k, width)
            for k in layers["next_token_k90"]
        ]
        # The grid of k ends below d.
        layers["k90"] = layers["k90"].clip(1 / GRID_STEPS, 1 - 1 / GRID_STEPS)
        grid = score_grid(record)
        for score in (*SCORES, *FURTHER_SCORES):
            of_score = grid[grid["score"] == score]
            for rule, choose in SELECTION_RULES.items():
                try:
                    layer, k_fraction = choose(of_score, layers)
                except ValueError:
                    continue
                at = (of_score["layer"] == layer) & np.isclose(of_score["k_fraction"], k_fraction)
                rows += [
                    {**keys, "score": score, "rule": rule, "layer": layer,
                     "k_fraction": k_fraction, "value": value}
                    for value in of_score.loc[at, "value"]
                ]  # fmt: skip
    columns = [*KEYS, "score", "rule", "layer", "k_fraction", "value"]
    return pd.DataFrame(rows, columns=columns)


def compare_rules(
    records: Iterable[dict[str, Any]],
    *,
    outcomes: Sequence[str] = tuple(OUTCOMES),
    permutations: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Spearman's r of each score at each rule's choice, with the best of the sweep beside it.

    Args:
        records: cells of a study.
        outcomes: which of `OUTCOMES`.
        permutations: of the one-sided tests.
        seed: of them.

    Returns:
        The columns of `RULE_COLUMNS`: a row per model, score, outcome and rule, then one of the
        best configuration, its p corrected for the choice, and one of the configurations that are
        best on the other data sets.
    """
    unknown = [outcome for outcome in outcomes if outcome not in OUTCOMES]
    if unknown:
        raise DataError(
            f"there is no outcome {', '.join(unknown)}: choose from {', '.join(OUTCOMES)}"
        )
    records = list(records)
    scored = [record for record in records if record["method"] == "score"]
    if not scored:
        raise DataError("there is no cell of the method score that is done")
    too_few = DataError(
        f"no score and {' or '.join(outcomes)} are known of four data sets: run more cells"
    )
    if len({record["data"] for record in scored}) < FEWEST_DATA_SETS:
        raise too_few
    chosen = chosen_scores(scored)
    # A rule may choose another layer for each seed; what it is judged by is the mean.
    values = mean_over_seeds(chosen.drop(columns=["layer", "k_fraction"]))
    scores = mean_over_seeds(scores_table(scored))
    reached = mean_over_seeds(outcomes_table(records))
    rows: list[dict[str, Any]] = []
    names = (*SCORES, *FURTHER_SCORES)
    for model, score, outcome in product(scores["model"].unique(), names, outcomes):
        rows += _compare(
            values[(values["model"] == model) & (values["score"] == score)],
            scores[(scores["model"] == model) & (scores["score"] == score)],
            reached[reached["model"] == model],
            {"model": model, "score": score, "outcome": outcome},
            permutations,
            seed,
        )
    if not rows:
        raise too_few
    return pd.DataFrame(rows, columns=list(RULE_COLUMNS))


def _compare(
    values: pd.DataFrame,
    scores: pd.DataFrame,
    outcomes: pd.DataFrame,
    keys: dict[str, Any],
    permutations: int,
    seed: int,
) -> list[dict[str, Any]]:
    rows = []
    for rule in SELECTION_RULES:
        at = values[values["rule"] == rule].drop(columns="rule")
        sweep = _sweep(at.assign(layer=np.nan, k_fraction=np.nan), outcomes, keys)
        if sweep is not None:
            rows.append(_row(keys, sweep, rule, *_tested(sweep, permutations, seed)))
    sweep = _sweep(scores, outcomes, keys)
    if sweep is not None:
        rows.append(_row(keys, sweep, BEST, *_tested(sweep, permutations, seed)))
        left_out = leave_one_out_selection(
            sweep, permutations=min(permutations, _LEFT_OUT_PERMUTATIONS), seed=seed
        )
        rows.append(_row(keys, sweep, LEFT_OUT, left_out.r, left_out.p))
    return rows


def _sweep(scores: pd.DataFrame, outcomes: pd.DataFrame, keys: dict[str, Any]) -> Sweep | None:
    """None where there are too few data sets, or nothing varies."""
    try:
        return make_sweep(scores, outcomes, score=keys["score"], outcome=keys["outcome"])
    except DataError:
        return None


def _tested(sweep: Sweep, permutations: int, seed: int) -> tuple[float, float]:
    """The oriented r of the best configuration, and its p corrected for the choice."""
    (test,) = max_statistic_test([sweep], permutations=permutations, seed=seed)
    r = correlations(sweep).mean(axis=0)
    return float(r[best_configuration(r)]), test.p_best


def _row(keys: dict[str, Any], sweep: Sweep, rule: str, r: float, p: float) -> dict[str, Any]:
    return {**keys, "n": len(sweep.data), "rule": rule, "r": sweep.sign * r, "p": p}
