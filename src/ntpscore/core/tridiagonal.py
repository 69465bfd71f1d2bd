"""A symmetric matrix in tridiagonal form: eigenvalues and resolvents without eigenvectors.

torch has no such reduction, and SciPy's Python functions hold the interpreter's lock while they
run, so LAPACK is called where SciPy publishes it for compiled code.
"""

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from scipy.linalg import cython_lapack
from threadpoolctl import threadpool_limits
from torch import Tensor

from ntpscore.errors import MomentsError

_BLOCK = 64
# Narrower reductions gain nothing from threads.
_WIDE = 1024


def _routine(name: str) -> Any:
    """A routine of LAPACK, to be called with pointers; it runs without the interpreter's lock."""
    python = ctypes.pythonapi
    python.PyCapsule_GetName.restype = ctypes.c_char_p
    python.PyCapsule_GetName.argtypes = [ctypes.py_object]
    python.PyCapsule_GetPointer.restype = ctypes.c_void_p
    python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    capsules: Any = cython_lapack.__pyx_capi__
    capsule = capsules[name]
    address = python.PyCapsule_GetPointer(capsule, python.PyCapsule_GetName(capsule))
    return ctypes.CFUNCTYPE(None)(address)


_sytrd, _ormtr = _routine("dsytrd"), _routine("dormtr")
_sterf, _ptsv = _routine("dsterf"), _routine("dptsv")


def _call(routine: Any, *arguments: bytes | int | Tensor) -> int:
    """Call a routine of LAPACK; 0, or what it says went wrong.

    Args:
        routine: from `_routine`.
        arguments: all but the last, which is where it says so.
    """
    info = ctypes.c_int64(0)
    routine(*map(_at, arguments), ctypes.byref(info))
    return info.value


def _at(value: bytes | int | Tensor) -> Any:
    """A pointer to letters, an integer (eight bytes hold either kind) or a tensor's numbers."""
    if isinstance(value, int):
        return ctypes.byref(ctypes.c_int64(value))
    return ctypes.c_void_p(value.data_ptr()) if isinstance(value, Tensor) else value


def hold_scipy_threads(width: int, threads: int) -> threadpool_limits:
    """A context in which SciPy's LAPACK has no more threads than it gains from.

    It would take all cores, whatever torch was told, and its threads go on spinning when they are
    done: every operation of torch after it would wait for them. The limit is the process's.

    Args:
        width: of the matrices.
        threads: what each reduction may use.
    """
    return threadpool_limits(threads if width >= _WIDE else 1, user_api="blas")


@dataclass(frozen=True)
class Tridiagonal:
    """`Hᵀ A H = T` for an orthogonal H and a tridiagonal T, and what H makes of some columns.

    Attributes:
        diagonal: (d,) of T.
        beside: (d - 1,) of T, above and below the diagonal.
        columns: (d, c) `Hᵀ X`.
    """

    diagonal: Float[Tensor, " d"]
    beside: Float[Tensor, " rest"]
    columns: Float[Tensor, "d c"]

    @classmethod
    def of(cls, A: Float[Tensor, "d d"], X: Float[Tensor, "d c"]) -> "Tridiagonal":
        """Reduce a symmetric matrix, of which the lower half is read.

        Args:
            A: (d, d), float64, on the processor.
            X: (d, c), float64, on the processor.

        Raises:
            TypeError: a tensor is of another type or shape, or elsewhere, where LAPACK would read
                and write memory that is not its own.
        """
        d, c = X.shape
        for tensor, shape in ((A, (d, d)), (X, (d, c))):
            if (tensor.dtype, tensor.device.type, tensor.shape) != (torch.float64, "cpu", shape):
                raise TypeError(
                    f"expected float64 of shape {shape} on cpu, got {tensor.dtype} of shape "
                    f"{tuple(tensor.shape)} on {tensor.device}"
                )
        # LAPACK reads columns where torch has rows.
        packed, columns = A.T.clone(memory_format=torch.contiguous_format), X.T.contiguous().clone()
        diagonal, beside, tau = A.new_empty(d), A.new_empty(max(d - 1, 1)), A.new_empty(d)
        work = A.new_empty(_BLOCK * max(d, c))
        _call(_sytrd, b"L", d, packed, d, diagonal, beside, tau, work, len(work))
        _call(_ormtr, b"L", b"L", b"T", d, c, packed, d, tau, columns, d, work, len(work))
        return cls(diagonal, beside[: d - 1], columns.T)

    def eigenvalues(self) -> Float[Tensor, " d"]:
        """All eigenvalues in rising order.

        Raises:
            MomentsError: the iteration fails, or a number is not finite.
        """
        values, beside = self.diagonal.clone(), self.beside.clone()
        failed = _call(_sterf, len(values), values, beside)
        # LAPACK takes one or two rows without iterating, and notices nothing.
        finite = (self.diagonal.sum() + self.beside.sum()).isfinite()
        if failed or not bool(finite):
            raise MomentsError("the eigenvalues of a second moment don't converge")
        return values

    def forms(self, shifts: Float[Tensor, " g"]) -> Float[Tensor, " g"]:
        """`tr Xᵀ (A + γ I)⁻¹ X` for each shift γ; NaN where `A + γ I` is not positive definite."""
        d, c = self.columns.shape
        of_columns = self.columns.T.contiguous()
        forms = []
        for shift in shifts.tolist():
            solution = of_columns.clone()
            failed = _call(_ptsv, d, c, self.diagonal + shift, self.beside.clone(), solution, d)
            forms.append(float("nan") if failed else float((of_columns * solution).sum()))
        return shifts.new_tensor(forms)
