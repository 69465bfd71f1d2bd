"""Products by pairs of float32 against float64: the code for devices without it, on a processor."""

import math

import pytest
import torch
from torch import Tensor

from ntpscore.core import float32_pairs as module
from ntpscore.core import prefix_products
from ntpscore.core.float32_pairs import lacks_float64, pair_products, pair_totals
from ntpscore.core.moments import Moments
from ntpscore.errors import MomentsError
from tests.support.rotated import largest_change, rotated_states, scores_of

# A column's largest entry is rounded in its 30th bit; low parts are 2^-8 of it, and float32 rounds
# their products in the 24th: 2^-32, times the square root of the rows that are summed.
RELATIVE = 1e-8


@pytest.fixture
def without_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor in the part of a device that has none."""
    monkeypatch.setattr(prefix_products, "lacks_float64", lambda _: True)


def literal(states: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Both products, text by text, in float64."""
    d = states.shape[2]
    C0, C1 = torch.zeros(2, d, d, dtype=torch.float64)
    for text, length in zip(states.double(), lengths.tolist(), strict=True):
        prefix = torch.zeros(d, dtype=torch.float64)
        for i in range(length - 1):
            prefix = prefix + text[i]
            C0 += torch.outer(prefix, prefix)
            C1 += torch.outer(prefix, text[i + 1])
    return C0, C1


def assert_close(states: Tensor, lengths: Tensor, blocks: list[tuple[int, int]]) -> None:
    """Each entry, relative to the lengths of its two columns."""
    expected = literal(states, lengths)
    d = states.shape[2]
    tokens = states[:, 1:].double().square().sum((0, 1)).sqrt()
    scales = expected[0].diagonal().sqrt(), tokens
    for start, product in pair_products(states, lengths, blocks):
        stop = start + len(product)
        for found, judge, scale in (
            (product[:, : d - start], expected[0][start:stop, start:], scales[0][start:]),
            (product[:, d - start :], expected[1][start:stop], scales[1]),
        ):
            error = (found - judge).abs() / (scales[0][start:stop, None] * scale)
            assert float(error.nan_to_num(0.0).max()) <= RELATIVE


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("texts", [3, 90])  # 87 and 2,610 rows, of which 1,024 are summed at a time
def test_products_are_those_of_float64(dtype: torch.dtype, texts: int) -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = torch.logspace(-12, 12, 20)
    states = (torch.randn(texts, 30, 20, generator=generator) * sizes).to(dtype)
    states[:, :, 7] = 0.0
    lengths = torch.randint(2, 31, (texts,), generator=generator)
    assert_close(states, lengths, [(0, 16), (16, 20)])


@pytest.mark.parametrize("value", [1.0, -3.0, 1e-30, 3e34])
def test_sums_that_grow_in_one_direction_lose_nothing(value: float) -> None:
    states = torch.full((20, 129, 3), value)
    assert_close(states, torch.full((20,), 129), [(0, 3)])


def test_totals_are_those_of_float64() -> None:
    states = torch.randn(4, 9, 6, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([9, 1, 4, 2])
    states[1, 1:] = math.nan  # padding
    totals, power = pair_totals(states, lengths)
    tokens = [text[:n].double() for text, n in zip(states, lengths.tolist(), strict=True)]
    expected = torch.stack([one.sum(0) for one in tokens])
    torch.testing.assert_close(totals, expected, rtol=0, atol=1e-8 * float(expected.abs().max()))
    assert float(power) == pytest.approx(sum(float(one[1:].square().sum()) for one in tokens))


@pytest.mark.parametrize(
    ("dtype", "size", "allowed"),
    [
        (torch.bfloat16, 1.0, 1e-8), (torch.bfloat16, 1e3, 1e-4),
        (torch.float32, 1.0, 1e-7), (torch.float32, 1e3, 1e-3),
    ],
)  # fmt: skip
@pytest.mark.parametrize("d", [24, 64])
@pytest.mark.usefixtures("without_float64")
def test_scores_move_by_no_more_than_is_said(
    dtype: torch.dtype, size: float, allowed: float, d: int
) -> None:
    """Three rotated directions as large as `size`; float32 moves scores by up to 3e-2 then."""
    states, labels = rotated_states(d, size, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_products, "lacks_float64", lambda _: False)
        judge = scores_of(states, labels, "float64")
        plain = largest_change(judge, scores_of(states, labels, "float32"))
    moved = largest_change(judge, scores_of(states, labels, "float32-pairs"))
    assert moved <= allowed
    assert moved < plain / 10


@pytest.mark.usefixtures("without_float64")
def test_a_state_that_is_not_finite_is_found() -> None:
    for value in (math.nan, math.inf, -math.inf):
        moments = Moments(1, 4, 2, precision="float32-pairs")
        states = torch.randn(3, 5, 4)
        states[1, 2, 3] = value
        batch = moments.batch(torch.ones(3, 5), torch.tensor([0, 1, 1]))
        with pytest.raises(MomentsError, match="text 1"):
            moments.add_layer(0, states, batch)
        assert not moments.sum_C0.any()


def test_only_apples_graphics_processors_lack_it() -> None:
    kinds = {kind: lacks_float64(torch.device(kind)) for kind in ("cpu", "cuda", "mps")}
    assert kinds == {"cpu": False, "cuda": False, "mps": True}
    assert module._ROWS * 2 ** (2 * (module._BITS - module._LOW_BITS)) == 2**24
