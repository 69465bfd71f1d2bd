"""The linear probe with intercept: least squares on the mean token, once for all who need it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ntpscore.core.factored_metric import FactoredMetric, factor_metric, relative_cutoff
from ntpscore.core.grouping import adjusted_r2
from ntpscore.core.moments import LayerMoments
from ntpscore.core.subspaces import (
    Subspaces,
    nested_coordinates,
    nested_coordinates_from_inverse,
)


@dataclass(frozen=True)
class Centring:
    """What turns a whitener K of N into one of the covariance `N − μμᵀ` on the same space.

    `N − μμᵀ = Fᵀ (I − a aᵀ) F` with `a = Kᵀ μ`, so `K (I + g a aᵀ)` whitens it, with
    `1 + g ‖a‖² = 1 / √(1 − ‖a‖²)`.

    Attributes:
        N: the second moment, factored.
        a: (d,) the mean in whitened coordinates.
        g: () the weight of `a aᵀ`.
    """

    N: FactoredMetric
    a: Float[Tensor, " d"]
    g: Float[Tensor, ""]

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
        a = N.whiten(mu[:, None])[:, 0]
        rest = 1 - a.square().sum()
        variances = N_centred.diagonal()
        inverse = N.whitener.square().sum(1) + (N.whitener @ a).square() / rest
        unit = torch.where(variances > 0, 1 / variances, float("nan"))
        norm = (unit @ (N_centred.square() @ unit)).sqrt()
        # A NaN fails the comparison.
        safe = (rest > 0) & (norm * (variances * inverse).sum() < 0.1 / relative_cutoff(N.width))
        if not bool(safe):
            return None
        return cls(N, a, 1 / (rest.sqrt() + rest))

    def metric(self, N_centred: Float[Tensor, "d d"]) -> FactoredMetric:
        """The covariance, factored."""
        K, F = self.N.whitener, self.N.factor
        shrink = self.g / (1 + self.g * self.a.square().sum())
        factor = F - torch.outer(shrink * self.a, self.a @ F)
        return FactoredMetric(N_centred, self.stretch(K), factor, len(F))

    def stretch(self, X: Float[Tensor, "q d"]) -> Float[Tensor, "q d"]:
        """`X (I + g a aᵀ)`."""
        return torch.addmm(X, (X @ self.a)[:, None], (self.g * self.a)[None])


@dataclass(frozen=True)
class LeastSquares:
    """Least squares with intercept, in sample, of the labels (first) and of every shuffle.

    Attributes:
        moments: of the layer.
        covariance: of the mean token, factored.
        centring: from N to the covariance, where that was safe.
        whitened: (m, sets·c) the fits in coordinates in which the covariance is the identity.
    """

    moments: LayerMoments
    covariance: FactoredMetric
    centring: Centring | None
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
        metric = factor_metric(covariance) if centring is None else centring.metric(covariance)
        return cls(moments, metric, centring, metric.whiten(joined))

    @property
    def rank(self) -> int:
        """Of the features' covariance, numerically; directions beyond it have no weight."""
        return self.covariance.rank

    @property
    def explained(self) -> Float[Tensor, " sets"]:
        """(sets,) variance that is explained, summed over label columns."""
        return self._by_set(self.whitened).sum(0)

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
        T = spaces.nested_products[0]
        if self.centring is not None and len(T) == len(self.whitened):
            coordinates = nested_coordinates_from_inverse(self.centring.stretch(T), self.whitened)
        else:
            coordinates = nested_coordinates(self.covariance.factor @ spaces.Q, self.whitened)
        return self._by_set(coordinates).cumsum(0).T

    def _by_set(self, columns: Float[Tensor, "q sets_c"]) -> Float[Tensor, "q sets"]:
        """Sums of squares over the label columns of each set."""
        return columns.view(len(columns), -1, self.moments.M.shape[1]).square().sum(2)
