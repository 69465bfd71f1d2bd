"""Attention by two products against torch's."""

from collections.abc import Iterator

import pytest
import torch
import transformers
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ntpscore.models import LanguageModel
from ntpscore.models import short_attention as module
from ntpscore.models.short_attention import NAME, short_attention, use_short_attention
from tests.support.tiny_models import CONFIGS

CPU = torch.device("cpu")


class Layer(nn.Module):
    is_causal = True
    num_key_value_groups = 1


def draw(t: int, heads: int = 6, groups: int = 2, e: int = 8) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(t)
    # As projections leave them: tokens before heads.
    return [
        torch.randn(3, t, n, e, generator=generator).transpose(1, 2)
        for n in (heads, groups, groups)
    ]


@pytest.mark.parametrize("t", [1, 2, 7, 40, 256, 257])
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("scaling", [None, 0.1])
def test_short_attention_equals_a_loop_over_tokens(
    t: int, groups: int, scaling: float | None
) -> None:
    layer = Layer()
    layer.num_key_value_groups = 6 // groups
    query, key, value = draw(t, groups=groups)
    with torch.inference_mode():
        got, weights = short_attention(layer, query, key, value, None, scaling=scaling)
    assert weights is None
    assert got.shape == (3, t, 6, 8)
    for i in {0, t // 2, t - 1}:
        for head in range(6):
            group = head // (6 // groups)
            scores = key[:, group, : i + 1].double() @ query[:, head, i, :, None].double()
            shares = (scores * (scaling or 8**-0.5)).softmax(1)
            expected = (shares * value[:, group, : i + 1].double()).sum(1)
            # float32, of numbers about 1
            torch.testing.assert_close(got[:, i, head].double(), expected, rtol=1e-5, atol=1e-5)


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def literal_softmax(scores: torch.Tensor, scaling: float) -> torch.Tensor:
    """Row after row, in float64."""
    length = scores.shape[-1]
    rows = scores.double().reshape(-1, length) * scaling
    shares = torch.zeros_like(rows)
    for i, row in enumerate(rows):
        seen = row[: i % length + 1]
        weights = (seen - seen.max()).exp()
        shares[i, : len(seen)] = weights / weights.sum()
    return shares.view(scores.shape)


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 31, 32, 33, 100, 255, 256])
@pytest.mark.parametrize("size", [1e-3, 1.0, 40.0, 1e4])
def test_softmax_equals_a_loop_over_rows(length: int, size: float) -> None:
    generator = torch.Generator().manual_seed(length)
    scores = (size * torch.randn(2, 3 * length, length, generator=generator)).bfloat16()
    # Torch's way rounds the scaled scores too: a power of two makes that exact.
    expected = literal_softmax(scores, 0.125)
    got = module._causal_softmax(scores.clone(), 0.125, length)
    assert got.dtype == torch.bfloat16
    # Half a unit in the last place of a bfloat16, and float32's rounding of scores up to 1e4.
    torch.testing.assert_close(got.double(), expected, rtol=2**-8, atol=1e-5)
    ahead = torch.ones(length, length, dtype=torch.bool).triu(1).repeat(3, 1)
    assert not got[:, ahead].any()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.usefixtures("one_thread")
def test_softmax_passes_on_what_is_not_finite(value: float) -> None:
    scores = torch.zeros(1, 20, 20, dtype=torch.bfloat16)
    scores[0, 5, 3] = value
    scores[0, 2, 7] = value  # ahead: not seen
    shares = module._causal_softmax(scores, 1.0, 20)
    assert shares[0, 5, :6].isnan().any()
    assert shares[0, [0, 1, 2, 3, 4, *range(6, 20)]].isfinite().all()


@pytest.mark.usefixtures("one_thread")
def test_bfloat16_models_give_the_hidden_states_of_float32_as_torchs_attention_does() -> None:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS["llama"]()).eval()
    input_ids = torch.randint(5, 95, (4, 30), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        exact = model.base_model(input_ids, use_cache=False).last_hidden_state
        model.bfloat16()
        plain = model.base_model(input_ids, use_cache=False).last_hidden_state.float()
        use_short_attention(model, CPU)
        ours = model.base_model(input_ids, use_cache=False).last_hidden_state.float()
    assert (ours - exact).norm() <= 1.2 * (plain - exact).norm()


@pytest.mark.parametrize(
    "options",
    [
        {"attention_mask": torch.ones(1, 1, 5, 5, dtype=torch.bool)},
        {"attention_mask": None, "is_causal": False},
        {"attention_mask": None, "position_bias": torch.ones(1, 6, 5, 5)},
    ],
)
def test_what_is_not_plain_is_left_to_transformers(options: dict) -> None:
    layer = Layer()
    layer.num_key_value_groups = 3
    with torch.inference_mode():
        got, _ = short_attention(layer, *draw(5), **options)
        expected, _ = sdpa_attention_forward(layer, *draw(5), **options)
    assert torch.equal(got, expected)


def test_training_is_left_to_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(module, "sdpa_attention_forward", lambda *_, **__: calls.append(1))
    layer = Layer()
    short_attention(layer, *draw(5), None)
    with torch.inference_mode():
        short_attention(layer, *draw(5), None, dropout=0.1)
        assert len(calls) == 2
        short_attention(layer, *draw(5), None)
    assert len(calls) == 2


@pytest.mark.parametrize("name", CONFIGS)
def test_models_give_the_same_hidden_states(name: str) -> None:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[name]()).eval()
    input_ids = torch.randint(5, 95, (4, 9), generator=torch.Generator().manual_seed(1))
    states = []
    for use in (False, True):
        if use:
            use_short_attention(model, CPU)
        with torch.inference_mode():
            states.append(model.base_model(input_ids, use_cache=False).last_hidden_state)
    torch.testing.assert_close(states[1], states[0], rtol=1e-4, atol=1e-5)


def test_it_is_for_processors_and_for_models_that_take_torchs_attention() -> None:
    for implementation, device, expected in (
        ("sdpa", "cpu", NAME),
        ("sdpa", "cuda", "sdpa"),
        ("eager", "cpu", "eager"),
    ):
        model = transformers.AutoModelForCausalLM.from_config(
            CONFIGS["llama"](), attn_implementation=implementation
        )
        use_short_attention(model, torch.device(device))
        assert model.config._attn_implementation == expected


def test_a_loaded_model_takes_it(tiny_model: LanguageModel) -> None:
    assert tiny_model.model.config._attn_implementation == NAME
