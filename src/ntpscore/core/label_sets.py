"""All of U, of the labels and of every shuffle: the columns that carry labels, and completions."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ntpscore.core.factored_metric import EPS, FactoredMetric
from ntpscore.core.geneig import LabelDirections
from ntpscore.core.leading_blocks import leading_block_sums, leading_sums
from ntpscore.core.moments import LayerMoments


@dataclass(frozen=True)
class LabelSets:
    """The label directions of the labels themselves (first) and of every shuffle.

    Sets with fewer directions than the largest are filled up with zero columns.
    """

    whitened: Float[Tensor, "sets m r"]
    ranks: Int[Tensor, " sets"]

    @classmethod
    def of(cls, moments: LayerMoments, N: FactoredMetric, labels: LabelDirections) -> "LabelSets":
        """Those of the shuffles come from Gram matrices, (r, r) at the smaller of labels and width.

        These are many times faster than singular decompositions, and half the digits are enough.
        """
        P, d, c = moments.M_shuffled.shape
        r = min(N.rank, c)
        whitened = moments.M.new_zeros(1 + P, N.rank, r)
        whitened[0, :, : labels.rank] = labels.whitened
        reduced = N.whiten(moments.M_shuffled.permute(1, 0, 2).reshape(d, P * c))
        reduced = reduced.view(N.rank, P, c).permute(1, 0, 2)
        few_labels = c <= N.rank
        gram = reduced.mT @ reduced if few_labels else reduced @ reduced.mT
        values, vectors = (found.flip(-1) for found in torch.linalg.eigh(gram))
        carries = values > EPS * max(N.rank, c) * values[:, :1]
        lengths = torch.where(carries, values, 1.0).sqrt() if few_labels else 1.0
        vectors = vectors * (carries / lengths)[:, None, :]
        whitened[1:] = reduced @ vectors if few_labels else vectors
        return cls(
            whitened,
            torch.cat([carries.new_tensor([labels.rank], dtype=torch.long), carries.sum(1)]),
        )

    @property
    def joined(self) -> Float[Tensor, "m sets_r"]:
        """All sets side by side, so that one product serves all."""
        return self.whitened.permute(1, 0, 2).reshape(self.whitened.shape[1], -1)

    def split(self, products: Float[Tensor, "q sets_r"]) -> Float[Tensor, "sets q r"]:
        """Undo `joined` on a product with it."""
        sets, _, r = self.whitened.shape
        return products.view(-1, sets, r).permute(1, 0, 2)


def orthonormalised(
    directions: Float[Tensor, "sets v r"], U: Float[Tensor, "sets d r"], ranks: Int[Tensor, " sets"]
) -> Float[Tensor, "sets v r"]:
    """`Qᵀ B` from `Qᵀ U`, B orthonormal with the span of the first `ranks` columns of U.

    The other columns come out as zeros.
    """
    used = torch.arange(U.shape[2], device=U.device) < ranks[:, None]
    R = torch.linalg.qr(U, mode="r").R
    R.diagonal(dim1=1, dim2=2)[~used] = 1.0
    products: Tensor = torch.linalg.solve_triangular(R, directions, upper=True, left=False)
    return products * used[:, None, :]


@dataclass(frozen=True)
class CompletedBasis:
    """All of U: label directions, then a completion to an N-orthonormal basis, per label set.

    The completion is the one that Householder's reflectors of the label directions give, `K H`
    with `H = I − Y W Yᵀ`: as arbitrary as any other, and never formed, since H differs from the
    identity by rank r.
    """

    reflectors: Float[Tensor, "sets m r"]
    weighted: Float[Tensor, "sets m r"]
    norms: Float[Tensor, "sets m"]

    @classmethod
    def of(cls, label_sets: LabelSets, N: FactoredMetric) -> "CompletedBasis":
        """Reflectors Y, products Y W, and the squared lengths of all columns of U = K H."""
        packed, tau = torch.geqrf(label_sets.whitened)
        Y = torch.tril(packed, diagonal=-1)
        Y.diagonal(dim1=1, dim2=2).fill_(1.0)
        # A reflector with tau = 0 is the identity.
        Y = Y * (tau != 0)[:, None, :]
        gram = Y.transpose(1, 2) @ Y
        inverse_W = torch.triu(gram, 1) + torch.diag_embed(
            torch.where(tau != 0, 1 / torch.where(tau != 0, tau, 1.0), 1.0)
        )
        W = torch.linalg.solve_triangular(
            inverse_W, torch.eye(Y.shape[2], dtype=Y.dtype, device=Y.device), upper=True
        )
        weighted = Y @ W
        KX = N.unwhiten(weighted.permute(1, 0, 2).reshape(N.rank, -1))
        KKX = label_sets.split(N.whiten(KX))  # (sets, m, r)
        KX = label_sets.split(KX)  # (sets, d, r)
        squares = ((Y @ (KX.transpose(1, 2) @ KX)) * Y).sum(2)
        norms = N.whitener.square().sum(0) - 2 * (KKX * Y).sum(2) + squares
        return cls(Y, weighted, norms)

    def reversed(self) -> "CompletedBasis":
        """The same columns of U, last one first, for products with K's columns in that order."""
        return CompletedBasis(self.reflectors.flip(1), self.weighted.flip(1), self.norms.flip(1))

    def ratios(
        self,
        T: Float[Tensor, "v m"],
        rows: Int[Tensor, " d"],
        columns: Int[Tensor, " d"],
    ) -> Float[Tensor, "sets d"]:
        """`‖P U‖² / ‖U‖²` over the leading rows of T and columns of U, for each step.

        Args:
            T: (v, m) `Qᵀ K`, Q an orthonormal basis whose vectors enter one by one.
            rows: (d,) how many rows of T have entered at each step.
            columns: (d,) how many columns of U have.
        """
        Y = self.reflectors
        sets, m, r = Y.shape
        joined = self.weighted.permute(1, 0, 2).reshape(m, sets * r)
        Z = (T @ joined).view(-1, sets, r).permute(1, 0, 2)  # (sets, v, r): Qᵀ K (I − H) = Z Yᵀ
        inside = leading_block_sums(T, Z, Y, rows, columns)
        norms = leading_sums(self.norms, columns)
        ratios: Tensor = inside / torch.where(norms > 0, norms, float("nan"))
        return ratios
