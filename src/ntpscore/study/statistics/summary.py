"""One row per score, outcome and model: the best r never stands alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd

from ntpscore.errors import DataError
from ntpscore.study.statistics.bootstrap import resampled_correlations, selected_interval
from ntpscore.study.statistics.correlation import (
    Values,
    partial_spearman,
    percentile_interval,
    regret_at_1,
    weighted_kendall,
)
from ntpscore.study.statistics.selection import (
    MaxStatistic,
    best_configuration,
    correlations,
    leave_one_model_out,
    leave_one_out_selection,
    max_statistic_test,
)
from ntpscore.study.statistics.sweep import OUTCOMES, Sweep, check_tables, make_sweep

ALL_MODELS = "all"
_LESS_IS_BETTER = ("ols_mse",)
# An r of zero comes out of its sum as a little more or less.
_ZERO = 1e-12
COLUMNS = (
    "model", "score", "outcome", "without", "n", "expected", "configurations", "undefined",
    "fixed_layer", "fixed_k_fraction", "r_fixed", "fixed_low", "fixed_high", "p_fixed",
    "tau_fixed", "regret_fixed", "r_fixed_given_probe_error", "r_fixed_given_r2",
    "r_fixed_given_classes",
    "best_layer", "best_k_fraction", "r_best", "best_low", "best_high", "p_best", "p_family",
    "r_left_out", "p_left_out", "r_left_out_model", "p_left_out_model",
    "share_expected", "r_best_given_probe_error", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class SummaryConfig:
    """How a summary is made.

    The configuration that is fixed in advance is the last layer, which the probe reads and LoRA
    starts from, and the middle of the paper's grid of k: the only k with no side to be on. A score
    without k or layer has but one.

    Attributes:
        fixed_k_fraction: k/d of the configuration that is fixed in advance.
        permutations: of the max-statistic test.
        left_out_permutations: of the selection without a data set or a model.
        resamples: of the bootstrap.
        seed: of all of them.
    """

    fixed_k_fraction: float = 0.5
    permutations: int = 10_000
    left_out_permutations: int = 1_000
    resamples: int = 2_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.fixed_k_fraction <= 1:
            raise DataError(f"fixed_k_fraction is {self.fixed_k_fraction}: a share of the width")
        for name in ("permutations", "left_out_permutations", "resamples"):
            if getattr(self, name) < 1:
                raise DataError(f"{name} is {getattr(self, name)}: at least 1 is needed")


def summary_row(
    sweep: Sweep, config: SummaryConfig | None = None, *, test: MaxStatistic | None = None
) -> dict[str, object]:
    """Everything there is to say of one score, one outcome and one model, or several together.

    Args:
        sweep: what to summarise.
        config: how.
        test: of this sweep, if it was tested together with others; made here otherwise.

    Returns:
        The fields of `COLUMNS` but `without`; `reason` is empty. Correlations have the sign they
        have; p-values are one-sided in the direction of `expected`. Of several models: means of
        their correlations, layers of the first model, and `regret_fixed` the mean over data sets of
        choosing a model (of one model: of choosing a data set). `share_expected` is the share of
        configurations (and models) whose r has the expected sign. The fixed columns are NaN where
        that configuration is not in the sweep, those of models left out where there is one, those
        given the probe's error, r2 or the number of classes where that is not known, fixes the
        order by itself, or is the outcome.
    """
    config = config or SummaryConfig()
    test = test or _tests([sweep], config)[0]
    by_model = correlations(sweep)
    r = by_model.mean(axis=0)
    best = best_configuration(r)
    draws = resampled_correlations(sweep, resamples=config.resamples, seed=config.seed)
    low, high = _oriented(selected_interval(draws, r, len(sweep.data)), sweep.sign)
    row: dict[str, object] = dict.fromkeys(COLUMNS, float("nan"))
    del row["without"]
    row |= {
        "model": sweep.models[0] if len(sweep.models) == 1 else ALL_MODELS,
        "reason": "",
        "score": sweep.score,
        "outcome": sweep.outcome,
        "n": len(sweep.data),
        "expected": sweep.sign,
        "configurations": len(r),
        "undefined": sweep.undefined,
        "best_layer": _layer(sweep, best),
        "best_k_fraction": float(sweep.k_fractions[best]),
        "r_best": sweep.sign * float(r[best]),
        "best_low": low,
        "best_high": high,
        "p_best": test.p_best,
        "p_family": test.p_family,
        "share_expected": float((by_model > _ZERO).mean()),
        "r_best_given_probe_error": _given_probe_error(sweep, best),
    }
    permutations, seed = config.left_out_permutations, config.seed
    left_out = leave_one_out_selection(sweep, permutations=permutations, seed=seed)
    row |= {"r_left_out": sweep.sign * left_out.r, "p_left_out": left_out.p}
    if len(sweep.models) > 1:
        left_out = leave_one_model_out(sweep, permutations=permutations, seed=seed)
        row |= {"r_left_out_model": sweep.sign * left_out.r, "p_left_out_model": left_out.p}
    fixed = fixed_configuration(sweep, config.fixed_k_fraction)
    if fixed is not None:
        low, high = _oriented(percentile_interval(draws[:, fixed]), sweep.sign)
        row |= {
            "fixed_layer": _layer(sweep, fixed),
            "fixed_k_fraction": float(sweep.k_fractions[fixed]),
            "r_fixed": sweep.sign * float(r[fixed]),
            "fixed_low": low,
            "fixed_high": high,
            "p_fixed": float(test.p[fixed]),
            "tau_fixed": _weighted_tau(sweep, fixed),
            "regret_fixed": _regret(sweep, fixed),
            "r_fixed_given_probe_error": _given_probe_error(sweep, fixed),
            "r_fixed_given_r2": _given(sweep, fixed, sweep.r2),
            "r_fixed_given_classes": _given(sweep, fixed, sweep.classes),
        }
    return row


def summary_table(
    scores: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    only: Sequence[str] | None = None,
    without: Sequence[str] = (),
    score_signs: Mapping[str, int] | None = None,
    config: SummaryConfig | None = None,
) -> pd.DataFrame:
    """A row per score, outcome and model, and for all models together, with and without data sets.

    A model's row is over the data sets that it has, that of all models over those that all have.
    `p_family` is corrected for the configurations of all models, not for the number of scores and
    outcomes; it is missing where the models' data sets differ, which one permutation can't serve.

    Args:
        scores: see `ntpscore.study.statistics.sweep`.
        outcomes: likewise.
        only: of which scores; of all if None.
        without: data sets to leave out, one at a time, beside the rows that leave out none: such as
            one of two that share their sentences.
        score_signs: -1 for a score that is low where a frozen model does well; 1 by default.
        config: how.

    Returns:
        The columns of `COLUMNS`; `without` is empty where nothing is left out. Where there is
        nothing to correlate, a row of that model, or one of all models, says why in `reason`.

    Raises:
        DataError: columns are missing, a value stands twice, there is no known outcome, a data set
            to leave out isn't there, or a sign is neither 1 nor -1.
    """
    config = config or SummaryConfig()
    check_tables(scores, outcomes)
    wrong = {score: sign for score, sign in (score_signs or {}).items() if sign not in (1, -1)}
    if wrong:
        raise DataError(f"score_signs holds {wrong}: a score counts up (1) or down (-1)")
    unknown = [data for data in without if not (scores["data"] == data).any()]
    if unknown:
        raise DataError(f"can't leave out {', '.join(unknown)}: no such data set in the scores")
    present = [name for name in OUTCOMES if (outcomes["outcome"] == name).any()]
    if not present:
        raise DataError(f"the outcomes hold none of {', '.join(OUTCOMES)}")
    rows = []
    names = scores["score"].unique() if only is None else only
    for score, outcome, omitted in product(names, present, ("", *without)):
        needed = scores["score"].isin([score, "r2", "n_classes"]) & (scores["data"] != omitted)
        reached = outcomes[outcomes["data"] != omitted]
        sign = (score_signs or {}).get(score, 1)
        of_score = _rows_of(scores[needed], reached, score, outcome, sign, config)
        rows += [row | {"without": omitted} for row in of_score]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows_of(
    scores: pd.DataFrame,
    outcomes: pd.DataFrame,
    score: str,
    outcome: str,
    score_sign: int,
    config: SummaryConfig,
) -> list[dict[str, object]]:
    """The rows of one score and outcome: of each model, then of all where there are more."""

    def sweep_of(models: list[str] | None) -> Sweep:
        return make_sweep(
            scores, outcomes, score=score, outcome=outcome, models=models, score_sign=score_sign
        )

    keys: dict[str, object] = {"score": score, "outcome": outcome}
    models = scores.loc[scores["score"] == score, "model"].unique()
    sweeps, failed = [], []
    for model in models:
        try:
            sweeps.append(sweep_of([model]))
        except DataError as error:
            failed.append(keys | {"model": model, "reason": str(error)})
    tests = _tests(sweeps, config)
    rows = [
        summary_row(sweep, config, test=test) for sweep, test in zip(sweeps, tests, strict=True)
    ]
    if sweeps:
        rows += failed
    if len(models) != 1 or not sweeps:
        try:
            rows.append(summary_row(sweep_of(None), config))
        except DataError as error:
            rows.append(keys | {"model": ALL_MODELS, "reason": str(error)})
    return rows


def _tests(sweeps: Sequence[Sweep], config: SummaryConfig) -> list[MaxStatistic]:
    """Of the models of one score and outcome: together where their data sets are the same."""
    if len({sweep.data for sweep in sweeps}) == 1:
        return max_statistic_test(sweeps, permutations=config.permutations, seed=config.seed)
    alone = (_tests([sweep], config)[0] for sweep in sweeps)
    return [replace(test, p_family=float("nan")) for test in alone]


def fixed_configuration(sweep: Sweep, k_fraction: float) -> int | None:
    """The place of the last layer and this k/d in the sweep; None where it isn't there."""
    at_last = (sweep.layers == sweep.last).all(axis=1)
    at_k = np.isnan(sweep.k_fractions) | (np.abs(sweep.k_fractions - k_fraction) < 1e-6)
    places = np.flatnonzero(at_last & at_k)
    return int(places[0]) if len(places) else None


def _layer(sweep: Sweep, configuration: int) -> float:
    layer = int(sweep.layers[configuration, 0])
    return float("nan") if layer < 0 else layer


def _oriented(interval: tuple[float, float], sign: int) -> tuple[float, float]:
    low, high = interval
    return (low, high) if sign > 0 else (-high, -low)


def _given_probe_error(sweep: Sweep, configuration: int) -> float:
    if sweep.outcome == "probe_accuracy":
        return float("nan")
    return _given(sweep, configuration, sweep.probe_error)


def _given(sweep: Sweep, configuration: int, held: Values | None) -> float:
    if held is None:
        return float("nan")
    triples = zip(sweep.values[:, configuration], sweep.outcomes, held, strict=True)
    return float(np.mean([partial_spearman(x, y, z) for x, y, z in triples]))


def _towards_better(sweep: Sweep, configuration: int) -> tuple[np.ndarray, np.ndarray]:
    """Score and outcome (m, n), turned so that the score should rise with what is better."""
    better = -1 if sweep.outcome in _LESS_IS_BETTER else 1
    return better * sweep.sign * sweep.values[:, configuration], better * sweep.outcomes


def _weighted_tau(sweep: Sweep, configuration: int) -> float:
    x, y = _towards_better(sweep, configuration)
    return sweep.sign * float(np.mean([weighted_kendall(*pair) for pair in zip(x, y, strict=True)]))


def _regret(sweep: Sweep, configuration: int) -> float:
    x, y = _towards_better(sweep, configuration)
    if len(sweep.models) > 1:
        x, y = x.T, y.T
    return float(np.mean([regret_at_1(*pair) for pair in zip(x, y, strict=True)]))
