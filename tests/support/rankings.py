"""A ranking of one made-up model."""

from ntpscore.rank.result import KIND, SCHEMA_VERSION, RankResult
from ntpscore.rank.values import RANKED_BY


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
