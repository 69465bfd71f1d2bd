"""Accuracy of the nearest neighbours."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ntpscore.metrics.inputs import check_classes, check_features, deal_out

NEIGHBOURS = 5


def nearest_neighbours(
    features: npt.ArrayLike, labels: npt.NDArray[Any], groups: npt.NDArray[Any] | None = None
) -> float:
    """The share of texts whose class is that of most of the 5 nearest texts of other folds.

    By the cosine of centred features, so that neither a common offset nor the length of a hidden
    state counts; of classes with equal votes the one with the nearest text wins. In [0, 1]; higher
    is better. Defined for n < d; where other folds have fewer than five texts all vote.

    Source:
        Cover and Hart 1967, "Nearest neighbor pattern classification".
    """
    from sklearn.neighbors import NearestNeighbors

    X = check_features(features)
    codes = check_classes(labels, len(X), "nearest_neighbours")
    X = X - X.mean(0)
    folds = deal_out(codes, groups)
    right = 0
    for fold in range(folds.max() + 1):
        held_out = folds == fold
        voters, k = codes[~held_out], min(NEIGHBOURS, int((~held_out).sum()))
        search = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute")
        nearest = search.fit(X[~held_out]).kneighbors(X[held_out], return_distance=False)
        votes = np.zeros((len(nearest), int(codes.max()) + 1))
        for position in reversed(range(k)):
            # Less than one vote in sum, and the more the nearer.
            chosen = voters[nearest[:, position]]
            votes[np.arange(len(nearest)), chosen] += 1 + 0.25 ** (position + 1)
        right += int((votes.argmax(1) == codes[held_out]).sum())
    return right / len(X)
