"""In which precision the products of prefix sums are made, where nobody says."""

import time

import torch

from ntpscore.core.prefix_products import DTYPE, PRECISIONS, Precision, prepare_prefix_products

# Of the probe: enough to fill the card, few enough to be over in a moment.
_TEXTS, _TOKENS, _REPEATS = 64, 128, 3
# Of the time of `float64`: what saves less is not worth another result from one run to the next.
_WORTH = 0.8


def choose_precision(asked: str, device: torch.device | str, width: int) -> Precision:
    """What was asked for; for `auto`, `float64`, or `exact-int8` where a card is faster with that.

    Both are timed on made-up hidden states. On processors nothing is timed: there 8-bit products
    were never faster (docs/log.md).

    Args:
        asked: one of `PRECISIONS`, or `auto`.
        device: where the sums live.
        width: d, the width of the hidden states.
    """
    for precision in PRECISIONS:
        if precision == asked:
            return precision
    device = torch.device(device)
    if device.type != "cuda":
        return "float64"
    float64, exact = (_seconds(precision, device, width) for precision in ("float64", "exact-int8"))
    return "exact-int8" if exact < _WORTH * float64 else "float64"


def _seconds(precision: Precision, device: torch.device, width: int) -> float:
    """Of adding a batch; the first time, which also loads libraries, does not count."""
    generator = torch.Generator(device).manual_seed(0)
    shape = (_TEXTS, _TOKENS, width)
    states = torch.randn(shape, generator=generator, device=device, dtype=torch.bfloat16)
    lengths = torch.full((_TEXTS,), _TOKENS, device=device)
    C0, C1 = torch.zeros(2, width, width, dtype=DTYPE, device=device)
    taken = []
    for _ in range(1 + _REPEATS):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        prepare_prefix_products(states, lengths, C0, C1, precision)()
        torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])
