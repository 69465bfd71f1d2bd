"""How good outputs are: accuracy, macro-F1, R² and MSE, with bootstrap intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ntpscore.errors import DataError

if TYPE_CHECKING:
    from ntpscore.text import LabelledText, Task

OutputKind = Literal["logits", "targets"]
Interval = tuple[float, float]
_COVERAGE = 0.95
BOOTSTRAP = 1000
_NO_VARIANCE = 1e-12


@dataclass(frozen=True)
class Evaluation:
    """How good a method is on one split; None where a figure does not apply.

    Attributes:
        split: the split's name.
        n: texts.
        accuracy: share of texts put into their class; multilabel: share of labels that are right.
        accuracy_interval: 95 % percentile bootstrap over texts.
        majority_accuracy: the accuracy of always saying what is most frequent in training.
        macro_f1: F1 averaged over the classes that occur in labels or predictions.
        r2: `1 − Σ‖ŷ − y‖² / Σ‖y − ȳ‖²`, all target columns together, ȳ the split's own mean. Of
            regression in standardised units; of classes, fitted by least squares, on their one-hot
            columns.
        r2_interval: as `accuracy_interval`.
        mse: mean squared error per target column, in the same units.
        mse_interval: as `accuracy_interval`.
        loss: mean cross entropy (of multilabel per label, in nats), or `mse` where that is fitted.
    """

    split: str
    n: int
    accuracy: float | None = None
    accuracy_interval: Interval | None = None
    majority_accuracy: float | None = None
    macro_f1: float | None = None
    r2: float | None = None
    r2_interval: Interval | None = None
    mse: float | None = None
    mse_interval: Interval | None = None
    loss: float | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Evaluation":
        """Read what `dataclasses.asdict` wrote, with lists where JSON has no tuples."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in record.items()
        }
        return cls(**values)


def evaluate(
    outputs: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[Any],
    *,
    task: "Task",
    split: str,
    train_labels: npt.NDArray[Any],
    groups: npt.NDArray[np.int64] | None = None,
    kind: OutputKind = "logits",
    seed: int = 0,
    bootstrap: int = BOOTSTRAP,
) -> Evaluation:
    """Compare a method's outputs with the labels.

    Args:
        outputs: (n, c), a column per class, label or target.
        labels: as `LabelledText.labels`, coded as in training.
        task: what the labels are for.
        split: the split's name, to be kept with the figures.
        train_labels: those of the train split, which say what the majority is.
        groups: (n,) numbers from 0 on, equal for texts that are no independent ones, which the
            bootstrap draws together; None where all are.
        kind: `logits` of classes, which have a cross entropy, or estimates of `targets` (one-hot
            columns where there are classes), which have a squared error. Regression is always of
            targets.
        seed: of the bootstrap.
        bootstrap: how many times the groups are drawn anew; 0 for no intervals.

    Raises:
        DataError: outputs and labels don't fit together, there are none, or an output is not
            finite.
    """
    outputs = np.asarray(outputs).astype(np.float64)
    n = len(labels)
    if outputs.ndim != 2 or len(outputs) != n or n == 0:
        raise DataError(f"{n} labels don't fit outputs of shape {outputs.shape} (split {split!r})")
    finite = np.isfinite(outputs).all(axis=1)
    if not finite.all():
        raise DataError(
            f"the output for text {int(np.argmin(finite))} of split {split!r} is NaN or infinite"
        )
    from scipy.special import log_expit, log_softmax

    targets = target_rows(labels, task, outputs.shape[1])
    figures: dict[str, Any] = {}
    groups = np.arange(n) if groups is None else groups
    if task != "regression":
        predicted = predictions(outputs, task, kind)
        right = (predicted == labels).reshape(n, -1).mean(axis=1)
        resampled = _resampled_means(right[:, None], groups, bootstrap, seed)
        figures |= {
            "accuracy": float(right.mean()),
            "accuracy_interval": _interval(resampled[:, 0]),
            "majority_accuracy": _majority_accuracy(labels, train_labels, task),
            "macro_f1": _macro_f1(predicted, labels, task),
        }
    if task == "regression" or kind == "targets":
        figures |= _squared_errors(outputs, targets, groups, bootstrap, seed)
        figures["loss"] = figures["mse"]
    elif task == "multilabel":
        figures["loss"] = float(
            -(targets * log_expit(outputs) + (1 - targets) * log_expit(-outputs)).mean()
        )
    else:
        figures["loss"] = float(-(targets * log_softmax(outputs, axis=1)).sum(axis=1).mean())
    return Evaluation(split, n, **figures)


def evaluate_split(
    outputs: npt.NDArray[np.floating[Any]], text: "LabelledText", train: "LabelledText", **how: Any
) -> Evaluation:
    """`evaluate` of the texts of one split, coded as the train split, which tells the majority."""
    return evaluate(
        outputs,
        text.labels,
        task=train.task,
        split=text.source.split,
        train_labels=train.labels,
        groups=text.groups,
        **how,
    )


def predictions(
    outputs: npt.NDArray[np.floating[Any]], task: "Task", kind: OutputKind = "logits"
) -> npt.NDArray[Any]:
    """What outputs say: (n,) class indices, (n, c) labels of 0 and 1, or the (n, t) targets."""
    if task == "classification":
        return np.asarray(outputs.argmax(axis=1))
    if task == "multilabel":
        return (outputs > (0.0 if kind == "logits" else 0.5)).astype(np.float64)
    return outputs


def target_rows(labels: npt.NDArray[Any], task: "Task", n_outputs: int) -> npt.NDArray[np.float64]:
    """(n, c) float64 rows that least squares fits: one-hot of classes, else the labels."""
    if task == "classification":
        if len(labels) and not 0 <= labels.min() <= labels.max() < n_outputs:
            raise DataError(
                f"class indices run from {labels.min()} to {labels.max()}, but there are "
                f"{n_outputs} outputs"
            )
        return np.eye(n_outputs)[labels.astype(np.int64)]
    if labels.shape[1:] != (n_outputs,):
        raise DataError(f"labels of shape {labels.shape} don't fit {n_outputs} outputs")
    return labels.astype(np.float64)


def _majority_accuracy(
    labels: npt.NDArray[Any], train_labels: npt.NDArray[Any], task: "Task"
) -> float:
    if task == "classification":
        return float((labels == np.bincount(train_labels.astype(np.int64)).argmax()).mean())
    return float((labels == (train_labels.mean(axis=0) > 0.5)).mean())


def _macro_f1(predicted: npt.NDArray[Any], labels: npt.NDArray[Any], task: "Task") -> float | None:
    from sklearn.metrics import f1_score

    if task == "classification":
        return float(f1_score(labels, predicted, average="macro"))
    occurring = np.flatnonzero((labels + predicted).any(axis=0))
    if not len(occurring):
        return None
    each = f1_score(labels[:, occurring], predicted[:, occurring], average=None, zero_division=0)
    return float(np.mean(each))


def _squared_errors(
    outputs: npt.NDArray[np.floating[Any]],
    targets: npt.NDArray[np.float64],
    groups: npt.NDArray[np.int64],
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """R² and MSE; of a resample they are functions of three means over texts."""
    c = targets.shape[1]
    errors = np.square(outputs - targets).sum(axis=1)
    # Around the mean, so that the variances of resamples don't cancel.
    centred = targets - targets.mean(axis=0)
    powers = np.square(centred).sum(axis=1)
    error, spread = float(errors.mean()), float(powers.mean())
    columns = np.column_stack([errors, powers, centred])
    resampled = _resampled_means(columns, groups, bootstrap, seed)
    spreads = resampled[:, 1] - np.square(resampled[:, 2:]).sum(axis=1)
    # Resamples of a single text, drawn again and again, have no variance to explain.
    varied = spreads > _NO_VARIANCE * spread
    return {
        "r2": 1 - error / spread if spread > 0 else None,
        "r2_interval": _interval(1 - resampled[varied, 0] / spreads[varied]),
        "mse": error / c,
        "mse_interval": _interval(resampled[:, 0] / c),
    }


def _resampled_means(
    columns: npt.NDArray[np.float64],
    groups: npt.NDArray[np.int64],
    bootstrap: int,
    seed: int,
) -> npt.NDArray[np.float64]:
    """(bootstrap, m) means of (n, m) columns over groups of texts drawn anew with replacement."""
    sizes = np.bincount(groups)
    n_groups = len(sizes)
    sums = np.zeros((n_groups, columns.shape[1]))
    np.add.at(sums, groups, columns)
    rng = np.random.default_rng(seed)
    means = np.empty((bootstrap, columns.shape[1]))
    for i in range(bootstrap):
        counts = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)
        means[i] = counts @ sums / (counts @ sizes)
    return means


def _interval(values: npt.NDArray[np.float64]) -> Interval | None:
    if not len(values):
        return None
    tail = (1 - _COVERAGE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
