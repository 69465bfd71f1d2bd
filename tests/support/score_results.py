"""A small result of score, made without a model."""

from typing import Any

import torch

from ntpscore import Moments, ScoreResult
from ntpscore.core.controls import shuffled_labels
from ntpscore.core.score_names import SCORES
from ntpscore.core.scores import score_moments
from ntpscore.files import without_nan
from ntpscore.scoring.advice import write_advice
from ntpscore.scoring.best import find_best
from ntpscore.scoring.result import SCHEMA_VERSION
from ntpscore.scoring.tables import layer_record

WIDTH, TEXTS, SHUFFLES = 10, 60, 4


def make_moments(shuffles: int = SHUFFLES) -> Moments:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(TEXTS) % 3
    hidden_states = torch.randn(2, TEXTS, 6, WIDTH, generator=generator)
    # Layer 1 knows the labels, layer 0 does not.
    hidden_states[1, :, :, :3] += 2 * torch.nn.functional.one_hot(labels, 3)[:, None]
    moments = Moments(2, WIDTH, 3, shuffles)
    shuffled = labels[shuffled_labels(TEXTS, shuffles, 0)] if shuffles else None
    moments.update(hidden_states, torch.ones(TEXTS, 6), labels, shuffled)
    return moments


def made_accuracy() -> dict[str, Any]:
    """What `judge_readouts` gives of two layers, made up."""
    interval = {"accuracy": 0.7, "accuracy_low": 0.62, "accuracy_high": 0.77}
    rows = [
        {"layer": layer, "pooling": pooling, "penalty": 10.0, "r2": 0.3 + layer / 10, **interval}
        for layer in (0, 1)
        for pooling in ("mean", "last")
    ]
    return {
        "measure": "accuracy",
        "n_texts": TEXTS,
        "n_groups": TEXTS,
        "folds": 10,
        "majority": {"accuracy": 1 / 3},
        "words": {"n_texts": TEXTS, "accuracy": 0.65, "accuracy_low": 0.57, "accuracy_high": 0.72},
        "frozen": {"r2": 0.4, "r2_low": 0.3, "r2_high": 0.5, **interval},
        "best": {"layer": 1, "pooling": "mean"},
        "cheapest": {"layer": 0, "pooling": "mean"},
        "tied": [{"layer": layer, "pooling": "mean"} for layer in (0, 1)],
        "readouts": rows,
    }


def made_curve() -> dict[str, Any]:
    """What `trace_learning_curve` gives, made up."""
    return {
        "measure": "accuracy",
        "points": [{"texts": TEXTS, "trained_on": 0.9 * TEXTS, "accuracy": 0.7}],
        "more": 1000,
        "gain": 0.018,
        "low": 0.006,
        "high": 0.031,
        "curve": {"a": 0.1, "b": 1.0, "c": 0.5},
    }


def make_result(moments: Moments) -> ScoreResult:
    table = score_moments(moments)
    best = {name: vars(found) for name in SCORES if (found := find_best(table, name)) is not None}
    record = {
        "schema_version": SCHEMA_VERSION,
        "kind": "score",
        "model": {"id": "a $model$", "width": WIDTH, "layers": 1, "dtype": "float32"},
        "data": {"id": "some_data", "n_texts": TEXTS, "n_tokens": TEXTS * 6,
                 "task": "classification", "classes": ["a", "b", "c"]},
        "settings": {"feature_texts": 0, "label_column": "a stars", "max_texts": 60},
        "accuracy": made_accuracy(),
        "learning_curve": made_curve(),
        "layers": layer_record(table),
        "best": best,
        "warnings": ["something odd [b]here[/b]"],
        "unsaid": [],
        "seconds": {"forward": 1.0, "total": 2.0},
        "peak_memory_bytes": 10**9,
    }  # fmt: skip
    record["advice"] = write_advice(record)
    held_out = {text: float(text % 3 == 0) for text in range(TEXTS)}
    return ScoreResult(without_nan(record), table=table, held_out=held_out, moments=moments)
