"""Further tiny random models, beside the Llama of conftest.py."""

from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig

SMALL = {"vocab_size": 100, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4}
GATED = {**SMALL, "intermediate_size": 32, "num_key_value_heads": 2}
CONFIGS: dict[str, Callable[[], transformers.PreTrainedConfig]] = {
    "llama": lambda: transformers.LlamaConfig(**GATED),
    "mistral": lambda: transformers.MistralConfig(**GATED, sliding_window=3),
    "qwen2": lambda: transformers.Qwen2Config(**GATED),
    "gemma3": lambda: transformers.Gemma3TextConfig(**GATED, head_dim=4, sliding_window=3),
    "phi": lambda: transformers.PhiConfig(**GATED),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**SMALL, intermediate_size=32),
    "gpt2": lambda: transformers.GPT2Config(vocab_size=100, n_embd=16, n_layer=3, n_head=4),
    "opt": lambda: transformers.OPTConfig(**SMALL, ffn_dim=32, word_embed_proj_dim=16),
    "opt_projected": lambda: transformers.OPTConfig(
        **SMALL, ffn_dim=32, word_embed_proj_dim=8, do_layer_norm_before=False
    ),
}


def save_random_model(config: PreTrainedConfig, tokenizer_of: Path, folder: Path) -> Path:
    """A random model of this configuration with the tokenizer of another model, in a folder."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_of).save_pretrained(folder)
    return folder
