"""Products and inverses of triangular and symmetric matrices in blocks, without what is known zero.

The libraries below torch multiply whole matrices fastest; a few blocks spare them a good part of
the arithmetic and stay large enough to run at full speed.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_BLOCKS = 4
_SMALL = 160


def _edges(n: int) -> list[tuple[int, int]]:
    """The first row and the one behind the last of each block of n rows."""
    if n <= _SMALL:
        return [(0, n)]
    return [(i * n // _BLOCKS, (i + 1) * n // _BLOCKS) for i in range(_BLOCKS)]


def lower_product(L: Float[Tensor, "n n"], X: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
    """`L X` for a lower triangular L."""
    product = X.new_empty(X.shape)
    for start, stop in _edges(len(L)):
        torch.mm(L[start:stop, :stop], X[:stop], out=product[start:stop])
    return product


def upper_product(R: Float[Tensor, "n n"], X: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
    """`R X` for an upper triangular R."""
    product = X.new_empty(X.shape)
    for start, stop in _edges(len(R)):
        torch.mm(R[start:stop, start:], X[start:], out=product[start:stop])
    return product


def lower_gram(X: Float[Tensor, "n q"]) -> Float[Tensor, "n n"]:
    """`X Xᵀ` with zeros in place of blocks above the diagonal: solvers read the lower half only."""
    gram = X.new_zeros(len(X), len(X))
    for start, stop in _edges(len(X)):
        torch.mm(X[start:stop], X[:stop].T, out=gram[start:stop, :stop])
    return gram


def lower_inverse(L: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """`L⁻¹` for a lower triangular L."""
    n = len(L)
    if n <= _SMALL:
        identity = torch.eye(n, dtype=L.dtype, device=L.device)
        small: Tensor = torch.linalg.solve_triangular(L, identity, upper=False)
        return small
    half = n // 2
    first, last = lower_inverse(L[:half, :half]), lower_inverse(L[half:, half:])
    inverse = L.new_zeros(n, n)
    inverse[:half, :half] = first
    inverse[half:, half:] = last
    inverse[half:, :half] = last @ (L[half:, :half] @ first).neg_()
    return inverse
