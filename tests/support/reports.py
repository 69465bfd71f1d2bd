"""Result folders of every kind, small, made without a model, with labels that mean harm."""

from pathlib import Path

import pandas as pd

from ntpscore import ScoreResult
from ntpscore.adapt import AdaptResult
from ntpscore.files import without_nan
from ntpscore.rank.result import KIND, SCHEMA_VERSION, RankResult
from tests.support.adapt_results import make_adapt_result
from tests.support.rankings import make_ranking
from tests.support.score_results import TEXTS, make_moments, make_result
from tests.support.studies import made_up_records, write_records

SCRIPT = "<script>alert(1)</script>"
LABELS = (SCRIPT, "<b>x</b> &amp; %{y} \u2028 --series-1", '</style><img src="https://x.example">')


def hostile_score(task: str = "classification") -> ScoreResult:
    """A result whose classes, texts and names are markup."""
    result = make_result(make_moments())
    record = result.record
    record["model"] |= {"id": f"model {SCRIPT}", "reads_both_ways": False}
    record["data"] |= {
        "id": f"data {SCRIPT}", "split": "train", "n_rows": 90, "skipped": {SCRIPT: 12},
        "classes": list(LABELS), "class_counts": dict.fromkeys(LABELS, TEXTS // 3), "task": task,
        "lengths": {"min": 1.0, "median": 6.0, "max": 9.0}, "truncated": 2,
        "reading": {"repeated": 3, "contradicting": 1, "guesses": [SCRIPT], "warnings": [],
                    "merged": {}, "not_taken": {}, "exact_labels": False},
    }  # fmt: skip
    points = [
        {"texts": n, "trained_on": 0.9 * n, "accuracy": 0.9 - 1 / n**0.5} for n in (8, 15, 30, 60)
    ]
    record["learning_curve"]["points"] = points
    texts = [{"text": SCRIPT, "true": [LABELS[0]], "said": [LABELS[1]], "confidence": 0.8}]
    if task == "classification":
        record["mistakes"] = {
            "confusion": {name: {name: 14, LABELS[0]: 6 + 14 * (not i)} for i, name in
                          enumerate(LABELS)},
            "texts": texts,
        }  # fmt: skip
    else:
        counts = {"have": 9, "said": 0, "right": 0}
        record["mistakes"] = {"by_label": dict.fromkeys(LABELS, counts), "texts": texts}
    record["command"] = f"ntpscore score m '{SCRIPT}'"
    return result


def hostile_ranking() -> RankResult:
    """A ranking of two judged models, one of them called by markup."""
    record = make_ranking().record
    first, other = record["standings"]
    second = first | {"model": SCRIPT, "rank": 2, "tied": False, "accuracy": 0.6, "seconds": 4.0}
    second |= {"parameters": 1e9, "lora_accuracy": 0.8, "lora_low": 0.7, "lora_high": 0.9}
    second |= {"behind": 0.1, "behind_low": 0.02, "behind_high": 0.18}
    record |= {"standings": [first, second, other], "schema_version": SCHEMA_VERSION, "kind": KIND}
    record["models"] += [{"name": "broken", "error": f"it is {SCRIPT}"}]
    return RankResult(without_nan(record))


def hostile_adapt() -> AdaptResult:
    """A result of adapt with losses and predictions."""
    result = make_adapt_result()
    result.record["data"]["test"] = {"id": "small", "n_texts": 3, "split": "test"}
    result.record["candidates"] = [
        {"layer": layer, "pooling": "mean", "accuracy": layer / 4, "r2": 0.1} for layer in range(4)
    ]
    curve = {"step": [1, 2], "samples": [8, 16], "loss": [2.0, 1.5], "learning_rate": [0.1, 0.1]}
    result.loss_curve = pd.DataFrame(curve)
    result.predictions = pd.DataFrame({"label": LABELS, "predicted": [LABELS[0]] * 3})
    return result


def make_folders(folder: Path) -> dict[str, Path]:
    """A folder of each kind, by the command that writes such."""
    study = folder / "study"
    failed = {"status": "failed", "model": "m", "data": "d0", "method": "ols", "seed": 0}
    write_records(study, [*made_up_records(4, layers=2), {**failed, "error": SCRIPT}])
    return {
        "score": hostile_score().save(folder / "score"),
        "multilabel": hostile_score("multilabel").save(folder / "multilabel"),
        "rank": hostile_ranking().save(folder / "rank"),
        "adapt": hostile_adapt().save(folder / "adapt"),
        "study": study,
    }
