"""Routines of SciPy's BLAS and LAPACK without Python's lock, which SciPy keeps meanwhile.

With the lock, minutes pass in which neither Ctrl-C nor another thread is heard. They do what torch
has no name for, at a half or a third of the price of what it has: half of a symmetric product,
products with triangles, coordinates in eigenvectors. On a graphics card torch's own are taken.
"""

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ntpscore.errors import MomentsError

# Columns that LAPACK's reductions work on at once; more workspace is not used.
_BLOCK = 64


def eigh(
    a: Float[Tensor, "n n"], *, overwrite: bool = False
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"]]:
    """Eigenvalues, rising, and eigenvectors of a symmetric matrix.

    By the very routine of SciPy's LAPACK that `scipy.linalg.eigh` takes, hence the same numbers.
    Large ones take half of the memory of torch's.

    Args:
        a: symmetric, of finite float32 or float64; its lower triangle is read.
        overwrite: `a` is not needed any more; saves a copy where it or its transpose is contiguous.

    Returns:
        Values, and vectors, a column each.

    Raises:
        MomentsError: LAPACK does not converge.
    """
    if a.device.type != "cpu":  # pragma: no cover  # on a card
        return tuple(torch.linalg.eigh(a))
    n, dtype = len(a), a.dtype
    a, triangle = _given(a, overwrite)
    values, vectors, failed = a.new_empty(n), torch.empty_like(a), ctypes.c_int(0)
    size, none, first = ctypes.c_int(n), a.new_zeros(1), ctypes.c_int(1)
    found, support = ctypes.c_int(0), torch.empty(2 * n, dtype=torch.int32)
    routine = _routine("cython_lapack", "syevr", dtype)
    given = (b"V", b"A", triangle, size, a, size, none, none, first, size, none,
             found, values, vectors, size, support)  # fmt: skip
    asked, asked_whole = a.new_empty(1), torch.empty(1, dtype=torch.int32)
    routine(*given, asked, ctypes.c_int(-1), asked_whole, ctypes.c_int(-1), failed)
    # In float32 a large answer is rounded, down too.
    work = a.new_empty(math.ceil(asked.item() * (1 + 1e-6)))
    whole = torch.empty(int(asked_whole), dtype=torch.int32)
    routine(*given, work, ctypes.c_int(len(work)), whole, ctypes.c_int(len(whole)), failed)
    _check(failed, n)
    return values, vectors


def eigh_in_place(
    a: Float[Tensor, "n n"],
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"]]:
    """`eigh` of a matrix that is not needed any more, by divide and conquer.

    Takes a sixth less time, and memory for one matrix more.

    Args:
        a: symmetric, of finite float32 or float64; its lower triangle is read.

    Returns:
        Values, and vectors, a column each, which take the place of a where it or its transpose is
        contiguous.

    Raises:
        MomentsError: LAPACK does not converge.
    """
    if a.device.type != "cpu":  # pragma: no cover  # on a card
        return tuple(torch.linalg.eigh(a))
    vectors, triangle = _given(a, overwrite=True)
    n, failed = len(a), ctypes.c_int(0)
    size, values = ctypes.c_int(n), a.new_empty(n)
    work = a.new_empty(1 + 6 * n + 2 * n * n)
    whole = torch.empty(3 + 5 * n, dtype=torch.int32)
    _routine("cython_lapack", "syevd", a.dtype)(
        b"V", triangle, size, vectors, size, values, work, ctypes.c_int(len(work)), whole,
        ctypes.c_int(len(whole)), failed,
    )  # fmt: skip
    _check(failed, n)
    return values, vectors


def generalized_eigh(
    a: Float[Tensor, "n n"], L: Float[Tensor, "n n"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"]]:
    """The solutions of `a v = λ L Lᵀ v`, λ rising, in coordinates in which `L Lᵀ` is the identity.

    By the steps of SciPy's LAPACK that `scipy.linalg.eigh(a, L @ L.T)` takes between the Cholesky
    factor and the way back to V, hence the same numbers.

    Args:
        a: symmetric, of finite float32 or float64, on the processor; its lower triangle is read.
        L: lower triangular, likewise; what stands above is not read.

    Returns:
        Values, and `Lᵀ V`, orthonormal, a column each.

    Raises:
        MomentsError: LAPACK does not converge.
    """
    size, vectors, failed = ctypes.c_int(len(a)), _fortran(a), ctypes.c_int(0)
    L = L if L.T.is_contiguous() else _fortran(L)
    _routine("cython_lapack", "sygst", a.dtype)(
        ctypes.c_int(1), b"L", size, vectors, size, L, size, failed
    )
    return eigh_in_place(vectors)


@dataclass(frozen=True)
class Tridiagonal:
    """A symmetric matrix a and columns X in coordinates in which a is tridiagonal.

    What needs a's eigenvalues, or its inverse beside X, takes a third to a half of `eigh`, and
    coordinates in a's eigenvectors, which are never formed, two thirds.

    Attributes:
        diagonal: (n,).
        beside: (n,) what stands beside it, and a last number that means nothing.
        columns: (n, c) `Hᵀ X`, H orthonormal.
    """

    diagonal: Float[Tensor, " n"]
    beside: Float[Tensor, " n"]
    columns: Float[Tensor, "n c"]

    @classmethod
    def of(cls, a: Float[Tensor, "n n"], X: Float[Tensor, "n c"]) -> "Tridiagonal":
        """On a graphics card the coordinates are those in which a is diagonal.

        Args:
            a: symmetric, of finite float32 or float64; its lower triangle is read.
            X: columns of the same type.
        """
        if a.device.type != "cpu":  # pragma: no cover  # on a card
            values, vectors = torch.linalg.eigh(a)
            return cls(values, torch.zeros_like(values), vectors.mT @ X)
        n, dtype, failed = len(a), a.dtype, ctypes.c_int(0)
        size, n_columns = ctypes.c_int(n), ctypes.c_int(X.shape[1])
        reduced, columns = _fortran(a), _fortran(X)
        diagonal, beside, tau = a.new_empty(3, n)
        work = a.new_empty(_BLOCK * max(n, X.shape[1]))
        length = ctypes.c_int(len(work))
        _routine("cython_lapack", "sytrd", dtype)(
            b"L", size, reduced, size, diagonal, beside, tau, work, length, failed
        )
        _routine("cython_lapack", "ormtr", dtype)(
            b"L", b"L", b"T", size, n_columns, reduced, size, tau, columns, size, work, length,
            failed,
        )  # fmt: skip
        return cls(diagonal, beside, columns)

    @cached_property
    def values(self) -> Float[Tensor, " n"]:
        """Eigenvalues of a, rising.

        Raises:
            MomentsError: LAPACK does not converge.
        """
        if self.diagonal.device.type != "cpu":  # pragma: no cover  # on a card
            return self.diagonal
        values, failed = self.diagonal.clone(), ctypes.c_int(0)
        size = ctypes.c_int(len(values))
        _routine("cython_lapack", "sterf", values.dtype)(size, values, self.beside.clone(), failed)
        _check(failed, len(values))
        return values

    @cached_property
    def eigen(self) -> tuple[Float[Tensor, " n"], Float[Tensor, "n c"]]:
        """Eigenvalues of a, rising, and the coordinates of X in its eigenvectors.

        Raises:
            MomentsError: LAPACK does not converge.
        """
        if self.diagonal.device.type != "cpu":  # pragma: no cover  # on a card
            return self.diagonal, self.columns
        n, dtype, failed = len(self.diagonal), self.diagonal.dtype, ctypes.c_int(0)
        values, vectors = self.diagonal.new_empty(n), self.diagonal.new_empty(n, n).T
        work, whole = values.new_empty(20 * n), torch.empty(10 * n, dtype=torch.int32)
        size, none, first, found = (
            ctypes.c_int(n), values.new_zeros(1), ctypes.c_int(1), ctypes.c_int(0)
        )  # fmt: skip
        _routine("cython_lapack", "stevr", dtype)(
            b"V", b"A", size, self.diagonal.clone(), self.beside.clone(), none, none, first, size,
            none, found, values, vectors, size, torch.empty(2 * n, dtype=torch.int32), work,
            ctypes.c_int(len(work)), whole, ctypes.c_int(len(whole)), failed,
        )  # fmt: skip
        _check(failed, n)
        return values, vectors.T @ self.columns

    def powers(self, ridges: Float[Tensor, " q"]) -> Float[Tensor, " q"]:
        """`tr Xᵀ (a + γ I)⁻¹ X` for each ridge γ.

        Args:
            ridges: each so large that `a + γ I` is positive definite beyond rounding.

        Raises:
            MomentsError: it is not.
        """
        n, n_columns = self.columns.shape
        # So many systems take as long as the eigenvectors.
        if self.columns.device.type != "cpu" or n_columns * len(ridges) > 6 * n:
            values, coordinates = self.eigen
            return (coordinates.square().sum(1) / (values + ridges[:, None])).sum(1)
        solve = _routine("cython_lapack", "ptsv", self.columns.dtype)
        size, width, failed = ctypes.c_int(n), ctypes.c_int(n_columns), ctypes.c_int(0)
        diagonals = self.diagonal + ridges[:, None]
        besides = self.beside.repeat(len(ridges), 1)
        solved = self.columns.T.repeat(len(ridges), 1, 1)
        for diagonal, beside, one in zip(diagonals, besides, solved, strict=True):
            solve(size, width, diagonal, beside, one, size, failed)
            _check(failed, n)
        return (solved * self.columns.T).sum((1, 2))


def gram_triangle(rows: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """The lower triangle of `rowsᵀ rows`, at half the price of the whole; zeros above it.

    On a graphics card the whole.

    Args:
        rows: float32 or float64.
    """
    if rows.device.type != "cpu":  # pragma: no cover  # on a card
        return rows.T @ rows
    n, d = rows.shape
    is_by_rows = rows.is_contiguous()
    # Fortran's order is the transpose's own.
    a = rows if is_by_rows else rows.T.contiguous()
    product, one, none = rows.new_zeros(d, d), rows.new_ones(1), rows.new_zeros(1)
    if not rows.numel():  # which BLAS complains of
        return product
    size, leading = ctypes.c_int(d), ctypes.c_int(d if is_by_rows else n)
    _routine("cython_blas", "syrk", rows.dtype)(
        b"U", b"N" if is_by_rows else b"T", size, ctypes.c_int(n), one, a, leading, none, product,
        size,
    )  # fmt: skip
    return product


def triangular_product(
    T: Float[Tensor, "d d"],
    X: Float[Tensor, "d q"],
    *,
    upper: bool = False,
    transpose: bool = False,
    inverse: bool = False,
) -> Float[Tensor, "d q"]:
    """`T X`, or with `Tᵀ` or the inverse of either, at half the price of a product.

    Args:
        T: lower triangular; the other triangle is not read.
        X: of the same type.
        upper: T is upper triangular.
        transpose: take `Tᵀ`.
        inverse: solve with it instead.
    """
    if X.device.type != "cpu":  # pragma: no cover  # on a card
        T, is_upper = (T.mT, not upper) if transpose else (T, upper)
        solved: Tensor = torch.linalg.solve_triangular(T, X, upper=is_upper) if inverse else T @ X
        return solved
    # Fortran's order is the transpose's own: what is asked of it is `Xᵀ Tᵀ` where X is by rows.
    is_by_rows, by_columns = T.is_contiguous(), X.T.is_contiguous() and not X.is_contiguous()
    T = T if is_by_rows else T.T.contiguous()
    product = X.T.clone().T if by_columns else X.clone(memory_format=torch.contiguous_format)
    if not X.numel():
        return product
    columns, size = ctypes.c_int(X.shape[1]), ctypes.c_int(len(T))
    _routine("cython_blas", "trsm" if inverse else "trmm", X.dtype)(
        b"L" if by_columns else b"R", b"L" if upper == is_by_rows else b"U",
        b"N" if (transpose != is_by_rows) != by_columns else b"T", b"N",
        *((size, columns) if by_columns else (columns, size)), X.new_ones(1), T, size, product,
        size if by_columns else columns,
    )  # fmt: skip
    return product


def cholesky(a: Float[Tensor, "d d"]) -> Float[Tensor, "d d"] | None:
    """The lower triangular L with `L Lᵀ = a`; None where a is not positive definite.

    Args:
        a: symmetric; its lower triangle is read. Where it is in Fortran's order, so is L, which
            has the very numbers that `scipy.linalg.cholesky` gives.
    """
    if a.device.type != "cpu":  # pragma: no cover  # on a card
        L, not_definite = torch.linalg.cholesky_ex(a)
        return None if bool(not_definite) else L
    L, triangle = _own_order(a)
    size, failed = ctypes.c_int(len(a)), ctypes.c_int(0)
    _routine("cython_lapack", "potrf", a.dtype)(triangle, size, L.tril_(), size, failed)
    # It does not look for NaN.
    return L if not failed.value and bool((L.diagonal() > 0).all()) else None


def triangular_inverse(L: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """The inverse of a lower triangular matrix: zeros above its diagonal, none on it."""
    if L.device.type != "cpu":  # pragma: no cover  # on a card
        identity = torch.eye(len(L), dtype=L.dtype, device=L.device)
        return triangular_product(L, identity, inverse=True)
    inverse, triangle = _own_order(L)
    size = ctypes.c_int(len(L))
    _routine("cython_lapack", "trtri", L.dtype)(
        triangle, b"N", size, inverse, size, ctypes.c_int(0)
    )
    return inverse


def _check(failed: ctypes.c_int, n: int) -> None:
    if failed.value:
        raise MomentsError(f"LAPACK gives up on {n} by {n}: {failed.value}")


def _given(a: Tensor, overwrite: bool) -> tuple[Tensor, bytes]:
    """A symmetric matrix in Fortran's order, a copy if need be, and the triangle that tells it."""
    if not overwrite:
        return _fortran(a), b"L"
    # By rows it is its transpose, with the triangles exchanged.
    return (a.T, b"U") if a.is_contiguous() else (a.T.contiguous().T, b"L")


def _own_order(a: Tensor) -> tuple[Tensor, bytes]:
    """A copy in its own order, and which triangle Fortran takes its lower one for."""
    return (a.clone(), b"U") if a.is_contiguous() else (_fortran(a), b"L")


def _fortran(a: Tensor) -> Tensor:
    """A copy in Fortran's order."""
    return a.T.clone(memory_format=torch.contiguous_format).T


@cache
def _routine(module: str, name: str, dtype: torch.dtype) -> Callable[..., None]:
    """A routine of SciPy's libraries; ctypes releases the lock while it runs."""
    library = import_module(f"scipy.linalg.{module}")  # slow to import
    capsule = library.__pyx_capi__[f"{'s' if dtype == torch.float32 else 'd'}{name}"]
    of = ctypes.pythonapi
    of.PyCapsule_GetName.restype, of.PyCapsule_GetPointer.restype = ctypes.c_char_p, ctypes.c_void_p
    signature = of.PyCapsule_GetName(ctypes.py_object(capsule))
    address = of.PyCapsule_GetPointer(ctypes.py_object(capsule), ctypes.c_char_p(signature))
    call = ctypes.CFUNCTYPE(None)(address)

    def by_reference(one: Any) -> Any:
        if isinstance(one, Tensor):
            return ctypes.c_void_p(one.data_ptr())
        return one if isinstance(one, bytes) else ctypes.byref(one)

    return lambda *arguments: call(*map(by_reference, arguments))
