"""Adafactor with factored second moments, written out for one parameter, in loops and float64."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def adafactor_steps(
    parameter: Array,
    gradients: list[Array],
    rates: list[float],
    *,
    weight_decay: float,
    decay_rate: float = 0.8,
    eps: float = 1e-30,
    clip: float = 1.0,
) -> Array:
    """Shazeer & Stern 2018, algorithms 4 (matrices) and 5 (vectors), with given step sizes.

    Without first moment, without steps relative to the parameter's size.
    """
    x = parameter.astype(np.float64).copy()
    rows = np.zeros(x.shape[0])
    columns = np.zeros(x.shape[1]) if x.ndim == 2 else None
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        beta = 1.0 - t ** (-decay_rate)
        square = g.astype(np.float64) ** 2 + eps
        if columns is None:
            rows = beta * rows + (1 - beta) * square
            second = rows
        else:
            n, m = x.shape
            for i in range(n):
                rows[i] = beta * rows[i] + (1 - beta) * sum(square[i]) / m
            for j in range(m):
                columns[j] = beta * columns[j] + (1 - beta) * sum(square[:, j]) / n
            second = np.zeros((n, m))
            mean = sum(rows) / n
            for i in range(n):
                for j in range(m):
                    second[i, j] = rows[i] * columns[j] / mean
        update = g / np.sqrt(second)
        size = math.sqrt((update**2).mean())
        update = update / max(1.0, size / clip)
        x = x - weight_decay * rate * x - rate * update
    return x
