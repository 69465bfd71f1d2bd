"""A ranking of one made-up model; rankings of real ones that score each model once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ntpscore.models import LanguageModel
from ntpscore.rank.result import KIND, SCHEMA_VERSION, RankResult
from ntpscore.rank.values import RANKED_BY
from ntpscore.scoring.config import ScoreConfig
from ntpscore.scoring.result import ScoreResult
from ntpscore.scoring.run import score_text
from ntpscore.text import LabelledText


def scoring_once() -> Callable[..., ScoreResult]:
    """`score_text`, which gives what it found before where it is asked for the same again.

    A run that writes into a folder is made each time.
    """
    found: dict[tuple[Any, ...], ScoreResult] = {}

    def once(
        model: LanguageModel, text: LabelledText, *, folder: Path | None, config: ScoreConfig,
        **options: Any,
    ) -> ScoreResult:  # fmt: skip
        if folder is not None:
            return score_text(model, text, folder=folder, config=config, **options)
        key = (model.id, model.content_hash, text.source.content_hash, len(text), text.task, config)
        if key not in found:
            found[key] = score_text(model, text, config=config, **options)
        return found[key]

    return once


def make_ranking() -> RankResult:
    """A ranking with large, infinite, whole and missing values, at a place without a layer."""
    values = dict.fromkeys(("consensus", *RANKED_BY), 0.5)
    values |= {"model_size": 123456789.0, "trans_rate": 250.4, "n_classes": 3.0}
    rows = [
        {"at": "best", "model": "[b]m", "metric": name, "layer": None, "k": None, "value": value,
         "rank": 1, "tied": False, "reason": None}
        for name, value in values.items()
    ]  # fmt: skip
    by_name = {row["metric"]: row for row in rows}
    by_name["log_me"] |= {"value": None, "reason": "it has no bound"}
    by_name["leep"] |= {"value": None, "rank": None, "reason": "it is not defined"}
    by_name["gbc"] |= {"value": None, "rank": None, "reason": "it is not defined"}
    by_name["retained"] |= {"layer": 7}
    return RankResult(
        {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "data": {"id": "[i]d", "n_texts": 9},
            "models": [{"name": "[b]m", "error": None, "layer_at": {"best": None}}],
            "standings": [
                {
                    "rank": 1,
                    "tied": True,
                    "model": "[b]m",
                    "measure": "accuracy",
                    "accuracy": 0.7,
                    "accuracy_low": 0.6,
                    "accuracy_high": 0.8,
                    "layer": 3,
                    "pooling": "last",
                    "lora_accuracy": None,
                    "parameters": 2e9,
                    "seconds": 12.0,
                    "reason": None,
                },
                {
                    "rank": None,
                    "tied": False,
                    "model": "other",
                    "measure": "accuracy",
                    "accuracy": None,
                    "accuracy_low": None,
                    "accuracy_high": None,
                    "layer": None,
                    "pooling": None,
                    "lora_accuracy": 0.9,
                    "parameters": 3e6,
                    "seconds": 1.0,
                    "reason": "why",
                },
            ],
            "rows": rows,
            "seconds": 1.0,
            "peak_memory_bytes": 10**9,
        }
    )
