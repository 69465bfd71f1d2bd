"""Which linear layers of a model LoRA goes into."""

import re
from collections.abc import Sequence

from torch import nn
from transformers.pytorch_utils import Conv1D

from ntpscore.errors import ModelError
from ntpscore.models import LanguageModel

# What architectures call their projections to queries, keys and values, apart or fused.
_ATTENTION = frozenset({
    "q_proj", "k_proj", "v_proj",  # Llama, Qwen, Mistral, Gemma, OPT, …
    "qkv_proj", "kv_proj",  # OpenELM, Phi-3; JetMoE
    "c_attn",  # GPT-2
    "query_key_value",  # GPT-NeoX, Falcon, BLOOM
    "Wqkv",  # MPT, DBRX
    "Wq", "Wk", "Wv",  # CTRL
    "query", "key", "value",  # BERT-like; RWKV
    "query_proj", "key_proj", "value_proj",  # ProphetNet, DeBERTa
    "q_lin", "k_lin", "v_lin",  # XLM, DistilBERT
    "q_attn",  # GPT-BigCode
    "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj",  # multi-head latent attention
    "in_proj_qkv", "in_proj_qkvz",  # linear attention of Qwen3-Next and Qwen3.5
    "q", "k", "v",  # xLSTM
    "v_proj_current", "v_proj_delayed",  # ZAYA
    "receptance",  # RWKV
})  # fmt: skip
# The same of layers with a state in the place of attention, known by their convolution.
_STATE_SPACE = frozenset({"in_proj", "x_proj", "out_proj", "linear_x", "linear_y", "linear_out"})
_CONVOLUTIONS = ("conv1d", "conv_1d")
# Their fused kernels read the weight itself and would pass over an update: peft refuses it.
_FUSED = frozenset({"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"})
# Parts that no text goes through, and what chooses the tokens that sparse attention sees.
_ASIDE = ("vision", "visual", "image", "audio", "encoder_attn", "cross_attn", "indexer")


def choose_targets(language_model: LanguageModel, asked: str | None) -> list[str] | str:
    """What peft is told to put LoRA into.

    Args:
        language_model: the model.
        asked: names with commas between, `all-linear`, or a pattern of whole paths; None takes what
            `find_lora_targets` finds.

    Raises:
        ModelError: nothing was asked for and nothing is known.
    """
    if asked is None:
        return find_lora_targets(language_model)
    if asked == "all-linear" or not re.fullmatch(r"[\w.]+(,\s*[\w.]+)*", asked):
        return asked
    return [name.strip() for name in asked.split(",")]


def find_lora_targets(language_model: LanguageModel) -> list[str]:
    """The names, within the base model, of the linear layers that LoRA goes into.

    Those are the projections to queries, keys and values; of layers that have a state instead of
    attention, as in Mamba, the projections into it and out of it, as their papers train them; of
    hybrids both.

    Args:
        language_model: the model.

    Raises:
        ModelError: there are none by a known name.
    """
    base: nn.Module = language_model.base
    linear = [
        name for name, module in base.named_modules() if isinstance(module, nn.Linear | Conv1D)
    ]
    of_text = [name for name in linear if not any(part in name for part in _ASIDE)]
    targets = [name for name in of_text if _names_attention(name)]
    with_attention = {name.rpartition(".")[0] for name in targets}
    fused = getattr(getattr(base, "config", None), "model_type", None) in _FUSED
    for name in of_text:
        parent, _, last = name.rpartition(".")
        has_state = any(hasattr(base.get_submodule(parent), kind) for kind in _CONVOLUTIONS)
        if not has_state or last not in _STATE_SPACE or parent in with_attention:
            continue
        if not (fused and last == "out_proj"):
            targets.append(name)
    if not targets:
        candidates = sorted({name.rpartition(".")[2] for name in linear})
        raise ModelError(
            f"{language_model.id} has no projections to queries, keys and values by a known name; "
            f"its linear layers are called {', '.join(candidates) or 'nothing: it has none'}. "
            "Choose with --target-modules, in peft's syntax: names, or all-linear."
        )
    return targets


def describe_targets(targets: Sequence[str], asked: str | None = None) -> str:
    """What LoRA goes into; and where that is not queries, keys and values, what it is instead.

    Args:
        targets: names of linear layers.
        asked: as for `choose_targets`.
    """
    names = sorted({name.rpartition(".")[2] for name in targets})
    said = f"LoRA goes into {', '.join(names)}: {len(targets)} linear layers"
    states = sorted({name.rpartition(".")[2] for name in targets if not _names_attention(name)})
    if asked is not None or not states:
        return said
    return (
        f"{said}; {', '.join(states)} are of layers that have a state in the place of queries, "
        "keys and values"
    )


def _names_attention(name: str) -> bool:
    parent, _, last = name.rpartition(".")
    # Some wrap the linear layer: `q_proj.linear`. That of DeBERTa is called as in state spaces.
    wrapped = last == "linear" and parent.rpartition(".")[2] in _ATTENTION
    return last in _ATTENTION or wrapped or name.endswith("attention.self.in_proj")
