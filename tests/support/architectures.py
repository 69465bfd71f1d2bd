"""Tiny random models of every architecture of language model that transformers knows."""

import inspect
import re
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from ntpscore.adapt.lora_targets import find_lora_targets
from ntpscore.errors import ModelError
from ntpscore.models import LanguageModel, check_stream
from ntpscore.models.encoders import is_encoder

# By the names that configurations give to sizes; each takes those that it has.
_SIZES: dict[str, Any] = {
    "vocab_size": 384, "vocab_size_per_layer_input": 384, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "hidden_size": 32, "d_model": 32, "n_embd": 32, "dim": 32, "embed_dim": 32,
    "embedding_size": 32, "word_embed_proj_dim": 32, "hidden_dim": 32, "emb_dim": 32,
    "d_embed": 32, "attention_hidden_size": 32, "input_embedding_size": 32, "linear_inner": 32,
    "num_hidden_layers": 3, "n_layer": 3, "n_layers": 3, "num_layers": 3, "decoder_layers": 3,
    "num_decoder_layers": 3, "num_blocks": 3,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4,
    "decoder_attention_heads": 4, "num_key_value_heads": 2, "n_kv_heads": 2, "head_dim": 8,
    "intermediate_size": 48, "ffn_dim": 48, "ffn_hidden_size": 48, "n_inner": 48, "d_inner": 32,
    "d_ff": 48, "decoder_ffn_dim": 48, "dff": 48, "shared_expert_intermediate_size": 16,
    "moe_intermediate_size": 16, "intermediate_size_mlp": 48, "expert_ffn_hidden_size": 16,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4,
    "num_experts_per_tok": 2, "moe_k": 2, "moe_topk": 2, "n_group": 1, "topk_group": 1,
    "n_shared_experts": 1, "first_k_dense_replace": 1, "zero_expert_num": 2,
    "max_position_embeddings": 64, "n_positions": 64, "max_seq_len": 64, "n_ctx": 64,
    "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "qk_head_dim": 16, "v_head_dim": 8, "o_lora_rank": 8, "o_groups": 2, "index_n_heads": 2,
    "index_head_dim": 8, "index_topk": 64, "laurel_rank": 4, "hidden_size_per_layer_input": 8,
    "state_size": 8, "ssm_state_size": 8, "mamba_d_state": 8, "mamba_n_heads": 4,
    "mamba_num_heads": 4, "mamba_head_dim": 16, "mamba_d_head": 16, "mamba_n_groups": 1,
    "n_groups": 1, "mamba_dt_rank": 4, "lru_width": 32, "sliding_window": 6, "chunk_size": 8,
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "rotary_dim": 4, "type_vocab_size": 2,
}  # fmt: skip
# What an architecture wants besides, or instead; None leaves it as it is.
_SPECIAL: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "num_layers": 4},
    "mamba2": {"num_heads": 8},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 4},
    "deepseek_v4": {"head_dim": 8, "qk_rope_head_dim": 4, "num_key_value_heads": 1},
    "zaya": {"num_experts_per_tok": 1},
    "longcat_flash": {"head_dim": 8},
    "zamba": {
        "num_hidden_layers": 6, "attention_hidden_size": 64,
        "layers_block_type": ["linear_attention", "hybrid"] * 3,
    },
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid", "linear_attention"]},
    "xlnet": {"initializer_range": 0.2},  # looks ahead, and by enough to see
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "gemma3n_text": {
        "intermediate_size": [48] * 3, "num_kv_shared_layers": 0,
        "activation_sparsity_pattern": [0.0] * 3,
    },
    "reformer": {
        "axial_pos_shape": [8, 8], "axial_pos_embds_dim": [16, 16], "attn_layers": ["local"] * 3,
        "local_attn_chunk_length": 4, "is_decoder": True, "num_buckets": 4,
    },
    "lfm2_moe": {"layer_types": ["full_attention"] * 3},
    "esmc": {"num_key_value_heads": 4},
    "cohere_compass_text": {
        "layer_types": ["full_attention"] * 3,
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}},
    },
}  # fmt: skip
# Encoders that turn into decoders when they are asked to.
_DECODER = ("is_decoder", "causal")


def make_tiny_config(model_type: str, *, encoder: bool = False, **changes: Any) -> PreTrainedConfig:
    """A configuration of an architecture in which all that makes it large is small."""
    mapping = MODEL_FOR_MASKED_LM_MAPPING if encoder else MODEL_FOR_CAUSAL_LM_MAPPING
    kinds = {kind.model_type: kind for kind in mapping}
    return _make_tiny(kinds[model_type], encoder=encoder, **changes)


def _make_tiny(kind: Any, *, encoder: bool = False, **changes: Any) -> Any:
    known = inspect.signature(kind.__init__).parameters.keys() | set(
        getattr(kind, "__dataclass_fields__", ())
    )
    wanted = _SIZES | dict.fromkeys(_DECODER, not encoder)
    sizes = {name: value for name, value in wanted.items() if name in known}
    if "qk_rope_head_dim" in known:  # latent attention: heads are of two parts
        sizes |= {"num_key_value_heads": 4}
        sizes.pop("head_dim", None)
    for other, name in getattr(kind, "attribute_map", {}).items():
        if name in sizes:
            sizes.pop(other, None)
    for name, part in getattr(kind, "sub_configs", {}).items():
        if part is not AutoConfig:
            sizes[name] = _make_tiny(part)
    return kind(**{**sizes, **_SPECIAL.get(kind.model_type, {}), **changes})


def make_tiny_model(model_type: str, *, encoder: bool = False, **changes: Any) -> Any:
    """A random model of an architecture."""
    config = make_tiny_config(model_type, encoder=encoder, **changes)
    kind = AutoModelForMaskedLM if encoder else AutoModelForCausalLM
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind.from_config(config).eval()


# Which can't be made tiny from their configuration, and why.
NOT_TINY = {
    "blt": "sizes of its three parts depend on each other",
    "dbrx": "its configuration lacks a field that the model reads",
    "dots3_note": "its configuration names layers by number",
    "dots3_note_text": "38 million numbers at least",
    "fuyu": "large parts of fixed size",
    "gemma3n": "its image part needs another package; its text part is gemma3n_text",
    "gemma4_assistant": "sizes that depend on each other",
    "gemma4_unified_assistant": "large parts of fixed size",
    "got_ocr2": "large parts of fixed size",
    "kimi_linear": "large parts of fixed size",
    "moss_transcribe_diarize": "large parts of fixed size",
    "musicgen": "its configuration lacks a field that the model reads",
    "musicgen_melody": "its configuration lacks a field that the model reads",
}
NOT_READ = {
    "cpmant": "is no causal language model",
    "xlnet": "is no causal language model",
    "reformer": "is of an architecture (reformer) that is not supported yet",
}
"""Which are refused, and how the message begins."""
ARCHITECTURES = sorted({kind.model_type for kind in MODEL_FOR_CAUSAL_LM_MAPPING} - NOT_TINY.keys())


ENCODERS_NOT_TINY = {
    "ibert": "its embeddings are quantized",
    "luke": "128 million numbers at least",
    "modernvbert": "large parts of fixed size",
    "neomme": "sizes that depend on each other",
    "perceiver": "has no embeddings of tokens",
    "ultravbert": "large parts of fixed size",
}
ENCODERS_NOT_READ = {
    "convbert": "reads padding, whatever its mask says",
    "fnet": "reads padding, whatever its mask says",
    "funnel": "is of an architecture (funnel) that is not supported yet",
    "mobilebert": "reads padding, whatever its mask says",
    "nystromformer": "reads padding, whatever its mask says",
    "yoso": "reads padding, whatever its mask says",
}
WITHOUT_LORA = {"squeezebert"}
"""Whose projections are no linear layers."""
_DECODERS = {"bart", "mbart", "mvp", "reformer"}
ENCODERS = sorted(
    {kind.model_type for kind in MODEL_FOR_MASKED_LM_MAPPING} - ENCODERS_NOT_TINY.keys() - _DECODERS
)


def make_tiny_language_model(
    model_type: str,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    encoder: bool = False,
    **changes: Any,
) -> LanguageModel:
    """A random model of an architecture, as `load_model` would return it.

    Raises:
        ModelError: it is none that can be read.
    """
    model = make_tiny_model(model_type, encoder=encoder, **changes)
    language_model = LanguageModel(
        model=model, tokenizer=tokenizer, id=model_type, revision=None, content_hash=None,
        width=0, n_layers=0, dtype=torch.float32, device=torch.device("cpu"), max_length=64,
        reads_both_ways=is_encoder(model.config),
    )  # fmt: skip
    check_stream(language_model)
    return language_model


def describe_architecture(model_type: str, *, encoder: bool = False) -> str:
    """The row of an architecture in the tables of `docs/models.md`."""
    if reason := (ENCODERS_NOT_TINY if encoder else NOT_TINY).get(model_type):
        return f"| `{model_type}` | not tested: {reason} | |"
    try:
        language_model = make_tiny_language_model(model_type, encoder=encoder)
    except ModelError as error:
        reason = re.split(r":| \(by ", str(error))[0].removeprefix(f"{model_type} ")
        return f"| `{model_type}` | no: {reason} | |"
    read = "layer by layer" if language_model.streams else "all layers at once"
    if language_model.merge_streams is not None:
        read += ", residual streams merged"
    if model_type in WITHOUT_LORA:
        return f"| `{model_type}` | {read} | no |"
    targets = find_lora_targets(language_model)
    names = sorted({name.removesuffix(".linear").rpartition(".")[2] for name in targets})
    return f"| `{model_type}` | {read} | {', '.join(names)} |"
