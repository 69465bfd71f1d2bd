"""What every metric checks about its features and labels."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ntpscore.core.cross_validation import stratified_folds
from ntpscore.core.moments import LayerMoments
from ntpscore.errors import MetricError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
# The shares of one-hot labels are sums of ones, off by rounding alone.
_ONE_HOT = 1e-9


def check_features(features: npt.ArrayLike) -> Floats:
    """Features (n, d) as float64: at least two texts, and finite."""
    X: Floats = np.asarray(features, dtype=np.float64)
    if X.ndim != 2 or len(X) < 2 or X.shape[1] < 1:
        raise MetricError(
            f"features must be a matrix of at least two texts by one width, got {X.shape}"
        )
    if not np.isfinite(X).all():
        text = int(np.flatnonzero(~np.isfinite(X).all(1))[0])
        raise MetricError(f"the features of text {text} are NaN or infinite")
    return X


def check_varied(features: npt.ArrayLike) -> Floats:
    """`check_features` of those that differ between texts."""
    X = check_features(features)
    if not np.ptp(X, axis=0).any():
        raise MetricError("the features never differ between texts")
    return X


def check_classes(labels: npt.NDArray[Any], n_texts: int, metric: str) -> Integers:
    """Class indices (n,) in 0 … c − 1, each of which occurs, of labels in any numbering."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise MetricError(
            f"{metric} needs one class per text: it is not defined for regression or several "
            "labels at once"
        )
    if len(labels) != n_texts:
        raise MetricError(f"{len(labels)} labels don't fit {n_texts} texts")
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise MetricError(f"{metric} needs at least two classes, got {len(classes)}")
    return codes.astype(np.int64)


def check_targets(labels: npt.NDArray[Any], n_texts: int) -> Floats:
    """Label columns to regress on: one-hot rows of classes, or the targets themselves.

    Args:
        labels: (n,) class indices, or (n, t) targets or indicators.
        n_texts: n.

    Returns:
        (n, c) or (n, t).
    """
    labels = np.asarray(labels)
    if len(labels) != n_texts:
        raise MetricError(f"{len(labels)} labels don't fit {n_texts} texts")
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer):
        targets: Floats = (labels[:, None] == np.unique(labels)).astype(np.float64)
    elif labels.ndim == 2:
        targets = labels.astype(np.float64)
    else:
        raise MetricError(
            "labels must be integers of shape (n,) or numbers of shape (n, t), got "
            f"{labels.dtype} of shape {labels.shape}"
        )
    if not np.isfinite(targets).all():
        raise MetricError("a label is NaN or infinite")
    if not np.ptp(targets, axis=0).any():
        raise MetricError("the labels never differ, so there is nothing to predict")
    return targets


def check_class_shares(moments: LayerMoments, metric: str) -> Floats:
    """(c,) the share of texts in each class, some perhaps zero; one class per text is needed."""
    shares = np.asarray(moments.p.cpu(), dtype=np.float64)
    YY = np.asarray(moments.YY.cpu(), dtype=np.float64)
    if abs(shares.sum() - 1) > _ONE_HOT or np.abs(YY - np.diag(shares)).max() > _ONE_HOT:
        raise MetricError(
            f"{metric} needs one class per text: it is not defined for regression or several "
            "labels at once"
        )
    n_seen = int(np.count_nonzero(shares > 0))
    if n_seen < 2:
        raise MetricError(f"{metric} needs at least two classes, got {n_seen}")
    return shares


def group_tensor(groups: npt.NDArray[Any] | None, n: int) -> torch.Tensor:
    """(n,) groups for `stratified_folds`; None makes each text one of its own."""
    return torch.arange(n) if groups is None else torch.from_numpy(np.asarray(groups))


def deal_out(codes: Integers, groups: npt.NDArray[Any] | None = None) -> Integers:
    """(n,) the fold of each text, ten of them where classes allow it, in which classes balance.

    Leaving one text out instead, any class would be rarer among the texts that judge one of its
    own: without signal that is below chance.
    """
    folds = stratified_folds(torch.from_numpy(codes), group_tensor(groups, len(codes)))
    return np.asarray(folds.numpy(), dtype=np.int64)
