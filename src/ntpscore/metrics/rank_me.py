"""RankMe: how many directions the features fill."""

import torch

from ntpscore.core.factored_metric import relative_cutoff
from ntpscore.core.moments import LayerMoments
from ntpscore.errors import MetricError


def rank_me(moments: LayerMoments) -> float:
    """RankMe, `exp(−Σ p_i log p_i)` with `p_i = σ_i / Σ σ_j`, σ the features' singular values.

    The features are not centred, as published. In [1, min(n, d)]; higher is better. It looks at no
    label, so labels of any kind will do; for n < d at most n singular values are not zero.

    Args:
        moments: of one layer; the squares of σ are n times the eigenvalues of N.

    Source:
        Garrido, Balestriero, Najman, LeCun 2023, "RankMe: Assessing the Downstream Performance of
        Pretrained Self-Supervised Representations by Their Rank", eq. 1, without the constant 1e-7
        that is added to each p there.
    """
    values = torch.linalg.eigvalsh(moments.N)
    values = values[values > relative_cutoff(moments.width) * values[-1].clamp(min=0.0)]
    if not len(values):
        raise MetricError("the features are all zero")
    sigma = values[-moments.n_texts :].sqrt()
    p = sigma / sigma.sum()
    return float(torch.exp(-(p * p.log()).sum()))
