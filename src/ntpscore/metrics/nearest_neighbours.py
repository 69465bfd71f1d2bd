"""Accuracy of the nearest neighbours."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ntpscore.metrics.inputs import check_classes, check_features

NEIGHBOURS = 5


def nearest_neighbours(features: npt.ArrayLike, labels: npt.NDArray[Any]) -> float:
    """The share of texts whose class is that of most of its 5 nearest other texts.

    Leave-one-out, by the cosine of centred features, so that neither a common offset nor the length
    of a hidden state counts; of classes with equal votes the one with the nearest text wins. In
    [0, 1]; higher is better. Defined for n < d; with five texts or fewer all others vote.

    Args:
        features: (n, d).
        labels: (n,) class indices.

    Raises:
        MetricError: the labels are targets or several at once, or of one class.

    Source:
        Cover and Hart 1967, "Nearest neighbor pattern classification".
    """
    from sklearn.neighbors import NearestNeighbors

    X = check_features(features)
    codes = check_classes(labels, len(X), "nearest_neighbours")
    k = min(NEIGHBOURS, len(X) - 1)
    search = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute")
    nearest = codes[search.fit(X - X.mean(0)).kneighbors(return_distance=False)]
    votes = np.zeros((len(X), int(codes.max()) + 1))
    rows = np.arange(len(X))
    for position in reversed(range(k)):
        # Less than one vote in sum, and the more the nearer.
        votes[rows, nearest[:, position]] += 1 + 0.25 ** (position + 1)
    return float((votes.argmax(1) == codes).mean())
