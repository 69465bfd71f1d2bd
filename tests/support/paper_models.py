"""Tiny random models of the paper's eight, in folders by their short names."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig, Qwen2Config

from ntpscore.models.own_code import admit_configuration
from tests.support.paths import ROOT
from tests.support.tiny_models import save_random_model

_CODE = ROOT / "tests" / "support" / "openelm"
_SIZES: dict[str, Any] = {
    "vocab_size": 384, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48,
    "max_position_embeddings": 64, "initializer_range": 0.15,
}  # fmt: skip
_OF_TRANSFORMERS = {
    "qwen2-0.5b": Qwen2Config(
        **_SIZES, hidden_size=16, num_hidden_layers=2, tie_word_embeddings=True
    ),
    "qwen2-1.5b": Qwen2Config(
        **_SIZES, hidden_size=24, num_hidden_layers=3, tie_word_embeddings=True
    ),
    "qwen2-7b": Qwen2Config(**_SIZES, hidden_size=32, num_hidden_layers=3),
    "llama3-8b": LlamaConfig(**_SIZES, hidden_size=32, num_hidden_layers=2),
}
_OPENELM = {"openelm-270m": (2, 16), "openelm-450m": (3, 16), "openelm-1.1b": (2, 24),
            "openelm-3b": (3, 24)}  # fmt: skip
QKV = {"qwen2": ["k_proj", "q_proj", "v_proj"], "llama": ["k_proj", "q_proj", "v_proj"],
       "openelm": ["qkv_proj"]}  # fmt: skip
"""What LoRA goes into, by how a model's name begins: names as in the architectures' own code."""
LAYERS = {name: config.num_hidden_layers for name, config in _OF_TRANSFORMERS.items()} | {
    name: layers for name, (layers, _) in _OPENELM.items()
}


def save_paper_models(tokenizer_of: Path, folder: Path) -> None:
    """Save the eight, each in a folder of its name, and the tokenizer of OpenELM's in `llama-2`."""
    for name, config in _OF_TRANSFORMERS.items():
        save_random_model(config, tokenizer_of, folder / name)
    for name, (layers, width) in _OPENELM.items():
        save_openelm(folder / name, num_transformer_layers=layers, model_dim=width)
    AutoTokenizer.from_pretrained(tokenizer_of).save_pretrained(folder / "llama-2")


def save_openelm(folder: Path, **settings: Any) -> Path:
    """A random stand-in for OpenELM with its code, and as the real one without a tokenizer."""
    folder.mkdir()
    for path in _CODE.glob("*_openelm.py"):
        shutil.copy(path, folder)
    sizes = {"vocab_size": 384, "max_context_length": 64}
    sizes |= {"qkv_multipliers": [0.5, 1.0], "ffn_multipliers": [0.5, 4.0], **settings}
    auto = {"AutoConfig": "configuration_openelm.OpenELMConfig",
            "AutoModelForCausalLM": "modeling_openelm.OpenELMForCausalLM"}  # fmt: skip
    content = {"architectures": ["OpenELMForCausalLM"], "auto_map": auto, "model_type": "openelm",
               "torch_dtype": "float32", "transformers_version": "4.39.3", **sizes}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(content))
    admit_configuration(folder)  # as `load_model` does
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=True)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    return folder
