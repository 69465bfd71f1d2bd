"""R² of a ridge probe on texts that it was not fitted to."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ntpscore.core.cross_validation import HeldOut, held_out_ridge, stratified_folds
from ntpscore.metrics.inputs import check_targets, check_varied, group_tensor


def hold_out(
    features: npt.ArrayLike, labels: npt.NDArray[Any], groups: npt.NDArray[Any] | None = None
) -> HeldOut:
    """The ridge probe that `ridge_cv` and `ridge_accuracy` judge, see `held_out_ridge`."""
    X = check_varied(features)
    Y = check_targets(labels, len(X))
    classes = None if np.ndim(labels) == 2 else torch.from_numpy(Y.argmax(1))
    folds = stratified_folds(classes, group_tensor(groups, len(X)))
    return held_out_ridge(torch.from_numpy(X), torch.from_numpy(Y), folds)


def ridge_cv(
    features: npt.ArrayLike, labels: npt.NDArray[Any], groups: npt.NDArray[Any] | None = None
) -> float:
    """Held-out R² of ridge regression on standardised features, in ten folds.

    The penalty is the best of eight by the same error, which is slightly optimistic. At most 1,
    near 0 where no penalty does better than the mean; higher is better. Labels of any kind, those
    of classes stratified; defined for n < d.

    Args:
        features: (n, d).
        labels: (n,) class indices, or (n, t) targets or indicators.
        groups: (n,) equal for texts that folds keep together; None parts all.

    Source:
        Golub, Heath, Wahba 1979, "Generalized cross-validation as a method for choosing a good
        ridge parameter", with folds of a tenth of the texts in place of single ones.
    """
    return hold_out(features, labels, groups).r2
