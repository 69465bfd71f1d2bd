"""What choosing by a score costs."""

import numpy as np

from ntpscore.study.statistics.correlation import Values


def regret_at_1(score: Values, outcome: Values) -> float:
    """How much of the outcome is lost by taking the candidate with the highest score.

    The candidates are models on one data set, or data sets under one model. Negate a score or an
    outcome of which less is better.

    Args:
        score: (n,).
        outcome: (n,).

    Returns:
        The best outcome less that of the choice, in units of the outcome, at least 0. Candidates
        that share the highest score are chosen with equal chance. NaN where a value is NaN or there
        is no candidate.
    """
    if not len(score) or np.isnan(score).any() or np.isnan(outcome).any():
        return float("nan")
    return float(outcome.max() - outcome[score == score.max()].mean())
