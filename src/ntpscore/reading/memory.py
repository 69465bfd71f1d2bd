"""What a pass takes of memory, planned before it begins."""

from dataclasses import dataclass

import psutil
import torch
from transformers import PreTrainedConfig

from ntpscore.core.moments import Moments
from ntpscore.core.scores import solve_bytes
from ntpscore.errors import ModelError

_MARGIN = 0.9
# Of a block, per token: vectors of the width and of the inner width that live at the same time.
_WIDE, _INNER = 8, 3
_INNER_NAMES = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
_FEWEST_TOKENS = 1024


def sums_device(device: torch.device) -> torch.device:
    """Where sums in float64 can be kept: the model's device, but the processor for `mps`."""
    # Apple's processors have no float64 on the graphics side.
    return torch.device("cpu") if device.type == "mps" else device


def check_memory(
    n_layers: int,
    width: int,
    n_outputs: int,
    n_shuffles: int,
    device: torch.device,
    *,
    copies: int = 1,
    folds: int = 0,
    published: bool = False,
    judging: int = 0,
) -> int:
    """The bytes that the sums of a run and what comes after the pass will take, if they fit.

    Args:
        n_layers: of the moments.
        width: d.
        n_outputs: c.
        n_shuffles: P.
        device: where the sums are kept.
        copies: how many threads add sums of their own.
        folds: further moments of one layer, without shuffles.
        published: whether the sums of the released code are wanted, too.
        judging: bytes that held-out accuracy takes on the processor, after a layer was solved.
    """
    solving = solve_bytes(width, n_outputs, n_shuffles)
    solving += folds * Moments.n_bytes(1, width, n_outputs, 0)
    if device.type == "cpu":
        solving = max(solving, judging)
    needed = copies * Moments.n_bytes(n_layers, width, n_outputs, n_shuffles, published) + solving
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = psutil.virtual_memory().available
    if needed > _MARGIN * free:
        per_layer = copies * Moments.n_bytes(1, width, n_outputs, n_shuffles, published)
        fitting = int((_MARGIN * free - solving) / per_layer)
        advice = (
            f"choose at most {fitting} layers with --layers"
            if fitting > 0
            else "not even one layer fits: use a machine with more"
        )
        raise ModelError(
            f"the moments of {n_layers} layers of width {width} with {n_outputs} label columns, "
            f"solving and judging them, need {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB "
            f"are free: {advice}{_advise_shuffles(per_layer, width, n_outputs, n_shuffles)}"
        )
    return needed


def _advise_shuffles(per_layer: int, width: int, n_outputs: int, n_shuffles: int) -> str:
    """Where the sums of shuffled labels are most of what a layer takes: to have fewer of them."""
    most = 2 * (per_layer - Moments.n_bytes(1, width, n_outputs, 0)) > per_layer
    return f", or fewer --shuffles than {n_shuffles}" if most else ""


@dataclass(frozen=True)
class MemoryPlan:
    """What a run takes of the graphics card that keeps its sums, in bytes.

    Attributes:
        weights: of the model, as far as they lie there.
        batch: hidden states of a batch, and what adding them takes.
        sums: of all layers.
        solving: of a layer, when batches are gone.
        batch_tokens: tokens per batch, padding included.
    """

    weights: int
    batch: int
    sums: int
    solving: int
    batch_tokens: int

    @property
    def peak(self) -> int:
        """The most that is taken at a time."""
        return self.weights + self.sums + max(self.batch, self.solving)

    def __str__(self) -> str:
        """In one line."""
        parts = {
            "weights": self.weights,
            f"batches of {self.batch_tokens} tokens": self.batch,
            "sums": self.sums,
            "solving": self.solving,
        }
        return ", ".join(f"{what} {n_bytes / 1e9:.1f} GB" for what, n_bytes in parts.items())


def plan_memory(
    config: PreTrainedConfig,
    weights: int,
    n_layers: int,
    n_outputs: int,
    n_shuffles: int,
    batch_tokens: int,
    *,
    total: int,
    n_bytes: int = 2,
    published: bool = False,
) -> MemoryPlan:
    """Plan a run on a graphics card: with smaller batches, if they make it fit.

    Args:
        config: of the model.
        weights: bytes of the weights on the card that keeps the sums.
        n_layers: of the moments.
        n_outputs: c.
        n_shuffles: P.
        batch_tokens: tokens per batch, if memory suffices.
        total: bytes that the run may take, the weights among them.
        n_bytes: of a number in the pass.
        published: as in `check_memory`.
    """
    text = config.get_text_config(decoder=True)
    d = text.hidden_size
    inner = next((getattr(text, name) for name in _INNER_NAMES if getattr(text, name, None)), 4 * d)
    # Prefix sums and tokens side by side, and a copy; label rows of texts of one token each; two
    # products of the width, in float64.
    per_token = n_bytes * (_WIDE * d + _INNER * inner) + (16 + n_bytes) * d
    per_token += 8 * (1 + n_shuffles) * n_outputs
    per_layer = Moments.n_bytes(1, d, n_outputs, n_shuffles, published)
    solving = solve_bytes(d, n_outputs, n_shuffles)

    def plan(tokens: int, layers: int) -> MemoryPlan:
        batch = per_token * tokens + 16 * d**2
        return MemoryPlan(weights, batch, layers * per_layer, solving, tokens)

    tokens = batch_tokens
    while plan(tokens, n_layers).peak > _MARGIN * total and tokens // 2 >= _FEWEST_TOKENS:
        tokens //= 2
    planned = plan(tokens, n_layers)
    if planned.peak <= _MARGIN * total:
        return planned
    fitting = int((_MARGIN * total - plan(tokens, 0).peak) // per_layer)
    advice = (
        f"choose at most {fitting} layers with --layers ({-(-n_layers // fitting)} runs for all)"
        if fitting > 0
        else "not even one layer fits: use a larger card, or --device cpu"
    )
    advice += _advise_shuffles(per_layer, d, n_outputs, n_shuffles)
    raise ModelError(f"{total / 1e9:.1f} GB of the card don't suffice for {planned}: {advice}")
