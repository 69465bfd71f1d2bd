"""Tables of a small study of random numbers."""

import numpy as np
import pandas as pd

MODELS = ("lab/small", "lab/large")
DATA = ("bias", "climate", "emotion", "imdb", "intent", "sst2")
LAYERS = (0, 1, 2)
K_FRACTIONS = (0.25, 0.5, 0.75)


def make_study(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores with k, "retained", and one without, "r2", and outcomes; of two seeds."""
    rng = np.random.default_rng(seed)
    scores, outcomes = [], []
    for model in MODELS:
        for data in DATA:
            for run in (0, 1):
                head = {"model": model, "data": data, "seed": run}
                for layer in LAYERS:
                    at = {**head, "layer": layer}
                    scores.append(
                        {**at, "k_fraction": np.nan, "score": "r2", "value": rng.random()}
                    )
                    scores += [
                        {**at, "k_fraction": k, "score": "retained", "value": rng.random(),
                         "chance": k}
                        for k in K_FRACTIONS
                    ]  # fmt: skip
                reached = dict(zip(
                    ("ols_mse", "logistic_accuracy", "probe_accuracy", "lora_accuracy",
                     "scratch_accuracy"),
                    rng.random(5), strict=True,
                ))  # fmt: skip
                reached["lora_gain"] = reached["lora_accuracy"] - reached["probe_accuracy"]
                outcomes += [{**head, "outcome": o, "value": v} for o, v in reached.items()]
    return pd.DataFrame(scores), pd.DataFrame(outcomes)
