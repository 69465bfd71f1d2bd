"""Packages that only a part of ntpscore needs, and that an extra of its distribution installs."""

from importlib import import_module

from ntpscore.errors import NtpscoreError


def need_package(
    package: str, extra: str, what: str, error: type[NtpscoreError] = NtpscoreError
) -> None:
    """Tell what to install where a package is missing; to be called before it is imported.

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
