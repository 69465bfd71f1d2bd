"""Tests of `ntpscore.models.gemma_tokenizer`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ntpscore.errors import ModelError
from ntpscore.models.gemma_tokenizer import build_gemma_tokenizer, has_gemma_tokenizer
from ntpscore.models.gguf_header import read_gguf_header


@pytest.fixture
def build(tmp_path: Path, write_gemma_header: Callable[..., Path]) -> Callable[..., Any]:
    """Builds the tokenizer of a small GGUF file, with changes to that file."""

    def build_with(**changes: Any) -> Any:
        path = write_gemma_header(tmp_path / "gemma.gguf", **changes)
        return build_gemma_tokenizer(read_gguf_header(path))

    return build_with


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("abc", ["ab", "c"]),  # by score, not by position in the file
        ("bc", ["bc"]),
        ("c ab", ["c", "▁ab"]),
        ("a  b", ["a", "  ", "b"]),  # user-defined tokens are matched whole
        ("a\n\nb", ["a", "\n\n", "b"]),
        ("é", ["<0xC3>", "<0xA9>"]),  # bytes where no token fits
        ("a<eos>", ["a", "<eos>"]),
    ],
)
def test_gemma_tokenizer_cuts_text_as_sentencepiece_does(
    build: Callable[..., Any], text: str, pieces: list[str]
) -> None:
    tokenizer = build()
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<bos>", *pieces]
    assert tokenizer.decode(ids[1:]) == text


def test_gemma_tokenizer_puts_bos_in_front_unless_told_not_to(build: Callable[..., Any]) -> None:
    assert build()("a", "b")["input_ids"] == [2, 11, 2, 12]
    assert build(add_bos=False)("a")["input_ids"] == [11]


def test_gemma_tokenizer_knows_its_special_tokens(build: Callable[..., Any]) -> None:
    tokenizer = build()
    assert tokenizer.all_special_tokens == ["<bos>", "<eos>", "<unk>", "<pad>"]
    assert tokenizer.decode([2, 9, 1], skip_special_tokens=True) == "ab"


def test_gemma_tokenizer_refuses_fields_of_different_lengths(build: Callable[..., Any]) -> None:
    with pytest.raises(ModelError, match="15 tokens, 1 scores and 15 token types"):
        build(scores=[0.0])


def test_gemma_tokenizer_refuses_a_file_without_token_types(build: Callable[..., Any]) -> None:
    with pytest.raises(ModelError, match=r"has no tokenizer.ggml.token_type"):
        build(types=False)


def test_gemma_tokenizer_is_recognised_by_architecture_and_kind(
    tmp_path: Path, write_gemma_header: Callable[..., Path], write_tiny_llama: Callable[..., Path]
) -> None:
    gemma = read_gguf_header(write_gemma_header(tmp_path / "gemma.gguf"))
    llama = read_gguf_header(write_tiny_llama(tmp_path / "llama.gguf"))
    assert has_gemma_tokenizer(gemma)
    assert not has_gemma_tokenizer(llama)
