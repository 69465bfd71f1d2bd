"""Least squares on mean-token features, in closed form from second moments, layer by layer."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ntpscore.adapt.evaluation import BOOTSTRAP, Evaluation, evaluate_split
from ntpscore.adapt.features import collect_splits
from ntpscore.adapt.result import STAGES, AdaptResult, make_record, tabulate_predictions
from ntpscore.clock import Clock
from ntpscore.core.geneig import factor_metric
from ntpscore.core.moments import LayerMoments, Moments
from ntpscore.errors import MomentsError, NtpscoreError
from ntpscore.models import LanguageModel
from ntpscore.reading import BATCH_TOKENS
from ntpscore.reading.reader import check_layers
from ntpscore.text import LabelledText, recode_labels

# Texts that are brought to float64 at once.
_TEXTS_AT_ONCE = 4096
# Strengths that are tried, relative to the mean variance of a feature.
_RIDGES = np.logspace(-12, 3, 61)


@dataclass(frozen=True)
class OlsConfig:
    """How `fit_ols` runs.

    Attributes:
        layers: hidden-state indices; None means all. The result's `train` and `test` are of the
            last of them, `record["fits"]` has all.
        ridge: penalise the weights, as strongly as generalised cross-validation finds best, layer
            by layer.
        max_length: tokens after which a text is cut; None means the model's context.
        batch_tokens: tokens per batch of the forward pass, padding included.
        seed: of the bootstrap.
    """

    layers: tuple[int, ...] | None = None
    ridge: bool = False
    max_length: int | None = None
    batch_tokens: int = BATCH_TOKENS
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            NtpscoreError: one of them makes no sense.
        """
        if self.layers is not None and not self.layers:
            raise NtpscoreError("layers must be at least one")
        if self.batch_tokens < 1 or self.seed < 0:
            raise NtpscoreError("batch_tokens must be at least 1 and seed at least 0")


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

    def predict(self, features: Tensor) -> npt.NDArray[np.float64]:
        """(n, c) outputs for (n, d) features."""
        parts = [
            part.to(self.weights.dtype) @ self.weights + self.intercept
            for part in features.split(_TEXTS_AT_ONCE)
        ]
        outputs: npt.NDArray[np.float64] = torch.cat(parts).numpy()
        return outputs


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
    for rows, Y in zip(features.split(_TEXTS_AT_ONCE), labels.split(_TEXTS_AT_ONCE), strict=True):
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

    Args:
        model: from `load_model`.
        train: the texts to fit.
        test: the texts to test; None for none.
        config: see `OlsConfig`.
        folder: where the result goes; None keeps it in memory.
        cache: where features are kept; None means the folder.
        moments: those that `score` made of the same model and texts (`ScoreResult.moments`): then
            the train split needs no pass, and its accuracy and intervals stay unknown.
        progress: show progress bars; None means on a terminal.

    Returns:
        The result; its `record["fits"]` has a row per layer, `record["best_layer"]` the one with
        the least error by generalised cross-validation, which looks at the train split alone, or
        None where texts are too few for it to say anything of any layer.

    Raises:
        NtpscoreError: bad input.
    """
    config = config or OlsConfig()
    clock = Clock(STAGES)
    layers = check_layers(config.layers, model, "--layer")
    test = None if test is None else recode_labels(test, train)
    if moments is not None:
        _check_moments(moments, model, train, layers)
    data = collect_splits(
        model,
        train,
        test,
        layers if moments is None else (),
        test_layers=layers,
        max_length=config.max_length,
        batch_tokens=config.batch_tokens,
        clock=clock,
        cache=cache or folder,
        progress=progress,
    )
    rows: list[dict[str, Any]] = []
    train_evaluation = test_evaluation = None
    predicted = None
    for layer in layers:
        with clock("fit"):
            known = (
                accumulate(data.train.by_layer[layer], train, layer)
                if moments is None
                else moments.layer(layer)
            )
            fit = solve_least_squares(known, ridge=config.ridge)
        with clock("evaluate"):
            # Intervals only where they are shown: they take longer than the fit.
            bootstrap = BOOTSTRAP if layer == layers[-1] else 0
            if moments is None:
                train_evaluation = _evaluate(
                    fit, data.train.by_layer[layer], train, train, config.seed, bootstrap
                )
            else:
                train_evaluation = Evaluation(
                    train.source.split, len(train), r2=fit.r2, mse=fit.mse, loss=fit.mse
                )
            if test is not None and data.test is not None:
                test_evaluation = _evaluate(
                    fit, data.test.by_layer[layer], test, train, config.seed, bootstrap
                )
                if bootstrap:
                    outputs = fit.predict(data.test.by_layer[layer])
                    predicted = tabulate_predictions(outputs, test, kind="targets")
            rows.append(_row(layer, fit, train_evaluation, test_evaluation))
    trainable = len(layers) * (model.width + 1) * len(train.classes)
    record = make_record(
        "ols",
        model,
        train=train,
        train_tokens=data.train_tokens,
        test=test,
        test_tokens=data.test_tokens,
        config=config,
        layers=layers,
        train_evaluation=train_evaluation,
        test_evaluation=test_evaluation,
        trainable_parameters=trainable,
        total_parameters=model.model.num_parameters() + trainable,
        clock=clock,
        warnings=[*data.warnings, *_warnings(train, model.width)],
        extra={"fits": rows, "best_layer": _best_layer(rows)},
    )
    result = AdaptResult(record, predictions=predicted)
    if folder is not None:
        result.save(folder)
    return result


def _best_layer(rows: list[dict[str, Any]]) -> int | None:
    known = [row for row in rows if np.isfinite(row["gcv"])]
    return min(known, key=lambda row: row["gcv"])["layer"] if known else None


def _check_moments(
    moments: Moments, model: LanguageModel, train: LabelledText, layers: tuple[int, ...]
) -> None:
    found = (moments.width, moments.n_outputs, moments.n_texts)
    wanted = (model.width, len(train.classes), len(train))
    if found != wanted or not set(layers) <= set(moments.layers):
        raise MomentsError(
            f"these moments are of width, outputs and texts {found} and layers {moments.layers}; "
            f"wanted are {wanted} and layers {layers}: score the same model and texts"
        )


def _evaluate(
    fit: LeastSquares,
    features: Tensor,
    text: LabelledText,
    train: LabelledText,
    seed: int,
    bootstrap: int,
) -> Evaluation:
    return evaluate_split(
        fit.predict(features), text, train, kind="targets", seed=seed, bootstrap=bootstrap
    )


def _row(
    layer: int, fit: LeastSquares, train: Evaluation, test: Evaluation | None
) -> dict[str, Any]:
    return {
        "layer": layer,
        "rank": fit.rank,
        "ridge": fit.ridge,
        "degrees_of_freedom": fit.degrees_of_freedom,
        "gcv": fit.gcv,
        "mse": fit.mse,
        "r2": fit.r2,
        "train": asdict(train),
        "test": None if test is None else asdict(test),
    }


def _warnings(train: LabelledText, width: int) -> list[str]:
    n = len(train)
    if n > width + 1:
        return []
    warning = (
        f"{n} texts are no more than the width of {width} and an intercept: least squares fits "
        "any labels, so the train figures say nothing"
    )
    return [warning]
