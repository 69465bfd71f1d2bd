"""What coverage need not follow: it would take as long again."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


def untraced(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The same function, whose calls coverage does not see."""

    @functools.wraps(function)
    def run(*arguments: _P.args, **keywords: _P.kwargs) -> _R:
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return function(*arguments, **keywords)
        finally:
            trace_again(tracer)

    return run


def trace_again(tracer: Callable[..., object] | None) -> None:
    """Hand the interpreter back to `tracer`, from `sys.gettrace`."""
    sys.settrace(tracer)
    # Coverage takes over in its own way at the next call, which must not be the caller's return.
    _take_over()


def _take_over() -> None:
    pass
