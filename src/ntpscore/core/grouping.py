"""What groups of dependent texts, such as the same text again, leave of a number of texts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

# How far the logarithm of t is looked for, and how often that is halved.
_FARTHEST, _HALVINGS = 28.0, 80


@dataclass(frozen=True)
class Grouping:
    """How texts are grouped, as far as the fit of meaningless labels depends on it.

    Attributes:
        sizes: pairs of a number of texts and how many groups have so many.
        correlation: of labels within a group, 0 … 1: 1 where each group has one label.
    """

    sizes: tuple[tuple[int, int], ...]
    correlation: float

    @classmethod
    def of(cls, groups: Int[Tensor, " n"], labels: Tensor) -> "Grouping | None":
        """The grouping of texts; None where each is a group of its own.

        The correlation is one less the variance of labels within groups over the variance in all.

        Args:
            groups: (n,) numbers 0 … G − 1.
            labels: (n,) class indices, or (n, c) targets or indicators.
        """
        groups, n = groups.cpu(), len(groups)
        counts = torch.bincount(groups)
        if len(counts) == n:
            return None
        Y = labels.cpu()
        if Y.dim() == 1:  # of one-hot rows, which many classes would make too many of
            Y = Y.long().unique(return_inverse=True)[1]
            pairs, each = torch.stack([groups, Y]).unique(dim=1, return_counts=True)
            within = n - (each.double().square() / counts[pairs[0]]).sum()
            total = n - torch.bincount(Y).double().square().sum() / n
        else:
            Y = Y.to(torch.float64)
            sums = torch.zeros(len(counts), Y.shape[1], dtype=Y.dtype).index_add_(0, groups, Y)
            within = (Y - (sums / counts[:, None])[groups]).square().sum()
            total = (Y - Y.mean(0)).square().sum()
        within, total = within / (n - len(counts)), total / (n - 1)
        correlation = float((1 - within / total).clamp(0.0, 1.0)) if bool(total > 0) else 1.0
        sizes, how_many = counts.unique(return_counts=True)
        return cls(tuple(zip(sizes.tolist(), how_many.tolist(), strict=True)), correlation)

    @classmethod
    def of_record(cls, record: Sequence[object] | None) -> "Grouping | None":
        """What `record` made, read from JSON."""
        if record is None:
            return None
        sizes, correlation = record
        return cls(tuple((int(m), int(g)) for m, g in sizes), float(correlation))  # type: ignore[attr-defined, arg-type]

    @property
    def record(self) -> list[object]:
        """For JSON."""
        return [[list(pair) for pair in self.sizes], self.correlation]

    def chance_r2(self, rank: int, n_texts: int) -> float:
        """The mean R² of least squares with intercept on labels that have nothing to do with texts.

        The texts of a group are taken to be the same, as features too; where they only belong
        together the value errs on the safe side. A text that is there m times then has the leverage
        `h = m t / (1 + m t)`, as in a fit to features without structure, where t makes the
        leverages of all groups add up to the rank and one for the intercept. Of the variance of
        its labels, `1 + (m − 1) ρ` times that of one of them, the fit takes the share h, and the
        intercept m/n. Without groups this is `rank / (n − 1)`.

        Args:
            rank: of the centred features.
            n_texts: n, if these are a part of the texts.

        Returns:
            At most 1, which it is where there are no more groups than rank + 1.

        Source:
            Couillet and Liao 2022, Random Matrix Methods for Machine Learning, section 2.4
            (deterministic equivalents); Moulton 1986, "Random group effects and the precision of
            regression estimates".
        """
        share = n_texts / sum(m * how_many for m, how_many in self.sizes)
        groups = [(m, share * how_many) for m, how_many in self.sizes]
        if rank + 1 >= sum(how_many for _, how_many in groups):
            return 1.0
        low, high = -_FARTHEST, _FARTHEST
        for _ in range(_HALVINGS):
            t = math.exp((low + high) / 2)
            total = sum(how_many * m * t / (1 + m * t) for m, how_many in groups)
            low, high = ((low + high) / 2, high) if total < rank + 1 else (low, (low + high) / 2)
        fitted = by_intercept = 0.0
        for m, how_many in groups:
            variance = how_many * (1 + (m - 1) * self.correlation)
            fitted += variance * m * t / (1 + m * t)
            by_intercept += variance * m / n_texts
        return min(max(fitted - by_intercept, 0.0) / (n_texts - by_intercept), 1.0)


def adjusted_r2(r2: float, chance_r2: float) -> float:
    """R² corrected for the number of features: 0 on average for labels that mean nothing.

    Args:
        r2: in sample.
        chance_r2: its mean for labels that mean nothing; r of n − 1 for r features and n texts,
            with which this is Ezekiel's `1 − (1 − R²)(n − 1)/(n − 1 − r)`.

    Returns:
        NaN where any labels are fitted perfectly.
    """
    return 1 - (1 - r2) / (1 - chance_r2) if chance_r2 < 1 else float("nan")
