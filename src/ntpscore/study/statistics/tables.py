"""The tables of a study, from its cells' files: scores, outcomes, losses."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from ntpscore.core.scores import SCORES
from ntpscore.errors import StudyError
from ntpscore.metrics import METRICS
from ntpscore.study.run.cells import read_cell
from ntpscore.study.statistics.summary import SummaryConfig, summary_table
from ntpscore.study.statistics.sweep import OUTCOMES

KEYS = ["model", "data", "seed"]
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
        """Read a folder of results.

        Args:
            results: the folder.
            models: only cells of these; all if None.
            seeds: only cells of these; all if None.

        Raises:
            StudyError: there is no cell that is done, or none of such a model or seed.
        """
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
        """`summary_table` of these scores and outcomes; all if None.

        Raises:
            StudyError: there is no such score or outcome.
            DataError: as `summary_table`.
        """
        names = list(_chosen(self.scores, "score", scores)["score"].unique())
        chosen = _chosen(self.outcomes, "outcome", outcomes)
        chosen = chosen[chosen["outcome"].isin([*OUTCOMES])]
        if not len(chosen):
            raise StudyError(f"no outcome to correlate with: choose from {', '.join(OUTCOMES)}")
        # The probe gives the headroom whatever is looked at.
        probe = self.outcomes[self.outcomes["outcome"] == "probe_accuracy"]
        kept = pd.concat([chosen, probe]).drop_duplicates()
        table = summary_table(
            self.scores,
            kept,
            scores=names,
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
    if score == "headroom":
        return -1
    return -1 if score in METRICS and METRICS[score].higher_is_better is False else 1


def load_records(results: str | Path) -> list[dict[str, Any]]:
    """The cells of a folder of results that are done.

    Raises:
        StudyError: the folder holds none, or one that can't be read.
    """
    records = [read_cell(path) for path in sorted(Path(results).glob("*--*/*.json"))]
    done = [record for record in records if record["status"] == "done"]
    if not done:
        raise StudyError(f"{results} holds no cell that is done: run `ntpscore study run` first")
    return done


def select_records(
    records: Sequence[dict[str, Any]],
    *,
    models: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """Those of `load_records` that are of these models and seeds; of all if None.

    Raises:
        StudyError: there is no cell of such a model or seed.
    """
    kept = list(records)
    for column, wanted in (("model", models), ("seed", seeds)):
        if wanted is None:
            continue
        known = {record[column] for record in kept}
        unknown = [value for value in wanted if value not in known]
        if unknown:
            there = ", ".join(str(value) for value in sorted(known))
            raise StudyError(f"no cell of {column} {unknown[0]!r}: there are cells of {there}")
        kept = [record for record in kept if record[column] in wanted]
    return kept


def scores_table(records: Iterable[dict[str, Any]], *, rescored: bool = False) -> pd.DataFrame:
    """Every score at every layer and k.

    Args:
        records: of cells.
        rescored: of the models after LoRA instead.

    Returns:
        The columns model, data, seed, layer, k_fraction, score, value and z; k_fraction and z are
        missing where a score has no k, and for rivals the layer too.
    """
    rows: list[dict[str, Any]] = []
    # The scores stand before their rivals.
    for record in sorted(records, key=lambda record: record["method"] != "score"):
        keys = {key: record[key] for key in KEYS}
        if rescored:
            if "rescored" in record:
                rows += score_rows(keys, record["rescored"])
        elif record["method"] == "score":
            rows += score_rows(keys, record)
        elif record["method"] == "rank":
            rows += _rival_rows(keys, record["record"])
    columns = [*KEYS, "layer", "k_fraction", "score", "value", "z"]
    return pd.DataFrame(rows, columns=columns)


def score_rows(keys: dict[str, Any], content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of `scores_table` of one cell.

    Args:
        keys: what the rows begin with.
        content: of a cell, or what it has under `rescored`.
    """
    grid = content["scores"]
    for score in SCORES:
        table = grid[score]
        for i, layer in enumerate(grid["layer"]):
            for j, k_fraction in enumerate(grid["k_fraction"]):
                at = {column: table[column][i][j] for column in ("value", "z")}
                yield {**keys, "layer": layer, "k_fraction": k_fraction, "score": score, **at}
    for row in content["record"]["layers"]:
        for name in _LAYER_SCORES:
            yield {**keys, "layer": row["layer"], "score": name, "value": row[name]}


def _rival_rows(keys: dict[str, Any], record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rivals on the last layer.

    `alpha_req`, which is best nearest to 1, stands as less its distance from 1.
    """
    for row in record["rows"]:
        name, value = row["metric"], row["value"]
        # The scores and r2 are known of every layer.
        if name not in METRICS or name in _LAYER_SCORES or value is None or row["at"] != "last":
            continue
        metric = METRICS[name]
        turned = metric.merit(value) if metric.higher_is_better is None else value
        yield {**keys, "score": name, "value": turned}


def outcomes_table(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """What the methods reached.

    Returns:
        The columns model, data, seed, outcome and value. `ols_mse` is that of the last layer, in
        sample; `logistic_accuracy` is of the train split, as in the paper's Figure 2,
        `logistic_test_accuracy` that of the converged fit on the test split; the others are of the
        test split. `lora_gain` is LoRA's accuracy less the probe's of the same seed.
    """
    rows = []
    for record in records:
        keys = {key: record[key] for key in KEYS}
        for outcome, value in _outcomes(record).items():
            if value is not None:
                rows.append({**keys, "outcome": outcome, "value": float(value)})
    table = pd.DataFrame(rows, columns=[*KEYS, "outcome", "value"])
    wide = table.pivot_table(index=KEYS, columns="outcome", values="value")
    if {"lora_accuracy", "probe_accuracy"} <= set(wide.columns):
        gain = (wide["lora_accuracy"] - wide["probe_accuracy"]).dropna()
        gains = gain.rename("value").reset_index().assign(outcome="lora_gain")
        table = pd.concat([table, gains[table.columns]], ignore_index=True)
    return table


def _outcomes(record: dict[str, Any]) -> dict[str, float | None]:
    found = record["record"]
    method = record["method"]
    if method == "score":
        return {"ols_mse": found["layers"][-1]["ols_mse"]}
    if method == "logistic":
        return {
            "logistic_accuracy": found["train"]["accuracy"],
            "logistic_test_accuracy": _accuracy(found["converged"]),
        }
    if method in ("probe", "lora", "scratch"):
        return {f"{method}_accuracy": _accuracy(found)}
    return {}


def _accuracy(found: dict[str, Any]) -> float | None:
    test = found["test"]
    return None if test is None else test["accuracy"]


def losses_table(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Training losses, thinned.

    Returns:
        The columns model, data, seed, method, step and loss.
    """
    rows = []
    for record in records:
        losses = record.get("losses")
        if losses is not None:
            keys = {key: record[key] for key in (*KEYS, "method")}
            rows += [
                {**keys, "step": step, "loss": loss}
                for step, loss in zip(losses["step"], losses["loss"], strict=True)
            ]
    return pd.DataFrame(rows, columns=[*KEYS, "method", "step", "loss"])


def mean_over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """One value in place of one per seed: the mean of those there are."""
    keys = [c for c in table.columns if c not in ("seed", "value", "z")]
    return table.groupby(keys, dropna=False, sort=False)["value"].mean().reset_index()
