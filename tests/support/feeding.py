"""Feed the cases of `tests.reference` into `Moments`, and tolerances that fit their spectra."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ntpscore.core.controls import shuffled_labels
from ntpscore.core.moments import LayerMoments, Moments
from tests.reference import moments as literal
from tests.reference.cases import Case
from tests.tolerances import conditioned

Layout = Literal["right", "left", "holes"]


def pad_texts(
    case: Case,
    *,
    layout: Layout = "right",
    padding: float = 0.0,
    dtype: torch.dtype = torch.float64,
    extra: int = 2,
) -> tuple[Tensor, Tensor]:
    """Hidden states (n, t, d) and attention mask (n, t), at least `extra` positions of padding."""
    lengths = [X.shape[1] for X in case.texts]
    n, t = len(lengths), max(lengths) + extra
    hidden_states = torch.full((n, t, case.d), padding, dtype=dtype)
    mask = torch.zeros(n, t, dtype=torch.long)
    rng = np.random.default_rng(0)
    for i, (X, length) in enumerate(zip(case.texts, lengths, strict=True)):
        positions = {
            "right": np.arange(length),
            "left": np.arange(t - length, t),
            "holes": np.sort(rng.choice(t, length, replace=False)),
        }[layout]
        hidden_states[i, positions] = torch.from_numpy(np.ascontiguousarray(X.T)).to(dtype)
        mask[i, positions] = 1
    return hidden_states, mask


def feed(
    case: Case,
    *,
    layout: Layout = "right",
    padding: float = 0.0,
    dtype: torch.dtype = torch.float64,
    shuffles: int = 0,
) -> Moments:
    """The moments of a case, as layer 0."""
    hidden_states, mask = pad_texts(case, layout=layout, padding=padding, dtype=dtype)
    moments = Moments(1, case.d, case.c, shuffles)
    labels = torch.from_numpy(case.Y)
    shuffled = labels[shuffled_labels(len(labels), shuffles, 0)] if shuffles else None
    moments.update(hidden_states[None], mask, labels, shuffled)
    return moments


def layer_of(case: Case, *, shuffles: int = 0) -> LayerMoments:
    """The moments of a case as means over texts."""
    return feed(case, shuffles=shuffles).layer(0)


def twin_of(moments: LayerMoments) -> literal.Moments:
    """The same numbers as the literal twins take them: to judge a solver, not the sums."""
    return literal.Moments(
        *(getattr(moments, name).numpy() for name in ("N", "M", "C0", "C1", "mu", "p", "YY")),
        moments.next_power,
        moments.n_texts,
    )


def metric_condition(moments: LayerMoments) -> float:
    """The larger condition number of N and C0, on their ranges."""
    return max(_range_condition(moments.N), _range_condition(moments.C0))


def _range_condition(B: Tensor) -> float:
    values = torch.linalg.eigvalsh(B)
    kept = values[values > len(B) * torch.finfo(values.dtype).eps * values[-1]]
    return float(kept[-1] / kept[0])


def gaps_after(values: Tensor) -> Tensor:
    """For each k the gap of the eigenvalues behind the k-th, as a share of the largest."""
    following = torch.cat([values[1:], values.new_zeros(1)])
    gaps = (values - following) / values[0]
    gaps[-1] = 1.0  # the span of all columns hangs on no gap
    return gaps


def tolerance_at(condition: float, gap: float) -> float:
    """`conditioned`, which presumes gaps of 0.1, for a smaller gap."""
    return conditioned(condition) * max(1.0, 0.1 / max(gap, 1e-300))
