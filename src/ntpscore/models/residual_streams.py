"""Architectures whose blocks hand on several residual streams: the one state that they make.

Hidden states then have four dimensions, or a multiple of the width. What the final norm reads is
one state of the usual width, and that is what a hidden state is here, at every layer.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def find_merge(base: Any) -> Callable[[Tensor], Tensor] | None:
    """How a model merges its residual streams in front of its final norm; None if it has one only.

    Source:
        Gemma 3n: Baykal et al., "Alternating updates for efficient transformers", 2023.
        DeepSeek V4, HunYuan V4, Qwen 4: Zhu et al., "Hyper-connections", 2024.
    """
    if hasattr(base, "altup_unembed_projections"):
        return lambda streams: _merge_alternating(base.altup_unembed_projections, streams)
    for name in ("hc_head", "hyper_connection_mixer"):
        if hasattr(base, name):
            head: Callable[[Tensor], Tensor] = torch.inference_mode()(getattr(base, name).forward)
            return head
    return None


@torch.inference_mode()
def _merge_alternating(projections: Any, streams: Tensor) -> Tensor:
    """The mean of (s, b, t, d) streams, all but the first projected and as large as the first."""
    first = streams[0]
    size = first.square().mean(-1, keepdim=True).sqrt()
    merged = [first]
    for projection, stream in zip(projections, streams[1:], strict=True):
        projected = projection(stream).to(first.device, first.dtype)
        own_size = projected.square().mean(-1, keepdim=True).clamp(min=1e-5).sqrt()
        merged.append(projected * size / own_size)
    return torch.stack(merged).mean(0)
