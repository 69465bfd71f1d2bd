"""Slow literal twins of what adapt computes: float64, loops, nothing from src."""

import math

import numpy as np


def least_squares(X: np.ndarray, Y: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights and intercept of `mean ‖y − ŷ‖² + ridge ‖W‖²` by the normal equations, in loops."""
    n, d = X.shape
    mean_x, mean_y = sum(X) / n, sum(Y) / n
    A, B = np.zeros((d, d)), np.zeros((d, Y.shape[1]))
    for x, y in zip(X, Y, strict=True):
        A += np.outer(x - mean_x, x - mean_x) / n
        B += np.outer(x - mean_x, y - mean_y) / n
    W = np.linalg.lstsq(A + ridge * np.eye(d), B, rcond=1e-12)[0]
    return W, mean_y - mean_x @ W


def cross_validated_error(X: np.ndarray, Y: np.ndarray, ridge: float) -> float:
    """Generalised cross-validation by the hat matrix: `(1/n)‖(I − A)y‖² / ((1/n) tr(I − A))²`."""
    n, d = X.shape
    centring = np.eye(n) - np.ones((n, n)) / n
    Xc = centring @ X
    hat = Xc @ np.linalg.pinv(Xc.T @ Xc + n * ridge * np.eye(d)) @ Xc.T + np.ones((n, n)) / n
    rest = (np.eye(n) - hat) @ Y
    return float((rest**2).sum() / n / (np.trace(np.eye(n) - hat) / n) ** 2 / Y.shape[1])


def adamw_steps(w: np.ndarray, gradients: list, lr: float, decay: float) -> np.ndarray:
    """AdamW (Loshchilov and Hutter 2019, algorithm 2) with torch's default β and ε.

    `gradients` are functions of the weights, one per step.
    """
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, gradient in enumerate(gradients, start=1):
        g = gradient(w)
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        step = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        w = w - lr * decay * w - lr * step
    return w


def cross_entropy(logits: np.ndarray, label: int) -> float:
    return math.log(sum(math.exp(z) for z in logits)) - float(logits[label])


def macro_f1(labels: list, predicted: list) -> float:
    found = []
    for c in sorted(set(labels) | set(predicted)):
        hits = sum(a == b == c for a, b in zip(labels, predicted, strict=True))
        total = labels.count(c) + predicted.count(c)
        found.append(2 * hits / total)
    return sum(found) / len(found)
