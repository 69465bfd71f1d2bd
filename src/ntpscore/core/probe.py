"""The linear probe with intercept: least squares on the mean token, once for all who need it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ntpscore.core.factored_metric import FactoredMetric, factor_metric, relative_cutoff
from ntpscore.core.grouping import adjusted_r2
from ntpscore.core.moments import LayerMoments
from ntpscore.core.subspaces import NestedBasis, Subspaces


@dataclass(frozen=True)
class Centring:
    """What turns a whitener K of N into one of the covariance `N − μμᵀ` on the same space.

    `N − μμᵀ = Fᵀ (I − a aᵀ) F` with `a = Kᵀ μ`, so `K (I + g a aᵀ)` whitens it, with
    `1 + g ‖a‖² = 1 / √(1 − ‖a‖²)`.

    Attributes:
        N: the second moment, factored.
        a: (d,) the mean in whitened coordinates.
        rest: () `1 − ‖a‖²`.
    """

    N: FactoredMetric
    a: Float[Tensor, " d"]
    rest: Float[Tensor, ""]

    @classmethod
    def of(
        cls, N: FactoredMetric, mu: Float[Tensor, " d"], N_centred: Float[Tensor, "d d"]
    ) -> "Centring | None":
        """None unless both matrices are of full rank by the same safe bound as in `factor_metric`.

        Args:
            N: the second moment, factored.
            mu: (d,) the mean.
            N_centred: (d, d) `N − μμᵀ`.
        """
        if N.n_dropped:
            return None
        # Products with one row are several times faster than with one column.
        a = (mu[None] @ N.whitener)[0]
        rest = 1 - a.square().sum()
        variances = N_centred.diagonal()
        inverse = N.whitener.square().sum(1) + (a[None] @ N.whitener.T)[0].square() / rest
        unit = torch.where(variances > 0, 1 / variances, float("nan"))
        norm = (unit[None] @ N_centred.square() @ unit)[0].sqrt()
        # A NaN fails the comparison.
        safe = (rest > 0) & (norm * (variances * inverse).sum() < 0.1 / relative_cutoff(N.width))
        if not bool(safe):
            return None
        return cls(N, a, rest)

    @property
    def g(self) -> Float[Tensor, ""]:
        """() the weight of `a aᵀ`."""
        return 1 / (self.rest.sqrt() + self.rest)

    @property
    def rank(self) -> int:
        """Of the covariance: full."""
        return self.N.rank

    def whiten(self, X: Float[Tensor, "d q"]) -> Float[Tensor, "d q"]:
        """`(I + g a aᵀ) Kᵀ X`."""
        return self._stretch(self.N.whiten(X))

    def unwhiten(self, W: Float[Tensor, "d q"]) -> Float[Tensor, "d q"]:
        """`K (I + g a aᵀ) W`."""
        return self.N.unwhiten(self._stretch(W))

    def explained_by(
        self, spaces: Subspaces, whitened: Float[Tensor, "d q"]
    ) -> Float[Tensor, "v q"]:
        """How much of fits is left where they see the first k columns of V alone.

        With b the fits and a the mean, both in coordinates in which N is the identity and which
        are nested in V, the covariance is `I − a aᵀ`, and its inverse on the first k of them
        (Sherman and Morrison's) gives `‖b_k‖² + (a_kᵀ b_k)² / (1 − ‖a_k‖²)`.

        Args:
            spaces: of the layer.
            whitened: the fits where the covariance is the identity.
        """
        # The inverse of `I + g a aᵀ` takes as much of `a aᵀ` away, with 1 + g ‖a‖² = 1 / √rest.
        shrink = float(self.g * self.rest.sqrt())
        b = torch.addmm(whitened, self.a[:, None], (self.a @ whitened)[None], alpha=-shrink)
        nested = spaces.coordinates(torch.cat([self.a[:, None], b], 1))
        a, b = nested[:, :1], nested[:, 1:]
        left = (1 - a.square().cumsum(0)).clamp(min=float(self.rest))
        return b.square().cumsum(0) + (a * b).cumsum(0).square() / left

    def _stretch(self, W: Float[Tensor, "d q"]) -> Float[Tensor, "d q"]:
        """`(I + g a aᵀ) W`."""
        return torch.addmm(W, (self.g * self.a)[:, None], (self.a @ W)[None])


@dataclass(frozen=True)
class LeastSquares:
    """Least squares with intercept, in sample, of the labels (first) and of every shuffle.

    Attributes:
        moments: of the layer.
        covariance: of the mean token, factored, by way of N where that was safe.
        whitened: (m, sets·c) the fits in coordinates in which the covariance is the identity.
    """

    moments: LayerMoments
    covariance: FactoredMetric | Centring
    whitened: Float[Tensor, "m sets_c"]

    @classmethod
    def of(cls, moments: LayerMoments, N: FactoredMetric | None = None) -> "LeastSquares":
        """Fit the labels and every shuffle.

        Args:
            moments: N, M, μ, p and E[YYᵀ] of the layer; the rest is not looked at.
            N: the second moment, if it was factored before.

        Raises:
            MomentsError: the features don't vary, or are not finite.
        """
        M = torch.cat([moments.M_centred[None], moments.M_shuffled_centred])
        joined = M.permute(1, 0, 2).reshape(moments.width, -1)
        covariance = moments.N_centred
        centring = None if N is None else Centring.of(N, moments.mu, covariance)
        metric = centring or factor_metric(covariance)
        return cls(moments, metric, metric.whiten(joined))

    @property
    def rank(self) -> int:
        """Of the features' covariance, numerically; directions beyond it have no weight."""
        return self.covariance.rank

    @property
    def explained(self) -> Float[Tensor, " sets"]:
        """(sets,) variance that is explained, summed over label columns."""
        return self._by_set(self.whitened.square().sum(0))

    @property
    def r2(self) -> Float[Tensor, " sets"]:
        """(sets,) share of the labels' variance that is explained; NaN where they never differ."""
        variances = self.moments.Y_variances
        share = self.explained / torch.where(variances > 0, variances, float("nan"))
        return share.clamp(max=1.0)

    @property
    def r2_adjusted(self) -> float:
        """R² of the labels corrected for the number of features; see `adjusted_r2`."""
        return adjusted_r2(float(self.r2[0]), self.r2_chance)

    @property
    def r2_chance(self) -> float:
        """The mean R² of labels that have nothing to do with the features."""
        return self.moments.chance_r2(self.rank)

    @property
    def mse(self) -> float:
        """Mean squared error of the labels, per label column."""
        left = float(self.moments.Y_variances[0] - self.explained[0])
        return max(0.0, left) / self.moments.M.shape[1]

    @property
    def mse_cross_validated(self) -> float:
        """What generalised cross-validation expects it to be on other texts.

        `mse / (1 − (1 + rank) / n)²`; infinite where nothing is left over.

        Source:
            Golub, Heath, Wahba 1979, Generalized Cross-Validation as a Method for Choosing a Good
            Ridge Parameter, eq. 1.2, with an intercept.
        """
        left = 1 - (1 + self.rank) / self.moments.n_texts
        return self.mse / left**2 if left > 0 else float("inf")

    @property
    def weights(self) -> Float[Tensor, "d c"]:
        """(d, c) of the map that the labels need."""
        return self.covariance.unwhiten(self.whitened[:, : self.moments.M.shape[1]])

    @property
    def intercept(self) -> Float[Tensor, " c"]:
        """(c,) of that map."""
        return self.moments.p - self.moments.mu @ self.weights

    def explained_by(self, spaces: Subspaces) -> Float[Tensor, "sets q"]:
        """(sets, q) what is still explained where the fit sees the first k columns of V alone."""
        if isinstance(self.covariance, Centring):
            explained = self.covariance.explained_by(spaces, self.whitened)
        else:
            basis = NestedBasis.of(self.covariance.factor @ spaces.Q)
            explained = basis.coordinates(self.whitened).square().cumsum(0)
        return self._by_set(explained).T

    def _by_set(self, squares: Float[Tensor, "*q sets_c"]) -> Float[Tensor, "*q sets"]:
        """Sums over the label columns of each set."""
        return squares.view(*squares.shape[:-1], -1, self.moments.M.shape[1]).sum(-1)
