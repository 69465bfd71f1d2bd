"""The eigensolver gives SciPy's numbers, and other threads run meanwhile."""

import threading

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from ntpscore.core.lapack import (
    Tridiagonal,
    cholesky,
    eigh,
    eigh_in_place,
    generalized_eigh,
    gram_triangle,
    triangular_inverse,
    triangular_product,
)
from ntpscore.errors import MomentsError


def symmetric(n: int, dtype: torch.dtype, *, rank: int | None = None) -> Tensor:
    X = torch.randn(n, rank or 2 * n, generator=torch.Generator().manual_seed(n)).double()
    product = X @ X.T / n
    return ((product + product.T) / 2).to(dtype)


def whole(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """`generalized_eigh` with LAPACK's own first and last step."""
    L = cholesky(b.T)
    assert L is not None
    values, vectors = generalized_eigh(a, L)
    return values, triangular_product(L, vectors, transpose=True, inverse=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 40, 130])
def test_its_numbers_are_those_of_scipy_to_the_last_bit(n: int, dtype: torch.dtype) -> None:
    a, b = symmetric(n, dtype), symmetric(n, dtype) + torch.eye(n, dtype=dtype)
    low = symmetric(n, dtype, rank=1)
    before = a.clone(), b.clone()
    by_parts = scipy.linalg.eigh(a, driver="evd")
    by_parts_upper = scipy.linalg.eigh(a, driver="evd", lower=False)
    for mine, theirs in (
        (eigh(a), scipy.linalg.eigh(a)),
        (eigh(a.clone().T, overwrite=True), scipy.linalg.eigh(a)),
        (eigh(a.tril(), overwrite=True), scipy.linalg.eigh(a, lower=False)),
        (eigh_in_place(a.clone().T), by_parts), (eigh_in_place(a.tril()), by_parts_upper),
        (whole(a, b), scipy.linalg.eigh(a, b)), (whole(low, b), scipy.linalg.eigh(low, b)),
    ):  # fmt: skip
        for one, other in zip(mine, theirs, strict=True):
            assert one.dtype == dtype
            assert torch.equal(one, torch.from_numpy(other))
    assert torch.equal(a, before[0])
    assert torch.equal(b, before[1])


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 5), (70, 40)])
def test_the_triangle_of_a_product_is_its_own(shape: tuple[int, int]) -> None:
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()
    for one in (rows, rows.T.contiguous().T, rows.repeat_interleave(2, 0)[::2]):
        # Sums of 70 products at most, in another order.
        torch.testing.assert_close(gram_triangle(one), (rows.T @ rows).tril(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 40, 130])
@pytest.mark.parametrize("c", [1, 7, 200])
def test_coordinates_in_eigenvectors_without_these(n: int, c: int, dtype: torch.dtype) -> None:
    a = symmetric(n, dtype)
    X = torch.randn(n, c, generator=torch.Generator().manual_seed(c)).to(dtype)
    values, coordinates = Tridiagonal.of(a + torch.ones(n, n).triu(1).to(dtype), X).eigen
    expected, vectors = torch.linalg.eigh(a.double())
    # Backward errors of n · eps, which gaps of some 1/n make n times as large in the vectors.
    tolerance = 10 * n**2 * torch.finfo(dtype).eps
    torch.testing.assert_close(values.double(), expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(
        coordinates.double().abs(), (vectors.T @ X.double()).abs(), rtol=0, atol=tolerance
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 40, 130])
@pytest.mark.parametrize("c", [0, 1, 7, 200])
def test_powers_are_those_of_inverses(n: int, c: int, dtype: torch.dtype) -> None:
    a = symmetric(n, dtype)
    X = torch.randn(n, c, generator=torch.Generator().manual_seed(c)).to(dtype)
    form = Tridiagonal.of(a, X)
    ridges = torch.logspace(1, -1, 9).to(dtype)
    found = form.powers(ridges)
    unit = torch.eye(n).double()
    inverses = torch.linalg.inv(a.double() + ridges.double()[:, None, None] * unit)
    expected = (X.double() * (inverses @ X.double())).sum((1, 2)).numpy()
    # Condition numbers below a hundred.
    tolerance = 1e3 * n * torch.finfo(dtype).eps
    np.testing.assert_allclose(found.numpy(), expected, rtol=tolerance, atol=0)
    torch.testing.assert_close(form.values, form.eigen[0], rtol=0, atol=tolerance)


def test_powers_below_the_smallest_ridge_are_refused() -> None:
    with pytest.raises(MomentsError, match="gives up"):
        Tridiagonal.of(-torch.eye(9).double(), torch.ones(9, 1).double()).powers(torch.ones(1) / 2)


@pytest.mark.parametrize("rank", [0, 1, 5])
def test_coordinates_where_eigenvalues_are_equal(rank: int) -> None:
    a = symmetric(40, torch.float64, rank=rank) if rank else torch.zeros(40, 40).double()
    X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).double()
    values, coordinates = Tridiagonal.of(a, X).eigen
    # The basis of the null space is arbitrary, what is in it is not; rounding of 40 · eps.
    assert values[: 40 - rank].abs().max() < 1e-13
    torch.testing.assert_close(coordinates.T @ coordinates, X.T @ X, rtol=1e-12, atol=0)
    torch.testing.assert_close(
        coordinates.T @ (values[:, None] * coordinates), X.T @ a @ X, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("is_by_rows", [True, False])
@pytest.mark.parametrize("upper", [True, False])
@pytest.mark.parametrize("transpose", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 5), (70, 40)])
def test_products_with_triangles(
    shape: tuple[int, int], transpose: bool, upper: bool, is_by_rows: bool, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    whole = (torch.randn(shape[0], shape[0], generator=generator) / 9 + torch.eye(shape[0])).to(
        dtype
    )
    T = whole.triu() if upper else whole.tril()
    given = whole if is_by_rows else whole.T.contiguous().T
    wide = torch.randn(shape[0], 2 * shape[1], generator=generator).to(dtype)
    used = T.T if transpose else T
    # 70 products at most; the triangles' condition numbers are below a hundred.
    tolerance = 1e3 * torch.finfo(dtype).eps
    for X in (wide[:, : shape[1]], wide[:, ::2], wide.T.contiguous().T):
        before = X.clone()
        product = triangular_product(given, X, upper=upper, transpose=transpose)
        torch.testing.assert_close(product, used @ X, rtol=0, atol=tolerance)
        found = triangular_product(given, product, upper=upper, transpose=transpose, inverse=True)
        torch.testing.assert_close(found, X, rtol=0, atol=10 * tolerance)
        assert torch.equal(X, before)
        assert product.T.is_contiguous() if X.T.is_contiguous() else product.is_contiguous()


@pytest.mark.parametrize("n", [1, 3, 70])
def test_a_root_and_the_inverse_of_a_triangle(n: int) -> None:
    a = symmetric(n, torch.float64) + torch.eye(n)
    lower = a + torch.ones(n, n).triu(1)
    L = cholesky(lower)
    assert L is not None
    for one in (lower, lower.T.contiguous().T, lower.repeat(1, 2)[:, :n]):
        root = cholesky(one)
        assert root is not None
        torch.testing.assert_close(root, torch.linalg.cholesky(a), rtol=0, atol=1e-13)
        assert torch.equal(root, root.tril())
        assert root.is_contiguous() if one.is_contiguous() else root.T.is_contiguous()
    for one in (L, L.contiguous(), L.T.contiguous().T, L.repeat(1, 2)[:, :n]):
        inverse = triangular_inverse(one)
        # Condition numbers below ten, 70 terms.
        torch.testing.assert_close(inverse @ L, torch.eye(n).double(), rtol=0, atol=1e-13)
        assert torch.equal(inverse, inverse.tril())


def test_of_nothing_nothing_is_made_and_nothing_printed(capfd: pytest.CaptureFixture[str]) -> None:
    T, none = torch.eye(3).double(), torch.zeros(3, 0).double()
    assert triangular_product(T, none).shape == (3, 0)
    assert triangular_product(T, none, inverse=True).shape == (3, 0)
    assert Tridiagonal.of(T, none).eigen[1].shape == (3, 0)
    assert gram_triangle(none).shape == (0, 0)
    assert torch.equal(gram_triangle(none.T), torch.zeros(3, 3).double())
    # LAPACK would complain there of what it can't work with.
    assert "".join(capfd.readouterr()) == ""


def test_what_is_not_positive_definite_is_refused() -> None:
    for one in (-torch.eye(3), torch.tensor([[1.0, 0], [2, 1]])):
        assert cholesky(one) is None
        assert cholesky(one.T.contiguous().T) is None


@pytest.mark.parametrize("n", [1, 2, 70, 300])
def test_what_is_not_a_number_has_no_root(n: int) -> None:
    for row, column in ((n // 2, n // 2), (n - 1, 0)):
        a = torch.eye(n).double()
        a[row, column] = float("nan")
        assert cholesky(a) is None
        assert cholesky(a.T.contiguous().T) is None


def test_other_threads_run_meanwhile() -> None:
    a, ended, ticking, ticks = (
        symmetric(700, torch.float64),
        threading.Event(),
        threading.Event(),
        0,
    )

    def tick() -> None:
        nonlocal ticks
        while not ended.wait(0.001):
            ticks += 1
            ticking.set()

    thread = threading.Thread(target=tick)
    thread.start()
    assert ticking.wait(10)
    before = ticks
    generalized_eigh(a, a + torch.eye(len(a)))  # of any lower triangle
    during = ticks - before
    ended.set()
    thread.join()
    # Were the lock kept it would be one or two, at the beginning and the end.
    assert during > 5
