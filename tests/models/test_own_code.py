"""Models with code of their own, on a stand-in for OpenELM with the habits of transformers 4."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from ntpscore.errors import ModelError
from ntpscore.models import (
    LanguageModel,
    NextTokenDistributions,
    load_model,
    stream_hidden_states,
)
from ntpscore.models.context import TRIED
from ntpscore.models.own_code import admit_configuration, shrink_causal_mask
from tests.support.paper_models import save_openelm


@pytest.fixture
def folder(tmp_path: Path, code_cache: Path) -> Path:
    """Of a random OpenELM with three blocks of different sizes."""
    return save_openelm(tmp_path / "own", num_transformer_layers=3, model_dim=32)


@pytest.fixture
def loaded(folder: Path, tiny_model_dir: Path) -> LanguageModel:
    """The same, as a user loads it: it has no tokenizer."""
    return load_model(folder, trust_remote_code=True, tokenizer=str(tiny_model_dir))


def states_of(language_model: LanguageModel, ids: torch.Tensor) -> list[torch.Tensor]:
    states: list[torch.Tensor] = []
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    layers = range(language_model.n_layers + 1)
    stream_hidden_states(language_model, ids, mask, lambda _, h: states.append(h.clone()), layers)
    return states


def test_what_openelm_calls_its_sizes_is_read(loaded: LanguageModel) -> None:
    assert (loaded.width, loaded.n_layers, loaded.max_length) == (32, 3, 64)
    assert loaded.streams
    shapes = {
        name: tuple(loaded.base.get_submodule(f"layers.{block}.{name}").weight.shape)
        for block, name in [(0, "attn.qkv_proj"), (2, "attn.qkv_proj"), (2, "ffn.proj_1")]
    }
    assert shapes == {"attn.qkv_proj": (64, 32), "ffn.proj_1": (256, 32)}
    assert loaded.base.layers[0].attn.qkv_proj.weight.shape == (32, 32)


def test_hidden_states_are_those_of_a_model_built_and_filled_by_hand(
    folder: Path, loaded: LanguageModel
) -> None:
    config = type(loaded.model.config).from_pretrained(folder)
    plain = type(loaded.model)(config).eval()
    plain.load_state_dict(load_file(folder / "model.safetensors"))
    ids = torch.arange(5, 35).view(3, 10)
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    with torch.inference_mode():
        expected = plain.transformer(
            ids, mask, use_cache=False, output_hidden_states=True, return_dict=True
        ).hidden_states
    got = states_of(loaded, ids)
    assert len(got) == len(expected) == 4
    for one, other in zip(got, expected, strict=True):
        # The same operations, but for a mask that ends with the texts: to rounding.
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    buffers = dict(plain.named_buffers())
    for name, buffer in loaded.model.named_buffers():
        if "causal_mask" not in name:
            assert torch.equal(buffer, buffers[name])


def test_without_a_head_the_embeddings_make_the_logits(loaded: LanguageModel) -> None:
    ids = torch.arange(5, 35).view(3, 10)
    with torch.inference_mode():
        output = loaded.model(input_ids=ids, use_cache=False, output_hidden_states=True)
    last = output.hidden_states[-1][:, -1]
    (got,) = NextTokenDistributions(loaded, last)
    expected = torch.softmax(output.logits[:, -1].double(), -1).numpy()
    assert got == pytest.approx(expected, rel=1e-4, abs=1e-7)  # the pass is in float32
    assert expected.max() > 3 / 384


def test_the_mask_grows_with_the_texts_and_changes_nothing(
    tmp_path: Path, loaded: LanguageModel, tiny_model_dir: Path
) -> None:
    assert loaded.base.causal_mask.shape == (64, 64)
    folder = save_openelm(tmp_path / "long", max_context_length=1024)
    loaded = load_model(folder, trust_remote_code=True, tokenizer=str(tiny_model_dir))
    assert loaded.base.causal_mask.shape == (TRIED, TRIED)
    assert loaded.kept_state == ()  # which would be put back before each pass
    short = torch.arange(5, 25).view(2, 10)
    long = torch.arange(1200).view(2, 600) % 300
    first = states_of(loaded, short)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda ids: states_of(loaded, ids), [short, long] * 4))
    assert loaded.base.causal_mask.shape == (600, 600)
    assert torch.equal(loaded.base.causal_mask, torch.ones(600, 600, dtype=torch.bool).triu(1))
    for states in found[::2]:
        for one, other in zip(states, first, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_a_mask_of_another_kind_is_left_as_it_is(loaded: LanguageModel) -> None:
    other = loaded.base.causal_mask.clone().fill_(value=True)
    loaded.base.causal_mask = other
    shrink_causal_mask(loaded.base)
    assert loaded.base.causal_mask is other


def test_a_class_whose_post_init_takes_what_it_is_given_is_left_alone(
    folder: Path,
) -> None:
    path = folder / "configuration_openelm.py"
    code = path.read_text().replace("__post_init__(self)", "__post_init__(self, **keywords)")
    path.write_text(code)
    admit_configuration(folder)
    kind = get_class_from_dynamic_module("configuration_openelm.OpenELMConfig", folder)
    assert kind.__post_init__.__qualname__ == "OpenELMConfig.__post_init__"


def test_what_transformers_builds_itself_is_built_as_before(loaded: LanguageModel) -> None:
    assert loaded.base.layers[0].attn.pos_embedding.inv_freq.device.type == "cpu"
    assert PreTrainedModel.get_init_context.__func__.__module__ == "transformers.modeling_utils"


def test_without_trust_nothing_is_run(folder: Path, tiny_model_dir: Path) -> None:
    (folder / "configuration_openelm.py").write_text("raise SystemExit('run')")
    with pytest.raises(ModelError, match="needs Python code of its own"):
        load_model(folder, tokenizer=str(tiny_model_dir))
