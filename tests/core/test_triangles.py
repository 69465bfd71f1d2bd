"""Products and inverses in blocks against whole ones, around the sizes where blocks begin."""

import pytest
import torch
from torch import Tensor

from ntpscore.core.triangles import lower_gram, lower_inverse, lower_product, upper_product
from tests.tolerances import SCORE

SIZES = [0, 1, 5, 160, 161, 200, 333]


def random_matrix(rows: int, columns: int) -> Tensor:
    generator = torch.Generator().manual_seed(rows)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("n", SIZES)
def test_products_in_blocks_equal_whole_ones(n: int) -> None:
    L, X = random_matrix(n, n).tril(), random_matrix(n, 7)
    allowed = SCORE * max(n, 1)
    torch.testing.assert_close(lower_product(L, X), L @ X, rtol=0, atol=allowed)
    torch.testing.assert_close(upper_product(L.T, X), L.T @ X, rtol=0, atol=allowed)
    torch.testing.assert_close(lower_gram(X).tril(), (X @ X.T).tril(), rtol=0, atol=allowed)


@pytest.mark.parametrize("n", SIZES)
def test_an_inverse_in_blocks_is_lower_triangular_and_inverts(n: int) -> None:
    A = random_matrix(n, n)
    L = torch.linalg.cholesky(A @ A.T + n * torch.eye(n, dtype=A.dtype))
    inverse = lower_inverse(L)
    assert torch.equal(inverse, inverse.tril())
    unit = torch.eye(n, dtype=A.dtype)
    torch.testing.assert_close(inverse @ L, unit, rtol=0, atol=SCORE)
    torch.testing.assert_close(L @ inverse, unit, rtol=0, atol=SCORE)
