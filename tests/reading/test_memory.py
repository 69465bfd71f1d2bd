"""What a run takes of memory, and how it goes where memory lacks."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
)

from ntpscore.core.moments import Moments
from ntpscore.core.prefix_products import PRECISIONS
from ntpscore.core.scores import solve_bytes
from ntpscore.errors import ModelError
from ntpscore.reading import memory
from ntpscore.reading.memory import (
    How,
    MemoryPlan,
    Room,
    Sizes,
    inner_width,
    plan_memory,
    sums_device,
)

GB = 10**9
LLAMA = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "tie_word_embeddings": False,
}  # fmt: skip
LLAMA_70B = {
    **LLAMA, "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
    "num_attention_heads": 64,
}  # fmt: skip
SHAPES: dict[str, PreTrainedConfig] = {
    "Llama-3-8B": LlamaConfig(**LLAMA),
    "Llama-3-70B": LlamaConfig(**LLAMA_70B),
    "Qwen2-0.5B": Qwen2Config(
        hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
        num_key_value_heads=2, vocab_size=151936, tie_word_embeddings=True,
    ),
}  # fmt: skip
ASKED = How(16384)


def sizes_of(name: str, **more: object) -> Sizes:
    """Of a run over all hidden states, with 6 classes and 20 shuffles."""
    config = SHAPES[name]
    return replace(
        Sizes(
            layers=config.num_hidden_layers + 1, width=config.hidden_size,
            inner=inner_width(config), outputs=6, shuffles=20,
        ),
        **more,
    )  # fmt: skip


def cards_of(name: str, n: int) -> list[int]:
    """Bytes of the weights in bfloat16 on each of n cards, over which a device map deals blocks."""
    config = SHAPES[name]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    cards = [0] * n
    for weight_name, weight in model.named_parameters():
        parts = weight_name.split(".")
        last = n - 1 if parts[0] == "lm_head" or parts[1] == "norm" else 0
        block = int(parts[2]) if parts[1] == "layers" else None
        card = last if block is None else block * n // config.num_hidden_layers
        cards[card] += weight.numel() * weight.element_size()
    return cards


def plan_of(
    name: str, card: float, *, cards: int = 1, host: float = 64, **more: object
) -> MemoryPlan:
    """Of a model in bfloat16 on cards of so many GB, with so many GB of main memory."""
    weights = cards_of(name, cards)
    free = tuple(int(card * GB) - of_card for of_card in weights)
    return plan_memory(sizes_of(name, **more), Room(tuple(weights), free, int(host * GB)), ASKED)


@pytest.mark.parametrize(
    ("name", "card", "cards", "host", "how", "gigabytes"),
    [  # weights, batches, sums, solving
        ("Qwen2-0.5B", 24, 1, 64, How(16384), (1.0, 1.0, 0.5, 0.3)),
        ("Qwen2-0.5B", 2.5, 1, 64, How(8192), (1.0, 0.5, 0.5, 0.3)),
        ("Llama-3-8B", 80, 1, 64, How(16384), (16.1, 4.0, 13.4, 5.4)),
        ("Llama-3-8B", 40, 1, 64, How(16384), (16.1, 4.0, 13.4, 5.4)),
        ("Llama-3-8B", 24, 1, 64, How(16384, 1, on_host=True), (16.1, 4.8, 13.4, 5.4)),
        ("Llama-3-8B", 20, 1, 64, How(8192, 1, on_host=True), (16.1, 2.9, 13.4, 5.4)),
        ("Llama-3-8B", 24, 1, 12, How(16384, 1, on_host=True, groups=2), (16.1, 4.8, 6.9, 5.4)),
        ("Llama-3-70B", 80, 8, 256, How(16384, 1, on_host=True), (19.2, 11.7, 131.1, 21.6)),
        ("Llama-3-70B", 80, 8, 64, How(16384, 1, on_host=False, groups=3), (19.2, 8.5, 43.7, 21.6)),
    ],
)
def test_models_fit_by_batches_then_main_memory_then_groups_of_layers(
    name: str, card: float, cards: int, host: float, how: How, gigabytes: tuple[float, ...]
) -> None:
    plan = plan_of(name, card, cards=cards, host=host)
    found = plan.weights, plan.batch, plan.sums, plan.solving
    assert (plan.how, tuple(round(one / GB, 1) for one in found)) == (how, gigabytes)
    # Of each card, a tenth of what is free is left; of main memory, too.
    for weights in plan.room.weights:
        assert weights + plan.batch <= card * GB - 0.1 * (card * GB - weights)
    assert plan.on_device <= 0.9 * plan.room.free[0]
    assert plan.on_host <= 0.9 * host * GB
    layers = -(-plan.sizes.layers // how.groups)
    assert plan.sums == Moments.n_bytes(layers, plan.sizes.width, 6, 20)


def test_llama_3_8b_fits_a_card_of_24_gb_with_all_its_layers() -> None:
    plan = plan_of("Llama-3-8B", 24, host=32)
    assert plan.layers == 33
    assert plan.how.groups == 1
    assert plan.peak == plan.weights + max(plan.batch, plan.solving) < 24 * GB
    assert not plan.solves_on_host
    assert str(plan) == (
        "weights 16.1 GB, batches of 16384 tokens 4.8 GB, sums of 33 layers in main memory 13.4 "
        "GB, solving 5.4 GB"
    )
    assert plan.reductions == (
        "for want of memory (7.9 GB free on the card): sums (13.4 GB) in main memory"
    )
    assert plan_of("Llama-3-8B", 80).reductions == ""


def test_layers_are_solved_by_the_processor_where_the_card_has_no_room_for_it() -> None:
    plan = plan_of("Llama-3-8B", 20)
    assert plan.solves_on_host
    assert plan.reductions.endswith("layers solved by the processor")
    assert plan.on_host == plan.sums + 2 * plan.sizes.sums(1) + plan.solving


def test_a_way_is_taken_only_where_those_before_it_do_not_fit() -> None:
    """With a byte less than a way takes, the next one is taken, until nothing fits."""
    sizes = Sizes(layers=8, width=64, inner=256, outputs=3, shuffles=2)
    free, plans = 10**9, list[MemoryPlan]()
    for _ in range(9):
        plans.append(plan_memory(sizes, Room((0,), (free,)), How(4096, 2)))
        assert plans[-1].on_device <= 0.9 * free
        free = int(plans[-1].on_device / 0.9) - 1
    with pytest.raises(
        ModelError, match=r"1\.2 MB of main memory are lacking, even with one layer"
    ):
        plan_memory(sizes, Room((0,), (free - 1_300_000,)), How(4096, 2))
    assert [plan.how for plan in plans] == [
        *(How(tokens, 2) for tokens in (4096, 2048, 1024)),
        # One pass with 4,096 tokens takes no less than two with 2,048, one with 2,048 hardly less.
        *(How(tokens) for tokens in (2048, 1024)),
        # Of 8 layers there are no five to seven groups with fewer layers than four have.
        *(How(1024, groups=groups) for groups in (2, 3, 4, 8)),
    ]
    assert [plan.layers for plan in plans] == [8, 8, 8, 8, 8, 4, 3, 2, 1]
    # Solving and judging come when batches are gone, of groups when their sums are on the disk.
    for plan in plans:
        stays = plan.sums if plan.how.groups == 1 else 0
        assert plan.on_device == max(plan.sums + plan.batch, stays + plan.solving)


def test_what_comes_after_the_pass_counts_too() -> None:
    sizes = Sizes(layers=4, width=32, inner=64, outputs=3, shuffles=2)
    plan = plan_memory(sizes, Room((0,), (GB,)), How(16))
    assert plan.sums == Moments.n_bytes(4, 32, 3, 2)
    assert plan.solving == solve_bytes(32, 3, 2) == 8 * (40 * 32**2 + 12 * 32 * 3 * 3 + 3**2)
    assert plan.on_device == plan.sums + plan.solving
    # Held-out accuracy is told when the layers are solved: the larger of the two counts.
    for judging, more in ((10, plan.solving), (10**6, 10**6)):
        judged = plan_memory(replace(sizes, judging=judging), plan.room, How(16))
        assert judged.on_device == plan.sums + more
    folded = plan_memory(replace(sizes, folds=5), plan.room, How(16))
    assert folded.sums == plan.sums + 5 * Moments.n_bytes(1, 32, 3, 0)
    card = plan_memory(replace(sizes, judging=10**6), Room((7,), (GB,), GB), How(16))
    assert (card.on_device, card.on_host) == (plan.on_device, 10**6)
    assert card.peak == plan.on_device + 7


def test_other_precisions_take_more_while_they_add() -> None:
    of = {one: sizes_of("Llama-3-8B", precision=one).batch(1000) for one in PRECISIONS}
    assert of["float32-pairs"] - of["float64"] == 28 * 4096 * 1000
    assert of["float32"] - of["float64"] == 8 * 4096 * (1000 + 4096)
    # A quarter of the rows, of four digits each, with four digits of all columns, in 32 bits.
    assert of["exact-int8"] - of["float64"] == 4 * (4096 // 4 * 4) * (4096 * 4)


def test_sums_of_the_released_code_stay_where_they_are_made() -> None:
    plan = plan_of("Llama-3-8B", 24, published=True)
    assert not plan.how.on_host
    assert plan.how.groups > 1
    assert plan.sums == Moments.n_bytes(plan.layers, 4096, 6, 20, published=True)


@pytest.mark.parametrize(
    ("name", "card", "cards", "host", "says"),
    [
        ("Llama-3-8B", 16.5, 1, 64, r"0\.5 GB of the card are lacking, .*card, --device cpu$"),
        ("Llama-3-8B", 20, 1, 4, r"1\.8 GB of main memory are lacking.*sums of 1 layer "),
        ("Llama-3-70B", 20, 8, 64, r"2\.4 GB of the card, 0\.8 GB of card 8 are lacking"),
    ],
)
def test_what_does_not_fit_says_what_is_lacking(
    name: str, card: float, cards: int, host: float, says: str
) -> None:
    with pytest.raises(ModelError, match=says):
        plan_of(name, card, cards=cards, host=host)


def test_many_classes_times_shuffles_are_refused_with_what_to_do() -> None:
    room = Room((0,), (2 * GB,))
    sizes = Sizes(layers=30, width=576, inner=1536, outputs=5000, shuffles=20)
    with pytest.raises(ModelError, match=r"5000 label columns.*, or fewer --shuffles than 20"):
        plan_memory(sizes, room, How(2048))
    with pytest.raises(ModelError, match=r"with more, or a narrower --dtype$"):
        plan_memory(replace(sizes, outputs=3, number=4, judging=9 * GB), room, How(2048))
    many, few = (sizes_of("Llama-3-8B", outputs=77, shuffles=n) for n in (20, 0))
    shuffled = 20 * 8 * 4096 * 77
    assert many.sums(1) - few.sums(1) == pytest.approx(shuffled, rel=1e-3)
    assert many.solving - few.solving == 12 * shuffled
    assert many.batch(1024) - few.batch(1024) == 1024 * 8 * 20 * 77


def test_the_room_is_what_is_free_now(monkeypatch: pytest.MonkeyPatch) -> None:
    class Little:
        available = 600

    monkeypatch.setattr(memory.psutil, "virtual_memory", Little)
    linear = torch.nn.Linear(4, 4, bias=False, dtype=torch.bfloat16)
    for name in ("cpu", "mps"):
        model = SimpleNamespace(model=linear, device=torch.device(name))
        room = Room.of(model, 3)  # type: ignore[arg-type]
        assert room == Room((32 if name == "cpu" else 0,), (200,), None)


def test_processes_plan_with_what_all_of_them_have() -> None:
    one, two = Room((1, 1), (5, 9), 7), Room((1, 1), (6, 8), 3)
    assert one.least(two) == Room((1, 1), (5, 8), 3)
    assert Room((0,), (5,)).least(Room((0,), (4,))) == Room((0,), (4,))


@pytest.mark.parametrize(
    ("config", "inner"), [(SHAPES["Llama-3-8B"], 14336), (GPT2Config(n_embd=48), 192)]
)
def test_the_inner_width_is_known_or_four_times_the_width(
    config: PreTrainedConfig, inner: int
) -> None:
    assert inner_width(config) == inner


def test_sums_of_mps_are_kept_on_the_processor() -> None:
    assert sums_device(torch.device("mps")) == torch.device("cpu")
    assert sums_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
