"""Models whose hidden states are not contiguous, or that keep something between calls."""

from collections.abc import Callable, Iterator

import pytest
import torch
import transformers
from torch import nn

from ntpscore.clock import Clock
from ntpscore.core import prefix_products
from ntpscore.core.moments import Moments
from ntpscore.errors import ModelError
from ntpscore.models import LanguageModel, check_stream, stream_hidden_states
from ntpscore.reading.consumers import AddMoments, InOrder
from ntpscore.reading.features import KeepFeatures, Place
from ntpscore.reading.pooling import POOLINGS
from ntpscore.reading.reader import BatchReader, passes_at_once
from ntpscore.reading.tokens import TokenizedText, plan_shares

SMALL = {
    "vocab_size": 100, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
}  # fmt: skip
CONFIGS: dict[str, Callable[[], transformers.PreTrainedConfig]] = {
    "afmoe": lambda: transformers.AfmoeConfig(
        **SMALL, moe_intermediate_size=16, num_experts=4, num_experts_per_tok=2, num_dense_layers=1
    ),
    "doge": lambda: transformers.DogeConfig(**{**SMALL, "num_key_value_heads": 2}),
    "jetmoe": lambda: transformers.JetMoeConfig(
        vocab_size=100, hidden_size=16, num_hidden_layers=3, num_key_value_heads=1,
        kv_channels=8, intermediate_size=32, num_local_experts=4, num_experts_per_tok=2,
    ),
    "recurrent_gemma": lambda: transformers.RecurrentGemmaConfig(
        **SMALL, lru_width=16, attention_window_size=8
    ),
}  # fmt: skip
IDS = [[5 + (7 * text + i) % 90 for i in range(2 + text % 6)] for text in range(23)]
LABELS = torch.arange(23) % 3
LAYERS = (0, 1, 2, 3)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def wrap(model: nn.Module) -> LanguageModel:
    return LanguageModel(
        model=model.eval(), tokenizer=None, id="made-up", revision="1", content_hash=None,
        width=16, n_layers=3, dtype=torch.float32, device=torch.device("cpu"), max_length=None,
    )  # fmt: skip


def make(name: str) -> LanguageModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        language_model = wrap(transformers.AutoModelForCausalLM.from_config(CONFIGS[name]()))
    check_stream(language_model)
    return language_model


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_moments_and_features_are_those_of_single_texts(
    name: str, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of several sizes, the last one smaller, in two shares where the model allows it."""
    monkeypatch.setattr(prefix_products, "HAS_KERNEL", kernel and prefix_products.HAS_KERNEL)
    language_model = make(name)
    alone = Moments(LAYERS, 16, 3)
    states = []
    for ids, label in zip(IDS, LABELS, strict=True):
        with torch.inference_mode():
            output = language_model.base(
                torch.tensor([ids]), use_cache=False, output_hidden_states=True
            )
        hidden_states = [state.contiguous() for state in output.hidden_states]
        states.append([state[0] for state in hidden_states])
        alone.update(hidden_states, torch.ones(1, len(ids)), label[None])
    n_shares = passes_at_once(language_model)
    assert n_shares == (1 if name == "recurrent_gemma" else 2)
    places = [Place(layer, pooling) for layer in LAYERS for pooling in POOLINGS]
    keep = KeepFeatures(None, language_model, TokenizedText(IDS, 0), places, range(len(IDS)))
    keep.start()
    sums = [Moments(LAYERS, 16, 3) for _ in range(n_shares)]
    nothing = torch.zeros(0, len(IDS), dtype=torch.long)
    consumers = [InOrder(keep, AddMoments([one], LABELS, nothing)) for one in sums]
    texts = [f"text {i}" for i in range(len(IDS))]
    reader = BatchReader(
        language_model, texts, IDS, Clock(("forward", "moments", "total")), "moments"
    )
    reader.read(plan_shares(list(map(len, IDS)), 20, n_shares), LAYERS, consumers)
    together = sum(sums[1:], start=sums[0])
    assert (together.n_texts, together.n_tokens) == (alone.n_texts, alone.n_tokens)
    for which in ("sum_N", "sum_C0", "sum_C1", "sum_M", "sum_mean"):
        one, other = getattr(together, which), getattr(alone, which)
        if which in ("sum_N", "sum_C0"):
            one, other = one.triu(), other.triu()
        # float32 passes of other batches, relative to the largest entry.
        assert float((one - other).abs().max()) <= 1e-5 * float(other.abs().max()), which
    features = keep.finish()
    for i, layers in enumerate(states):
        for layer, state in enumerate(layers):
            close = {"rtol": 1e-4, "atol": 1e-5 * float(state.abs().max())}
            torch.testing.assert_close(features.get(layer)[i], state.mean(0), **close)
            torch.testing.assert_close(features.get(layer, "last")[i], state[-1], **close)


def test_state_is_put_back_before_each_pass() -> None:
    language_model = make("recurrent_gemma")
    assert {state.name for state in language_model.kept_state} == {"recurrent_states"}
    stream_hidden_states(language_model, torch.tensor([IDS[0]]), None, lambda *_: None, LAYERS)
    state = language_model.kept_state[0]
    assert state.module.recurrent_states is not None
    state.reset()
    assert state.module.recurrent_states is None


class Counting(nn.Module):
    """Adds to its input how often it was called."""

    def __init__(self, *, at_random: bool) -> None:
        super().__init__()
        self.at_random = at_random
        self.calls: torch.Tensor | None = None

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if self.at_random:
            return hidden_states + torch.rand(())
        self.calls = torch.zeros(()) if self.calls is None else self.calls + 1
        return hidden_states + self.calls


@pytest.mark.parametrize("at_random", [False, True])
def test_a_model_that_says_something_else_the_second_time_is_refused(at_random: bool) -> None:
    """State that is found is put back; what is drawn at random can't be."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.LlamaConfig(**SMALL)
        language_model = wrap(transformers.AutoModelForCausalLM.from_config(config))
        norm = language_model.model.model.layers[0].input_layernorm
        language_model.model.model.layers[0].input_layernorm = nn.Sequential(
            norm, Counting(at_random=at_random)
        )
        if at_random:
            with pytest.raises(ModelError, match=r"other hidden states .* the second time"):
                check_stream(language_model)
        else:
            assert check_stream(language_model)
            assert [state.name for state in language_model.kept_state] == ["calls"]
            assert passes_at_once(language_model) == 1
