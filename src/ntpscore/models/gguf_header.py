"""What stands in front of the weights in a GGUF file: metadata, and where each tensor lies.

The `gguf` library's reader makes an object per array element, eight seconds for a vocabulary of
262,144 tokens; this one takes less than one, and says in plain words what is wrong with a file.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntpscore.errors import ModelError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_NUMBER_FORMATS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True)
class GgufHeader:
    """The header of a GGUF file.

    Attributes:
        path: The file.
        metadata: Key to value: numbers, strings, or lists of them.
    """

    path: Path
    metadata: dict[str, Any]

    @property
    def architecture(self) -> str:
        """The model's architecture in llama.cpp's words, e.g. "llama" or "gemma3"."""
        return str(self.metadata["general.architecture"])


def read_gguf_header(path: Path) -> GgufHeader:
    """Read a GGUF file's metadata and check that all its tensors are there.

    Args:
        path: A file in GGUF format, version 2 or 3, little-endian.

    Returns:
        Its header.
    """
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ModelError(
                f"{path} is no GGUF file: it does not begin with the letters GGUF. Check what was "
                "downloaded; it may be an error page or a Git LFS pointer."
            )
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                metadata, n_bytes = _parse(data, path)
            except (struct.error, IndexError) as error:
                raise _cut_short(path, f"its header ends after {len(data)} bytes") from error
            except (KeyError, ArithmeticError, RecursionError, ValueError) as error:
                raise ModelError(
                    f"{path} is damaged: its header can't be read ({error!r}). Download it again."
                ) from error
            if len(data) < n_bytes:
                raise _cut_short(path, f"it has {len(data)} of {n_bytes} bytes")
    if "general.architecture" not in metadata:
        raise ModelError(
            f"{path} names no architecture (general.architecture), so it holds no language model"
        )
    return GgufHeader(path, metadata)


def _cut_short(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path} is cut short: {reason}. Download or copy it again.")


class _Cursor:
    """A position in the file's bytes that moves on with each value read."""

    def __init__(self, data: mmap.mmap, position: int) -> None:
        self.data = data
        self.position = position

    def numbers(self, code: str, count: int = 1) -> tuple[Any, ...]:
        layout = struct.Struct(f"<{count}{code}")
        values = layout.unpack_from(self.data, self.position)
        self.position += layout.size
        return values

    def number(self, code: str) -> Any:
        return self.numbers(code)[0]

    def string(self) -> str:
        (length,) = struct.unpack_from("<Q", self.data, self.position)
        start = self.position + 8
        self.position = start + length
        if self.position > len(self.data):
            raise IndexError
        return self.data[start : self.position].decode("utf-8", errors="replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            element_kind, count = self.number("I"), self.number("Q")
            if element_kind in _NUMBER_FORMATS:
                return list(self.numbers(_NUMBER_FORMATS[element_kind], count))
            return [self.value(element_kind) for _ in range(count)]
        return self.number(_NUMBER_FORMATS[kind])


def _parse(data: mmap.mmap, path: Path) -> tuple[dict[str, Any], int]:
    cursor = _Cursor(data, len(_MAGIC))
    version = cursor.number("I")
    if version not in _VERSIONS:
        raise ModelError(
            f"{path} is GGUF version {version}, readable are {_VERSIONS} (little-endian). Convert "
            "the model again with a current llama.cpp."
        )
    n_tensors, n_entries = cursor.numbers("Q", 2)
    metadata = {}
    for _ in range(n_entries):
        key, kind = cursor.string(), cursor.number("I")
        if kind not in {_STRING, _ARRAY, *_NUMBER_FORMATS}:
            raise ModelError(f"{path} is damaged: metadata {key!r} has the unknown type {kind}")
        metadata[key] = cursor.value(kind)
    end_of_tensors = max((_end_of_tensor(cursor, path) for _ in range(n_tensors)), default=0)
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    return metadata, -(-cursor.position // alignment) * alignment + end_of_tensors


def _end_of_tensor(cursor: _Cursor, path: Path) -> int:
    """Bytes from the start of the weights to the end of the tensor described at the cursor."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    cursor.string()
    shape = cursor.numbers("Q", cursor.number("I"))
    kind, offset = cursor.number("I"), cursor.number("Q")
    n_elements = 1
    for size in shape:
        n_elements *= size
    if kind not in set(GGMLQuantizationType):
        raise ModelError(
            f"{path} holds a tensor in the unknown format {kind}: it is damaged or too new"
        )
    elements_per_block, bytes_per_block = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    return int(offset + n_elements // elements_per_block * bytes_per_block)
