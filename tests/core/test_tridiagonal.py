"""A tridiagonal form against eigenvectors and plain inverses."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ntpscore.core.tridiagonal import Tridiagonal
from ntpscore.errors import MomentsError
from tests.tolerances import EPS

SIZES = [1, 2, 3, 33, 200]
DIGITS = 100 * EPS  # the backward error of LAPACK's reductions, in units of d times the norm


def random_case(d: int, c: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(d)
    X = torch.randn(d, d + c, generator=generator, dtype=torch.float64)
    return X[:, :d] @ X[:, :d].T / d + 0.1 * torch.eye(d), X[:, d:]


@pytest.mark.parametrize("d", SIZES)
def test_eigenvalues_are_those_of_the_matrix(d: int) -> None:
    A, X = random_case(d)
    found = Tridiagonal.of(A, X).eigenvalues().numpy()
    judge = np.linalg.eigvalsh(A.numpy())
    np.testing.assert_allclose(found, judge, rtol=0, atol=DIGITS * d * judge[-1])


@pytest.mark.parametrize("d", SIZES)
def test_the_form_is_that_of_the_matrix_turned(d: int) -> None:
    """An orthogonal H is found from what it makes of the unit vectors."""
    A, _ = random_case(d)
    kept = A.clone()
    reduced = Tridiagonal.of(A, torch.eye(d, dtype=A.dtype))
    assert torch.equal(A, kept)
    turn = reduced.columns  # Hᵀ
    T = reduced.diagonal.diag()
    if d > 1:
        T = T + reduced.beside.diag(1) + reduced.beside.diag(-1)
    allowed = DIGITS * d * float(torch.linalg.matrix_norm(A))
    torch.testing.assert_close(turn @ turn.T, torch.eye(d).double(), rtol=0, atol=DIGITS * d)
    torch.testing.assert_close(turn @ A @ turn.T, T, rtol=0, atol=allowed)


@pytest.mark.parametrize("d", SIZES)
def test_forms_are_those_of_the_inverse(d: int) -> None:
    A, X = random_case(d)
    shifts = torch.tensor([0.0, 1e-3, 1.0, 1e6], dtype=torch.float64)
    found = Tridiagonal.of(A, X).forms(shifts)
    judge = [
        float((X.T @ torch.linalg.inv(A + g * torch.eye(d).double()) @ X).trace()) for g in shifts
    ]
    np.testing.assert_allclose(found.numpy(), judge, rtol=1e-10)


def test_only_the_lower_half_is_read() -> None:
    A, X = random_case(20)
    found, judge = Tridiagonal.of(A.tril(), X), Tridiagonal.of(A, X)
    assert torch.equal(found.diagonal, judge.diagonal)
    assert torch.equal(found.columns, judge.columns)


def test_a_matrix_that_is_not_positive_definite_has_no_form() -> None:
    A, X = random_case(5)
    found = Tridiagonal.of(A - 10 * torch.eye(5), X).forms(torch.tensor([0.0, 20.0]).double())
    assert found.isnan().tolist() == [True, False]


@pytest.mark.parametrize("d", [1, 2, 5])
def test_eigenvalues_that_are_not_numbers_are_refused(d: int) -> None:
    A, X = random_case(d)
    A[0, 0] = float("nan")
    with pytest.raises(MomentsError, match="converge"):
        Tridiagonal.of(A, X).eigenvalues()


@pytest.mark.parametrize("c", [0, 1, 3])
def test_tensors_need_not_be_contiguous(c: int) -> None:
    A, X = random_case(20, c)
    shifts = torch.tensor([0.0, 1.0], dtype=torch.float64)
    judge = Tridiagonal.of(A, X).forms(shifts)
    wide = torch.zeros(40, 60, dtype=torch.float64)
    wide[::2, ::3], wide[1::2, : 2 * c : 2] = A, X
    views = wide[::2, ::3], wide[1::2, : 2 * c : 2]
    torch.testing.assert_close(Tridiagonal.of(*views).forms(shifts), judge)
    torch.testing.assert_close(Tridiagonal.of(A.T, X.T.contiguous().T).forms(shifts), judge)


def test_tensors_that_lapack_would_misread_are_refused() -> None:
    A, X = random_case(5)
    for wrong in ((A.float(), X), (A, X.float()), (A.to("meta"), X)):
        with pytest.raises(TypeError, match="expected float64 of shape"):
            Tridiagonal.of(*wrong)
