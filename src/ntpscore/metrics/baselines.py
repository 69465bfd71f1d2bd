"""The trivial baselines that a metric has to beat."""

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from ntpscore.metrics.inputs import check_classes
from ntpscore.metrics.ridge_cv import hold_out


def n_classes(labels: npt.NDArray[Any]) -> float:
    """The number of classes c: the same for all models of a data set, so it ranks data sets alone.

    Lower is easier.
    """
    return float(check_classes(labels, len(labels), "n_classes").max() + 1)


def majority_share(labels: npt.NDArray[Any]) -> float:
    """The share of texts in the largest class, the accuracy of always answering it.

    In [1/c, 1); higher is easier. The same for all models of a data set.
    """
    counts = np.bincount(check_classes(labels, len(labels), "majority_share"))
    return float(counts.max() / counts.sum())


def model_size(model: nn.Module) -> float:
    """The number of parameters, tied ones once; larger is taken for better. Needs no data."""
    return float(sum(parameter.numel() for parameter in model.parameters()))


def ridge_accuracy(
    features: npt.ArrayLike, labels: npt.NDArray[Any], groups: npt.NDArray[Any] | None = None
) -> float:
    """Held-out accuracy of the ridge probe of `ridge_cv`: its largest output's class.

    In [0, 1]; higher is better. Defined for n < d.
    """
    codes = check_classes(labels, len(labels), "ridge_accuracy")
    predicted = hold_out(features, codes, groups).class_scores.argmax(1).numpy()
    return float((predicted == codes).mean())


def ridge_error(
    features: npt.ArrayLike, labels: npt.NDArray[Any], groups: npt.NDArray[Any] | None = None
) -> float:
    """What the probe leaves to be gained, `1 − ridge_accuracy`.

    In [0, 1]. As a forecast of what training gains, higher is better.
    """
    return 1 - ridge_accuracy(features, labels, groups)
