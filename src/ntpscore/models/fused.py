"""Decoder blocks' elementwise operations in one pass over memory each, where they are plain ones.

A module is given a faster forward only where it was seen to compute the same on made-up input; and
that forward only serves passes over bfloat16 without gradients, on one thread of a processor with
AVX-512. Everything else goes the way of `transformers`.
"""

from types import MethodType
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
_PROJECTIONS = ("gate_proj", "up_proj", "down_proj")
# What modules raise that want other arguments, or rows of another shape.
_REFUSALS = (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError)


def fuse_blocks(model: nn.Module) -> list[str]:
    """Give a model's gated layers and norms a faster forward, where they are plain ones.

    Args:
        model: in evaluation mode.

    Returns:
        The names of the modules that have one now, and had none before.
    """
    if not HAS_KERNEL:
        return []
    fused = []
    for name, module in model.named_modules():
        # Whoever replaced a forward, as accelerate does, counts on its being called.
        if "forward" not in vars(module) and (_is_gated(module) or _is_norm(module)):
            forward = _gated_forward if _is_gated(module) else _norm_forward
            # A method, since copies and pickles of a module bind it to themselves.
            module.forward = MethodType(forward, module)
            if _agrees(module):
                fused.append(name)
            else:
                del module.forward
    return fused


def serves(*values: Tensor) -> bool:
    """Whether the kernel may be called for these: it reads memory, and nothing else."""
    return (
        HAS_KERNEL
        and not torch.is_grad_enabled()
        and all(
            x.dtype == torch.bfloat16 and x.device.type == "cpu" and type(x) in _PLAIN_TENSORS
            for x in values
        )
        and torch.get_num_threads() == 1
        and not torch.compiler.is_compiling()
    )


_PLAIN_TENSORS = (Tensor, nn.Parameter)


def causal_softmax_(scores: Tensor, scaling: float) -> Tensor:
    """Softmax of scaled scores over each token and those before it, in place.

    Args:
        scores: (…, t, t) contiguous bfloat16, t at most 256, that `serves`.
        scaling: of the scores, above zero.

    Returns:
        The same tensor, zero where a token would look ahead.
    """
    length = scores.shape[-1]
    kernel.causal_softmax(scores.data_ptr(), scaling, scores.numel() // length, length)
    return scores


def _is_gated(module: Any) -> bool:
    """Whether this looks like `down_proj(act_fn(gate_proj(x)) * up_proj(x))`."""
    return hasattr(module, "act_fn") and all(
        # An adapter, or quantized weights, may give views of what is still in use.
        type(getattr(module, name, None)) is nn.Linear
        for name in _PROJECTIONS
    )


def _is_norm(module: Any) -> bool:
    """Whether this looks like `weight * x / root mean square of x`."""
    weight = getattr(module, "weight", None)
    return (
        isinstance(weight, Tensor)
        and weight.ndim == 1
        and isinstance(getattr(module, "variance_epsilon", None), float)
    )


def _gated_forward(self: Any, *args: Any, **kwargs: Any) -> Any:
    # What was seen to agree may have been given adapters or hooks since.
    if (
        len(args) == 1 and not kwargs and serves(args[0]) and _is_gated(self)
        and not self.gate_proj._forward_hooks and not self.up_proj._forward_hooks  # noqa: SLF001
    ):  # fmt: skip
        gate, up = self.gate_proj(args[0]), self.up_proj(args[0])
        if serves(gate, up) and gate.is_contiguous() and up.is_contiguous():
            kernel.silu_mul(gate.data_ptr(), up.data_ptr(), gate.numel())
            return self.down_proj(gate)
    return type(self).forward(self, *args, **kwargs)


def _norm_forward(self: Any, *args: Any, **kwargs: Any) -> Any:
    weight = self.weight
    if len(args) == 1 and not kwargs and serves(args[0], weight) and weight.is_contiguous():
        x, width = args[0].contiguous(), len(weight)
        if x.ndim and x.shape[-1] == width:
            out = torch.empty_like(x)
            kernel.rms_norm(
                x.data_ptr(), weight.data_ptr(), self.variance_epsilon, x.numel() // width, width,
                out.data_ptr(),
            )  # fmt: skip
            return out
    return type(self).forward(self, *args, **kwargs)


# A pickled method is the name that its object has it by: what is read back goes the plain way.
_gated_forward.__name__ = _norm_forward.__name__ = "forward"


@torch.inference_mode()
def _agrees(module: Any) -> bool:
    """Whether a module of bfloat16 computes on made-up rows what its class does."""
    if any(p.dtype != torch.bfloat16 or p.device.type != "cpu" for p in module.parameters()):
        return False
    width = module.gate_proj.in_features if _is_gated(module) else len(module.weight)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_PROBE_ROWS, width, generator=generator)
    # Rows of very different size, as massive activations make them.
    x = (x * torch.tensor([[0.01], [1.0], [300.0]])).to(torch.bfloat16)
    threads = torch.get_num_threads()
    try:
        expected = type(module).forward(module, x)
        torch.set_num_threads(1)
        got = module.forward(x)
    except _REFUSALS:
        return False
    finally:
        torch.set_num_threads(threads)
    if _is_gated(module) and not _is_silu(module.act_fn):
        return False
    size = float(expected.float().abs().median())
    return torch.allclose(
        got.float(), expected.float(), rtol=_SAME_TOLERANCE, atol=_SAME_TOLERANCE * size
    )


def _is_silu(activation: Any) -> bool:
    """Whether an activation is SiLU: gates near zero would not tell it from GELU."""
    x = torch.linspace(-8.0, 8.0, 97)
    return torch.allclose(activation(x), nn.functional.silu(x), rtol=1e-4, atol=1e-4)
