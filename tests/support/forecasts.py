"""Held-out accuracies and points of evidence with numbers that are known."""

from typing import Any

import numpy as np
import pandas as pd

from ntpscore.core.score_names import SCORES
from ntpscore.forecast.evidence import Evidence


def held_out(
    mean: float, last: float = 0.3, *, words: float = 0.2, majority: float = 0.1,
    kernels: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """`accuracy` of a result: two layers, the upper with these accuracies, the lower worse."""
    rows = [
        {"layer": layer, "pooling": pooling, "r2": value - off, "accuracy": value - off}
        for layer, off in ((0, 0.05), (1, 0.0))
        for pooling, value in (("mean", mean), ("last", last))
    ]
    accuracy: dict[str, Any] = {
        "measure": "accuracy", "words": {"accuracy": words}, "majority": {"accuracy": majority},
        "readouts": rows,
    }  # fmt: skip
    if kernels is not None:
        accuracy["sum_of_kernels"] = {"accuracy": kernels}
    return accuracy


def make_points(data_sets: int = 8, seed: int = 0, *, models: int = 1) -> pd.DataFrame:
    """Points where LoRA reaches some hundredths beyond the estimate."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(data_sets):
        estimate = 0.3 + 0.5 * rng.random()
        for model in range(models):
            beyond = 0.03 + 0.04 * rng.normal()
            rows.append((f"m{model}", f"d{i}", 1500, 6, 576, estimate, estimate, estimate + beyond))
    return pd.DataFrame(
        rows,
        columns=["model", "data", "n_texts", "classes", "width", "estimate", "frozen",
                 "lora_accuracy"],
    )  # fmt: skip


def make_evidence(data_sets: int = 8, seed: int = 0, **changed: Any) -> Evidence:
    """Evidence of these points."""
    points = make_points(data_sets, seed)
    return Evidence(points, "mean_token", "the study made up", **{"coverage": 0.7, **changed})


def scored_record(accuracy: dict[str, Any] | None, **changed: Any) -> dict[str, Any]:
    """A result of score, as far as a forecast looks at it."""
    record: dict[str, Any] = {
        "data": {"task": "classification", "n_texts": 1500, "classes": list("abcdef")},
        "model": {"id": "any", "width": 576},
        "seconds": {"forward": 30.0},
    }
    if accuracy is not None:
        record["accuracy"] = accuracy
    return {**record, **changed}


def study_records(data_sets: int = 8, *, seeds: int = 1, models: int = 1) -> list[dict[str, Any]]:
    """Cells whose LoRA reaches about three points beyond the best layer."""
    rng = np.random.default_rng(3)
    records = []
    for model in range(models):
        for i in range(data_sets):
            for seed in range(seeds):
                keys = {"model": f"m{model}", "data": f"d{i}", "seed": seed}
                best = 0.3 + 0.6 * i / data_sets + 0.01 * seed
                layers = [
                    {"layer": layer, "r2": r2, "r2_adjusted": r2, "ols_mse": 1 - r2}
                    for layer, r2 in enumerate((0.1, best))
                ]
                scored = scored_record(held_out(best, kernels=best + 0.01), layers=layers)
                grid: dict[str, Any] = {"layer": [], "k": [], "k_fraction": []}
                grid |= {score: {"value": [], "z": []} for score in SCORES}
                records.append({**keys, "method": "score", "record": scored, "scores": grid})
                lda = {"metric": "lda", "value": best - 0.1, "at": "last"}
                records.append({**keys, "method": "rank", "record": {"rows": [lda]}})
                for method, value in (
                    ("probe", best - 0.1 * rng.random()),
                    ("lora", best + 0.03 + 0.02 * rng.normal()),
                ):
                    adapted = {"test": {"accuracy": value}, "samples_seen": 5000}
                    records.append({**keys, "method": method, "record": adapted})
    return records
