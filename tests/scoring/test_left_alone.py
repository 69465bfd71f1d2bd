"""What a call of `score` leaves as it was: the model, torch's settings, generators, the process."""

import ctypes
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ntpscore import LanguageModel, ScoreConfig, load_model, score
from ntpscore.models import check_stream
from tests.support.labelled_texts import make_rows, write_rows

CONFIG = ScoreConfig(shuffles=2, batch_tokens=100, skip_sanity_check=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "data.jsonl", make_rows(120))


@pytest.fixture
def tiny(tiny_model_dir: Path) -> LanguageModel:
    return load_model(tiny_model_dir)


def describe(language_model: LanguageModel) -> dict[str, Any]:
    """Whatever could be changed, by module and parameter."""
    model = language_model.model
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "training": {name: module.training for name, module in model.named_modules()},
        "hooks": {
            (name, kind): list(getattr(module, kind))
            for name, module in model.named_modules()
            for kind in hooks
        },
        "gradients": {
            name: (value.requires_grad, value.grad) for name, value in model.named_parameters()
        },
        "dtypes": {name: value.dtype for name, value in model.state_dict().items()},
        "attention": model.config._attn_implementation,
        "use_cache": model.config.use_cache,
        "tokenizer": (language_model.tokenizer.padding_side, len(language_model.tokenizer)),
        "attributes": sorted(vars(model)),
    }


def settings() -> dict[str, Any]:
    return {
        "threads": torch.get_num_threads(),
        "between operations": torch.get_num_interop_threads(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "products": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("until", [None, 0.05])
def test_the_model_and_torchs_settings(
    tiny: LanguageModel, data: Path, threads: int, until: float | None
) -> None:
    tiny.model.model.layers[1].register_forward_hook(lambda *_: None)
    tiny.model.model.layers[0].mlp.up_proj.weight.requires_grad_(True)
    weights = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    own = torch.get_num_threads()
    torch.set_num_threads(threads)
    before = describe(tiny), settings()
    score(tiny, data, config=replace(CONFIG, until=until))
    after = describe(tiny), settings()
    torch.set_num_threads(own)
    assert after == before
    assert all(torch.equal(value, weights[name]) for name, value in tiny.model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_default_number_format_changes_nothing_and_stays(
    tiny: LanguageModel, data: Path, dtype: torch.dtype
) -> None:
    expected = score(tiny, data, config=CONFIG).table()["value"].to_numpy()
    torch.set_default_dtype(dtype)
    try:
        found = score(tiny, data, config=CONFIG)
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.features.get(3).dtype == torch.float32
    # The sums are in float64 either way; a mask or a rotation may be in the default format.
    np.testing.assert_allclose(found.table()["value"].to_numpy(), expected, atol=1e-3)


def test_random_generators(tiny: LanguageModel, data: Path) -> None:
    """Not Python's own: beartype, by which tests check shapes, draws from it."""

    def states() -> tuple[Any, ...]:
        kind, keys, *rest = np.random.get_state()  # noqa: NPY002
        return torch.get_rng_state().tolist(), kind, keys.tolist(), rest

    before = states()
    score(tiny, data, config=replace(CONFIG, feature_texts=30, until=0.05))
    assert states() == before


def test_the_allocator(tiny: LanguageModel, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a library call reaches for the C library")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert score(tiny, data, config=CONFIG).record["data"]["n_texts"] == 120


def test_a_stream_that_fails_leaves_no_hooks(tiny: LanguageModel, data: Path) -> None:
    before = describe(tiny)
    with torch.no_grad():
        tiny.model.model.embed_tokens.weight.fill_(torch.nan)
    with pytest.raises(Exception, match="NaN"):
        score(tiny, data, config=CONFIG)
    assert describe(tiny) == before
    assert check_stream(tiny)
    assert describe(tiny) == before
