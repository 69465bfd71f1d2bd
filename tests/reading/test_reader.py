"""Shares of batches that are read at once: their order, their sums, and what stops them."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from ntpscore import LanguageModel, load_model
from ntpscore.clock import Clock
from ntpscore.core.moments import NonFiniteError
from ntpscore.errors import ModelError, MomentsError
from ntpscore.reading import reader
from ntpscore.reading.reader import BatchReader, passes_at_once
from tests.conftest import TINY_LAYERS, TINY_WIDTH

THREADS, SHARES = 4, 2
LAYERS = tuple(range(TINY_LAYERS + 1))
# Texts of several lengths, in batches of one to four.
BATCHES = [[0, 1, 2], [3], [4, 5, 6, 7], [8, 9], [10, 11, 12], [13], [14, 15], [16, 17, 18, 19]]
IDS = [[5 + (7 * text + i) % 300 for i in range(3 + text % 6)] for text in range(20)]
TEXTS = [f"text {text}" for text in range(20)]


@pytest.fixture(scope="session")
def tiny(tiny_model_dir: Path) -> LanguageModel:
    return load_model(tiny_model_dir)


@pytest.fixture(autouse=True)
def several_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert after == THREADS, "torch has as many threads as before"
    assert not [one for one in threading.enumerate() if "ThreadPoolExecutor" in one.name]


class Writes:
    """A consumer that writes down what it sees, in random time."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.taken: list[tuple[int, tuple[int, ...]]] = []
        self.ended: list[tuple[int, ...]] = []
        self.threads: list[int] = []
        self.sums = {layer: torch.zeros(TINY_WIDTH, TINY_WIDTH) for layer in LAYERS}

    def begin(self, texts: list[int], attention_mask: Tensor) -> tuple[list[int], Tensor]:
        time.sleep(self.random.random() * 0.003)
        self.threads.append(torch.get_num_threads())
        assert attention_mask.sum(1).tolist() == [len(IDS[i]) for i in texts]
        return texts, attention_mask

    def take(self, batch: tuple[list[int], Tensor], layer: int, hidden_states: Tensor) -> None:
        texts, mask = batch
        time.sleep(self.random.random() * 0.003)
        self.at(layer, texts)
        self.taken.append((layer, tuple(texts)))
        # In float32, where the order of a sum shows.
        mean = (hidden_states * mask[:, :, None]).sum(1)
        self.sums[layer] += mean.T @ mean

    def end(self, batch: tuple[list[int], Tensor]) -> None:
        self.ended.append(tuple(batch[0]))

    def at(self, layer: int, texts: list[int]) -> None:
        """What a test wants to happen there."""


class Pass:
    """Reads batches in two shares, each with a consumer of its own."""

    def __init__(self, language_model: LanguageModel, seed: int = 0, shares: int = SHARES) -> None:
        self.clock = Clock(("forward", "moments", "total"))
        self.reader = BatchReader(language_model, TEXTS, IDS, self.clock, "moments")
        self.shares = [BATCHES[share::shares] for share in range(shares)]
        self.consumers = [Writes(seed + share) for share in range(shares)]
        self.counts: list[int] = []

    def at(self, do: Callable[[int, list[int]], None]) -> None:
        for consumer in self.consumers:
            consumer.at = do  # type: ignore[method-assign]

    def read(self, **options: Any) -> int:
        options = {"on_batch": self.counts.append, **options}
        return self.reader.read(self.shares, LAYERS, self.consumers, **options)


@pytest.mark.parametrize("seed", range(3))
def test_a_consumer_sees_every_layer_of_its_share_in_order(tiny: LanguageModel, seed: int) -> None:
    run = Pass(tiny, seed)
    assert run.read() == len(BATCHES) // SHARES
    for share, consumer in zip(run.shares, run.consumers, strict=True):
        in_order = [tuple(batch) for batch in share]
        for layer in LAYERS:
            assert [batch for at, batch in consumer.taken if at == layer] == in_order
        assert consumer.ended == in_order
    assert sorted(run.counts) == sorted(map(len, BATCHES))


def test_shares_pass_at_once_and_divide_the_cores(tiny: LanguageModel) -> None:
    """Each waits at its first batch until the other is there."""
    run, together = Pass(tiny), threading.Barrier(SHARES, timeout=20)
    run.at(lambda layer, texts: together.wait() if layer == 0 and texts in BATCHES[:2] else None)
    run.read()
    assert [one.threads[0] for one in run.consumers] == [THREADS // SHARES] * SHARES


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sums_do_not_depend_on_which_thread_is_faster(tiny_model_dir: Path, dtype: str) -> None:
    """Bit for bit: at random speeds, and each share alone on as many cores."""
    model = load_model(tiny_model_dir, dtype=dtype)
    found = [Pass(model, seed) for seed in (0, 10)]
    for run in found:
        run.read()
    torch.set_num_threads(THREADS // SHARES)
    for share in range(SHARES):
        alone = Pass(model)
        alone.shares, alone.consumers = [alone.shares[share]], [alone.consumers[share]]
        alone.read()
        for run in found:
            for layer in LAYERS:
                one, other = alone.consumers[0].sums[layer], run.consumers[share].sums[layer]
                assert torch.equal(one, other)
    torch.set_num_threads(THREADS)


@pytest.mark.parametrize("failure", [ZeroDivisionError, KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("batch", [0, 3, 7])
@pytest.mark.parametrize("layer", [0, TINY_LAYERS])
def test_a_failure_stops_all_and_is_the_one_raised(
    tiny: LanguageModel, failure: type[BaseException], batch: int, layer: int
) -> None:
    run = Pass(tiny)

    def fail(where: int, texts: list[int]) -> None:
        if where == layer and texts == BATCHES[batch]:
            raise failure("made up")

    run.at(fail)
    with pytest.raises(failure, match="made up"):
        run.read()
    assert len(run.counts) < len(BATCHES)
    assert tuple(BATCHES[batch]) not in run.consumers[batch % SHARES].ended
    assert len(run.consumers[batch % SHARES].ended) == batch // SHARES


@pytest.mark.parametrize("where", ["begin", "end", "on_batch", "go_on"])
def test_a_failure_anywhere_is_the_one_raised(tiny: LanguageModel, where: str) -> None:
    run = Pass(tiny)
    counted = 0

    def fail(*_: object) -> bool:
        nonlocal counted
        counted += 1
        if counted == 2:
            raise ZeroDivisionError
        return True

    options = {where: fail} if where in {"on_batch", "go_on"} else {}
    for consumer in run.consumers:
        if not options:
            setattr(consumer, where, fail)
        consumer.take = lambda *_: None  # type: ignore[method-assign]
    if where == "begin":
        run.consumers[0].end = run.consumers[1].end = lambda _: None  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        run.read(**options)
    assert len(run.counts) < len(BATCHES)


def test_an_interrupt_while_threads_work_stops_them(
    tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control-C comes to the main thread, which waits for the others."""
    run = Pass(tiny)

    class Interrupted(reader.ThreadPoolExecutor):
        """Its second task is interrupted on the way in, while the first one runs."""

        def submit(self, *args: Any, **kwargs: Any) -> Any:
            if getattr(self, "began", False):
                raise KeyboardInterrupt
            self.began = True
            return super().submit(*args, **kwargs)

    monkeypatch.setattr(reader, "ThreadPoolExecutor", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.read()
    assert len(run.counts) < len(run.shares[0])


def test_a_hidden_state_that_is_not_finite_names_its_text(tiny: LanguageModel) -> None:
    run = Pass(tiny)

    def spoil(layer: int, texts: list[int]) -> None:
        if layer == 2 and texts == [8, 9]:
            raise NonFiniteError(layer, 1)

    run.at(spoil)
    with pytest.raises(MomentsError, match=r"layer 2 has a NaN or infinite .*'text 9'"):
        run.read()
    assert all((8, 9) not in one.ended for one in run.consumers)


def test_one_that_is_found_at_the_end_of_a_batch_names_its_text(tiny: LanguageModel) -> None:
    run = Pass(tiny)

    def end(batch: tuple[list[int], Tensor]) -> None:
        if batch[0] == [8, 9]:
            raise NonFiniteError(2, 1)

    for consumer in run.consumers:
        consumer.end = end  # type: ignore[method-assign]
    with pytest.raises(MomentsError, match=r"layer 2 has a NaN or infinite .*'text 9'"):
        run.read()


@pytest.mark.parametrize("layer", [0, 2, TINY_LAYERS])
@pytest.mark.parametrize("seed", range(2))
def test_memory_that_runs_out_halves_one_batch_of_several(
    tiny: LanguageModel, layer: int, seed: int
) -> None:
    plain, run = Pass(tiny), Pass(tiny, seed)
    plain.read()

    def run_out(where: int, texts: list[int]) -> None:
        if where == layer and texts == [4, 5, 6, 7]:
            raise torch.OutOfMemoryError

    run.at(run_out)
    assert run.read() == len(BATCHES) // SHARES
    for share, consumer, other in zip(run.shares, run.consumers, plain.consumers, strict=True):
        in_order = [text for batch in share for text in batch]
        for one in LAYERS:
            texts = [text for at, batch in consumer.taken for text in batch if at == one]
            assert texts == in_order, "every text once, in order"
            torch.testing.assert_close(consumer.sums[one], other.sums[one], rtol=1e-5, atol=1e-4)
        assert [text for batch in consumer.ended for text in batch] == in_order
    assert run.reader.largest_batch <= 4 * 8 // 2


def test_memory_for_a_single_text_stops_all(tiny: LanguageModel) -> None:
    run = Pass(tiny)

    def run_out(layer: int, texts: list[int]) -> None:
        if layer == 1 and 6 in texts:
            raise torch.OutOfMemoryError

    run.at(run_out)
    with pytest.raises(ModelError, match="memory ran out on a single text of 3 tokens"):
        run.read()


def test_what_is_known_to_fit_never_grows(
    tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small batch runs out of memory while a large one is on its way to do so too."""
    run, small_failed = Pass(tiny), threading.Event()
    found: list[int] = []
    real = reader.stream_hidden_states

    def stream(model: Any, input_ids: Tensor, *args: Any) -> None:
        rows = len(input_ids)
        if rows == 4:
            assert small_failed.wait(20)
            found.append(run.reader.largest_batch)
            raise torch.OutOfMemoryError
        if rows == 3:
            raise torch.OutOfMemoryError
        small_failed.set()
        real(model, input_ids, *args)

    monkeypatch.setattr(reader, "stream_hidden_states", stream)
    # The first waits, with 32 tokens; the second, with 15, is halved meanwhile.
    run.shares = [[[4, 5, 6, 7]], [[0, 1, 2]]]
    run.read()
    assert found == [3 * 5 // 2]
    assert run.reader.largest_batch == found[0]


@pytest.mark.parametrize("shares", [1, SHARES])
def test_reading_stops_after_the_same_number_of_batches_in_each_share(
    tiny: LanguageModel, shares: int
) -> None:
    run, asked = Pass(tiny, shares=shares), []

    def go_on() -> bool:
        asked.append(1)
        return len(asked) < 3

    assert run.read(go_on=go_on) == 3
    for share, consumer in zip(run.shares, run.consumers, strict=True):
        assert consumer.ended == [tuple(batch) for batch in share[:3]]


def test_one_batch_is_read_whatever_go_on_says(tiny: LanguageModel) -> None:
    run = Pass(tiny)
    assert run.read(go_on=lambda: False) == 1
    assert [one.ended for one in run.consumers] == [[tuple(BATCHES[0])], [tuple(BATCHES[1])]]


def test_shares_may_have_different_numbers_of_batches(tiny: LanguageModel) -> None:
    run = Pass(tiny)
    run.shares = [BATCHES[:5], BATCHES[5:]]
    assert run.read() == 5
    assert [len(one.ended) for one in run.consumers] == [5, 3]
    run.shares = [[], BATCHES[:1]]
    assert run.read() == 1


def test_reading_nothing_does_nothing(tiny: LanguageModel) -> None:
    run = Pass(tiny)
    run.shares = [[], []]
    assert run.read() == 0
    assert not any(one.taken for one in run.consumers)


def test_seconds_of_threads_do_not_exceed_those_that_passed(tiny: LanguageModel) -> None:
    run = Pass(tiny)
    start = time.perf_counter()
    run.read()
    passed = time.perf_counter() - start
    seconds = run.clock.seconds()
    assert seconds["forward"] > 0
    assert seconds["moments"] > 0
    assert seconds["forward"] + seconds["moments"] <= passed


# -- which models may be shared -------------------------------------------------------------------


def made_up(model: nn.Module, **changes: Any) -> LanguageModel:
    values: dict[str, Any] = {
        "model": model, "tokenizer": None, "id": "made-up", "revision": None, "content_hash": None,
        "width": 16, "n_layers": 2, "dtype": torch.float32, "device": torch.device("cpu"),
        "max_length": 64, "blocks": [nn.Identity()],
    }  # fmt: skip
    return LanguageModel(**{**values, **changes})


SMALL = {
    "vocab_size": 50, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip


def llama(**options: Any) -> nn.Module:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, **options))


class Foreign(transformers.LlamaForCausalLM):
    """Its code is not that of transformers."""


def test_models_that_may_keep_state_pass_one_batch_at_a_time() -> None:
    model = llama()
    passes = passes_at_once
    assert passes(made_up(model)) == THREADS
    assert passes(made_up(model, blocks=None)) == 1
    assert passes(made_up(model, device=torch.device("cuda"))) == 1
    assert passes(made_up(model, device=torch.device("mps"))) == 1
    assert passes(made_up(Foreign(model.config))) == 1
    torch.set_num_threads(1)
    assert passes(made_up(model)) == 1
    torch.set_num_threads(64)
    assert passes(made_up(model)) == 8
    torch.set_num_threads(THREADS)


def test_large_sums_leave_one_pass() -> None:
    """What each thread keeps for itself may be 4 GiB for all together."""
    model = made_up(llama())
    assert passes_at_once(model, 2**30) == THREADS
    assert passes_at_once(model, 2**30 + 1) == THREADS - 1
    assert passes_at_once(model, 2**32 + 1) == 1


def test_positions_that_depend_on_the_longest_text_are_not_shared() -> None:
    """Such embeddings write their frequencies anew in every pass, for its length."""
    long = {
        "rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 8,
        "short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "factor": 8.0,
    }  # fmt: skip
    dynamic = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    linear = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    for parameters, expected in ((long, 1), (dynamic, 1), (linear, THREADS)):
        model = llama(rope_parameters=parameters)
        assert passes_at_once(made_up(model)) == expected
