"""Batches that are read at once: their order, their sums, and what stops them."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from ntpscore import LanguageModel, load_model
from ntpscore.clock import Clock
from ntpscore.core.moments import Moments, NonFiniteError
from ntpscore.errors import ModelError, MomentsError
from ntpscore.reading import reader
from ntpscore.reading.reader import BatchReader, OnLayer
from tests.conftest import TINY_LAYERS, TINY_WIDTH

THREADS = 4
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


class Pass:
    """Reads batches and writes down what happened, in random time."""

    def __init__(self, language_model: LanguageModel, seed: int = 0) -> None:
        self.clock = Clock(("forward", "moments", "total"))
        self.reader = BatchReader(language_model, TEXTS, IDS, self.clock, "moments")
        self.random = random.Random(seed)
        self.taken: list[tuple[int, tuple[int, ...]]] = []
        self.ended: list[tuple[int, ...]] = []
        self.read_batches: list[list[int]] = []
        self.sums = {layer: torch.zeros(TINY_WIDTH, TINY_WIDTH) for layer in LAYERS}
        self.busy: dict[int, int] = dict.fromkeys([*LAYERS, -1], 0)

    def pause(self) -> None:
        time.sleep(self.random.random() * 0.003)

    def alone(self, layer: int) -> Any:
        """Fails where two batches are at the same layer."""
        running = self

        class Alone:
            def __enter__(self) -> None:
                assert running.busy[layer] == 0
                running.busy[layer] += 1

            def __exit__(self, *_: object) -> None:
                running.busy[layer] -= 1

        return Alone()

    def part(self, indices: list[int], mask: Tensor) -> tuple[OnLayer, Callable[[], None]]:
        self.pause()
        assert mask.sum(1).tolist() == [len(IDS[i]) for i in indices]

        def on_layer(layer: int, hidden_states: Tensor) -> None:
            with self.alone(layer):
                self.pause()
                self.at(layer, indices)
                self.taken.append((layer, tuple(indices)))
                # In float32, where the order of a sum shows.
                mean = (hidden_states * mask[:, :, None]).sum(1)
                self.sums[layer] += mean.T @ mean

        def finish() -> None:
            with self.alone(-1):
                self.pause()
                self.ended.append(tuple(indices))

        return on_layer, finish

    def at(self, layer: int, indices: list[int]) -> None:
        """What a test wants to happen there."""

    def read(self, batches: list[list[int]] = BATCHES, **options: Any) -> int:
        return self.reader.read(
            batches, LAYERS, self.part, on_batch=self.read_batches.append, **options
        )


@pytest.mark.parametrize("seed", range(3))
def test_every_layer_and_end_comes_in_the_order_of_the_batches(
    tiny: LanguageModel, seed: int
) -> None:
    run = Pass(tiny, seed)
    assert run.read() == len(BATCHES)
    in_order = [tuple(batch) for batch in BATCHES]
    for layer in LAYERS:
        assert [batch for at, batch in run.taken if at == layer] == in_order
    assert run.ended == in_order
    assert run.read_batches == BATCHES


def test_batches_do_pass_at_once(tiny: LanguageModel) -> None:
    """Each of the first ones waits until all of them are there."""
    run, together = Pass(tiny), threading.Barrier(THREADS, timeout=20)
    met = []

    def part(indices: list[int], mask: Tensor) -> tuple[OnLayer, Callable[[], None]]:
        if len(met) < THREADS:
            together.wait()
            met.append(torch.get_num_threads())
        return Pass.part(run, indices, mask)

    run.part = part  # type: ignore[method-assign]
    run.read(BATCHES[:THREADS])
    assert met == [1] * THREADS


def test_sums_do_not_depend_on_the_number_of_threads(tiny: LanguageModel) -> None:
    """Bit for bit: between passes at once and one after the other, each on one core."""
    found = []
    for passes in (1, 2, THREADS):
        torch.set_num_threads(passes)
        run = Pass(tiny, passes)
        run.read()
        found.append(run.sums)
        torch.set_num_threads(THREADS)
    for sums in found[1:]:
        assert all(torch.equal(sums[layer], found[0][layer]) for layer in LAYERS)


def test_bfloat16_sums_do_not_depend_on_the_number_of_threads(tiny_model_dir: Path) -> None:
    model = load_model(tiny_model_dir, dtype="bfloat16")
    found = []
    for passes in (1, THREADS):
        torch.set_num_threads(passes)
        run = Pass(model)
        run.read()
        found.append(run.sums)
        torch.set_num_threads(THREADS)
    assert all(torch.equal(found[0][layer], found[1][layer]) for layer in LAYERS)


@pytest.mark.parametrize("failure", [ZeroDivisionError, KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("batch", [0, 3, 7])
@pytest.mark.parametrize("layer", [0, TINY_LAYERS])
def test_a_failure_stops_all_and_is_the_one_raised(
    tiny: LanguageModel, failure: type[BaseException], batch: int, layer: int
) -> None:
    run = Pass(tiny)

    def at(where: int, indices: list[int]) -> None:
        if where == layer and indices == BATCHES[batch]:
            raise failure("made up")

    run.at = at  # type: ignore[method-assign]
    with pytest.raises(failure, match="made up"):
        run.read()
    assert run.read_batches == BATCHES[: len(run.read_batches)]
    assert len(run.read_batches) <= batch


@pytest.mark.parametrize("where", ["part", "on_batch", "finish", "go_on"])
def test_a_failure_anywhere_is_the_one_raised(tiny: LanguageModel, where: str) -> None:
    run = Pass(tiny)
    counted = 0

    def fail(*_: object) -> bool:
        nonlocal counted
        counted += 1
        if counted == 4:
            raise ZeroDivisionError
        return True

    def part(indices: list[int], mask: Tensor) -> tuple[OnLayer, Callable[[], None]]:
        if where == "part":
            fail()
        on_layer, finish = Pass.part(run, indices, mask)
        return on_layer, (fail if where == "finish" else finish)  # type: ignore[return-value]

    with pytest.raises(ZeroDivisionError):
        run.reader.read(
            BATCHES,
            LAYERS,
            part,
            on_batch=fail if where == "on_batch" else run.read_batches.append,
            go_on=fail if where == "go_on" else lambda: True,  # type: ignore[arg-type]
        )
    assert len(run.read_batches) < len(BATCHES)


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
    assert len(run.read_batches) < len(BATCHES)


def test_a_hidden_state_that_is_not_finite_names_its_text(tiny: LanguageModel) -> None:
    run = Pass(tiny)

    def at(layer: int, indices: list[int]) -> None:
        if layer == 2 and indices == [8, 9]:
            raise NonFiniteError(layer, 1)

    run.at = at  # type: ignore[method-assign]
    with pytest.raises(MomentsError, match=r"layer 2 has a NaN or infinite .*'text 9'"):
        run.read()
    assert [8, 9] not in run.read_batches


@pytest.mark.parametrize("layer", [0, 2, TINY_LAYERS])
@pytest.mark.parametrize("seed", range(2))
def test_memory_that_runs_out_halves_one_batch_of_several(
    tiny: LanguageModel, layer: int, seed: int
) -> None:
    plain, run = Pass(tiny), Pass(tiny, seed)
    plain.read()

    def at(where: int, indices: list[int]) -> None:
        if where == layer and indices == [4, 5, 6, 7]:
            raise torch.OutOfMemoryError

    run.at = at  # type: ignore[method-assign]
    assert run.read() == len(BATCHES)
    assert run.read_batches == BATCHES
    for one in LAYERS:
        texts = [text for at, batch in run.taken for text in batch if at == one]
        assert texts == list(range(20)), "every text once, in order"
        torch.testing.assert_close(run.sums[one], plain.sums[one], rtol=1e-5, atol=1e-4)
    assert run.reader.largest_batch <= 4 * 8 // 2
    assert [text for batch in run.ended for text in batch] == list(range(20))


def test_memory_for_a_single_text_stops_all(tiny: LanguageModel) -> None:
    run = Pass(tiny)

    def at(layer: int, indices: list[int]) -> None:
        if layer == 1 and 6 in indices:
            raise torch.OutOfMemoryError

    run.at = at  # type: ignore[method-assign]
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
    # [4 … 7] comes first and waits, with 32 tokens; [0, 1, 2], with 15, is halved meanwhile.
    run.read([[4, 5, 6, 7], [0, 1, 2]])
    assert found == [3 * 5 // 2]
    assert run.reader.largest_batch == found[0]


@pytest.mark.parametrize("threads", [1, THREADS])
def test_reading_stops_after_what_was_begun(tiny: LanguageModel, threads: int) -> None:
    torch.set_num_threads(threads)
    run, asked = Pass(tiny), []

    def go_on() -> bool:
        asked.append(1)
        return len(asked) < 5

    read = run.read(go_on=go_on)
    torch.set_num_threads(THREADS)
    assert read == 5
    assert run.read_batches == BATCHES[:5]
    for layer in LAYERS:
        assert sum(at == layer for at, _ in run.taken) == 5


def test_one_batch_is_read_whatever_go_on_says(tiny: LanguageModel) -> None:
    run = Pass(tiny)
    assert run.read(go_on=lambda: False) == 1
    assert run.read_batches == BATCHES[:1]


def test_reading_nothing_does_nothing(tiny: LanguageModel) -> None:
    run = Pass(tiny)
    assert run.read([]) == 0
    assert run.taken == []


def test_seconds_of_threads_do_not_exceed_those_that_passed(tiny: LanguageModel) -> None:
    run = Pass(tiny)
    start = time.perf_counter()
    run.read()
    passed = time.perf_counter() - start
    seconds = run.clock.seconds()
    assert seconds["forward"] > 0
    assert seconds["moments"] > 0
    assert seconds["forward"] + seconds["moments"] <= passed


def test_moments_of_passes_at_once_are_those_of_one(tiny: LanguageModel) -> None:
    labels = torch.arange(20) % 3
    found = []
    for threads in (1, THREADS):
        torch.set_num_threads(threads)
        moments = Moments(LAYERS, TINY_WIDTH, 3)

        def part(
            indices: list[int], mask: Tensor, moments: Moments = moments
        ) -> tuple[OnLayer, Callable[[], None]]:
            batch = moments.batch(mask, labels[indices])
            return (
                lambda layer, states: moments.add_layer(layer, states, batch),
                partial(moments.add_labels, batch),
            )

        reader = BatchReader(tiny, TEXTS, IDS, Clock(("forward", "moments", "total")), "moments")
        reader.read(BATCHES, LAYERS, part, on_batch=lambda _batch: None)
        found.append(moments)
        torch.set_num_threads(THREADS)
    one, several = found
    assert torch.equal(one.sum_C0.triu(), several.sum_C0.triu())
    for name in ("sum_C1", "sum_M", "sum_mean", "sum_next_power", "sum_Y", "sum_YY"):
        assert torch.equal(getattr(one, name), getattr(several, name))


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
    passes = reader._passes_at_once
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
        assert reader._passes_at_once(made_up(model)) == expected
