"""Causal attention of short texts as two batched matrix products, on a processor.

torch's fused attention works through its keys in blocks, which pays on long texts only: on texts of
up to a few hundred tokens a processor spends up to twice the time on it.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "ntpscore_short_attention"
# All scores of a batch are held at once, so that memory grows with the square of the length.
_LONGEST = 256


def use_short_attention(model: PreTrainedModel, device: torch.device) -> None:
    """Let a model take `short_attention` where it would take torch's, if it is on a processor."""
    if device.type == "cpu" and model.config._attn_implementation == "sdpa":  # noqa: SLF001
        model.set_attn_implementation(NAME)


def short_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """What `transformers` calls in place of its own attention; that serves what is not short.

    Args:
        module: the attention layer.
        query: (b, heads, t, e).
        key: (b, groups, t, e), each group serving heads / groups heads.
        value: (b, groups, t, e).
        attention_mask: None where every token sees all before it.
        dropout: as the module asks.
        scaling: of the products; None means 1/√e.
        is_causal: None means as the module says.
        **options: what other kinds of attention take.

    Returns:
        (b, t, heads, e), and None for the weights.
    """
    b, heads, t, e = query.shape
    groups = key.shape[1]
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    special = any(options.get(name) is not None for name in ("softcap", "position_bias", "s_aux"))
    if (
        attention_mask is not None or not causal or special or dropout or t > _LONGEST
        or key.shape[2] != t or value.shape[3] != e or torch.is_grad_enabled()
        or query.device.type != "cpu"  # of a model that was moved, or is spread over devices
    ):  # fmt: skip
        output: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask,
            dropout=dropout, scaling=scaling, is_causal=is_causal, **options,
        )  # fmt: skip
        return output
    scaling = e**-0.5 if scaling is None else scaling
    queries = query.reshape(b * groups, -1, e)
    keys = key.reshape(b * groups, t, e).transpose(1, 2)
    shares = _causal_softmax(queries @ keys, scaling, t)
    mixed = shares @ value.reshape(b * groups, t, e)
    return mixed.view(b, heads, t, e).transpose(1, 2), None


def _causal_softmax(scores: Tensor, scaling: float, length: int) -> Tensor:
    """Softmax of scaled scores over each token and those before it; overwrites the scores.

    Args:
        scores: (…, rows, length); rows go through the tokens again and again.
        scaling: of the scores.
        length: of the texts.
    """
    ahead = torch.ones(length, length, dtype=torch.bool).triu(1)
    ahead = ahead.repeat(scores.shape[-2] // length, 1)
    return scores.mul_(scaling).masked_fill_(ahead, float("-inf")).softmax(-1)


AttentionInterface.register(NAME, short_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
