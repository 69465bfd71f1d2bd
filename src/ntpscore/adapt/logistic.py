"""Logistic regression on standardised mean-token features: the paper's, and a converged one."""

import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ntpscore.adapt.evaluation import Evaluation, evaluate_split
from ntpscore.adapt.features import collect_splits
from ntpscore.adapt.result import STAGES, AdaptResult, make_record, tabulate_predictions
from ntpscore.clock import Clock
from ntpscore.errors import NtpscoreError
from ntpscore.models import LanguageModel
from ntpscore.reading import BATCH_TOKENS
from ntpscore.reading.reader import check_layers
from ntpscore.text import LabelledText, recode_labels

Solver = Literal["saga", "lbfgs"]
_SAGA_TOLERANCE, _SAGA_ITERATIONS = 0.01, 1000
_LBFGS_TOLERANCE, _LBFGS_ITERATIONS = 1e-6, 10_000


@dataclass(frozen=True)
class LogisticConfig:
    """How `fit_logistic` runs.

    Attributes:
        layer: hidden-state index; None means the last.
        C: inverse strength of the L2 penalty, as scikit-learn has it.
        max_length: tokens after which a text is cut; None means the model's context.
        batch_tokens: tokens per batch of the forward pass, padding included.
        seed: of saga's order of texts and of the bootstrap.
    """

    layer: int | None = None
    C: float = 1.0
    max_length: int | None = None
    batch_tokens: int = BATCH_TOKENS
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            NtpscoreError: one of them makes no sense.
        """
        if not 0 < self.C < float("inf"):
            raise NtpscoreError(f"C must be above 0 and finite, got {self.C}")
        if self.batch_tokens < 1 or not 0 <= self.seed < 2**32:
            raise NtpscoreError("batch_tokens must be at least 1, seed from 0 to 2^32 − 1")


class _Fit(NamedTuple):
    """Outputs on both splits, and how the solver ended."""

    train: npt.NDArray[np.float64]
    test: npt.NDArray[np.float64] | None
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

    Args:
        model: from `load_model`.
        train: the texts to fit.
        test: the texts to test; None for none.
        config: see `LogisticConfig`.
        folder: where the result goes; None keeps it in memory.
        cache: where features are kept; None means the folder.
        progress: show progress bars; None means on a terminal.

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
    clock = Clock(STAGES)
    wanted = model.n_layers if config.layer is None else config.layer
    (layer,) = check_layers([wanted], model, "--layer")
    test = None if test is None else recode_labels(test, train)
    data = collect_splits(
        model,
        train,
        test,
        (layer,),
        max_length=config.max_length,
        batch_tokens=config.batch_tokens,
        clock=clock,
        cache=cache or folder,
        progress=progress,
    )
    with clock("fit"):
        scaler = StandardScaler()
        train_features = scaler.fit_transform(data.train.by_layer[layer].double().numpy())
        test_features = (
            None
            if data.test is None
            else scaler.transform(data.test.by_layer[layer].double().numpy())
        )
        early = _fit("saga", train_features, train, test_features, config)
        converged = _fit("lbfgs", train_features, train, test_features, config)

    def judge(
        outputs: npt.NDArray[np.float64] | None, text: LabelledText | None
    ) -> Evaluation | None:
        if outputs is None or text is None:
            return None
        return evaluate_split(outputs, text, train, seed=config.seed)

    with clock("evaluate"):
        evaluations = [
            (judge(fit.train, train), judge(fit.test, test)) for fit in (early, converged)
        ]
    found = list(data.warnings)
    if not converged.converged:
        found.append(f"lbfgs did not converge in {_LBFGS_ITERATIONS} iterations: lower C")
    trainable = (model.width + 1) * len(train.classes)
    record = make_record(
        "logistic",
        model,
        train=train,
        train_tokens=data.train_tokens,
        test=test,
        test_tokens=data.test_tokens,
        config=config,
        layers=(layer,),
        train_evaluation=evaluations[0][0],
        test_evaluation=evaluations[0][1],
        trainable_parameters=trainable,
        total_parameters=model.model.num_parameters() + trainable,
        clock=clock,
        warnings=found,
        extra={
            "solver": {"iterations": early.iterations, "converged": early.converged},
            "converged": {
                "iterations": converged.iterations,
                "converged": converged.converged,
                "train": _plain(evaluations[1][0]),
                "test": _plain(evaluations[1][1]),
            },
        },
    )
    predicted = None
    if test is not None and early.test is not None:
        predicted = tabulate_predictions(early.test, test)
    result = AdaptResult(record, predictions=predicted)
    if folder is not None:
        result.save(folder)
    return result


def _plain(evaluation: Evaluation | None) -> dict[str, Any] | None:
    return None if evaluation is None else asdict(evaluation)


def _fit(
    solver: Solver,
    train_features: npt.NDArray[np.float64],
    train: LabelledText,
    test_features: npt.NDArray[np.float64] | None,
    config: LogisticConfig,
) -> _Fit:
    """One classifier, or one per label; logits in a column per class or label."""
    if train.task == "classification":
        return _fit_classes(
            solver, train_features, train.labels, len(train.classes), test_features, config
        )
    each = [
        _fit_label(solver, train_features, column, test_features, config)
        for column in train.labels.T
    ]
    tests = [fit.test for fit in each if fit.test is not None]
    return _Fit(
        np.column_stack([fit.train for fit in each]),
        np.column_stack(tests) if tests else None,
        max(fit.iterations for fit in each),
        all(fit.converged for fit in each),
    )


def _fit_label(
    solver: Solver,
    train_features: npt.NDArray[np.float64],
    labels: npt.NDArray[Any],
    test_features: npt.NDArray[np.float64] | None,
    config: LogisticConfig,
) -> _Fit:
    n, positive = len(labels), float(labels.sum())
    if 0 < positive < n:
        fit = _fit_classes(solver, train_features, labels, 2, test_features, config)
        return fit._replace(train=fit.train[:, 1:], test=None if fit.test is None
                            else fit.test[:, 1:])  # fmt: skip
    # Of a label that never varies only its frequency is known, smoothed to be finite.
    logit = np.log((positive + 0.5) / (n - positive + 0.5))
    constant = [None if x is None else np.full((len(x), 1), logit)
                for x in (train_features, test_features)]  # fmt: skip
    assert constant[0] is not None  # noqa: S101  # there are always texts to fit
    return _Fit(constant[0], constant[1], 0, converged=True)


def _fit_classes(
    solver: Solver,
    train_features: npt.NDArray[np.float64],
    labels: npt.NDArray[Any],
    n_classes: int,
    test_features: npt.NDArray[np.float64] | None,
    config: LogisticConfig,
) -> _Fit:
    is_saga = solver == "saga"
    classifier = LogisticRegression(
        solver=solver,
        C=config.C,
        tol=_SAGA_TOLERANCE if is_saga else _LBFGS_TOLERANCE,
        max_iter=_SAGA_ITERATIONS if is_saga else _LBFGS_ITERATIONS,
        random_state=config.seed,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        classifier.fit(train_features, labels)
    converged = not any(issubclass(one.category, ConvergenceWarning) for one in caught)

    def logits(features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        decision = classifier.decision_function(features)
        if decision.ndim == 1:
            decision = np.column_stack([np.zeros_like(decision), decision])
        # A class of the data that no text to fit has gets no probability.
        whole = np.full((len(features), n_classes), -1e9)
        whole[:, classifier.classes_.astype(np.int64)] = decision
        return whole

    return _Fit(
        logits(train_features),
        None if test_features is None else logits(test_features),
        int(np.max(classifier.n_iter_)),
        converged,
    )
