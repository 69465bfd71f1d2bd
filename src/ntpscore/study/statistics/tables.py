"""The tables of a study, from its cells' files: scores, outcomes, losses."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from ntpscore.core.score_names import FURTHER_SCORES, SCORES
from ntpscore.errors import DataError, StudyError
from ntpscore.metrics import METRICS
from ntpscore.study.run.cells import load_records, select_records
from ntpscore.study.statistics.summary import SummaryConfig, summary_table
from ntpscore.study.statistics.sweep import OUTCOMES, check_columns

KEYS = ["model", "data", "seed"]
# As older results call these metrics: `probe_accuracy` is an outcome here, that of the linear probe
# on the test texts.
_RIVAL_NAMES = {"probe_accuracy": "ridge_accuracy", "headroom": "ridge_error"}
_FROZEN = ("probe_accuracy", "logistic_test_accuracy")
# Of layers, beside the scores.
_LAYER_SCORES = ("r2", "r2_adjusted")


@dataclass(frozen=True)
class StudyTables:
    """What a study found, averaged over seeds.

    Attributes:
        scores: as `scores_table`, a row per model, data set, layer, k and score.
        outcomes: as `outcomes_table`, a row per model, data set and outcome.
        losses: as `losses_table`, with every seed.
        before_lora: as `scores`, over those seeds alone that were scored after LoRA too.
        after_lora: as `scores`, of the models after LoRA.
    """

    scores: pd.DataFrame
    outcomes: pd.DataFrame
    losses: pd.DataFrame
    before_lora: pd.DataFrame
    after_lora: pd.DataFrame

    @classmethod
    def load(
        cls,
        results: str | Path,
        *,
        models: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> Self:
        """Read a folder of results, cells of these models and seeds; of all if None."""
        return cls.of(select_records(load_records(results), models=models, seeds=seeds))

    @classmethod
    def of(cls, records: Sequence[dict[str, Any]]) -> Self:
        """The tables of cells, as `load_records` reads them."""
        scores, after = scores_table(records), scores_table(records, rescored=True)
        before = scores.merge(after[KEYS].drop_duplicates(), on=KEYS)
        return cls(
            scores=mean_over_seeds(scores),
            outcomes=mean_over_seeds(outcomes_table(records)),
            losses=losses_table(records),
            before_lora=mean_over_seeds(before),
            after_lora=mean_over_seeds(after),
        )

    def summary(
        self,
        *,
        scores: Sequence[str] | None = None,
        outcomes: Sequence[str] | None = None,
        without: Sequence[str] = (),
        config: SummaryConfig | None = None,
    ) -> pd.DataFrame:
        """`summary_table` of these scores and outcomes; all if None."""
        names = list(_chosen(self.scores, "score", scores)["score"].unique())
        chosen = _chosen(self.outcomes, "outcome", outcomes)
        chosen = chosen[chosen["outcome"].isin([*OUTCOMES])]
        if not len(chosen):
            raise StudyError(f"no outcome to correlate with: choose from {', '.join(OUTCOMES)}")
        # The probe gives its error whatever is looked at.
        probe = self.outcomes[self.outcomes["outcome"] == "probe_accuracy"]
        chosen_and_probe = pd.concat([chosen, probe]).drop_duplicates()
        table = summary_table(
            self.scores,
            chosen_and_probe,
            only=names,
            without=without,
            score_signs={name: _sign(name) for name in names},
            config=config,
        )
        wanted = table["outcome"].isin(chosen["outcome"].unique())
        return table[wanted].reset_index(drop=True)


def _chosen(table: pd.DataFrame, column: str, names: Sequence[str] | None) -> pd.DataFrame:
    if names is None:
        return table
    unknown = [name for name in names if not (table[column] == name).any()]
    if unknown:
        known = ", ".join(sorted(table[column].unique()))
        raise StudyError(f"there is no {column} {unknown[0]!r} in the results: they have {known}")
    return table[table[column].isin(names)]


def _sign(score: str) -> int:
    """Whether it is high (1) or low (-1) where a frozen model does well."""
    # What is left to be gained is much where the frozen model does badly.
    if score == "ridge_error":
        return -1
    return -1 if score in METRICS and METRICS[score].higher_is_better is False else 1


def scores_table(records: Iterable[dict[str, Any]], *, rescored: bool = False) -> pd.DataFrame:
    """Every score at every layer and k.

    Args:
        records: of cells.
        rescored: of the models after LoRA instead.

    Returns:
        The columns model, data, seed, layer, k_fraction, score, value and z; k_fraction and z are
        missing where a score has no k, and for rivals the layer too.
    """
    parts = [pd.DataFrame(columns=["layer", "k_fraction", "score", "value", "z"])]
    # The scores stand before their rivals.
    for record in sorted(records, key=lambda record: record["method"] != "score"):
        if rescored:
            part = score_grid(record["rescored"]) if "rescored" in record else None
        elif record["method"] == "score":
            part = score_grid(record)
        else:
            part = _rivals(record["record"]) if record["method"] == "rank" else None
        if part is not None:
            parts.append(part.assign(**{key: record[key] for key in KEYS}))
    table = pd.concat(parts[1:] or parts, ignore_index=True)
    return table.reindex(columns=[*KEYS, "layer", "k_fraction", "score", "value", "z"])


def score_grid(content: dict[str, Any]) -> pd.DataFrame:
    """The rows of `scores_table` of one cell, without model, data set and seed.

    Args:
        content: of a cell, or what it has under `rescored`.
    """
    grid = content["scores"]
    layers, k_fractions = grid["layer"], grid["k_fraction"]
    names = [score for score in (*SCORES, *FURTHER_SCORES) if score in grid]
    n = len(names)
    rows = pd.DataFrame(content["record"]["layers"])
    parts = [
        pd.DataFrame(
            {
                "layer": np.tile(np.repeat(layers, len(k_fractions)), n),
                "k_fraction": np.tile(k_fractions, n * len(layers)),
                "score": np.repeat(names, len(layers) * len(k_fractions)),
                **{
                    column: np.array([grid[score][column] for score in names], np.float64).ravel()
                    for column in ("value", "z")
                },
            }
        ),
        *(
            pd.DataFrame({"layer": rows["layer"], "score": name, "value": rows[name]})
            for name in _LAYER_SCORES
        ),
    ]
    return pd.concat(parts, ignore_index=True)


def _rivals(record: dict[str, Any]) -> pd.DataFrame:
    """The rivals on the last layer.

    `alpha_req`, which is best nearest to 1, stands as less its distance from 1.
    """
    rows = []
    for row in record["rows"]:
        name, value = _RIVAL_NAMES.get(row["metric"], row["metric"]), row["value"]
        # The scores and r2 are known of every layer.
        if name not in METRICS or name in _LAYER_SCORES or value is None or row["at"] != "last":
            continue
        metric = METRICS[name]
        turned = metric.merit(value) if metric.higher_is_better is None else value
        rows.append({"score": name, "value": turned})
    return pd.DataFrame(rows)


def outcomes_table(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """What the methods reached.

    Returns:
        The columns model, data, seed, outcome and value. `ols_mse` is that of the last layer, in
        sample; `logistic_accuracy` is of the train split, as in the paper's Figure 2,
        `logistic_test_accuracy` that of the converged fit on the test split; the others are of the
        test split. `lora_gain` is LoRA's accuracy less the probe's of the same seed, as in the
        paper's Figure 3, `lora_gain_frozen` less the larger of the probe's and of that of converged
        logistic regression.
    """
    rows = []
    for record in records:
        keys = {key: record[key] for key in KEYS}
        for outcome, value in _outcomes(record).items():
            if value is not None:
                rows.append({**keys, "outcome": outcome, "value": float(value)})
    table = pd.DataFrame(rows, columns=[*KEYS, "outcome", "value"])
    wide = table.pivot_table(index=KEYS, columns="outcome", values="value")
    frozen = [name for name in _FROZEN if name in wide.columns]
    if "lora_accuracy" not in wide.columns or not frozen:
        return table
    gains = {"lora_gain_frozen": wide["lora_accuracy"] - wide[frozen].max(axis=1)}
    if "probe_accuracy" in frozen:
        gains = {"lora_gain": wide["lora_accuracy"] - wide["probe_accuracy"], **gains}
    parts = [
        gain.dropna().rename("value").reset_index().assign(outcome=name)
        for name, gain in gains.items()
    ]
    return pd.concat([table, *(part[table.columns] for part in parts)], ignore_index=True)


def _outcomes(record: dict[str, Any]) -> dict[str, float | None]:
    result = record["record"]
    method = record["method"]
    if method == "score":
        return {"ols_mse": result["layers"][-1]["ols_mse"]}
    if method == "logistic":
        return {
            "logistic_accuracy": result["train"]["accuracy"],
            "logistic_test_accuracy": _test_accuracy(result["converged"]),
        }
    if method in ("probe", "lora", "scratch"):
        return {f"{method}_accuracy": _test_accuracy(result)}
    return {}


def _test_accuracy(result: dict[str, Any]) -> float | None:
    test = result["test"]
    return None if test is None else test["accuracy"]


def losses_table(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Training losses, thinned.

    Returns:
        The columns model, data, seed, method, step and loss.
    """
    keys = [*KEYS, "method"]
    rows = [
        {**{key: record[key] for key in keys}, "step": step, "loss": loss}
        for record in records
        if "losses" in record
        for step, loss in zip(record["losses"]["step"], record["losses"]["loss"], strict=True)
    ]
    return pd.DataFrame(rows, columns=[*keys, "step", "loss"])


def mean_over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """One value in place of one per seed: the mean of those there are."""
    keys = [c for c in table.columns if c not in ("seed", "value", "z")]
    means = table.groupby(keys, dropna=False, sort=False)["value"].mean().reset_index()
    # Names are compared hundreds of times, on few rows: plain objects take half of Arrow's time.
    return means.astype({c: object for c in means.columns if means[c].dtype == "str"})


def pick_columns(table: pd.DataFrame, columns: Sequence[str], name: str) -> pd.DataFrame:
    """Those columns, and one value in place of one per seed: the mean of those there are.

    Args:
        table: cells or outcomes of a study.
        columns: `value` and what tells one value from another but the seed.
        name: of the table, for the message.
    """
    check_columns(table, columns, name)
    picked = mean_over_seeds(table[list(columns)].dropna(subset="value"))
    if picked.empty:
        raise DataError(f"the {name} hold no value: nothing was run yet")
    return picked
