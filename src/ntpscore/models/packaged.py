"""Models that come as Python packages, so that a demo needs no model hub."""

import hashlib
import importlib.util
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ntpscore.errors import ModelError


@dataclass(frozen=True)
class PackagedModel:
    """A GGUF file inside one Python package, or in pieces inside several.

    Attributes:
        package: Name of the package to install.
        version: The version the hash belongs to.
        modules: The modules that hold the pieces, in order.
        files: The pieces' paths inside them.
        sha256: SHA-256 of the whole file (hex).
        install_options: What to add to `pip install`.
    """

    package: str
    version: str
    modules: tuple[str, ...]
    files: tuple[str, ...]
    sha256: str
    install_options: str = ""

    @property
    def requirement(self) -> str:
        """The package with its version, as `pip install` takes it."""
        return f"{self.package}=={self.version}"


def locate_packaged_model(name: str, packaged: PackagedModel) -> Path:
    """Find the GGUF file of a packaged model, joining its pieces in the cache folder if need be.

    Returns:
        The file. Pieces are joined under `$XDG_CACHE_HOME/ntpscore`, or `~/.cache/ntpscore`.
    """
    pieces = find_pieces(name, packaged)
    return pieces[0] if len(pieces) == 1 else _joined(name, packaged, pieces)


def find_pieces(name: str, packaged: PackagedModel) -> list[Path]:
    """The files of a packaged model as they are installed.

    Raises:
        ModelError: one is not; the message says what to install.
    """
    return [
        _piece(name, packaged, module, file)
        for module, file in zip(packaged.modules, packaged.files, strict=True)
    ]


def _piece(name: str, packaged: PackagedModel, module: str, file: str) -> Path:
    # Found, not imported: the package's own code may need libraries that are not installed.
    spec = importlib.util.find_spec(module)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (path := Path(folder) / file).is_file():
            return path
    raise ModelError(
        f"model {name!r} comes in the package {packaged.requirement}, and {module}/{file} is not "
        f"installed: pip install {packaged.install_options}{packaged.requirement}"
    )


def _joined(name: str, packaged: PackagedModel, pieces: list[Path]) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ntpscore"
    target = cache / f"{name}-{packaged.sha256[:12]}.gguf"
    if target.is_file():
        return target
    try:
        return _join(name, packaged, pieces, target)
    except OSError as error:
        raise ModelError(
            f"{name} can't be put together in {cache}: {error.strerror or error}. Let "
            "XDG_CACHE_HOME name a folder that can be written"
        ) from error


def _join(name: str, packaged: PackagedModel, pieces: list[Path], target: Path) -> Path:
    cache = target.parent
    cache.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=cache, suffix=".part", delete=False) as file:
        partial = Path(file.name)
        try:
            for piece in pieces:
                content = piece.read_bytes()
                digest.update(content)
                file.write(content)
            file.close()
            if digest.hexdigest() != packaged.sha256:
                raise ModelError(
                    f"the pieces of {name!r} do not make the expected file. Reinstall them: "
                    f"pip install --force-reinstall {packaged.requirement}"
                )
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    return target
