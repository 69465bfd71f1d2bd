"""How well LoRA's accuracy is forecast: by rules that read held-out accuracies, and by others."""

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from ntpscore.errors import DataError, StudyError
from ntpscore.forecast.evidence import COVERAGE, POINT_COLUMNS, Evidence
from ntpscore.forecast.rules import RULE, RULES, frozen_accuracy
from ntpscore.study.run.plan import cell_name
from ntpscore.study.statistics.correlation import TIE, Values, spearman
from ntpscore.study.statistics.tables import KEYS, outcomes_table, scores_table

COLUMNS = ("cells", "predictor", "n", "data_sets", "mean_error", "spearman", "gain_told", "held")
KNOWN = "known"
# A gain that is worth telling: five points over the best frozen readout.
_GAIN = 0.05
_KEY = ["model", "data"]
# What says how a probe does, and what the gain over it is read off.
_LINES = ("probe_error", "unexplained")
_SHIFTED = ("ridge_last", "lda", *RULES)
PREDICTORS = ("constant", *_LINES, *_SHIFTED)


def forecast_points(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """What every predictor reads, beside what LoRA reached.

    Args:
        records: cells of a study: of lora and probe, and of score or held_out with `accuracy`.

    Returns:
        A row per model, data set and seed of LoRA: `lora_accuracy`; `probe`, the test accuracy of
        the linear probe; `frozen`, the held-out accuracy of the best frozen readout; n_texts,
        classes, width and samples_seen; and by name what each predictor reads: `probe_error`,
        `unexplained` (1 - `r2_adjusted` of the last layer), the held-out accuracy of the last
        layer (`ridge_last`), that of discriminant analysis (`lda`), and the estimate of each rule.
        Of the seed that LoRA has where that was run, else means over those there are.
    """
    records = list(records)
    outcomes, scores = outcomes_table(records), scores_table(records)
    lora = outcomes[outcomes["outcome"] == "lora_accuracy"].set_index(KEYS)["value"]
    if lora.empty:
        raise StudyError("the study holds no accuracy of LoRA yet: it needs cells of lora")
    read = _held_out(records)
    last = scores["layer"] == scores.groupby("model")["layer"].transform("max")
    for name, rows in (
        ("probe", outcomes[outcomes["outcome"] == "probe_accuracy"]),
        ("r2", scores[last & (scores["score"] == "r2_adjusted")]),
        ("lda", scores[scores["score"] == "lda"]),
    ):
        read = read.join(rows.set_index(KEYS)["value"].astype(float).rename(name), how="outer")
    means = read.groupby(level=_KEY).mean()
    own = read.reindex(lora.index)
    pairs = pd.MultiIndex.from_frame(lora.index.to_frame()[_KEY])
    filled = own.fillna(means.reindex(pairs).set_axis(lora.index))
    seen = {
        tuple(record[key] for key in KEYS): record["record"]["samples_seen"]
        for record in records
        if record["method"] == "lora"
    }
    points = filled.assign(
        lora_accuracy=lora, probe_error=1 - filled["probe"], unexplained=1 - filled["r2"],
        samples_seen=pd.Series(seen),
    ).reset_index()  # fmt: skip
    points = points.dropna(subset=["probe", "frozen", RULE])
    if points.empty:
        raise StudyError(
            "no cell of LoRA has a probe and held-out accuracies beside it: run cells of probe "
            "and of score"
        )
    return points


def _held_out(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """By model, data set and seed: sizes, and what is read off `accuracy`."""
    rows = {}
    for record in records:
        result = record["record"]
        accuracy = result.get("accuracy") if record["method"] in ("score", "held_out") else None
        if accuracy is None or accuracy.get("measure") != "accuracy" or not accuracy["readouts"]:
            continue
        readouts = pd.DataFrame(accuracy["readouts"])
        of_last = (readouts["layer"] == readouts["layer"].max()) & (readouts["pooling"] == "mean")
        rows[tuple(record[key] for key in KEYS)] = {
            "n_texts": result["data"]["n_texts"],
            "classes": len(result["data"]["classes"]),
            "width": result["model"]["width"],
            "frozen": frozen_accuracy(accuracy),
            "ridge_last": readouts.loc[of_last, "accuracy"].max(),
            **{name: rule(accuracy) for name, rule in RULES.items()},
        }
    columns = ["n_texts", "classes", "width", "frozen", "ridge_last", *RULES]
    index = pd.MultiIndex.from_tuples(list(rows) or [], names=KEYS) if rows else None
    table = pd.DataFrame(list(rows.values()), index=index, columns=columns, dtype=float)
    return table if rows else table.set_index(pd.MultiIndex.from_arrays([[]] * 3, names=KEYS))


def compare_forecasts(points: pd.DataFrame, known: Sequence[str] = ("*",)) -> pd.DataFrame:
    """Try every predictor on data sets that its fit did not see.

    `constant` adds the median gain to the probe's accuracy; `probe_error` and `unexplained` a
    straight line in them; all others are an accuracy to which the mean of what LoRA reached beyond
    it is added. Each is fitted to the known cells of the other data sets, which weigh alike.

    Args:
        points: of `forecast_points`.
        known: patterns of names of LoRA cells: those that predictors may be fitted to. All others
            are a test.

    Returns:
        `COLUMNS`: a row per predictor and kind of cells, "known" or, of those that are not, their
        model: how many points and data sets; the mean absolute error, every data set weighing
        alike; Spearman's r of forecast and outcome; the share of points for which it is told right
        whether LoRA gains five points over the best frozen readout; and for a rule the share of
        points within its 80 % interval.
    """
    names = [
        cell_name(row["model"], row["data"], "lora", row["seed"]) for _, row in points.iterrows()
    ]
    is_known = np.array([any(fnmatchcase(name, pattern) for pattern in known) for name in names])
    fitted = points[is_known]
    if fitted["data"].nunique() < 3:
        raise DataError("LoRA is known of fewer than three data sets: nothing can be forecast")
    rows = []
    kinds = np.where(is_known, KNOWN, points["model"].astype(str))
    for kind in dict.fromkeys([KNOWN, *kinds]):
        part = points[kinds == kind]
        for predictor in PREDICTORS:
            of_both = part.dropna(subset=_reads(predictor))
            if len(of_both):
                rows.append({"cells": kind, **_judge(predictor, of_both, fitted)})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _judge(predictor: str, part: pd.DataFrame, fitted: pd.DataFrame) -> dict[str, Any]:
    """How a predictor does on points, each forecast from the fitted points of other data sets."""
    forecast = np.empty(len(part))
    data = part["data"].to_numpy()
    for name in np.unique(data):
        others = fitted[fitted["data"] != name].dropna(subset=_reads(predictor))
        forecast[data == name] = _fit(predictor, others)(part[data == name])
    reached = part["lora_accuracy"].to_numpy(dtype=np.float64)
    frozen = part["frozen"].to_numpy(dtype=np.float64)
    told_right = (forecast - frozen >= _GAIN) == (reached - frozen >= _GAIN)
    return {
        "predictor": predictor,
        "n": len(part),
        "data_sets": part["data"].nunique(),
        "mean_error": float(_weights(part) @ np.abs(reached - forecast)),
        "spearman": spearman(forecast, reached),
        "gain_told": float(told_right.mean()),
        "held": _held(predictor, part, fitted) if predictor in RULES else float("nan"),
    }


def _reads(predictor: str) -> list[str]:
    return ["probe"] if predictor == "constant" else [predictor]


def _fit(predictor: str, points: pd.DataFrame) -> Callable[[pd.DataFrame], Values]:
    """The predictor, fitted to points."""
    reached, weights = points["lora_accuracy"].to_numpy(dtype=np.float64), _weights(points)
    if predictor in _SHIFTED:
        shift = float(weights @ (reached - points[predictor]))
        return lambda part: part[predictor].to_numpy(dtype=np.float64) + shift
    gains = reached - points["probe"]
    if predictor == "constant":
        median = _weighted_median(gains.to_numpy(dtype=np.float64), weights)
        return lambda part: part["probe"].to_numpy(dtype=np.float64) + median
    slope, start = np.polyfit(points[predictor].astype(float), gains, 1, w=np.sqrt(weights))
    return lambda part: (part["probe"] + start + slope * part[predictor]).to_numpy(np.float64)


def _weighted_median(values: Values, weights: Values) -> float:
    """Where half of the weight lies below and half above; midway between two such values."""
    order = values.argsort(kind="stable")
    below = weights[order].cumsum()
    ends = [int((below >= 0.5 - TIE).argmax()), int((below > 0.5 + TIE).argmax())]
    return float(values[order][ends].mean())


def _weights(points: pd.DataFrame) -> Values:
    """(n,) with a sum of 1, the same for each data set, shared by its points."""
    counts = points.groupby("data")["data"].transform("size").to_numpy()
    return np.asarray(1 / (points["data"].nunique() * counts), dtype=np.float64)


def _held(rule: str, part: pd.DataFrame, fitted: pd.DataFrame) -> float:
    """The share of points within the intervals that the fitted points of other data sets give."""
    held = []
    for data, rows in part.groupby("data"):
        try:
            evidence = make_evidence(fitted[fitted["data"] != data], "", rule=rule)
        except DataError:
            return float("nan")
        for estimate, reached in zip(rows[rule], rows["lora_accuracy"], strict=True):
            _, low, high = evidence.forecast(estimate)
            held.append(low <= reached <= high)
    return float(np.mean(held))


def make_evidence(points: pd.DataFrame, source: str, *, rule: str = RULE) -> Evidence:
    """Evidence for `forecast_lora` of a study's points, the mean over seeds.

    Args:
        points: of `forecast_points`; of fewer than nine data sets intervals promise less.
        source: where they are from, in words.
        rule: one of `RULES`.
    """
    means = points.groupby(_KEY, sort=False)[
        ["n_texts", "classes", "width", rule, "frozen", "lora_accuracy", "samples_seen"]
    ].mean()
    table = means.rename(columns={rule: "estimate"}).reset_index()
    sizes = dict.fromkeys(("n_texts", "classes", "width"), int)
    n = table["data"].nunique()
    return Evidence(
        table.astype(sizes)[list(POINT_COLUMNS)].astype({"model": str, "data": str}),
        rule,
        source,
        coverage=min(COVERAGE, (n - 1) / (n + 1)),
        samples_seen=int(means["samples_seen"].median()),
    )
