"""Points of LoRA's gain with a planted law."""

from typing import Any

import numpy as np
import pandas as pd

from ntpscore.forecast.evidence import Evidence, forecast_gain
from ntpscore.scoring.result import ScoreResult


def made_points(
    seed: int, *, data_sets: int = 12, of_headroom: float = 0.0, of_place: float = 0.0,
    noise: float = 0.02,
) -> pd.DataFrame:  # fmt: skip
    rng = np.random.default_rng(seed)
    rows = []
    easy, high = rng.random(data_sets), rng.permutation(data_sets)
    effect = rng.normal(size=data_sets) * noise
    for model in range(3):
        for i in range(data_sets):
            headroom = 0.1 + 0.8 * easy[i]
            place = high[i] / (data_sets - 1)
            gain = of_headroom * headroom + of_place * place + effect[i]
            rows.append((f"m{model}", f"d{i}", headroom, 10 * model + place**3, gain))
    return pd.DataFrame(rows, columns=["model", "data", "headroom", "score", "lora_gain"])


def scored(r2: float, *, retained: float = 0.5, layer: int = 3, **changed: Any) -> ScoreResult:
    data = {"task": "classification", "n_texts": 120}
    record = {
        "model": {"id": changed.pop("model", "m"), "layers": 3, "width": 40},
        "data": data | changed,
        "layers": [{"layer": layer, "r2_adjusted": r2}],
    }
    frame = pd.DataFrame(
        {"score": "retained", "layer": [2, 3, 3], "k": [20, 18, 20], "value": [0.0, 0.0, retained],
         "shuffled_mean": 0.0, "shuffled_sd": 1.0}
    )  # fmt: skip
    return ScoreResult(record, frame=frame)


def forecast_result(result: ScoreResult, evidence: Evidence) -> dict[str, Any]:
    return forecast_gain(result.record, result.table(), evidence)
