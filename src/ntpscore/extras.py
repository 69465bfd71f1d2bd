"""Packages that only a part of ntpscore needs: what to install where one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from ntpscore.errors import MissingPackageError, NtpscoreError


def need_package(
    package: str, extra: str, what: str, error: type[NtpscoreError] = NtpscoreError
) -> None:
    """Tell what to install where a package of an extra is missing, before it is imported.

    Args:
        package: the name it is imported by.
        extra: of ntpscore, which brings it.
        what: needs it.
        error: the class of what is raised.

    Raises:
        NtpscoreError: it is not installed.
    """
    try:
        import_module(package)
    except ImportError as missing:
        raise error(
            f"{what} needs the package {package}: pip install 'ntpscore[{extra}]'"
        ) from missing


@contextmanager
def needing(package: str, what: str) -> Iterator[None]:
    """Say how to install a package of no extra whose import fails inside.

    Args:
        package: as `pip install` takes it.
        what: needs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"{what} needs {package} ({error}): pip install {package}"
        ) from error
