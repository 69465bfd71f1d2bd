"""The kernels of decoder blocks against literal twins, and what models they are given to."""

import copy
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from ntpscore.models import fused as module
from ntpscore.models import load_model
from ntpscore.models.fused import causal_softmax_, fuse_blocks, serves
from ntpscore.models.short_attention import use_short_attention

BFLOAT16 = torch.bfloat16
# Half of a last bit by rounding the result, and a whole one where what it is made of was rounded to
# the neighbour.
ROUNDINGS = 2.0**-8 + 2.0**-7
# Below the smallest normal float32 digits are lost.
TINY = 1e-37
# Around the kernel's 16 lanes, and real widths.
LENGTHS = (1, 8, 15, 16, 17, 24, 31, 33, 255, 256, 576)

needs_kernel = pytest.mark.skipif(
    not module.HAS_KERNEL, reason="no AVX-512, or no compiler when the package was installed"
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The fused forward is for passes that have one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw(*shape: int, size: float = 1.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator) * size).to(BFLOAT16)


def assert_rounded(got: Tensor, expected: Tensor, smallest: float = TINY) -> None:
    """Equal but for rounding to bfloat16."""
    torch.testing.assert_close(
        got.double(), expected.double(), rtol=ROUNDINGS, atol=smallest, equal_nan=True
    )


# -- the kernels ----------------------------------------------------------------------------------


def guarded(values: Tensor) -> tuple[Tensor, Tensor]:
    """A contiguous copy with 64 numbers on either side of it, and all of that."""
    n = values.numel()
    around = torch.full((n + 128,), 77.0, dtype=BFLOAT16)
    around[64 : 64 + n] = values.flatten()
    return around[64 : 64 + n].view(values.shape), around


def assert_guards_stand(around: Tensor) -> None:
    assert (around[:64] == 77).all()
    assert (around[-64:] == 77).all()


def silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    got, around = guarded(gate)
    module.kernel.silu_mul(got.data_ptr(), up.data_ptr(), up.numel())
    assert_guards_stand(around)
    return got


def literal_silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    x = gate.double()
    return (x / (1 + (-x).exp())).to(BFLOAT16).double() * up.double()


@needs_kernel
@pytest.mark.parametrize("n", LENGTHS)
def test_silu_mul_equals_its_literal_twin(n: int) -> None:
    gate, up = draw(n, size=5.0), draw(n, seed=1)
    assert_rounded(silu_mul(gate, up), literal_silu_mul(gate, up))


@needs_kernel
def test_silu_mul_serves_every_bfloat16() -> None:
    """What float32 can't hold apart: x e^x below 1e-37, where torch too gives zero."""
    gate = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(BFLOAT16)
    for value in (1.0, -3.0, 1e-20):
        up = torch.full_like(gate, value)
        expected = nn.functional.silu(gate.float()).to(BFLOAT16) * up
        got = silu_mul(gate, up)
        assert torch.equal(got.isnan(), expected.isnan())
        assert_rounded(got, expected)
        finite = gate.isfinite()
        assert_rounded(got[finite], literal_silu_mul(gate, up).to(BFLOAT16)[finite], 2e-36)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    out, around = guarded(torch.empty_like(x))
    width = len(weight)
    module.kernel.rms_norm(
        x.data_ptr(), weight.data_ptr(), eps, x.numel() // width, width, out.data_ptr()
    )
    assert_guards_stand(around)
    return out


def literal_rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.double()
    normed = wide / (wide.square().mean(-1, keepdim=True) + eps).sqrt()
    return normed.to(BFLOAT16).double() * weight.double()


@needs_kernel
@pytest.mark.parametrize("width", LENGTHS)
@pytest.mark.parametrize("rows", [1, 5])
def test_rms_norm_equals_its_literal_twin(width: int, rows: int) -> None:
    weight = draw(width, seed=1)
    for size in (1e-12, 1e-3, 1.0, 1e4, 1e15):
        x = draw(rows, width, size=size)
        assert_rounded(rms_norm(x, weight, 1e-6), literal_rms_norm(x, weight, 1e-6))


@needs_kernel
@pytest.mark.parametrize("value", [0.0, 1e30, -1e30, torch.inf, torch.nan])
def test_rms_norm_treats_what_has_no_norm_as_torch_does(value: float) -> None:
    x, weight = draw(4, 17), draw(17, seed=1)
    x[1, 3] = value
    x[2] = value
    wide = x.float()
    normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)
    expected = weight * normed.to(BFLOAT16)
    assert_rounded(rms_norm(x, weight, 1e-6), expected)


def softmax(scores: Tensor, scaling: float) -> Tensor:
    got, around = guarded(scores)
    assert causal_softmax_(got, scaling) is got
    assert_guards_stand(around)
    return got


def literal_softmax(scores: Tensor, scaling: float) -> Tensor:
    t = scores.shape[-1]
    shares = torch.zeros(scores.shape, dtype=torch.float64)
    for i in range(t):
        shares[..., i, : i + 1] = (scores[..., i, : i + 1].double() * scaling).softmax(-1)
    return shares


@needs_kernel
@pytest.mark.parametrize("t", [1, 2, 15, 16, 17, 31, 33, 255, 256])
def test_causal_softmax_equals_its_literal_twin(t: int) -> None:
    scores = draw(2, t, t, size=4.0)
    got = softmax(scores, 0.3)
    # Shares below the smallest normal float32 may be zero.
    assert_rounded(got, literal_softmax(scores, 0.3))
    assert not got.triu(1).any()


@needs_kernel
@pytest.mark.parametrize("size", [1e-30, 1e3, 1e9, 1e30])
@pytest.mark.parametrize("scaling", [0.125, 0.1, 0.08838834764831845])
def test_causal_softmax_serves_scores_of_any_size(size: float, scaling: float) -> None:
    scores = draw(3, 17, 17, size=size)
    got = softmax(scores, scaling)
    assert torch.isfinite(got).all()
    # The shares of two scores that nearly tie feel the rounding of the scaling to float32.
    assert_rounded(got, literal_softmax(scores, torch.tensor(scaling).item()))


@needs_kernel
@pytest.mark.parametrize("value", [-1e30, -3e38, 3e38])
def test_causal_softmax_of_rows_far_from_zero_sums_to_one(value: float) -> None:
    scores = torch.full((1, 19, 19), value, dtype=BFLOAT16)
    got = softmax(scores, 0.1)
    assert_rounded(got, literal_softmax(torch.zeros(1, 19, 19), 1.0))


@needs_kernel
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_causal_softmax_treats_what_is_not_finite_as_torch_does(value: float) -> None:
    scores = draw(1, 20, 20)
    scores[0, 5, 2] = scores[0, 18, 17] = value
    scores[0, 7, 9] = value  # ahead: not seen
    scores[0, 11] = value
    ahead = torch.ones(20, 20, dtype=torch.bool).triu(1)
    expected = scores.float().masked_fill(ahead, -torch.inf).softmax(2)
    got = softmax(scores, 1.0)
    finite = expected.isfinite().all(2)
    assert torch.equal(got.isfinite().all(2), finite)
    assert_rounded(got[finite], expected[finite])


@needs_kernel
def test_causal_softmax_refuses_rows_it_has_no_room_for() -> None:
    with pytest.raises(ValueError, match="257 scores, at most 256"):
        causal_softmax_(draw(257, 257), 1.0)


# -- when they are used ---------------------------------------------------------------------------


@needs_kernel
def test_it_serves_bfloat16_on_one_thread_without_gradients() -> None:
    x = draw(2, 3)
    with torch.no_grad():
        assert serves(x, x)
        assert not serves(x, x.float())
        assert not serves(x.to("meta"))
        assert not serves(x.as_subclass(OtherTensor))
        torch.set_num_threads(2)
        assert not serves(x)
        torch.set_num_threads(1)
    assert not serves(x)


class OtherTensor(Tensor):
    """Of which nobody knows where its numbers are."""


SMALL = {"vocab_size": 100, "num_hidden_layers": 2, "num_attention_heads": 4}
GATED = {**SMALL, "hidden_size": 24, "intermediate_size": 40, "num_key_value_heads": 2}
PLAIN: dict[str, Callable[..., transformers.PreTrainedConfig]] = {
    "llama": transformers.LlamaConfig,
    "mistral": transformers.MistralConfig,
    "qwen2": transformers.Qwen2Config,
}


def random_model(config: transformers.PreTrainedConfig, dtype: torch.dtype = BFLOAT16) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config).to(dtype).eval()
        for name, one in model.named_parameters():
            if one.ndim == 1:  # norms of ones would hide a weight that is not used
                one.data = 1 + torch.randn_like(one) / 4
            elif "embed" not in name:
                one.data = torch.randn_like(one) / one.shape[-1] ** 0.5
    return model.requires_grad_(requires_grad=False)


def states(model: Any) -> Tensor:
    input_ids = torch.randint(5, 95, (3, 9), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model.base_model(input_ids, use_cache=False).last_hidden_state


def assert_close(got: Tensor, expected: Tensor) -> None:
    """Roundings of 2^-8 that met through two blocks."""
    error = (got.float() - expected.float()).norm() / expected.float().norm()
    assert error <= 2.0**-6


def without_kernel(monkeypatch: pytest.MonkeyPatch, model: Any) -> Tensor:
    with monkeypatch.context() as patched:
        patched.setattr(module, "HAS_KERNEL", False)
        return states(model)


class Calls:
    """Counts the calls of the kernels."""

    def __init__(self) -> None:
        self.of: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        self.of.append(name)
        return getattr(REAL_KERNEL, name)


REAL_KERNEL = getattr(module, "kernel", None)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    counted = Calls()
    monkeypatch.setattr(module, "kernel", counted, raising=False)
    return counted


@needs_kernel
@pytest.mark.parametrize("name", PLAIN)
def test_plain_blocks_are_fused_and_compute_the_same(
    name: str, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(PLAIN[name](**GATED))
    expected = states(model)
    fused = fuse_blocks(model)
    assert sum(one.endswith("mlp") for one in fused) == 2
    assert sum(one.endswith("norm") for one in fused) == 5
    assert len(fused) == 7
    calls.of.clear()
    got = states(model)
    assert calls.of.count("silu_mul") == 2
    assert calls.of.count("rms_norm") == 5
    assert_close(got, expected)
    assert torch.equal(without_kernel(monkeypatch, model), expected)


@needs_kernel
def test_short_attention_takes_the_kernel(calls: Calls) -> None:
    model = random_model(PLAIN["llama"](**GATED))
    expected = states(model)
    use_short_attention(model, torch.device("cpu"))
    calls.of.clear()
    got = states(model)
    assert calls.of == ["causal_softmax"] * 2
    assert_close(got, expected)


@needs_kernel
def test_the_kernel_is_left_alone_where_it_does_not_serve(calls: Calls) -> None:
    model = random_model(PLAIN["llama"](**GATED))
    use_short_attention(model, torch.device("cpu"))
    fuse_blocks(model)
    calls.of.clear()
    input_ids = torch.arange(5, 14)[None]
    model(input_ids)  # gradients are on
    torch.set_num_threads(2)
    states(model)
    torch.set_num_threads(1)
    states(model.float())
    assert calls.of == []


def test_nothing_is_fused_without_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HAS_KERNEL", False)
    model = random_model(PLAIN["llama"](**GATED))
    before = states(model)
    assert fuse_blocks(model) == []
    use_short_attention(model, torch.device("cpu"))
    assert_close(states(model), before)


@needs_kernel
@pytest.mark.parametrize(
    ("config", "what"),
    [
        (transformers.LlamaConfig(**GATED, hidden_act="gelu"), "norm"),
        (transformers.LlamaConfig(**GATED, hidden_act="gelu_pytorch_tanh"), "norm"),
        (transformers.LlamaConfig(**GATED, hidden_act="relu"), "norm"),
        (transformers.LlamaConfig(**GATED, mlp_bias=True), ""),
        (transformers.Gemma3TextConfig(**GATED, head_dim=6), None),
        (transformers.GPTNeoXConfig(**SMALL, hidden_size=24, intermediate_size=40), None),
    ],
    ids=["gelu", "gelu_tanh", "relu", "bias", "gemma3", "gpt_neox"],
)
def test_what_is_not_plain_is_left_alone(
    config: transformers.PreTrainedConfig, what: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(config)
    expected = states(model)
    fused = fuse_blocks(model)
    if what is None:
        assert fused == []
    else:
        assert fused
        assert all(what in name for name in fused)
    assert_close(states(model), expected)
    assert torch.equal(without_kernel(monkeypatch, model), expected)


@needs_kernel
def test_gates_so_small_that_activations_look_alike_are_told_apart() -> None:
    """Where every gate is near zero SiLU and GELU are both half of it."""
    model = random_model(transformers.LlamaConfig(**GATED, hidden_act="gelu"))
    for block in model.model.layers:
        block.mlp.gate_proj.weight.data *= 1e-4
    assert not any(name.endswith("mlp") for name in fuse_blocks(model))


@needs_kernel
def test_models_of_float32_are_left_alone() -> None:
    assert fuse_blocks(random_model(PLAIN["llama"](**GATED), torch.float32)) == []


class GatedNorm(nn.Module):
    """A norm of state-space models, whose second argument may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(draw(24), requires_grad=False)
        self.variance_epsilon = 1e-6

    def forward(self, hidden_states: Tensor, gate: Tensor | None = None) -> Tensor:
        wide = hidden_states.float()
        if gate is not None:
            wide = wide * nn.functional.silu(gate.float())
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * wide.to(hidden_states.dtype)


@torch.inference_mode()
def test_further_arguments_go_the_plain_way() -> None:
    norm, plain = GatedNorm(), GatedNorm()
    fuse_blocks(norm)
    x, gate = draw(2, 3, 24, seed=1), draw(2, 3, 24, seed=2)
    assert torch.equal(norm(x, gate), plain(x, gate))
    assert torch.equal(norm(x, gate=gate), plain(x, gate=gate))
    assert torch.equal(norm(hidden_states=x), plain(hidden_states=x))
    assert_rounded(norm(x), plain(x))


class Demanding(GatedNorm):
    def forward(self, hidden_states: Tensor, gate: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(hidden_states, gate)


class NoRows(GatedNorm):
    def forward(self, hidden_states: Tensor, gate: Tensor | None = None) -> Tensor:
        _, _, _ = hidden_states.shape
        return super().forward(hidden_states)


class Experts(nn.Module):
    """Looks like a gated layer, and its projections are none."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = self.up_proj = self.down_proj = nn.Parameter(draw(2, 24, 24))
        self.act_fn = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("kind", [Demanding, NoRows, Experts])
def test_modules_that_refuse_made_up_rows_are_left_alone(kind: type[nn.Module]) -> None:
    assert fuse_blocks(kind()) == []


@needs_kernel
@torch.inference_mode()
def test_a_norm_that_got_another_dtype_goes_the_plain_way() -> None:
    """As training in 8 bits does with norms, whose input stays bfloat16."""
    norm = GatedNorm()
    assert fuse_blocks(norm) == [""]
    norm.weight = nn.Parameter(norm.weight.float(), requires_grad=False)
    plain = GatedNorm()
    plain.weight = norm.weight
    x = draw(2, 3, 24, seed=1)
    assert torch.equal(norm(x), plain(x))
    with pytest.raises(RuntimeError):  # as torch does
        norm(draw(2, 3, 25))


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(24, 24, bias=False)
        self.up_proj = nn.Linear(24, 24, bias=False)
        self.down_proj = nn.Linear(24, 24, bias=False)
        self.act_fn = nn.SiLU()
        self.to(BFLOAT16).requires_grad_(requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class Strided(nn.Module):
    """An adapter around a projection that gives a view."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).transpose(0, 1).contiguous().transpose(0, 1)


@needs_kernel
@torch.inference_mode()
@pytest.mark.parametrize("name", ["gate_proj", "up_proj"])
def test_projections_that_were_replaced_go_the_plain_way(name: str) -> None:
    mlp = Mlp()
    assert fuse_blocks(mlp) == [""]
    x = draw(3, 5, 24)
    kept = x.clone()
    setattr(mlp, name, Strided(getattr(mlp, name)))
    assert torch.equal(mlp(x), Mlp.forward(mlp, x))
    setattr(mlp, name, nn.Identity())
    assert torch.equal(mlp(x), Mlp.forward(mlp, x))
    assert torch.equal(x, kept)


@needs_kernel
@torch.inference_mode()
def test_who_looks_at_a_gate_keeps_what_was_seen() -> None:
    mlp = Mlp()
    fuse_blocks(mlp)
    seen = []
    mlp.gate_proj.register_forward_hook(lambda _module, _args, output: seen.append(output))
    x = draw(3, 5, 24)
    mlp(x)
    assert torch.equal(seen[0], nn.functional.linear(x, mlp.gate_proj.weight))


@needs_kernel
def test_a_forward_that_somebody_replaced_is_left_alone() -> None:
    """As accelerate does, to bring inputs and weights to one device."""
    mlp = Mlp()
    mlp.forward = lambda x: Mlp.forward(mlp, x)  # type: ignore[method-assign]
    replaced = mlp.forward
    assert fuse_blocks(mlp) == []
    assert mlp.forward is replaced


@needs_kernel
def test_a_copy_of_a_fused_model_computes_with_its_own_weights() -> None:
    model = random_model(PLAIN["llama"](**GATED))
    fuse_blocks(model)
    before = states(model)
    other = copy.deepcopy(model)
    assert torch.equal(states(other), before)
    unfused = random_model(PLAIN["llama"](**GATED))
    for one in (other, unfused):
        for name, weight in one.named_parameters():
            if "mlp" in name or "norm" in name:
                weight.data.mul_(-2)
    assert_close(states(other), states(unfused))
    assert torch.equal(states(model), before)


@needs_kernel
def test_a_fused_model_can_be_pickled_and_saved(tmp_path: Path) -> None:
    model = random_model(PLAIN["llama"](**GATED))
    fuse_blocks(model)
    expected = states(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    model.save_pretrained(tmp_path)
    for other in (
        torch.load(file, weights_only=False),
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=BFLOAT16).eval(),
    ):
        assert_close(states(other), expected)


@needs_kernel
def test_fusing_twice_changes_nothing() -> None:
    model = random_model(PLAIN["llama"](**GATED))
    assert len(fuse_blocks(model)) == 7
    before = states(model)
    assert fuse_blocks(model) == []
    assert torch.equal(states(model), before)


@needs_kernel
def test_a_loaded_model_is_fused_and_still_trains(tiny_model_dir: Path) -> None:
    import peft

    model: Any = load_model(tiny_model_dir, dtype="bfloat16").model
    assert fuse_blocks(model) == []  # done already
    config = peft.LoraConfig(
        r=2, target_modules=["gate_proj", "up_proj", "down_proj"], init_lora_weights=False
    )
    with warnings.catch_warnings(), torch.random.fork_rng():
        # Of names that newer versions of transformers have given up.
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(0)
        tuned = peft.get_peft_model(model, config)
    input_ids = torch.arange(5, 14)[None]
    output = tuned(input_ids=input_ids, labels=input_ids)
    output.loss.backward()
    trained = [one for one in tuned.parameters() if one.requires_grad]
    assert len(trained) == 18
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in trained)
    with torch.no_grad():
        logits = output.logits.float()
        error = (tuned(input_ids=input_ids).logits.float() - logits).norm() / logits.norm()
        assert error <= 2.0**-5  # of three blocks, with adapters that add more roundings
        with tuned.disable_adapter():
            changed = (tuned(input_ids=input_ids).logits - output.logits).abs().max()
    assert changed > 0.1
