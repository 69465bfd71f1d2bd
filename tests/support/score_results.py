"""A small result of score, made without a model."""

import torch

from ntpscore import Moments, ScoreResult
from ntpscore.core.controls import shuffled_labels
from ntpscore.core.scores import SCORES, score_moments
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


def make_result(moments: Moments) -> ScoreResult:
    table = score_moments(moments)
    rows = layer_record(table)
    best = {name: vars(found) for name in SCORES if (found := find_best(table, name)) is not None}
    record = {
        "schema_version": SCHEMA_VERSION,
        "kind": "score",
        "model": {"id": "a $model$", "width": WIDTH, "layers": 1, "dtype": "float32"},
        "data": {"id": "some_data", "n_texts": TEXTS, "n_tokens": TEXTS * 6,
                 "task": "classification", "classes": ["a", "b", "c"]},
        "layers": rows,
        "best": best,
        "advice": write_advice(rows, best, TEXTS, WIDTH),
        "warnings": ["something odd [b]here[/b]"],
        "seconds": {"forward": 1.0, "total": 2.0},
        "peak_memory_bytes": 10**9,
    }  # fmt: skip
    return ScoreResult(without_nan(record), table=table, moments=moments)
