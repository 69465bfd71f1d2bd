"""What the authors' released code computes, rounding included.

It sums and solves in float32, whitens by the eigenvectors of each metric above an absolute cut-off,
and takes the first columns of an *ascending* decomposition. The moments of hidden states are too
badly conditioned for that: much of the value is rounding, so the order of operations is kept.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ntpscore.core.lapack import eigh
from ntpscore.core.leading_blocks import columns_at
from ntpscore.errors import MomentsError

_CUT_OFF = 1e-8


@dataclass(frozen=True)
class PublishedMoments:
    """The moments of a layer, or of several, as the released code has them: float32 means.

    Attributes:
        N: (…, d, d) of the mean token.
        M: (…, d, c) of mean token and labels.
        C0: (…, d, d) of prefix sums; not symmetric to the last digit.
        C1: (…, d, d) of prefix sums and next tokens.
    """

    N: Float[Tensor, "*l d d"]
    M: Float[Tensor, "*l d c"]
    C0: Float[Tensor, "*l d d"]
    C1: Float[Tensor, "*l d d"]

    def plus(
        self,
        hidden_states: Float[Tensor, "b t d"],
        lengths: Int[Tensor, " b"],
        Y: Float[Tensor, "b c"],
        n_texts: int,
    ) -> "PublishedMoments":
        """These and a batch of texts, tokens on the left.

        Args:
            hidden_states: of one layer.
            lengths: tokens of each text.
            Y: label rows.
            n_texts: of all batches together, by which each text is divided before it is added.
        """
        states = [x[:n].float() for x, n in zip(hidden_states, lengths.tolist(), strict=True)]
        means = torch.stack([x.sum(0) for x in states]) / lengths[:, None].float()
        N = self.N + means.T @ means / n_texts
        M = self.M + means.T @ Y.float() / n_texts
        C0, C1 = self.C0.clone(), self.C1.clone()
        for x in states:
            if len(x) < 2:
                continue
            L1 = x.new_ones(len(x), len(x) - 1).triu()
            prefixes = x.T @ L1  # (d, ℓ − 1)
            C0 += (prefixes @ L1.T @ x).div_(n_texts)
            C1 += (prefixes @ x[1:]).div_(n_texts)
        return PublishedMoments(N, M, C0, C1)

    def replace_by(self, other: "PublishedMoments") -> None:
        """Take over the numbers of others."""
        for own, new in zip(vars(self).values(), vars(other).values(), strict=True):
            own.copy_(new)


def score_published(moments: PublishedMoments) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """The released code's score for every k = 1 … d (index k − 1), and its chance level.

    Args:
        moments: of one layer.

    Returns:
        Values, NaN where U or V have no column, and the share of V's columns in d.

    Raises:
        MomentsError: a moment is not finite.

    Source:
        github.com/Yu-AngCheng/NTPS at 0f877f7, `K_sweep.py`, in our words.
    """
    if not all(bool(x.isfinite().all()) for x in vars(moments).values()):
        raise MomentsError("a moment in float32 is NaN or infinite")
    d = len(moments.N)
    U, V = _ascending(moments.M, moments.N), _ascending(moments.C1, moments.C0)
    k_U, k_V = columns_at(d, U.shape[1]), columns_at(d, V.shape[1])
    Q = torch.linalg.qr(V).Q
    inside = (Q.T @ U).square().cumsum(0).cumsum(1)
    inside = torch.nn.functional.pad(inside, (1, 0, 1, 0))[k_V, k_U]
    norms = torch.nn.functional.pad(U.square().sum(0).cumsum(0), (1, 0))[k_U]
    defined = (k_U > 0) & (k_V > 0)
    return torch.where(defined, inside / norms, float("nan")), k_V.double() / d


def _ascending(X: Float[Tensor, "d q"], B: Float[Tensor, "d d"]) -> Float[Tensor, "d m"]:
    """(d, m) generalized eigenvectors of (X Xᵀ, B) on B's eigenvectors above the cut-off.

    Solved in float32 by the libraries that the released code calls, NumPy and SciPy, and returned
    in float64, in which nothing more is lost.
    """
    x = X.cpu().numpy()
    values, vectors = (one.numpy() for one in eigh(B.cpu()))
    above = values > _CUT_OFF
    W = vectors[:, above] * (1 / values[above] ** 0.5)
    if above.any():
        W = W @ eigh(torch.from_numpy(W.T @ (x @ x.T) @ W))[1].numpy()
    return torch.from_numpy(W).double()
