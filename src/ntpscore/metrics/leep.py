"""LEEP: how well the labels are predicted through the model's own next-token distribution."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from ntpscore.errors import MetricError
from ntpscore.metrics.inputs import Floats, check_classes

_SUM_TO_ONE = 1e-3


def leep(source: Iterable[npt.NDArray[Any]], labels: npt.NDArray[Any]) -> float:
    """LEEP, the mean log-likelihood of the labels through the source classes.

    `1/n Σ_i log Σ_z P(y_i | z) θ_iz`, with θ_i the source distribution of text i (here of the next
    token after the text) and `P(y | z)` from the joint table `P(y, z) = 1/n Σ_{i: y_i = y} θ_iz`.
    In (−∞, 0], and `−H(y)` where the source says nothing; higher is better. It looks at the texts
    it was fitted on: with far more source classes than texts it is optimistic.

    Args:
        source: chunks (b, Z) of rows θ_i that add up to one; iterated twice, so that the n × Z
            table of a large vocabulary need not be in memory.
        labels: (n,) class indices, in the order of the rows.

    Source:
        Nguyen, Hassner, Seeger, Archambeau 2020, "LEEP: A New Measure to Evaluate Transferability
        of Learned Representations". There the source classes are those of a classifier.
    """
    codes = check_classes(labels, len(labels), "leep")
    joint = _joint_table(source, codes)
    marginal = joint.sum(1, keepdims=True)
    conditional = np.divide(joint, marginal, out=np.zeros_like(joint), where=marginal > 0)
    total, start = 0.0, 0
    for chunk in source:
        expected = np.asarray(chunk, dtype=np.float64) @ conditional
        own = codes[start : start + len(expected)]
        total += float(np.log(expected[np.arange(len(own)), own]).sum())
        start += len(own)
    return total / len(codes)


def _joint_table(source: Iterable[npt.NDArray[Any]], codes: npt.NDArray[np.int64]) -> Floats:
    """(Z, c) `P(z, y)`."""
    joint: Floats | None = None
    start = 0
    for chunk in source:
        rows = np.asarray(chunk, dtype=np.float64)
        if rows.ndim != 2 or not np.allclose(rows.sum(1), 1.0, rtol=0.0, atol=_SUM_TO_ONE):
            raise MetricError(
                "the source distributions must be rows of probabilities that add up to one, got "
                f"an array of shape {rows.shape}"
            )
        one_hot = np.eye(codes.max() + 1)[codes[start : start + len(rows)]]
        if len(one_hot) < len(rows):
            raise MetricError(f"there are more source distributions than the {len(codes)} labels")
        part = rows.T @ one_hot
        joint = part if joint is None else joint + part
        start += len(rows)
    if joint is None or start < len(codes):
        raise MetricError(f"{start} source distributions don't fit {len(codes)} labels")
    return joint / len(codes)
