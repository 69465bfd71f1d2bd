"""What a pass takes of memory, planned before it begins."""

import psutil
import torch

from ntpscore.core.moments import Moments
from ntpscore.core.scores import solve_bytes
from ntpscore.errors import ModelError

_MARGIN = 0.9


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
) -> int:
    """The bytes that the sums of a run and the solving of a layer will take, if they fit.

    Args:
        n_layers: of the moments.
        width: d.
        n_outputs: c.
        n_shuffles: P.
        device: where the sums are kept.
        copies: how many threads add sums of their own.
        folds: further moments of one layer, without shuffles.

    Raises:
        ModelError: they don't fit into what is free on the device.
    """
    solving = solve_bytes(width) + folds * Moments.n_bytes(1, width, n_outputs, 0)
    needed = copies * Moments.n_bytes(n_layers, width, n_outputs, n_shuffles) + solving
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = psutil.virtual_memory().available
    if needed > _MARGIN * free:
        per_layer = copies * Moments.n_bytes(1, width, n_outputs, n_shuffles)
        fitting = int((_MARGIN * free - solving) / per_layer)
        advice = (
            f"choose at most {fitting} layers with --layers"
            if fitting > 0
            else "not even one layer fits: use a machine with more"
        )
        raise ModelError(
            f"the moments of {n_layers} layers of width {width}, and solving them, need "
            f"{needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free: {advice}"
        )
    return needed
