"""Tests of `ntpscore.models.hidden_states`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from ntpscore.errors import ModelError
from ntpscore.models import LanguageModel, check_stream, stream_hidden_states
from tests.support.tiny_models import CONFIGS, GATED, SMALL


def _language_model(model: nn.Module, n_layers: int = 3) -> LanguageModel:
    return LanguageModel(
        model=model.eval(),
        tokenizer=None,
        id="made-up",
        revision=None,
        content_hash=None,
        width=16,
        n_layers=n_layers,
        dtype=torch.float32,
        device=torch.device("cpu"),
        max_length=64,
    )


def _random(name: str) -> LanguageModel:
    torch.manual_seed(0)
    return _language_model(transformers.AutoModelForCausalLM.from_config(CONFIGS[name]()))


def _padded_batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    input_ids = torch.randint(5, 95, (3, 9), generator=generator)
    attention_mask = (torch.arange(9) < torch.tensor([9, 4, 1])[:, None]).long()
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def _collect(language_model: LanguageModel, layers: Any, **batch: Tensor) -> dict[int, Tensor]:
    seen: dict[int, Tensor] = {}

    def keep(layer: int, hidden_states: Tensor) -> None:
        assert layer not in seen
        seen[layer] = hidden_states.clone()

    stream_hidden_states(language_model, **batch, on_layer=keep, layers=layers)
    return seen


@pytest.mark.parametrize("name", CONFIGS)
def test_stream_equals_output_hidden_states(name: str) -> None:
    language_model = _random(name)
    assert check_stream(language_model)
    batch = _padded_batch()
    with torch.inference_mode():
        base = language_model.model.base_model
        expected = base(**batch, use_cache=False, output_hidden_states=True).hidden_states
    seen = _collect(language_model, range(4), **batch)
    assert list(seen) == [0, 1, 2, 3]
    if name == "opt_projected":
        # Transformers' last state is 8 numbers wide, made of one that is as wide as the others.
        assert language_model.output_width == 8
        assert language_model.narrowing is not None
        assert seen[3].shape == seen[0].shape
        with torch.inference_mode():
            seen[3] = language_model.narrowing(seen[3])
    for layer, hidden_states in seen.items():
        assert torch.equal(hidden_states, expected[layer])


TINY = {**GATED, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
SEVERAL_STREAMS: dict[str, Callable[[], transformers.PreTrainedConfig]] = {
    "gemma3n": lambda: transformers.Gemma3nTextConfig(
        **{**TINY, "intermediate_size": [32] * 3}, vocab_size_per_layer_input=100,
        hidden_size_per_layer_input=8, laurel_rank=4, num_kv_shared_layers=0,
        activation_sparsity_pattern=[0.0] * 3, altup_num_inputs=3,
    ),
    "deepseek_v4": lambda: transformers.DeepseekV4Config(
        **TINY, **EXPERTS, q_lora_rank=8, o_lora_rank=8, qk_rope_head_dim=4, o_groups=2,
        n_routed_experts=4,
    ),
    "hy_v4": lambda: transformers.HYV4Config(**TINY, **EXPERTS, num_experts=4),
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL_STREAMS)
def test_several_residual_streams_are_read_as_the_final_norm_reads_them(name: str) -> None:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(SEVERAL_STREAMS[name]())
    language_model = _language_model(model)
    assert check_stream(language_model)
    merge, base = language_model.merge_streams, language_model.base
    assert merge is not None
    streams: list[Tensor] = []
    base.layers[-1].register_forward_hook(
        lambda _module, _args, output: streams.append(
            output[0] if isinstance(output, tuple) else output
        )
    )
    seen = _collect(language_model, range(4), **_inputs(_padded_batch()["input_ids"]))
    assert {hidden_states.shape for hidden_states in seen.values()} == {(3, 9, 16)}
    assert streams[0].dim() == 4
    with torch.inference_mode():
        assert torch.equal(base.norm(merge(streams[0])), seen[3])
        output = base(**_padded_batch(), use_cache=False, output_hidden_states=True)
        for layer in range(3):
            assert torch.equal(merge(output.hidden_states[layer])[0], seen[layer][0])


def test_check_stream_says_which_shape_it_does_not_know() -> None:
    language_model = _random("llama")
    norm = language_model.model.base_model.norm
    norm.register_forward_hook(lambda _module, _args, output: output[None])
    with pytest.raises(ModelError, match=r"\(llama\) that is not supported yet: layer 3 has"):
        check_stream(language_model)


@pytest.mark.parametrize("name", ["llama4", "mllama"])
def test_a_base_that_transformers_does_not_name_is_found(name: str) -> None:
    torch.manual_seed(0)
    model: Any
    if name == "llama4":
        llama4 = transformers.Llama4TextConfig(
            **TINY, intermediate_size_mlp=32, num_local_experts=2
        )
        model = transformers.Llama4ForCausalLM(llama4)
        assert model.base_model is model
    else:
        mllama = transformers.models.mllama.MllamaTextConfig(
            **GATED, cross_attention_layers=[], pad_token_id=0
        )
        model = transformers.MllamaForCausalLM(mllama)
    language_model = _language_model(model)
    assert check_stream(language_model)
    assert language_model.base is model.model
    batch = _padded_batch()
    with torch.inference_mode():
        assert language_model.base(**batch).last_hidden_state.shape == (3, 9, 16)


def test_stream_gives_only_the_wanted_layers_in_increasing_order() -> None:
    language_model = _random("llama")
    check_stream(language_model)
    every = _collect(language_model, range(4), **_padded_batch())
    some = _collect(language_model, [3, 1, 1], **_padded_batch())
    assert list(some) == [1, 3]
    assert torch.equal(some[1], every[1])
    assert torch.equal(some[3], every[3])


def test_stream_stops_after_the_last_wanted_layer() -> None:
    language_model = _random("llama")
    check_stream(language_model)
    assert language_model.blocks is not None
    ran = []
    for index, block in enumerate(language_model.blocks):
        block.register_forward_hook(lambda *_, index=index: ran.append(index))
    assert list(_collect(language_model, [0, 1], **_padded_batch())) == [0, 1]
    assert ran == [0]


def test_stream_leaves_no_hooks_even_after_an_error() -> None:
    language_model = _random("llama")
    check_stream(language_model)

    def fail(layer: int, hidden_states: Tensor) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stream_hidden_states(language_model, **_padded_batch(), on_layer=fail, layers=[1])
    assert not any(block._forward_pre_hooks for block in language_model.blocks or ())


@pytest.mark.parametrize("layers", [[], [4], [-1, 2]])
def test_stream_refuses_layers_that_do_not_exist(layers: list[int]) -> None:
    with pytest.raises(ModelError, match="numbered 0 to 3"):
        _collect(_random("llama"), layers, **_padded_batch())


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_right_padding_leaves_a_text_as_it_is_alone(name: str) -> None:
    language_model = _random(name)
    check_stream(language_model)
    batch = _padded_batch()
    together = _collect(language_model, range(4), **batch)
    alone = _collect(
        language_model, range(4), input_ids=batch["input_ids"][1:2, :4], attention_mask=None
    )
    for layer in range(4):
        torch.testing.assert_close(together[layer][1:2, :4], alone[layer])


def _hide_blocks(language_model: LanguageModel) -> None:
    base = language_model.model.base_model
    base.layers = nn.Sequential(*base.layers)  # no longer the kind of list that is looked for


def test_check_stream_falls_back_where_the_blocks_are_not_found() -> None:
    language_model = _random("llama")
    expected = _collect(language_model, range(4), **_padded_batch())
    base = language_model.model.base_model
    base.backwards = nn.ModuleList(reversed(base.layers))
    base.idle = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
    base.inside = nn.ModuleList(block.mlp for block in base.layers)
    _hide_blocks(language_model)
    assert not check_stream(language_model)
    assert not language_model.streams
    seen = _collect(language_model, [0, 3], **_padded_batch())
    assert list(seen) == [0, 3]
    assert torch.equal(seen[3], expected[3])


class _TakesImages(nn.Module):
    def forward(self, *, image: Tensor) -> Tensor:
        return image


def test_check_stream_passes_over_modules_that_take_no_hidden_states() -> None:
    language_model = _random("llama")
    base = language_model.model.base_model
    base.views = nn.ModuleList(_TakesImages() for _ in range(3))
    for block, view in zip(base.layers, base.views, strict=True):
        block.register_forward_pre_hook(lambda *_, view=view: view(image=torch.ones(1)) and None)
    _hide_blocks(language_model)
    assert not check_stream(language_model)


def test_check_stream_passes_over_tensors_of_another_shape() -> None:
    language_model = _random("llama")
    base = language_model.model.base_model
    base.down = nn.ModuleList(block.mlp.down_proj for block in base.layers)
    _hide_blocks(language_model)
    assert not check_stream(language_model)


def test_check_stream_keeps_transformers_own_where_it_numbers_layers_otherwise() -> None:
    torch.manual_seed(0)
    config = transformers.MambaConfig(
        vocab_size=100, hidden_size=16, num_hidden_layers=3, state_size=4
    )
    language_model = _language_model(transformers.MambaForCausalLM(config))
    assert not check_stream(language_model)  # its first hidden state comes after the first block
    batch = _padded_batch()
    with torch.inference_mode():
        base = language_model.model.base_model
        expected = base(**batch, use_cache=False, output_hidden_states=True).hidden_states
    seen = _collect(language_model, range(4), **batch)
    assert all(torch.equal(seen[layer], expected[layer]) for layer in range(4))


def test_check_stream_refuses_a_model_that_looks_ahead() -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(**SMALL, intermediate_size=32, initializer_range=0.5)
    language_model = _language_model(transformers.BertLMHeadModel(config))
    with pytest.raises(ModelError, match="no causal language model"):
        check_stream(language_model)


def test_check_stream_leaves_broken_weights_to_the_sanity_check() -> None:
    language_model = _random("llama")
    language_model.model.base_model.layers[1].mlp.down_proj.weight.data.fill_(torch.nan)
    assert check_stream(language_model)


def test_check_stream_refuses_a_model_without_hidden_states() -> None:
    language_model = _random("llama")
    base = language_model.model.base_model
    base.forward = lambda **_: transformers.modeling_outputs.BaseModelOutput(hidden_states=())
    with pytest.raises(ModelError, match="no hidden states"):
        check_stream(language_model)


def test_threads_stream_from_one_model_without_seeing_each_other() -> None:
    language_model = _random("llama")
    check_stream(language_model)
    generator = torch.Generator().manual_seed(2)
    batches = [torch.randint(5, 95, (2, 3 + i % 5), generator=generator) for i in range(60)]
    alone = [
        _collect(language_model, range(i % 2, 4), **_inputs(ids)) for i, ids in enumerate(batches)
    ]
    with ThreadPoolExecutor(8) as pool:
        together = list(
            pool.map(
                lambda i: _collect(language_model, range(i % 2, 4), **_inputs(batches[i])),
                range(len(batches)),
            )
        )
    for one, other in zip(alone, together, strict=True):
        assert list(one) == list(other)
        for layer, hidden_states in one.items():
            assert torch.equal(hidden_states, other[layer])
    assert not any(block._forward_pre_hooks for block in language_model.blocks)


def _inputs(input_ids: Tensor) -> dict[str, Any]:
    return {"input_ids": input_ids, "attention_mask": None}
