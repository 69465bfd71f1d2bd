"""The linear probe with intercept: least squares on the mean token, once for all who need it."""

from dataclasses import dataclass
from functools import cached_property

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
        condition: of the covariance, at most.
    """

    N: FactoredMetric
    a: Float[Tensor, " d"]
    rest: Float[Tensor, ""]
    condition: float

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
        # Frobenius norms of the covariance and of what whitens it.
        return cls(N, a, rest, float(torch.linalg.norm(N_centred) * inverse.sum()))

    @property
    def g(self) -> Float[Tensor, ""]:
        """() the weight of `a aᵀ`."""
        return 1 / (self.rest.sqrt() + self.rest)

    @property
    def mean(self) -> Float[Tensor, " d"]:
        """(d,) `(I + g a aᵀ) a`, of a squared length of `1 / rest − 1`."""
        return self.a / self.rest.sqrt()

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

    def coordinates(
        self, spaces: Subspaces, whitened: Float[Tensor, "d q"]
    ) -> Float[Tensor, "v q"]:
        """Coordinates in a basis of this whitened space whose first k vectors see V_k alone.

        Args:
            spaces: of the layer.
            whitened: in coordinates in which the covariance is the identity.
        """
        if spaces.is_full:
            # As in `Subspaces.coordinates`, with the covariance in place of N: where the mean is
            # large, coordinates that are nested in N would not hold the digits.
            columns = self._stretch(spaces.nested_products[0].T).flip(1)
            return NestedBasis.of(columns, self.condition).coordinates(whitened).flip(0)
        columns = spaces.N.factor @ spaces.Q
        # The inverse of `I + g a aᵀ` takes as much of `a aᵀ` away, with 1 + g ‖a‖² = 1 / √rest.
        shrink = float(self.g * self.rest.sqrt())
        columns = torch.addmm(columns, self.a[:, None], (self.a @ columns)[None], alpha=-shrink)
        return NestedBasis.of(columns).coordinates(whitened)

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

    @cached_property
    def explained(self) -> Float[Tensor, " sets"]:
        """(sets,) variance that is explained, summed over label columns."""
        return self.by_set(self.whitened.square().sum(0))

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

    def seen_by(self, spaces: Subspaces) -> "NestedFits":
        """The same fits where they see the first k columns of V alone."""
        covariance = self.covariance
        if not isinstance(covariance, Centring):
            basis = NestedBasis.of(covariance.factor @ spaces.Q)
            return NestedFits(self, basis.coordinates(self.whitened), None)
        mean = covariance.mean
        both = covariance.coordinates(spaces, torch.cat([mean[:, None], self.whitened], 1))
        return NestedFits(self, both[:, 1:], (both[:, 0], mean))

    def by_set(self, squares: Float[Tensor, "*q sets_c"]) -> Float[Tensor, "*q sets"]:
        """Sums over the label columns of each set."""
        return squares.view(*squares.shape[:-1], -1, self.moments.M.shape[1]).sum(-1)


@dataclass(frozen=True)
class NestedFits:
    """Least-squares fits in coordinates that are nested in V.

    Attributes:
        whole: the fits.
        fits: (v, sets·c) of which the first k rows are what V_k sees.
        means: (v,) the features' mean likewise, and (m,) the whole of it, where the covariance is
            the identity; None where that was factored by itself.
    """

    whole: LeastSquares
    fits: Float[Tensor, "v sets_c"]
    means: tuple[Float[Tensor, " v"], Float[Tensor, " m"]] | None

    @property
    def explained(self) -> Float[Tensor, "sets v"]:
        """(sets, v) what is still explained by the first k columns of V."""
        return self.whole.by_set(self.fits.square().cumsum(0)).T

    def excess(self, k: int) -> Float[Tensor, ""] | None:
        """() what the labels lose by it where there is no intercept; None where `means` are.

        With b the fits, α the mean where the covariance is the identity and p̄ the labels' mean,
        `Mᵀ N⁻¹ M = Σ ‖b‖² + ‖p̄‖² − ‖p̄ − bᵀα‖² / (1 + ‖α‖²)` (Sherman and Morrison), on V_k of
        their first k coordinates.
        """
        if self.means is None:
            return None
        mean, whole_mean = self.means
        p = self.whole.moments.p
        b, whole = self.fits[:, : len(p)], self.whole.whitened[:, : len(p)]

        def missed(mean: Tensor, fits: Tensor) -> Tensor:
            return (p - mean @ fits).square().sum() / (1 + mean.square().sum())

        unseen = b[k:].square().sum() + (whole.square().sum() - b.square().sum()).clamp(min=0.0)
        excess: Tensor = unseen + missed(mean[:k], b[:k]) - missed(whole_mean, whole)
        return excess
