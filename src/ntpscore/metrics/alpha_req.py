"""Alpha-ReQ: how fast the spectrum of the features decays."""

import torch

from ntpscore.core.factored_metric import relative_cutoff
from ntpscore.core.moments import LayerMoments
from ntpscore.errors import MetricError


def alpha_req(moments: LayerMoments) -> float:
    """Alpha-ReQ, the exponent α of a power law `λ_i ∝ i^(−α)` through the covariance's eigenvalues.

    A line is fitted to log λ_i over log i, each i weighed by 1/i, since otherwise the crowded tail
    alone decides; all eigenvalues of the numerical range take part. Not negative. Neither high nor
    low is good: features whose α is nearest to 1 are said to serve best. It looks at no label, so
    labels of any kind will do. For n < d the last of at most n − 1 eigenvalues bend the line.

    Source:
        Agrawal, Mondal, Ghosh, Richards 2022, "α-ReQ: Assessing Representation Quality in
        Self-Supervised Learning by measuring eigenspectrum decay", whose code takes the weights
        from Stringer et al. 2019, "High-dimensional geometry of population responses in visual
        cortex", and fits whatever window of eigenvalues its caller names.
    """
    values = torch.linalg.eigvalsh(moments.N_centred).flip(0)
    values = values[values > relative_cutoff(moments.width) * values[0].clamp(min=0.0)]
    values = values[: moments.n_texts - 1]
    if len(values) < 2:
        raise MetricError("alpha_req needs features that vary in at least two directions")
    index = torch.arange(1, len(values) + 1, dtype=values.dtype, device=values.device)
    weight = index.reciprocal() / index.reciprocal().sum()
    x, y = index.log(), values.log()
    x, y = x - (weight * x).sum(), y - (weight * y).sum()
    return float(-(weight * x * y).sum() / (weight * x * x).sum())
