"""Sweeps of random numbers."""

import numpy as np

from ntpscore.study.statistics.sweep import Sweep


def random_sweep(
    rng: np.random.Generator,
    *,
    models: int = 1,
    configurations: int = 20,
    data_sets: int = 12,
    sign: int = 1,
    signal: float = 0.0,
    alike: float = 0.0,
    ties: bool = False,
) -> Sweep:
    """Scores with a correlation `signal` to the outcomes, else noise.

    `alike` is the share of variance of scores and outcomes that all models have in common.
    """
    shape = (models, configurations, data_sets)
    common = rng.normal(size=shape[1:]), rng.normal(size=data_sets)
    own = rng.normal(size=shape), rng.normal(size=(models, data_sets))
    x, y = (
        np.sqrt(alike) * shared + np.sqrt(1 - alike) * one
        for shared, one in zip(common, own, strict=True)
    )
    x = sign * signal * y[:, None] + np.sqrt(1 - signal**2) * x
    if ties:
        x, y = np.round(x), np.round(y)
        # Rounding must not leave a constant.
        x[..., 0], y[:, 0] = 4, -3
    layers = np.tile(np.arange(configurations)[:, None], (1, models))
    return Sweep(
        score="s",
        outcome="lora_accuracy" if sign > 0 else "lora_gain",
        sign=sign,
        models=tuple(f"model {m}" for m in range(models)),
        data=tuple(f"data {i}" for i in range(data_sets)),
        layers=layers,
        last=layers[-1],
        k_fractions=np.full(configurations, 0.5),
        values=x,
        outcomes=y,
        probe_error=None,
        r2=None,
        classes=None,
        undefined=0,
        dropped=(),
    )
