"""Tests of `ntpscore.models.gguf_header`."""

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest

from ntpscore.errors import ModelError
from ntpscore.models.gguf_header import read_gguf_header


def test_gguf_header_holds_what_the_gguf_library_reads(
    tmp_path: Path, write_tiny_llama: Callable[..., Path]
) -> None:
    path = write_tiny_llama(tmp_path / "tiny.gguf")
    header = read_gguf_header(path)
    fields = gguf.GGUFReader(path).fields
    assert header.architecture == "llama"
    expected = {key: field.contents() for key, field in fields.items() if key[:5] != "GGUF."}
    assert header.metadata == expected


@pytest.mark.parametrize("content", [b"", b"GG", b"<html>404</html>"])
def test_gguf_header_refuses_what_is_no_gguf_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is no GGUF file"):
        read_gguf_header(path)


def test_gguf_header_refuses_a_file_cut_short_anywhere(
    tmp_path: Path, write_tiny_llama: Callable[..., Path]
) -> None:
    whole = write_tiny_llama(tmp_path / "tiny.gguf").read_bytes()
    path = tmp_path / "short.gguf"
    for n_bytes in [4, 10, 30, 200, 800, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:n_bytes])
        with pytest.raises(ModelError, match="cut short"):
            read_gguf_header(path)


def test_gguf_header_refuses_an_unknown_version(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 1, 0, 0))
    with pytest.raises(ModelError, match="version 1"):
        read_gguf_header(path)


def test_gguf_header_refuses_unknown_types(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    entry = struct.pack("<Q", 3) + b"key" + struct.pack("<I", 99)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry)
    with pytest.raises(ModelError, match="'key' has the unknown type 99"):
        read_gguf_header(path)
    tensor = struct.pack("<Q", 1) + b"t" + struct.pack("<IQIQ", 1, 32, 99, 0)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + tensor)
    with pytest.raises(ModelError, match="unknown format 99"):
        read_gguf_header(path)


def test_gguf_header_refuses_a_file_without_architecture(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + bytes(8))
    with pytest.raises(ModelError, match="names no architecture"):
        read_gguf_header(path)


def test_gguf_header_reads_a_file_without_weights(
    tmp_path: Path, write_gemma_header: Callable[..., Path]
) -> None:
    header = read_gguf_header(write_gemma_header(tmp_path / "gemma.gguf"))
    assert header.metadata["tokenizer.ggml.tokens"][14] == "▁"
