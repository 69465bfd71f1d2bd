"""The names of the scores; without torch, for what reads results only."""

from typing import Literal, get_args

ScoreName = Literal[
    "algorithm1", "smallest_first", "expected", "supervised", "subspace", "retained", "published"
]
# The six that the moments always give, and what is computed only if it was asked for.
SCORES: tuple[ScoreName, ...] = get_args(ScoreName)[:-1]
FURTHER_SCORES: tuple[ScoreName, ...] = get_args(ScoreName)[-1:]
