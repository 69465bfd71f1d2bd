"""Logistic regression on standardised mean-token features: the paper's, and a converged one."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ntpscore.adapt.config import LogisticConfig
from ntpscore.adapt.frozen import FittedHeads, SplitFeatures, find_layer, fit_on_features
from ntpscore.adapt.head import LinearHead
from ntpscore.adapt.result import AdaptResult
from ntpscore.errors import NtpscoreError
from ntpscore.models import LanguageModel
from ntpscore.reading.features import Place
from ntpscore.text import LabelledText

# A class of the data that no text to fit has gets no probability.
_NEVER = -1e9


# Solvers of scikit-learn and when they stop.
Solver = Mapping[str, Any]
SAGA: Solver = {"solver": "saga", "tol": 0.01, "max_iter": 1000}
LBFGS: Solver = {"solver": "lbfgs", "tol": 1e-6, "max_iter": 10_000}


@dataclass(frozen=True)
class Logits:
    """Logistic regression fitted to (n, d) features.

    Attributes:
        weights: (d, c).
        intercept: (c,).
        iterations: that the solver took, for the slowest label.
        converged: whether it came to its tolerance.
    """

    weights: npt.NDArray[np.float64]
    intercept: npt.NDArray[np.float64]
    iterations: int
    converged: bool


def fit_logistic(
    model: LanguageModel,
    train: LabelledText,
    test: LabelledText | None,
    *,
    config: LogisticConfig | None = None,
    folder: Path | None = None,
    cache: Path | None = None,
    progress: bool | None = None,
) -> AdaptResult:
    """Fit classes by logistic regression on standardised features.

    Twice: with saga, stopped early as in the paper (tolerance 0.01, at most 1,000 iterations), and
    with lbfgs to convergence. Several labels are fitted one by one.

    The arguments are those of `fit_on_features`.

    Returns:
        The result: `train` and `test` are saga's, `record["converged"]` has those of lbfgs.

    Raises:
        NtpscoreError: bad input; targets of regression have no classes.

    Source:
        Next Token Perception Score, section 4.1 and Figure 2.
    """
    config = config or LogisticConfig()
    if train.task == "regression":
        raise NtpscoreError("logistic regression is for classes: fit targets with --method ols")
    layer = find_layer(config.layer, model)

    def fit(features: SplitFeatures) -> FittedHeads:
        scaler = StandardScaler()
        X = scaler.fit_transform(features.of([Place(layer)])[Place(layer)].double().numpy())
        early, converged = (fit_labels(solver, X, train, config) for solver in (SAGA, LBFGS))
        heads = []
        for logits in (early, converged):
            arrays = (logits.weights, logits.intercept, scaler.mean_, scaler.scale_)
            weights, intercept, mean, scale = map(torch.from_numpy, arrays)
            heads.append(LinearHead(layer, weights, intercept, mean=mean, scale=scale))
        late = f"lbfgs did not converge in {LBFGS['max_iter']} iterations: lower C"
        statistics = [
            {"iterations": logits.iterations, "converged": logits.converged}
            for logits in (early, converged)
        ]
        return FittedHeads(
            heads,
            statistics,
            describe=lambda rows: {"solver": statistics[0], "converged": rows[1]},
            warnings=[] if converged.converged else [late],
        )

    return fit_on_features(
        "logistic", fit, model, train, test, config,
        folder=folder, cache=cache, progress=progress,
    )  # fmt: skip


def fit_labels(
    solver: Solver, X: npt.NDArray[np.float64], train: LabelledText, config: LogisticConfig
) -> Logits:
    """One classifier, or one per label: a column per class or label."""
    if train.task == "classification":
        return fit_classes(solver, X, train.labels, len(train.classes), config)
    each = [fit_label(solver, X, column, config) for column in train.labels.T]
    return Logits(
        np.column_stack([label.weights for label in each]),
        np.concatenate([label.intercept for label in each]),
        max(label.iterations for label in each),
        all(label.converged for label in each),
    )


def fit_label(
    solver: Solver, X: npt.NDArray[np.float64], labels: npt.NDArray[Any], config: LogisticConfig
) -> Logits:
    """A column that says whether texts have a label."""
    n, positive = len(labels), float(labels.sum())
    if 0 < positive < n:
        fit = fit_classes(solver, X, labels, 2, config)
        return Logits(fit.weights[:, 1:], fit.intercept[1:], fit.iterations, fit.converged)
    # Of a label that never varies only its frequency is known, smoothed to be finite.
    logit = np.log((positive + 0.5) / (n - positive + 0.5))
    return Logits(np.zeros((X.shape[1], 1)), np.array([logit]), 0, converged=True)


def fit_classes(
    solver: Solver,
    X: npt.NDArray[np.float64],
    labels: npt.NDArray[Any],
    n_classes: int,
    config: LogisticConfig,
) -> Logits:
    """A column per class."""
    classifier = LogisticRegression(C=config.C, random_state=config.seed, **solver)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        classifier.fit(X, labels)
    converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    weights, intercept = classifier.coef_.T, classifier.intercept_
    if len(intercept) == 1:  # of two classes scikit-learn fits the second alone
        weights = np.column_stack([np.zeros_like(weights), weights])
        intercept = np.append(0.0, intercept)
    occurring = classifier.classes_.astype(np.int64)
    all_weights = np.zeros((X.shape[1], n_classes))
    all_weights[:, occurring] = weights
    all_intercepts = np.full(n_classes, _NEVER)
    all_intercepts[occurring] = intercept
    return Logits(all_weights, all_intercepts, int(np.max(classifier.n_iter_)), converged)
