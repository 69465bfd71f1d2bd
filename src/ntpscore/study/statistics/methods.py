"""What every method of a study reached on the test texts, and what it cost."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from ntpscore.adapt.methods import METHODS
from ntpscore.errors import DataError
from ntpscore.study.statistics.tables import KEYS

COLUMNS = (
    "test_accuracy", "low", "high", "macro_f1", "train_accuracy", "majority", "seconds",
    "seconds_per_score",
)  # fmt: skip
# Loading a model is no part of what a method costs.
_LOADING = ("load_data", "load_model", "sanity_check")


def methods_table(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Accuracies and seconds of every method.

    Args:
        records: of cells; those of the methods of `ntpscore adapt` count.

    Returns:
        A row per model, data set and method, in order; means over seeds of test accuracy with its
        95 % interval over texts (low, high), macro-F1, train accuracy, the majority's share of the
        test texts, seconds without loading, and these by the seconds of `score` on the same texts.
        A converged logistic regression has a row of its own, `logistic, converged`.
    """
    rows: list[dict[str, Any]] = []
    of_score: dict[tuple[Any, ...], float] = {}
    for record in records:
        result, keys = record["record"], tuple(record[key] for key in KEYS)
        if record["method"] == "score":
            seconds = result["seconds"]
            of_score[keys] = seconds["total"] - sum(seconds.get(stage, 0) for stage in _LOADING)
        elif record["method"] in METHODS and (result["test"] or {}).get("accuracy") is not None:
            fits = {record["method"]: result}
            if "converged" in result:
                fits[f"{record['method']}, converged"] = result["converged"]
            rows += [
                {**dict(zip(KEYS, keys, strict=True)), "method": method, **_reached(fit),
                 "seconds": result["seconds"]["total"]}
                for method, fit in fits.items()
            ]  # fmt: skip
    if not rows:
        raise DataError("no method of `ntpscore adapt` was tested on classes yet: run more cells")
    table = pd.DataFrame(rows).astype({"macro_f1": float})
    per_score = [of_score.get(keys, float("nan")) for keys in table[KEYS].itertuples(index=False)]
    table["seconds_per_score"] = table["seconds"] / per_score
    order = {method: i for i, method in enumerate(METHODS)}
    table["place"] = table["method"].map(lambda method: order[method.partition(",")[0]])
    groups = table.groupby(["model", "data", "place", "method"])[list(COLUMNS)]
    return groups.mean().droplevel("place").reset_index()


def _reached(fit: dict[str, Any]) -> dict[str, float | None]:
    test, train = fit["test"], fit["train"]
    low, high = test["accuracy_interval"]
    return {
        "test_accuracy": test["accuracy"], "low": low, "high": high, "macro_f1": test["macro_f1"],
        "majority": test["majority_accuracy"], "train_accuracy": train["accuracy"],
    }  # fmt: skip
