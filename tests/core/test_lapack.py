"""The eigensolver gives SciPy's numbers, and other threads run meanwhile."""

import threading

import pytest
import scipy.linalg
import torch
from torch import Tensor

from ntpscore.core.lapack import eigh, gram_triangle
from ntpscore.errors import MomentsError


def symmetric(n: int, dtype: torch.dtype, *, rank: int | None = None) -> Tensor:
    X = torch.randn(n, rank or 2 * n, generator=torch.Generator().manual_seed(n)).double()
    product = X @ X.T / n
    return ((product + product.T) / 2).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 40, 130])
def test_its_numbers_are_those_of_scipy_to_the_last_bit(n: int, dtype: torch.dtype) -> None:
    a, b = symmetric(n, dtype), symmetric(n, dtype) + torch.eye(n, dtype=dtype)
    low = symmetric(n, dtype, rank=1)
    before = a.clone(), b.clone()
    for mine, theirs in (
        (eigh(a), scipy.linalg.eigh(a)), (eigh(a, b), scipy.linalg.eigh(a, b)),
        (eigh(a.clone().T, overwrite=True), scipy.linalg.eigh(a)),
        (eigh(a.triu(), upper=True), scipy.linalg.eigh(a, lower=False)),
        (eigh(low, b), scipy.linalg.eigh(low, b)),
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


def test_what_is_not_positive_definite_is_refused() -> None:
    with pytest.raises(MomentsError, match="gives up"):
        eigh(torch.eye(3), -torch.eye(3))


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
    eigh(a, a + torch.eye(len(a)))
    during = ticks - before
    ended.set()
    thread.join()
    # Were the lock kept it would be one or two, at the beginning and the end.
    assert during > 5
