"""Rival metrics, literally: loops, explicit matrices, brute force; float64."""

import math

import numpy as np
from scipy.optimize import minimize


def h_score(X, y):
    """tr(pinv(Cov(x)) Cov(E[x|y])), both covariances summed text by text."""
    n, d = X.shape
    mean = sum(X) / n
    covariance = np.zeros((d, d))
    between = np.zeros((d, d))
    for x, label in zip(X, y, strict=True):
        covariance += np.outer(x - mean, x - mean) / n
        own = [x for x, other in zip(X, y, strict=True) if other == label]
        gap = sum(own) / len(own) - mean
        between += np.outer(gap, gap) / n
    return np.trace(np.linalg.pinv(covariance, rcond=1e-11, hermitian=True) @ between)


def ledoit_wolf_shrinkage(X):
    """δ of Ledoit and Wolf 2004 for centred X: β²/δ², norms divided by d as in the paper."""
    n, d = X.shape
    S = sum(np.outer(x, x) for x in X) / n
    m = np.trace(S) / d
    delta = ((S - m * np.eye(d)) ** 2).sum() / d
    beta = sum(((np.outer(x, x) - S) ** 2).sum() / d for x in X) / n**2
    return min(beta, delta) / delta if delta else 0.0


def h_score_shrunk(X, y):
    n, d = X.shape
    X = X - X.mean(0)
    shrinkage = ledoit_wolf_shrinkage(X)
    S = sum(np.outer(x, x) for x in X) / n
    shrunk = (1 - shrinkage) * S + shrinkage * np.trace(S) / d * np.eye(d)
    between = np.zeros((d, d))
    for label in set(y.tolist()):
        own = X[y == label]
        between += len(own) / n * np.outer(own.mean(0), own.mean(0))
    return (1 - shrinkage) * np.trace(np.linalg.inv(shrunk) @ between)


def log_evidence_n(F, y, alpha, beta):
    """log N(y; 0, I/β + F Fᵀ/α), the n × n form."""
    n = len(y)
    covariance = np.eye(n) / beta + F @ F.T / alpha
    sign, logdet = np.linalg.slogdet(covariance)
    assert sign > 0
    return -0.5 * (n * math.log(2 * math.pi) + logdet + y @ np.linalg.solve(covariance, y))


def log_evidence_d(F, y, alpha, beta):
    """The same by the d × d posterior precision A = αI + βFᵀF and mean m."""
    n, d = F.shape
    A = alpha * np.eye(d) + beta * F.T @ F
    m = beta * np.linalg.solve(A, F.T @ y)
    return (
        n / 2 * math.log(beta)
        + d / 2 * math.log(alpha)
        - n / 2 * math.log(2 * math.pi)
        - beta / 2 * ((F @ m - y) ** 2).sum()
        - alpha / 2 * (m @ m)
        - np.linalg.slogdet(A)[1] / 2
    )


def log_me(F, Y):
    """The n × n evidence, maximised by brute force: a grid of (α, β), then Nelder and Mead."""
    found = []
    for y in Y.T:

        def negative(logs, y=y):
            return -log_evidence_n(F, y, *np.exp(np.clip(logs, -16, 16)))

        grid = [(a, b) for a in np.arange(-12.0, 13.0, 1.5) for b in np.arange(-4.0, 12.0, 1.0)]
        starts = sorted(grid, key=negative)[:2]
        options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000, "maxfev": 4000}
        best = min(
            minimize(negative, start, method="Nelder-Mead", options=options).fun for start in starts
        )
        found.append(-best / len(y))
    return sum(found) / len(found)


def leep(theta, y):
    """By explicit counts over texts, source classes and labels."""
    n, Z = theta.shape
    labels = sorted(set(y.tolist()))
    joint = {(label, z): 0.0 for label in labels for z in range(Z)}
    for i in range(n):
        for z in range(Z):
            joint[y[i], z] += theta[i, z] / n
    total = 0.0
    for i in range(n):
        probability = 0.0
        for z in range(Z):
            marginal = sum(joint[label, z] for label in labels)
            if marginal > 0:
                probability += joint[y[i], z] / marginal * theta[i, z]
        total += math.log(probability) / n
    return total


def gaussian_posteriors(X, weights, means, covariances):
    """Posteriors of a Gaussian mixture, density by density."""
    rows = []
    for x in X:
        logs = []
        for weight, mean, covariance in zip(weights, means, covariances, strict=True):
            gap = x - mean
            logs.append(
                math.log(weight)
                - 0.5 * np.linalg.slogdet(2 * math.pi * covariance)[1]
                - 0.5 * gap @ np.linalg.solve(covariance, gap)
            )
        top = max(logs)
        densities = [math.exp(log - top) for log in logs]
        rows.append([density / sum(densities) for density in densities])
    return np.array(rows)


def principal_components(X):
    """(n, min(n, d)) coordinates, and their shares of the variance, by a singular decomposition."""
    U, s, _ = np.linalg.svd(X - X.mean(0), full_matrices=False)
    return U * s, s**2 / (s**2).sum()


def coding_rate(Z, distortion):
    n, d = Z.shape
    total = np.eye(d)
    for z in Z:
        total += np.outer(z, z) / (n * distortion)
    return 0.5 * sum(math.log(value) for value in np.linalg.eigvalsh(total))


def trans_rate(X, y, distortion=1e-4):
    Z = X - X.mean(0)
    Z = Z / math.sqrt(sum(z @ z for z in Z) / len(Z))
    rate = coding_rate(Z, distortion)
    for label in set(y.tolist()):
        own = Z[y == label]
        rate -= len(own) / len(Z) * coding_rate(own, distortion)
    return rate


def bhattacharyya_distance(A, B):
    """Of two samples as Gaussians with diagonal covariances, by matrices."""
    covariance_a, covariance_b = np.diag(A.var(0)), np.diag(B.var(0))
    covariance = (covariance_a + covariance_b) / 2
    gap = A.mean(0) - B.mean(0)
    return gap @ np.linalg.solve(covariance, gap) / 8 + 0.5 * (
        np.linalg.slogdet(covariance)[1]
        - 0.5 * np.linalg.slogdet(covariance_a)[1]
        - 0.5 * np.linalg.slogdet(covariance_b)[1]
    )


def gbc(X, y):
    reduced = principal_components(X)[0][:, :64]
    labels = sorted(set(y.tolist()))
    return -sum(
        math.exp(-bhattacharyya_distance(reduced[y == a], reduced[y == b]))
        for a in labels
        for b in labels
        if a != b
    )


def nearest_neighbours(X, y, folds, k=5):
    X = X - X.mean(0)
    right = 0
    for i in range(len(X)):
        angles = [
            (1 - X[i] @ X[j] / math.sqrt((X[i] @ X[i]) * (X[j] @ X[j])), j)
            for j in range(len(X))
            if folds[j] != folds[i]
        ]
        nearest = [y[j] for _, j in sorted(angles)[:k]]
        votes = {label: nearest.count(label) for label in nearest}
        most = max(votes.values())
        right += next(label for label in nearest if votes[label] == most) == y[i]
    return right / len(X)


def rank_me(X):
    sigma = np.linalg.svd(X, compute_uv=False)
    p = sigma / sigma.sum()
    return math.exp(-sum(share * math.log(share) for share in p if share > 0))


def alpha_req(X):
    n, d = X.shape
    mean = X.mean(0)
    values = np.linalg.svd(X - mean, compute_uv=False)[: min(n - 1, d)] ** 2 / n
    A = np.stack([np.log(np.arange(1, len(values) + 1)), np.ones(len(values))], 1)
    root = np.sqrt(1 / np.arange(1, len(values) + 1))
    slope = np.linalg.lstsq(A * root[:, None], np.log(values) * root, rcond=None)[0][0]
    return -slope


def r2(X, Y):
    """By least squares with a column of ones."""
    A = np.column_stack([np.ones(len(X)), X])
    fitted = A @ np.linalg.lstsq(A, Y, rcond=None)[0]
    return 1 - ((Y - fitted) ** 2).sum() / ((Y - Y.mean(0)) ** 2).sum()


def lda(X, y, folds):
    """The discriminant of the other folds, by an inverse, with the class shares of all texts."""
    right = 0
    for i in range(len(X)):
        train = folds != folds[i]
        means = {label: X[train & (y == label)].mean(0) for label in set(y[train].tolist())}
        within = np.array([X[j] - means[y[j]] for j in range(len(X)) if train[j]])
        n, d = within.shape
        covariance, delta = within.T @ within / n, ledoit_wolf_shrinkage(within)
        shrunk = (1 - delta) * covariance + delta * np.trace(covariance) / d * np.eye(d)
        inverse = np.linalg.inv(shrunk)
        heights = {
            label: math.log((y == label).mean()) - (X[i] - m) @ inverse @ (X[i] - m) / 2
            for label, m in means.items()
        }
        right += max(heights, key=lambda label: heights[label]) == y[i]
    return right / len(X)
