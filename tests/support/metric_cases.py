"""Features with classes in them, and their moments."""

import numpy as np
import torch

from ntpscore import Moments
from ntpscore.core.moments import LayerMoments

SHAPES = {"n > d": (60, 7), "n = d": (24, 24), "n < d": (20, 33)}


def make_features(n, d, c=3, *, seed=0, separation=1.0, spread=2.0):
    """(n, d) features of c classes, of which each occurs, with unequal variances and an offset."""
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(c), np.arange(c), rng.integers(0, c, n - 2 * c)])
    means = separation * rng.normal(size=(c, d))
    X = means[y] + rng.normal(size=(n, d)) * np.exp(rng.uniform(-spread, 0, d))
    return X + 0.5 * rng.normal(size=d), y


def make_moments(X, labels) -> LayerMoments:
    """The moments of texts whose mean token is a row of X: two tokens around it."""
    X = torch.as_tensor(np.asarray(X), dtype=torch.float64)
    labels = torch.as_tensor(np.asarray(labels))
    n_outputs = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    moments = Moments(1, X.shape[1], n_outputs)
    tokens = torch.stack([X, X], 1)[None]
    moments.update(tokens, torch.ones(len(X), 2), labels)
    return moments.layer(0)
