"""Least squares on mean-token features, in closed form from second moments, layer by layer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ntpscore.adapt.config import OlsConfig
from ntpscore.adapt.evaluation import Evaluation
from ntpscore.adapt.frozen import FittedHeads, SplitFeatures, fit_on_features
from ntpscore.adapt.head import TEXTS_AT_ONCE, LinearHead
from ntpscore.adapt.result import AdaptResult
from ntpscore.core.geneig import factor_metric
from ntpscore.core.moments import LayerMoments, Moments
from ntpscore.errors import MomentsError
from ntpscore.models import LanguageModel
from ntpscore.reading.features import Place
from ntpscore.reading.reader import check_layers
from ntpscore.text import LabelledText

# Strengths that are tried, relative to the mean variance of a feature.
_RIDGES = np.logspace(-12, 3, 61)


@dataclass(frozen=True)
class LeastSquares:
    """A linear map with intercept, fitted to one layer's moments.

    Attributes:
        weights: (d, c).
        intercept: (c,).
        rank: of the features' covariance, numerically; directions beyond it have no weight.
        ridge: α of the objective `mean ‖y − ŷ‖² + α‖W‖²`.
        degrees_of_freedom: of the fit, the intercept not counted.
        mse: in sample, per target column.
        r2: in sample, all target columns together; NaN where targets never vary.
        gcv: generalised cross-validation's estimate of the error out of sample, per target column,
            `mse / (1 − (1 + degrees_of_freedom) / n)²`; infinite where nothing is left over.
    """

    weights: Tensor
    intercept: Tensor
    rank: int
    ridge: float
    degrees_of_freedom: float
    mse: float
    r2: float
    gcv: float


def solve_least_squares(moments: LayerMoments, *, ridge: bool = False) -> LeastSquares:
    """Least squares with intercept from the moments of a layer.

    Args:
        moments: N, M, μ, p and E[YYᵀ]; the rest is not looked at.
        ridge: choose a penalty by generalised cross-validation.

    Raises:
        MomentsError: the features don't vary, or are not finite.

    Source:
        Golub, Heath, Wahba 1979, Generalized Cross-Validation as a Method for Choosing a Good Ridge
        Parameter, eq. 1.2, with an intercept that is not penalised.
    """
    N, M, n, c = moments.N_centred, moments.M_centred, moments.n_texts, moments.M.shape[1]
    variance = float(moments.Y_variances[0])
    metric = factor_metric(N)
    if not ridge:
        fit = metric.whitener.T @ M
        weights = metric.whitener @ fit
        alpha, freedom = 0.0, float(metric.rank)
        residual = max(variance - float(fit.square().sum()), 0.0)
    else:
        values, vectors = torch.linalg.eigh(N)
        values = values.clamp(min=0.0)
        power = (vectors.T @ M).square().sum(1)
        scale = float(values.mean())
        # float64 on the processor: a few thousand numbers.
        lam = values[:, None].cpu().numpy()
        alphas = scale * _RIDGES[None]
        freedoms = (lam / (lam + alphas)).sum(0)
        explained = power.cpu().numpy() @ ((lam + 2 * alphas) / (lam + alphas) ** 2)
        residuals = np.maximum(variance - explained, 0.0)
        errors = _cross_validate(residuals, freedoms, n)
        best = int(errors.argmin())
        alpha, freedom = float(alphas[0, best]), float(freedoms[best])
        residual = float(residuals[best])
        weights = vectors @ ((vectors.T @ M) / (values + alpha)[:, None])
    gcv = float(_cross_validate(np.array(residual), np.array(freedom), n))
    return LeastSquares(
        weights=weights,
        intercept=moments.p - moments.mu @ weights,
        rank=metric.rank,
        ridge=alpha,
        degrees_of_freedom=freedom,
        mse=residual / c,
        r2=1 - residual / variance if variance > 0 else float("nan"),
        gcv=gcv / c,
    )


def _cross_validate(
    residuals: npt.NDArray[np.float64], freedoms: npt.NDArray[np.float64], n: int
) -> npt.NDArray[np.float64]:
    left = 1 - (1 + freedoms) / n
    safe = np.where(left > 0, left, np.nan)
    return np.where(left > 0, residuals / safe**2, np.inf)


def accumulate(features: Tensor, text: LabelledText, layer: int) -> LayerMoments:
    """The moments of one layer from its mean tokens.

    A text's mean token has the same N and M as a text of that one token.

    Args:
        features: (n, d).
        text: the n texts' labels.
        layer: the hidden-state index.
    """
    moments = Moments([layer], features.shape[1], len(text.classes))
    labels = torch.from_numpy(np.ascontiguousarray(text.labels))
    for rows, Y in zip(features.split(TEXTS_AT_ONCE), labels.split(TEXTS_AT_ONCE), strict=True):
        moments.update([rows[:, None]], torch.ones(len(rows), 1), Y)
    return moments.layer(layer)


def fit_ols(
    model: LanguageModel,
    train: LabelledText,
    test: LabelledText | None,
    *,
    config: OlsConfig | None = None,
    folder: Path | None = None,
    cache: Path | None = None,
    moments: Moments | None = None,
    progress: bool | None = None,
) -> AdaptResult:
    """Fit labels by least squares in closed form, in every layer.

    The arguments are those of `fit_on_features`. `moments` that `score` made of the same model and
    texts (`ScoreResult.moments`) spare the pass over the train split, whose accuracy and intervals
    then stay unknown.

    Returns:
        The result; its `record["fits"]` has a row per layer, `record["best_layer"]` the one with
        the least error by generalised cross-validation, which looks at the train split alone, or
        None where texts are too few for it to say anything of any layer.

    Raises:
        NtpscoreError: bad input.
    """
    config = config or OlsConfig()
    layers = check_layers(config.layers, model, "--layer")
    if moments is not None:
        _check_moments(moments, model, train, layers)

    def fit(features: SplitFeatures) -> FittedHeads:
        by_place = {} if moments else features.of([Place(layer) for layer in layers])
        fits = [
            solve_least_squares(
                accumulate(by_place[Place(layer)].float(), train, layer)
                if moments is None
                else moments.layer(layer),
                ridge=config.ridge,
            )
            for layer in layers
        ]
        heads, statistics = [], []
        for layer, squares in zip(layers, fits, strict=True):
            heads.append(LinearHead(layer, squares.weights, squares.intercept, "targets"))
            names = ("rank", "ridge", "degrees_of_freedom", "gcv", "mse", "r2")
            statistics.append({"layer": layer} | {name: getattr(squares, name) for name in names})
        split, n = train.source.split, len(train)
        on_train = [
            Evaluation(split, n, r2=squares.r2, mse=squares.mse, loss=squares.mse)
            for squares in fits
        ]
        best = _best_layer(statistics)
        return FittedHeads(
            heads,
            statistics,
            chosen=layers.index(best) if best is not None else len(heads) - 1,
            describe=lambda rows: {"fits": rows, "best_layer": best},
            on_train=() if moments is None else on_train,
            warnings=_warnings(train, model.width),
        )

    return fit_on_features(
        "ols", fit, model, train, test, config,
        folder=folder, cache=cache, progress=progress,
    )  # fmt: skip


def _best_layer(rows: list[dict[str, Any]]) -> int | None:
    judged = [row for row in rows if np.isfinite(row["gcv"])]
    return min(judged, key=lambda row: row["gcv"])["layer"] if judged else None


def _check_moments(
    moments: Moments, model: LanguageModel, train: LabelledText, layers: tuple[int, ...]
) -> None:
    given = (moments.width, moments.n_outputs, moments.n_texts)
    needed = (model.width, len(train.classes), len(train))
    if given != needed or not set(layers) <= set(moments.layers):
        raise MomentsError(
            f"these moments are of width, outputs and texts {given} and layers {moments.layers}; "
            f"needed are {needed} and layers {layers}: score the same model and texts"
        )


def _warnings(train: LabelledText, width: int) -> list[str]:
    n = len(train)
    if n > width + 1:
        return []
    warning = (
        f"{n} texts are no more than the width of {width} and an intercept: least squares fits "
        "any labels, so the train figures say nothing"
    )
    return [warning]
