"""What a pass takes of memory."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from ntpscore.core.moments import Moments
from ntpscore.errors import ModelError
from ntpscore.reading import memory
from ntpscore.reading.memory import MemoryPlan, check_memory, plan_memory, sums_device


def test_moments_that_do_not_fit_are_refused_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = check_memory(4, 32, 3, 2, torch.device("cpu"))
    solving = 8 * (40 * 32**2 + 12 * 32 * 3 * 3 + 3**2)
    assert needed == Moments.n_bytes(4, 32, 3, 2) + solving
    folded = check_memory(4, 32, 3, 2, torch.device("cpu"), folds=5)
    assert folded == needed + 5 * Moments.n_bytes(1, 32, 3, 0)
    # Held-out accuracy is told when the layers are solved: the larger of the two counts.
    assert check_memory(4, 32, 3, 2, torch.device("cpu"), judging=10) == needed
    judged = check_memory(4, 32, 3, 2, torch.device("cpu"), judging=10**6)
    assert judged == Moments.n_bytes(4, 32, 3, 2) + 10**6

    class Little:
        available = 480_000

    monkeypatch.setattr(memory.psutil, "virtual_memory", Little)
    with pytest.raises(ModelError, match=r"at most [1-3] layers with --layers"):
        check_memory(4, 32, 3, 2, torch.device("cpu"))
    with pytest.raises(ModelError, match="not even one layer fits"):
        check_memory(4, 3200, 3, 2, torch.device("cpu"))


def test_every_thread_with_sums_of_its_own_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    one, two = (check_memory(4, 32, 3, 2, cpu, copies=copies) for copies in (1, 2))
    assert two - one == Moments.n_bytes(4, 32, 3, 2)


def test_sums_of_mps_are_kept_on_the_processor() -> None:
    assert sums_device(torch.device("mps")) == torch.device("cpu")
    assert sums_device(torch.device("cuda", 1)) == torch.device("cuda", 1)


LLAMA = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "tie_word_embeddings": False,
}  # fmt: skip
LLAMA_70B = {
    **LLAMA, "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
    "num_attention_heads": 64,
}  # fmt: skip
SHAPES = {
    "Llama-3-8B": LlamaConfig(**LLAMA),
    "Llama-3-70B": LlamaConfig(**LLAMA_70B),
    "Qwen2-0.5B": Qwen2Config(
        hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
        num_key_value_heads=2, vocab_size=151936, tie_word_embeddings=True,
    ),
}  # fmt: skip
GIB = 2**30


def plan_of(name: str, total: float, cards: int = 1, layers: int | None = None) -> MemoryPlan:
    """Of a model in bfloat16 that has no weights, spread evenly over cards of so many GiB."""
    config = SHAPES[name]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    weights = sum(one.numel() * one.element_size() for one in model.parameters()) // cards
    n = config.num_hidden_layers + 1 if layers is None else layers
    return plan_memory(config, weights, n, 6, 20, 16384, total=int(total * GIB))


@pytest.mark.parametrize(
    ("name", "total", "tokens", "gigabytes"),
    [  # of weights, sums and solving
        ("Qwen2-0.5B", 24, 16384, (1.0, 0.5, 0.3)),
        ("Qwen2-0.5B", 2.5, 8192, (1.0, 0.5, 0.3)),
        ("Llama-3-8B", 80, 16384, (16.1, 13.4, 5.4)),
        ("Llama-3-8B", 40, 16384, (16.1, 13.4, 5.4)),
    ],
)
def test_batches_are_as_large_as_fits(
    name: str, total: float, tokens: int, gigabytes: tuple[float, ...]
) -> None:
    plan = plan_of(name, total)
    assert plan.batch_tokens == tokens
    found = plan.weights, plan.sums, plan.solving
    assert tuple(round(one / 1e9, 1) for one in found) == gigabytes
    assert plan.peak <= 0.9 * total * GIB
    assert f"batches of {tokens} tokens" in str(plan)
    d, layers = SHAPES[name].hidden_size, SHAPES[name].num_hidden_layers + 1
    # But for the labels', which are no layer's.
    assert plan.sums == pytest.approx(Moments.n_bytes(layers, d, 6, 20), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "total", "cards", "says"),
    [
        ("Llama-3-8B", 24, 1, r"at most 4 layers with --layers \(9 runs for all\)"),
        ("Llama-3-8B", 20, 1, "not even one layer fits"),
        ("Llama-3-70B", 80, 8, r"at most 23 layers with --layers \(4 runs for all\)"),
    ],
)
def test_what_does_not_fit_says_what_would(name: str, total: float, cards: int, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        plan_of(name, total, cards)


def test_the_layers_that_are_said_to_fit_do() -> None:
    assert plan_of("Llama-3-8B", 24, layers=4).peak <= 0.9 * 24 * GIB
    with pytest.raises(ModelError):
        plan_of("Llama-3-8B", 24, layers=5)


def test_many_classes_times_shuffles_are_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Little:
        available = 8 * 10**9

    monkeypatch.setattr(memory.psutil, "virtual_memory", Little)
    advice = r"5000 label columns.* at most \d+ layers with --layers, or fewer --shuffles than 20"
    with pytest.raises(ModelError, match=advice):
        check_memory(30, 576, 5000, 20, torch.device("cpu"))
    with pytest.raises(ModelError, match=r"--layers$"):
        check_memory(300, 2048, 3, 20, torch.device("cpu"))
    many = plan_memory(SHAPES["Llama-3-8B"], 0, 1, 77, 20, 1024, total=80 * GIB)
    few = plan_memory(SHAPES["Llama-3-8B"], 0, 1, 77, 0, 1024, total=80 * GIB)
    shuffled = 20 * 8 * 4096 * 77
    assert many.sums - few.sums == pytest.approx(shuffled, rel=1e-3)
    assert many.solving - few.solving == 12 * shuffled
    assert many.batch - few.batch == 1024 * 8 * 20 * 77
