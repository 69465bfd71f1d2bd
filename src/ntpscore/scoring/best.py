"""Where each score says most, with its controls."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ntpscore.core.grid import grid_of_k
from ntpscore.core.score_names import ScoreName

if TYPE_CHECKING:
    from ntpscore.core.scores import ScoreTable

# Shuffles that differ by less than this differ by rounding: z would be a ratio of two roundings.
NO_SPREAD = 1e-9


def mean_and_sd(shuffled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sample standard deviation over the first axis; NaN with fewer than one or two."""
    n = len(shuffled)
    nothing = np.full(shuffled.shape[1:], np.nan)
    mean = shuffled.mean(0) if n else nothing
    sd = shuffled.std(0, ddof=1) if n > 1 else nothing
    return mean, sd


@dataclass(frozen=True)
class Best:
    """Where a score says most, over all layers and the grid of k.

    That is the largest `value − shuffled_mean`, what the labels add to the score; of a score
    without shuffles the largest `value − chance`.

    Attributes:
        score: the score's name.
        layer: hidden-state index.
        k: number of columns of V.
        k_fraction: k/d.
        value: the score.
        chance: the score of random directions.
        shuffled_mean: mean over shuffled labels, NaN without shuffles.
        shuffled_sd: their standard deviation.
        z: `(value − shuffled_mean) / shuffled_sd`.
        p: the share of label permutations (the true labels among them) whose own best excess is as
            large: a permutation test that counts in the choice of layer and k.
        basis_dependent: whether the value hangs on an arbitrary basis.
    """

    score: str
    layer: int
    k: int
    k_fraction: float
    value: float
    chance: float
    shuffled_mean: float
    shuffled_sd: float
    z: float
    p: float
    basis_dependent: bool


def find_best(table: "ScoreTable", name: ScoreName) -> Best | None:
    """The layer and k at which a score says most; None where it is defined nowhere."""
    k = np.array(grid_of_k(table.width))
    values = np.stack([s.values[name][k - 1].cpu().numpy() for s in table.by_layer])
    chance = np.stack([s.chance[name][k - 1].cpu().numpy() for s in table.by_layer])
    shuffled = np.stack([s.shuffled[name][:, k - 1].cpu().numpy() for s in table.by_layer], 1)
    arbitrary = np.stack([s.basis_dependent[name][k - 1].cpu().numpy() for s in table.by_layer])
    defined = np.isfinite(values)
    if not defined.any():
        return None
    mean, sd = mean_and_sd(shuffled)
    controlled = len(shuffled) > 0 and bool(np.isfinite(mean[defined]).all())
    excess = np.where(defined, values - (mean if controlled else chance), -np.inf)
    i, j = np.unravel_index(int(excess.argmax()), excess.shape)
    p = math.nan
    if controlled:
        # Every label set, the true one too, against the mean of all: exchangeable under chance.
        pool = np.concatenate([values[None], shuffled])[:, defined]
        peaks = (pool - pool.mean(0)).max(1)
        p = float((peaks >= peaks[0]).mean())
    z = (values[i, j] - mean[i, j]) / sd[i, j] if sd[i, j] > NO_SPREAD else math.nan
    return Best(
        score=name,
        layer=table.layers[i],
        k=int(k[j]),
        k_fraction=float(k[j] / table.width),
        value=float(values[i, j]),
        chance=float(chance[i, j]),
        shuffled_mean=float(mean[i, j]),
        shuffled_sd=float(sd[i, j]),
        z=float(z),
        p=p,
        basis_dependent=bool(arbitrary[i, j]),
    )
