"""SciPy's `eigh` and `dsyrk` without Python's lock, which SciPy keeps while they are at work.

With the lock, minutes pass in which neither Ctrl-C nor another thread is heard.
"""

import ctypes
import math
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ntpscore.errors import MomentsError


def eigh(
    a: Float[Tensor, "n n"],
    b: Float[Tensor, "n n"] | None = None,
    *,
    upper: bool = False,
    overwrite: bool = False,
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"]]:
    """Eigenvalues, rising, and eigenvectors of `a v = λ v` or `a v = λ b v`.

    By the very routines of SciPy's LAPACK that `scipy.linalg.eigh` takes, hence the same numbers.

    Args:
        a: symmetric, of finite float32 or float64, on the processor.
        b: symmetric and positive definite, likewise; None means the identity.
        upper: read the upper triangles instead of the lower ones.
        overwrite: `a` is not needed any more; saves a copy where its transpose is contiguous.

    Returns:
        Values, and vectors, a column each.

    Raises:
        MomentsError: b is not positive definite, or LAPACK does not converge.
    """
    n, dtype = len(a), a.dtype
    a = a.T.contiguous().T if overwrite else _fortran(a)
    values, failed = a.new_empty(n), ctypes.c_int(0)
    given: tuple[Any, ...]
    size, triangle = ctypes.c_int(n), b"U" if upper else b"L"
    if b is None:
        routine, vectors = _routine("cython_lapack", "syevr", dtype), torch.empty_like(a)
        none, first = a.new_zeros(1), ctypes.c_int(1)
        found, support = ctypes.c_int(0), torch.empty(2 * n, dtype=torch.int32)
        given = (b"V", b"A", triangle, size, a, size, none, none, first, size, none, found, values,
                 vectors, size, support)  # fmt: skip
        asked, asked_whole = a.new_empty(1), torch.empty(1, dtype=torch.int32)
        routine(*given, asked, ctypes.c_int(-1), asked_whole, ctypes.c_int(-1), failed)
        # In float32 a large answer is rounded, down too.
        lengths = math.ceil(asked.item() * (1 + 1e-6)), int(asked_whole)
    else:
        routine, vectors, factor = _routine("cython_lapack", "sygvd", dtype), a, _fortran(b)
        given = (ctypes.c_int(1), b"V", triangle, size, a, size, factor, size, values)
        lengths = 1 + 6 * n + 2 * n * n, 3 + 5 * n
    work, whole = a.new_empty(lengths[0]), torch.empty(lengths[1], dtype=torch.int32)
    routine(*given, work, ctypes.c_int(len(work)), whole, ctypes.c_int(len(whole)), failed)
    if failed.value:
        raise MomentsError(f"LAPACK gives up on {n} by {n}: {failed.value}")
    return values, vectors


def gram_triangle(rows: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """The lower triangle of `rowsᵀ rows`, at half the price of the whole; zeros above it.

    Args:
        rows: float64, on the processor.
    """
    n, d = rows.shape
    is_by_rows = rows.is_contiguous()
    # Fortran's order is the transpose's own.
    a = rows if is_by_rows else rows.T.contiguous()
    product, one, none = rows.new_zeros(d, d), rows.new_ones(1), rows.new_zeros(1)
    size, leading = ctypes.c_int(d), ctypes.c_int(d if is_by_rows else n)
    _routine("cython_blas", "syrk", rows.dtype)(
        b"U", b"N" if is_by_rows else b"T", size, ctypes.c_int(n), one, a, leading, none, product,
        size,
    )  # fmt: skip
    return product


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
