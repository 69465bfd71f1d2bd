"""Public names of a package that load on first use, so that importing the package stays fast."""

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def load_lazily(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """What a package's `__init__.py` needs to offer names that load on first use.

    The names are those that the file imports `as` themselves under `if TYPE_CHECKING:`, where type
    checkers and editors find them too, and those that it has already.

    Returns:
        Its `__getattr__`, `__dir__` and `__all__`.
    """
    module = sys.modules[package]
    homes = {
        name.asname: line.module
        for block in ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")).body
        if isinstance(block, ast.If)
        for line in block.body
        if isinstance(line, ast.ImportFrom) and line.module is not None
        for name in line.names
        if name.asname is not None
    }
    names = sorted({*homes, *getattr(module, "__all__", ())})

    def load(name: str) -> Any:
        """A public name, from its module."""
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return load, lambda: names, names
