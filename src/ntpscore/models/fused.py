"""Decoder blocks' elementwise operations in one pass over memory each, where they are plain ones.

A module is given a faster forward only where it was seen to compute the same on made-up input; and
that forward only serves passes over bfloat16 without gradients, on one thread of a processor with
AVX-512. Everything else goes the way of `transformers`.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

try:
    from ntpscore.models import _fused as kernel
except ImportError:  # no compiler where the package was installed
    HAS_KERNEL = False
else:
    HAS_KERNEL = kernel.is_supported()

# A change in the last bit of a bfloat16, on either side of a rounding.
_SAME_TOLERANCE = 2.0**-7
_PROBE_ROWS = 3


def fuse_blocks(model: nn.Module) -> list[str]:
    """Give a model's gated layers and norms a faster forward, where they are plain ones.

    Args:
        model: in evaluation mode.

    Returns:
        The names of the modules that have one now.
    """
    if not HAS_KERNEL:
        return []
    fused = []
    for name, module in model.named_modules():
        forward = _forward_of(module)
        if forward is not None and _agrees(module, forward):
            module.forward = _where_served(module.forward, forward)
            fused.append(name)
    return fused


def serves(*values: Tensor) -> bool:
    """Whether the kernel may be called for these."""
    return (
        HAS_KERNEL
        and all(x.dtype == torch.bfloat16 and x.device.type == "cpu" for x in values)
        and not torch.is_grad_enabled()
        and torch.get_num_threads() == 1
    )


def causal_softmax_(scores: Tensor, scaling: float) -> Tensor:
    """Softmax of scaled scores over each token and those before it, in place.

    Args:
        scores: (…, t, t) contiguous bfloat16, t at most 256, that `serves`.
        scaling: of the scores.

    Returns:
        The same tensor, zero where a token would look ahead.
    """
    length = scores.shape[-1]
    kernel.causal_softmax(scores.data_ptr(), scaling, scores.numel() // length, length)
    return scores


def _forward_of(module: Any) -> Callable[[Tensor], Tensor] | None:
    """A faster forward for modules that look like ones it is for."""
    if all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj", "act_fn")):
        return _gated(module)
    weight = getattr(module, "weight", None)
    eps = getattr(module, "variance_epsilon", None)
    if isinstance(weight, Tensor) and weight.ndim == 1 and isinstance(eps, float):
        return _normed(module, eps)
    return None


def _gated(module: Any) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        gate, up = module.gate_proj(x), module.up_proj(x)
        kernel.silu_mul(gate.data_ptr(), up.data_ptr(), gate.numel())
        down: Tensor = module.down_proj(gate)
        return down

    return forward


def _normed(module: Any, eps: float) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        x, weight = x.contiguous(), module.weight
        out, width = torch.empty_like(x), weight.shape[0]
        kernel.rms_norm(
            x.data_ptr(), weight.data_ptr(), eps, x.numel() // width, width, out.data_ptr()
        )
        return out

    return forward


def _where_served(
    plain: Callable[[Tensor], Tensor], fused: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    @wraps(plain)
    def forward(x: Tensor) -> Tensor:
        return fused(x) if serves(x) else plain(x)

    return forward


@torch.inference_mode()
def _agrees(module: Any, forward: Callable[[Tensor], Tensor]) -> bool:
    """Whether a module of bfloat16 parameters computes on made-up rows what `forward` does."""
    parameters = list(module.parameters())
    if any(p.dtype != torch.bfloat16 or p.device.type != "cpu" for p in parameters):
        return False
    width = module.weight.shape[0] if hasattr(module, "weight") else module.gate_proj.in_features
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_PROBE_ROWS, width, generator=generator)
    # Rows of very different size, as massive activations make them.
    x = (x * torch.tensor([[0.01], [1.0], [300.0]])).to(torch.bfloat16)
    expected, got = module(x), forward(x.clone())
    size = float(expected.float().abs().median())
    return torch.allclose(
        got.float(), expected.float(), rtol=_SAME_TOLERANCE, atol=_SAME_TOLERANCE * size
    )
