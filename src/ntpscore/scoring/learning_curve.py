"""What more labels would add: held-out accuracy on parts of the texts, and a power law through it.

A readout of n texts errs like `a + b n⁻ᶜ`: fitted to what it errs with an eighth, a quarter, a half
and all of the texts, that says what n and some more would give.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ntpscore.core.cross_validation import held_out_ridge, stratified_folds
from ntpscore.core.side_by_side import side_by_side
from ntpscore.errors import DataError, MomentsError
from ntpscore.scoring.accuracy import Folded
from ntpscore.scoring.measures import COVERAGE, Array, to_array

SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)
DRAWS = 10
# More labels that are asked about: the most that are not more than there are.
_MORE = (100, 200, 500, 1000)
_FEWEST_PER_CLASS, _FEWEST_TEXTS = 2, 20
_RATES = np.linspace(0.1, 2.0, 39)


def trace_learning_curve(
    features: Tensor,
    folded: Folded,
    on_draw: Callable[[], None] = lambda: None,
    *,
    more: int | None = None,
) -> dict[str, Any]:
    """Held-out accuracy (of targets, R²) on parts of the texts, and what more would add.

    Args:
        features: (n, d) of one layer and pooling.
        folded: the n texts.
        on_draw: called after each fit.
        more: how many labels more are asked about; None means the most of 100, 200, 500 and 1,000
            that are not more than there are.

    Returns:
        `measure`; `points`: texts and value, averaged over draws; `more`: how many labels more;
        `gain` with `low` and `high` (95 %), what they would add; `curve`: a, b and c; and where
        there are too few texts for a curve, `reason`, and no gain.
    """
    n, measure = len(folded.text), "r2" if folded.text.task == "regression" else "accuracy"
    fewest = max(_FEWEST_TEXTS, _FEWEST_PER_CLASS * len(folded.text.classes))
    record: dict[str, Any] = {"measure": measure, "points": [], "gain": None}
    sizes, errors, spreads = [], [], []

    def judge(part: tuple[int, int]) -> tuple[list[int], Array, Array, int] | None:
        size, draw = part
        try:
            rows = folded.sample(size, folded.seed + draw)
            return rows, *_judge(features, folded, rows, draw)
        except (DataError, MomentsError):
            return None

    for size in (round(share * n) for share in SHARES):
        if size < fewest:
            continue
        error, spread, trained, draws = np.zeros(n), np.zeros(n), 0.0, 0
        parts = [(size, draw) for draw in range(1 if size == n else DRAWS)]
        for judged in side_by_side(judge, parts):
            if judged is None:
                continue
            rows, one_error, one_spread, n_folds = judged
            error[rows] += one_error
            spread[rows] += one_spread
            trained += len(rows) * (1 - 1 / n_folds)
            draws += 1
            on_draw()
        if draws and spread.sum() > 0:
            sizes.append(trained / draws)
            errors.append(error)
            spreads.append(spread)
            value = 1 - error.sum() / spread.sum()
            record["points"].append(
                {"texts": size, "trained_on": trained / draws, measure: float(value)}
            )
    if len(sizes) < len(SHARES):
        return {**record, "reason": f"{n} texts are too few to tell what more would add"}
    whole = np.array([[e.sum() / s.sum() for e, s in zip(errors, spreads, strict=True)]])
    resample = folded.measures.drawn
    drawn = [resample(spread) for spread in spreads]
    known = np.logical_and.reduce([counts > 0 for counts in drawn])
    resampled = np.column_stack(
        [resample(e)[known] / s[known] for e, s in zip(errors, drawn, strict=True)]
    )
    more = more or max((step for step in _MORE if step <= n), default=_MORE[0])
    curves = fit_power_laws(np.array(sizes), np.concatenate([whole, resampled]))
    gains = _errors_at(curves, n) - _errors_at(curves, n + more)
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(gains[1:], [tail, 1 - tail])
    a, b, c = (float(value) for value in curves[0])
    return {
        **record,
        "more": more,
        "gain": float(gains[0]),
        "low": float(min(low, gains[0])),
        "high": float(max(high, gains[0])),
        "curve": {"a": a, "b": b, "c": c},
    }


def fit_power_laws(sizes: Array, errors: Array) -> Array:
    """Least squares fits of `a + b n⁻ᶜ` with a, b ≥ 0, each row of its own.

    Args:
        sizes: (s,) n of each point.
        errors: (r, s) what is fitted.

    Returns:
        (r, 3) a, b, c.
    """
    fits = np.empty((len(_RATES), len(errors), 3))
    losses = np.empty((len(_RATES), len(errors)))
    for i, c in enumerate(_RATES):
        x = (sizes / sizes.max()) ** -c
        deviations = x - x.mean()
        b = np.maximum((errors @ deviations) / (deviations @ deviations), 0.0)
        a = errors.mean(1) - b * x.mean()
        # Where the floor would be below 0 the line goes through it.
        through = np.maximum((errors @ x) / (x @ x), 0.0)
        b, a = np.where(a < 0, through, b), np.maximum(a, 0.0)
        losses[i] = np.square(errors - a[:, None] - b[:, None] * x).sum(1)
        fits[i] = np.column_stack([a, b * sizes.max() ** c, np.full(len(errors), c)])
    best: Array = fits[losses.argmin(0), np.arange(len(errors))]
    return best


def _errors_at(curves: Array, n: float) -> Array:
    expected: Array = curves[:, 0] + curves[:, 1] * n ** -curves[:, 2]
    return expected


def _judge(
    features: Tensor, folded: Folded, rows: list[int], seed: int
) -> tuple[Array, Array, int]:
    """What texts of a part err when held out of it, relative to what; and the number of folds."""
    classes = None if folded.classes is None else folded.classes[rows]
    folds = stratified_folds(classes, torch.from_numpy(folded.groups[rows]), seed=seed)
    targets = folded.targets[rows]
    held_out = held_out_ridge(features[rows], torch.from_numpy(targets), folds)
    n_folds = int(folds.max()) + 1
    if folded.text.task == "regression":
        means = targets.mean(0) - to_array(held_out.mean_shifts)
        error = np.square(targets - to_array(held_out.predictions)).sum(1)
        return error, np.square(targets - means).sum(1), n_folds
    scores = to_array(held_out.class_scores)
    if folded.text.task == "classification":
        wrong = scores.argmax(1) != targets.argmax(1)
    else:
        wrong = ((scores > 0.5) != (targets > 0.5)).mean(1)
    return wrong.astype(np.float64), np.ones(len(rows)), n_folds
