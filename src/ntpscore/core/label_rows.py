"""The labels of a batch as rows of a matrix, whose products with features are what moments add."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ntpscore.core.prefix_products import DTYPE
from ntpscore.errors import MomentsError

# With more classes adding up the texts of each is faster than a product with zeros and ones.
_FEW_CLASSES = 4


@dataclass(frozen=True)
class LabelRows:
    """Labels of the texts of a batch, in one set or in several.

    Attributes:
        values: (s, b) class indices, or (s, b, c) float64 targets, of s sets of labels.
        n_outputs: c.
    """

    values: Tensor
    n_outputs: int

    @classmethod
    def of(cls, values: Tensor, n_outputs: int) -> "LabelRows":
        """Check the labels.

        Raises:
            MomentsError: a class is out of range, a target is not finite, or they are of another
                shape.
        """
        if values.ndim != 2 + values.is_floating_point():
            raise MomentsError(
                "labels must be integers of shape (b,) or floats of shape (b, c), and shuffled "
                f"labels (P, b) or (P, b, c); got {values.dtype} of shape {tuple(values.shape)}, "
                "sets of labels first"
            )
        if values.is_floating_point():
            if values.shape[2] != n_outputs:
                raise MomentsError(
                    f"label rows have {values.shape[2]} columns, these moments {n_outputs}"
                )
            if not bool(torch.isfinite(values).all()):
                raise MomentsError("a label is NaN or infinite")
            return cls(values.to(DTYPE), n_outputs)
        if values.numel() and (int(values.min()) < 0 or int(values.max()) >= n_outputs):
            raise MomentsError(
                f"class indices run from {int(values.min())} to {int(values.max())}, "
                f"but these moments are for classes 0 to {n_outputs - 1}"
            )
        return cls(values.long(), n_outputs)

    @property
    def n_texts(self) -> int:
        """How many texts there are, b."""
        return self.values.shape[1]

    @cached_property
    def rows(self) -> Float[Tensor, "s_c b"]:
        """(s·c, b) set by set, each column of labels as a row.

        Sparse where there are many classes, on a processor: a graphics card would add up in another
        order each time.
        """
        sets, b = self.values.shape[:2]
        classes = torch.arange(self.n_outputs, device=self.values.device)
        if self.values.is_floating_point():
            return self.values.mT.flatten(0, 1)
        if self.n_outputs <= _FEW_CLASSES or self.values.device.type != "cpu":
            return (self.values[:, None] == classes[:, None]).to(DTYPE).flatten(0, 1)
        rows = self.values + self.n_outputs * torch.arange(sets)[:, None]
        where = torch.stack([rows.flatten(), torch.arange(b).repeat(sets)])
        ones = torch.ones(sets * b, dtype=DTYPE)
        size = (sets * self.n_outputs, b)
        return torch.sparse_coo_tensor(where, ones, size, check_invariants=False)

    @property
    def totals(self) -> Float[Tensor, "s c"]:
        """(s, c) `Σ y`."""
        if self.values.is_floating_point():
            return self.values.sum(1)
        totals = self.values.new_zeros((len(self.values), self.n_outputs), dtype=DTYPE)
        return totals.scatter_add_(1, self.values, torch.ones_like(self.values, dtype=DTYPE))

    @property
    def powers(self) -> Float[Tensor, " s"]:
        """(s,) `Σ ‖y‖²`."""
        if self.values.is_floating_point():
            return self.values.square().sum((1, 2))
        return self.values.new_full(self.values.shape[:1], self.n_texts, dtype=DTYPE)

    @property
    def second_moment(self) -> Float[Tensor, "c c"]:
        """(c, c) `Σ y yᵀ` of the first set."""
        if self.values.is_floating_point():
            return self.values[0].T @ self.values[0]
        return self.totals[0].diag()
