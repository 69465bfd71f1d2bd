"""Products of prefix sums on devices without float64, such as Apple's graphics processors.

Tokens are rounded so that prefix sums are exact as integers of 32 bits. Each factor then is a pair:
a high part of 8 bits, and a low one, the rest, both in float32. Products of high parts are exact
there over as many rows as are summed at a time; of those with a low part float32 rounds as always,
but they are 256 times smaller. Blocks of rows are added in float64, on the processor.

Sums are where `lengths` are, which need not be where the hidden states are. Untested on a real
Apple device: the tests run the same code on a processor.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

# |prefix sum| < 2^30 in units of its column; the last bits of it that are the low part.
_BITS, _LOW_BITS = 30, 23
# High parts are at most 2^7: so many products of two of them stay within the 24 bits of float32.
_ROWS = 1024
# The largest prefix sum is known from float32, which may round it down.
_SLACK = 1.01


@dataclass(frozen=True)
class _Integers:
    """A matrix in units of its columns.

    Attributes:
        values: (…, d).
        units: (d,) powers of two, in float64 on the processor.
    """

    values: Int[Tensor, "*n d"]
    units: Float[Tensor, " d"]

    def pair(self, rows: slice) -> tuple[Tensor, Tensor]:
        """High and low part of some rows, in float32."""
        values = self.values.flatten(0, -2)[rows]
        high = (values + (1 << (_LOW_BITS - 1))) >> _LOW_BITS
        return high.float(), (values - (high << _LOW_BITS)).float()


def lacks_float64(device: torch.device) -> bool:
    """Whether this is of Apple's graphics processors, which have no float64."""
    return device.type == "mps"


def pair_totals(
    hidden_states: Float[Tensor, "b t d"], lengths: Int[Tensor, " b"]
) -> tuple[Float[Tensor, "b d"], Float[Tensor, ""]]:
    """As `prefix_totals`, rounded as `pair_products` rounds; NaN for what is not finite."""
    tokens = _tokens(hidden_states, lengths)
    finite = torch.isfinite(tokens).all(2).all(1)
    sums = _prefix_sums(tokens)
    totals = sums.values[:, -1].to(lengths.device, torch.float64) * sums.units.to(lengths.device)
    power = tokens[:, 1:].square().sum(2).to(lengths.device, torch.float64).sum()
    return totals.masked_fill(~finite.to(lengths.device)[:, None], torch.nan), power


def pair_products(
    hidden_states: Float[Tensor, "b t d"],
    lengths: Int[Tensor, " b"],
    blocks: Sequence[tuple[int, int]],
) -> list[tuple[int, Float[Tensor, "rows columns"]]]:
    """Blocks of `S Sᵀ` from their first row and column on, beside them all columns of `S Xᵀ`.

    Args:
        hidden_states: as `prepare_prefix_products`.
        lengths: as there.
        blocks: first row of each, and the first row after it.
    """
    tokens = _tokens(hidden_states, lengths)
    sums, following = _prefix_sums(tokens), _in_units(tokens[:, 1:])
    has_next = torch.arange(1, tokens.shape[1], device=lengths.device) < lengths[:, None]
    prefixes = sums.values[:, :-1].masked_fill(~has_next.to(tokens.device)[:, :, None], 0)
    sums = _Integers(prefixes, sums.units)
    n = prefixes.shape[0] * prefixes.shape[1]
    width = tokens.shape[2]
    products = [
        torch.zeros(stop - start, 2 * width - start, dtype=torch.float64, device=lengths.device)
        for start, stop in blocks
    ]
    for first in range(0, n, _ROWS):
        (S, s), (X, x) = (one.pair(slice(first, first + _ROWS)) for one in (sums, following))
        for i, (start, stop) in enumerate(blocks):
            high, low = torch.cat([S[:, start:], X], 1), torch.cat([s[:, start:], x], 1)
            whole = high + low * 2.0**-_LOW_BITS
            rest = S[:, start:stop].T @ low + s[:, start:stop].T @ whole
            exact = (S[:, start:stop].T @ high).to(lengths.device, torch.float64)
            products[i] += exact * 2.0**_LOW_BITS + rest.to(lengths.device, torch.float64)
    of_rows = (sums.units * 2.0**_LOW_BITS).to(lengths.device)
    of_columns = torch.cat([sums.units, following.units]).to(lengths.device)
    return [
        (start, product * of_rows[start:stop, None] * of_columns[start:])
        for (start, stop), product in zip(blocks, products, strict=True)
    ]


def _tokens(
    hidden_states: Float[Tensor, "b t d"], lengths: Int[Tensor, " b"]
) -> Float[Tensor, "b t d"]:
    """In float32, with zeros for padding."""
    padding = torch.arange(hidden_states.shape[1], device=lengths.device) >= lengths[:, None]
    return hidden_states.float().masked_fill(padding.to(hidden_states.device)[:, :, None], 0.0)


def _prefix_sums(tokens: Float[Tensor, "b t d"]) -> _Integers:
    """Exact, of rounded tokens."""
    rounded = _in_units(tokens, tokens.cumsum(1))
    return _Integers(rounded.values.cumsum(1, dtype=torch.int32), rounded.units)


def _in_units(values: Float[Tensor, "b t d"], of: Tensor | None = None) -> _Integers:
    """Rounded to 30 bits of the largest entry of each column, of these values or of others."""
    of = values if of is None else of
    largest = of.abs().flatten(0, 1).amax(0) if of.numel() else of.new_zeros(of.shape[2])
    # On the processor: powers of two in float32 are not exact everywhere.
    wide = largest.cpu().double().nan_to_num(0.0, 0.0, 0.0) * _SLACK
    smallest = torch.finfo(torch.float32).tiny
    units = torch.exp2((wide.clamp(min=smallest).log2().ceil() - _BITS).clamp(min=-126))
    units = torch.where(wide > 0, units, 1.0)
    in_units = (values / units.to(values.device, torch.float32)).round()
    return _Integers(in_units.nan_to_num(0.0, 0.0, 0.0).to(torch.int32), units)
