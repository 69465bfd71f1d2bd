"""Hidden states of which three rotated directions are larger, and scores from sums of them."""

import torch
from torch import Tensor

from ntpscore.core.moments import Moments
from ntpscore.core.prefix_products import Precision
from ntpscore.core.score_names import SCORES
from ntpscore.core.scores import LayerScores, score_layer


def rotated_states(d: int, size: float, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Texts (400, 12, d) of which three rotated directions are larger, and classes in their means.

    Each token depends on the mean of those before it, so that V has directions to find.
    """
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(d, d, generator=generator).double()).Q
    sizes = torch.ones(d, dtype=torch.float64)
    sizes[:3] = size
    tokens = torch.randn(400, 12, d, generator=generator).double()
    for i in range(1, 12):
        tokens[:, i] += 0.3 * tokens[:, :i].mean(1).roll(1, 1)
    labels = (tokens.mean(1) @ torch.randn(d, 3, generator=generator).double()).argmax(1)
    return (tokens @ (rotation * sizes).T).to(dtype), labels


def scores_of(states: Tensor, labels: Tensor, precision: Precision) -> LayerScores:
    moments = Moments(1, states.shape[2], 3, 2, precision=precision)
    for start in range(0, len(states), 100):
        batch = states[start : start + 100]
        at = labels[start : start + 100]
        moments.update(batch[None], torch.ones(batch.shape[:2]), at, torch.stack([at.flip(0)] * 2))
    return score_layer(moments.layer(0))


def largest_change(one: LayerScores, other: LayerScores) -> float:
    """Of any score for any k that does not hang on an arbitrary basis."""
    return max(
        float((one.values[name] - other.values[name])[~one.basis_dependent[name]].abs().max())
        for name in SCORES
        if bool((~one.basis_dependent[name]).any())
    )
