"""Tiny random models of every architecture of causal language model that transformers knows."""

import inspect
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
)

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
    "index_head_dim": 8, "index_topk": 8, "laurel_rank": 4, "hidden_size_per_layer_input": 8,
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
    "dots3_note_text": {"num_key_value_heads": 4},
    "deepseek_v4": {"head_dim": 8, "qk_rope_head_dim": 4},
    "zaya": {"num_experts_per_tok": 1},
    "zamba": {"num_hidden_layers": 6, "layers_block_type": ["linear_attention", "hybrid"] * 3},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid", "linear_attention"]},
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
    "cohere_compass_text": {"layer_types": ["full_attention"] * 3},
}  # fmt: skip
# Encoders that turn into decoders when they are asked to.
_DECODER = {"is_decoder": True, "causal": True}


def make_tiny_config(model_type: str) -> PreTrainedConfig:
    """A configuration of an architecture in which all that makes it large is small."""
    return _make_tiny({kind.model_type: kind for kind in MODEL_FOR_CAUSAL_LM_MAPPING}[model_type])


def _make_tiny(kind: Any) -> Any:
    known = inspect.signature(kind.__init__).parameters.keys() | set(
        getattr(kind, "__dataclass_fields__", ())
    )
    if "qk_rope_head_dim" in known:  # heads are of two parts there
        known -= {"head_dim"}
    sizes = {name: value for name, value in (_SIZES | _DECODER).items() if name in known}
    for other, name in getattr(kind, "attribute_map", {}).items():
        if name in sizes:
            sizes.pop(other, None)
    for name, part in getattr(kind, "sub_configs", {}).items():
        if part is not AutoConfig:
            sizes[name] = _make_tiny(part)
    return kind(**{**sizes, **_SPECIAL.get(kind.model_type, {})})


def make_tiny_model(model_type: str) -> Any:
    """A random model of an architecture."""
    config = make_tiny_config(model_type)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval()
