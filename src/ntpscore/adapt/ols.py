"""Least squares on mean-token features, in closed form from second moments, layer by layer."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ntpscore.adapt.config import OlsConfig
from ntpscore.adapt.evaluation import Evaluation, target_rows
from ntpscore.adapt.frozen import FittedHeads, SplitFeatures, fit_on_features
from ntpscore.adapt.head import TEXTS_AT_ONCE, LinearHead
from ntpscore.adapt.result import AdaptResult
from ntpscore.core.cross_validation import held_out_ridge, solve_ridge, stratified_folds
from ntpscore.core.moments import LayerMoments, Moments
from ntpscore.core.probe import LeastSquares
from ntpscore.errors import MomentsError
from ntpscore.models import LanguageModel
from ntpscore.reading.features import Place
from ntpscore.reading.reader import check_layers
from ntpscore.text import LabelledText


@dataclass(frozen=True)
class _Fit:
    """A linear map with intercept, fitted to one layer.

    Attributes:
        weights: (d, c).
        intercept: (c,).
        penalty: α of `‖Y − Ŷ‖² + α‖W‖²` on standardised features.
        rank: of the features' covariance; None where there is a penalty.
        mse: in sample, per target column.
        r2: in sample, all target columns together; NaN where targets never vary.
        cross_validated_mse: estimate of the error out of sample, per target column: in ten folds
            where there is a penalty, else by generalised cross-validation; infinite where nothing
            is left over.
    """

    weights: Tensor
    intercept: Tensor
    penalty: float
    rank: int | None
    mse: float
    r2: float
    cross_validated_mse: float


def _fit_moments(moments: LayerMoments) -> _Fit:
    fit = LeastSquares.of(moments)
    return _Fit(
        fit.weights, fit.intercept, 0.0, fit.rank, fit.mse, float(fit.r2[0]),
        fit.mse_cross_validated,
    )  # fmt: skip


def _fit_ridge(features: Tensor, train: LabelledText, seed: int) -> _Fit:
    """Least squares with the penalty that predicts texts of other folds best."""
    Y = torch.from_numpy(target_rows(train.labels, train.task, len(train.classes)))
    groups = torch.from_numpy(train.fold_groups)
    classes = torch.from_numpy(train.labels) if train.task == "classification" else None
    held_out = held_out_ridge(features, Y, stratified_folds(classes, groups, seed=seed))
    weights, mean, scale = solve_ridge(features, Y, held_out.penalty)
    weights = weights / scale[:, None]
    intercept = Y.mean(0) - mean @ weights
    error = float((features.double() @ weights + intercept - Y).square().mean())
    variance = float(Y.var(0, correction=0).mean())
    return _Fit(
        weights, intercept, held_out.penalty, None, error, 1 - error / (variance or math.nan),
        float(held_out.errors[held_out.chosen]) / Y.shape[1],
    )  # fmt: skip


def accumulate(features: Tensor, text: LabelledText, layer: int) -> LayerMoments:
    """The moments of one layer from its mean tokens (n, d).

    A text's mean token has the same N and M as a text of that one token.
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
        the least error by cross-validation, which looks at the train split alone, or None where
        texts are too few for it to say anything of any layer.

    Raises:
        NtpscoreError: bad input.
    """
    config = config or OlsConfig()
    layers = check_layers(config.layers, model, "--layer")
    if moments is not None and config.ridge:
        raise MomentsError("a penalty is chosen on features: moments alone don't do for ridge")
    if moments is not None:
        _check_moments(moments, model, train, layers)

    def fit(features: SplitFeatures) -> FittedHeads:
        by_place = {} if moments else features.of([Place(layer) for layer in layers])
        fits = []
        for layer in layers:
            if moments is not None:
                fits.append(_fit_moments(moments.layer(layer)))
            elif config.ridge:
                fits.append(_fit_ridge(by_place[Place(layer)].float(), train, config.seed))
            else:
                mean_tokens = by_place[Place(layer)].float()
                fits.append(_fit_moments(accumulate(mean_tokens, train, layer)))
        heads = [
            LinearHead(layer, fit.weights, fit.intercept, "targets")
            for layer, fit in zip(layers, fits, strict=True)
        ]
        names = ("penalty", "rank", "mse", "r2", "cross_validated_mse")
        statistics = [
            {"layer": layer} | {name: getattr(fit, name) for name in names}
            for layer, fit in zip(layers, fits, strict=True)
        ]
        split, n = train.source.split, len(train)
        on_train = [Evaluation(split, n, r2=fit.r2, mse=fit.mse, loss=fit.mse) for fit in fits]
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
    judged = [row for row in rows if np.isfinite(row["cross_validated_mse"])]
    return min(judged, key=lambda row: row["cross_validated_mse"])["layer"] if judged else None


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
