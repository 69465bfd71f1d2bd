"""Further tiny random models, beside the Llama of conftest.py."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig


def save_random_model(config: PreTrainedConfig, tokenizer_of: Path, folder: Path) -> Path:
    """A random model of this configuration with the tokenizer of another model, in a folder."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_of).save_pretrained(folder)
    return folder
