"""Points of LoRA's gain with a planted law."""

import numpy as np
import pandas as pd


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
