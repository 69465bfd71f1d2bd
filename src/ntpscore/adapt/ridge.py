"""Ridge regression: layer, pooling and penalty by cross-validation inside the training texts."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax
from torch import Tensor

from ntpscore.adapt.config import RidgeConfig
from ntpscore.adapt.evaluation import evaluate, target_rows
from ntpscore.adapt.frozen import FittedHeads, SplitFeatures, find_layer, fit_on_features
from ntpscore.adapt.head import LinearHead
from ntpscore.adapt.result import AdaptResult
from ntpscore.core.cross_validation import HeldOut, held_out_ridge, solve_ridge, stratified_folds
from ntpscore.errors import MomentsError
from ntpscore.models import LanguageModel
from ntpscore.reading.features import Place, choose_texts
from ntpscore.reading.pooling import POOLINGS
from ntpscore.text import LabelledText, Task

# Layer, pooling and penalty are chosen on at most so many texts, drawn at random.
MOST_CHOSEN_ON = 10_000
# Where the factor is looked for that makes logits of estimates of 0 and 1.
_SHARPNESS = (1e-2, 1e3)


class Candidate(NamedTuple):
    """A layer and pooling, and what ridge regression on it predicts of texts left aside."""

    place: Place
    held_out: HeldOut


def fit_ridge(
    model: LanguageModel,
    train: LabelledText,
    test: LabelledText | None,
    *,
    config: RidgeConfig | None = None,
    folder: Path | None = None,
    cache: Path | None = None,
    progress: bool | None = None,
) -> AdaptResult:
    """Fit labels by ridge regression on standardised features, where these tell most of the labels.

    Layer, pooling and penalty are, as far as they aren't given, those of the least squared error in
    a cross-validation of the texts to fit. The arguments are those of `fit_on_features`.

    Returns:
        The result; `record["candidates"]` has the held-out figures of every layer and pooling, and
        `record["penalty"]` the penalty, scikit-learn's `alpha`.

    Raises:
        NtpscoreError: bad input, or no feature of any layer varies.
    """
    config = config or RidgeConfig()
    layers = (
        range(model.n_layers + 1) if config.layer is None else [find_layer(config.layer, model)]
    )
    poolings = tuple(POOLINGS) if config.pooling is None else (config.pooling,)
    places = [Place(layer, pooling) for layer in layers for pooling in poolings]
    targets = torch.from_numpy(target_rows(train.labels, train.task, len(train.classes)))

    def fit(features: SplitFeatures) -> FittedHeads:
        rows = choose_texts(train, MOST_CHOSEN_ON, config.seed)
        candidates = cross_validate(
            features.of(places, rows if len(rows) < len(train) else None),
            targets[rows],
            _folds(train, rows, config.seed),
            config.penalty,
        )
        best = min(candidates, key=lambda candidate: float(candidate.held_out.errors.min()))
        held_out = best.held_out
        X = features.of([best.place])[best.place]
        predicted = held_out.class_scores.numpy()
        sharpness = fit_sharpness(predicted, targets[rows].numpy(), train.task)
        head = make_head(X, targets, held_out.penalty, best.place, sharpness)
        table = [
            {
                "layer": place.layer,
                "pooling": place.pooling,
                "penalty": found.penalty,
                "r2": found.r2,
                "accuracy": evaluate(
                    found.class_scores.numpy(),
                    train.labels[rows],
                    task=train.task,
                    split="cross-validation",
                    train_labels=train.labels,
                    kind="targets",
                    bootstrap=0,
                ).accuracy,
            }
            for place, found in candidates
        ]
        extra = {"penalty": held_out.penalty, "candidates": table}
        return FittedHeads([head], describe=lambda _: extra)

    return fit_on_features(
        "ridge", fit, model, train, test, config, folder=folder, cache=cache, progress=progress
    )


def cross_validate(
    features: dict[Place, Tensor], targets: Tensor, folds: Tensor, penalty: float | None
) -> list[Candidate]:
    """What features (n, d) say of targets (n, c) left aside; places that say nothing are left out.

    The penalty is the only one to try; None tries many.
    """
    candidates: list[Candidate] = []
    penalties = None if penalty is None else torch.tensor([penalty], dtype=torch.float64)
    for place, X in features.items():
        try:
            held_out = held_out_ridge(X, targets, folds, penalties=penalties)
        except MomentsError as error:
            # All texts may end with the same token, whose embedding says nothing.
            failure = error
        else:
            candidates.append(Candidate(place, held_out))
    if not candidates:
        raise failure
    return candidates


def make_head(
    features: Tensor, targets: Tensor, penalty: float, place: Place, sharpness: float | None = None
) -> LinearHead:
    """The head that `solve_ridge` gives of the features of a place."""
    weights, mean, scale = solve_ridge(features, targets, penalty)
    return LinearHead(
        place.layer, weights, targets.mean(0), "targets", place.pooling, mean, scale, sharpness
    )


def fit_sharpness(
    predicted: npt.NDArray[np.float64], targets: npt.NDArray[np.float64], task: Task
) -> float | None:
    """What estimates of one-hot targets are multiplied by to be logits of the least loss.

    Args:
        predicted: (n, c) of texts that were not fitted.
        targets: (n, c) of 0 and 1.
        task: what the labels are for; regression has no probabilities.
    """
    if task == "regression":
        return None

    def loss(log_sharpness: float) -> float:
        sharpness = math.exp(log_sharpness)
        if task == "classification":
            logs = targets * log_softmax(sharpness * predicted, axis=1)
        else:
            logits = sharpness * (predicted - 0.5)
            logs = targets * log_expit(logits) + (1 - targets) * log_expit(-logits)
        return float(-logs.sum())

    low, high = map(math.log, _SHARPNESS)
    return math.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x)


def _folds(train: LabelledText, rows: Sequence[int], seed: int) -> Tensor:
    """The fold of each of these texts; those of one group are in one fold."""
    classes = None
    if train.task == "classification":
        classes = torch.from_numpy(train.labels[rows].astype(np.int64))
    return stratified_folds(classes, torch.from_numpy(train.fold_groups[rows]), seed=seed)
