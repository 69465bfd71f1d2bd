"""Runs padded batches of texts through layers of a model, in halves where memory runs out."""

import ctypes
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ntpscore.clock import Clock
from ntpscore.core.moments import NonFiniteError
from ntpscore.errors import ModelError, MomentsError
from ntpscore.models import LanguageModel, stream_hidden_states
from ntpscore.models.layers import read_layers
from ntpscore.reading.tokens import pad_batch

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

# More threads than this share the passes: each pass holds a batch's activations in memory.
_MOST_PASSES = 8

OnLayer = Callable[[int, Tensor], None]
"""Takes a layer's number and its hidden states (b, t, d), which it must not keep."""
Part = Callable[[list[int], Tensor], tuple[OnLayer, Callable[[], None]]]
"""Takes the numbers and attention mask (b, t) of texts; says what to do with each layer and at the
end. Of several batches that are read at once, each layer comes in their order, one at a time; so do
the ends."""


def check_layers(
    layers: Sequence[int] | str | None, language_model: LanguageModel, option: str
) -> tuple[int, ...]:
    """Hidden-state indices in rising order, each once; all of them for None.

    Args:
        layers: what was asked for; -1 is the last; a text such as "0,4,8-last".
        language_model: the model that is to have them.
        option: the option that asked, to be named.

    Raises:
        ModelError: the model has no such layer.
    """
    last = language_model.n_layers
    if layers is None:
        return tuple(range(last + 1))
    if isinstance(layers, str):
        layers = read_layers(layers, last)
    layers = [last if layer == -1 else layer for layer in layers]
    outside = [layer for layer in layers if not 0 <= layer <= last]
    if outside:
        raise ModelError(
            f"{option} {', '.join(map(str, outside))} out of range: this model's hidden states are "
            f"numbered 0 (embedding) to {last} (last block)"
        )
    return tuple(sorted(set(layers)))


class BatchReader:
    """The forward pass over batches of texts.

    On a processor several batches pass through the model at once, each in a thread that uses one
    core: operations on a few thousand tokens gain little from more.

    Args:
        language_model: the model.
        texts: n strings, for messages.
        ids: the token ids of each.
        clock: counts the seconds of the stages `forward` and `stage`.
        stage: what is done with the hidden states.

    Attributes:
        largest_batch: padded tokens that are known to fit; `sys.maxsize` until memory runs out.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        texts: Sequence[str],
        ids: Sequence[Sequence[int]],
        clock: Clock,
        stage: str,
    ) -> None:
        self._language_model = language_model
        self._texts = texts
        self._ids = ids
        self._clock = clock
        self._stage = stage
        self._lock = threading.Lock()
        self.largest_batch = sys.maxsize

    def read(
        self,
        batches: Sequence[list[int]],
        layers: Sequence[int],
        part: Part,
        *,
        on_batch: Callable[[list[int]], None],
        go_on: Callable[[], bool] = lambda: True,
    ) -> int:
        """Hand over the hidden states of batches; of one in several parts where memory runs out.

        Args:
            batches: texts of each.
            layers: hidden-state indices.
            part: called for every batch, or part of one, with its texts and their mask on the
                model's device. What it returns is called in the order of the batches.
            on_batch: called with each batch that was read, in their order.
            go_on: asked before each batch but the first; those begun are finished.

        Returns:
            How many were read, from the first on.

        Raises:
            MomentsError: a hidden state is NaN or infinite.
            ModelError: a single text is too large for the memory.
        """
        turns = _Turns(layers)
        # Not fewer for fewer batches: rounding must not hang on where a run was interrupted.
        passes = _passes_at_once(self._language_model)
        share = 1 / max(1, min(passes, len(batches)))
        lock = threading.Lock()
        begun = 0

        def work() -> None:
            nonlocal begun
            try:
                while True:
                    with lock:
                        if begun == len(batches) or (begun and not go_on()):
                            return
                        number, batch = begun, batches[begun]
                        begun += 1
                    self._read(batch, layers, part, partial(turns.take, number), share)
                    turns.take(number, _END, partial(on_batch, batch), last=True)
            except BaseException:
                turns.stop()
                raise

        if passes < 2:
            work()
        else:
            _run_in_threads(work, passes, turns.stop)
        return begun

    def _read(
        self,
        indices: list[int],
        layers: Sequence[int],
        part: Part,
        take_turn: "_TakeTurn",
        share: float,
        *,
        last: bool = True,
    ) -> None:
        """Read one batch, or the `last` or another part of it."""
        length = max(len(self._ids[i]) for i in indices)
        if len(indices) * length > self.largest_batch and len(indices) > 1:
            self._read_halves(indices, layers, part, take_turn, share, last=last)
            return
        input_ids, attention_mask = pad_batch(self._ids, indices, self._language_model.device)
        take, finish = part(indices, attention_mask)
        try:
            left = self._stream(input_ids, layers, take, take_turn, share, last=last)
            if not left:
                take_turn(_END, finish, last=False)
                return
        except NonFiniteError as error:
            text = self._texts[indices[error.text]]
            raise MomentsError(
                f"layer {error.layer} has a NaN or infinite hidden state in the text "
                f"{text[:80]!r}: try --dtype float32, or leave the text out"
            ) from error
        if len(indices) == 1:
            raise ModelError(
                f"memory ran out on a single text of {length} tokens: use --max-length, fewer "
                "--layers or a narrower --dtype"
            )
        with self._lock:  # another batch may have run out of memory at fewer tokens meanwhile
            self.largest_batch = min(self.largest_batch, len(indices) * length // 2)
        if input_ids.device.type == "cuda":
            torch.cuda.empty_cache()
        self._read_halves(indices, left, part, take_turn, share, last=last)

    def _stream(
        self,
        input_ids: Tensor,
        layers: Sequence[int],
        take: OnLayer,
        take_turn: "_TakeTurn",
        share: float,
        *,
        last: bool,
    ) -> list[int]:
        """One pass; returns the layers that were not taken because memory ran out."""
        left = list(layers)
        start = time.perf_counter()
        spent = waited = 0.0

        def on_layer(layer: int, hidden_states: Tensor) -> None:
            nonlocal waited
            arrived = time.perf_counter()

            def do() -> None:
                nonlocal spent, waited
                begin = time.perf_counter()
                waited += begin - arrived
                take(layer, hidden_states)
                spent += time.perf_counter() - begin

            take_turn(layer, do, last=last)
            left.remove(layer)

        try:
            # A causal model never looks at the padding on the right, so it needs no mask.
            stream_hidden_states(self._language_model, input_ids, None, on_layer, left)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        finally:
            passed = time.perf_counter() - start - spent - waited
            self._clock.add(self._stage, share * spent)
            self._clock.add("forward", share * passed)
        return left

    def _read_halves(
        self,
        indices: list[int],
        layers: Sequence[int],
        part: Part,
        take_turn: "_TakeTurn",
        share: float,
        *,
        last: bool,
    ) -> None:
        half = len(indices) // 2
        self._read(indices[:half], layers, part, take_turn, share, last=False)
        self._read(indices[half:], layers, part, take_turn, share, last=last)


def _passes_at_once(language_model: LanguageModel) -> int:
    """How many threads may run the model at the same time."""
    model = language_model.model
    known = type(model).__module__.startswith("transformers.")
    if language_model.device.type != "cpu" or not language_model.streams or not known:
        return 1  # a model's own code may keep state from one call to the next
    if any(_follows_length(module) for module in model.modules()):
        return 1
    return min(torch.get_num_threads(), _MOST_PASSES)


def _follows_length(module: Any) -> bool:
    """Whether these are rotary embeddings that write their frequencies anew for each batch."""
    kinds = getattr(module, "rope_type", None)
    kinds = kinds.values() if isinstance(kinds, dict) else [kinds]
    return any(kind == "longrope" or "dynamic" in str(kind) for kind in kinds)


def _run_in_threads(work: Callable[[], None], threads: int, stop: Callable[[], None]) -> None:
    """Run the same function in several threads that share torch's; the first error is raised."""
    cores = torch.get_num_threads()

    def use_share() -> None:
        torch.set_num_threads(cores // threads)

    try:
        with ThreadPoolExecutor(threads, initializer=use_share) as pool:
            try:
                running = [pool.submit(work) for _ in range(threads)]
                errors = [error for one in running if (error := one.exception()) is not None]
            except BaseException:
                stop()
                raise
    finally:
        torch.set_num_threads(cores)
    for error in sorted(errors, key=lambda error: isinstance(error, _StoppedError)):
        raise error


# Comes after every layer.
_END = sys.maxsize
_TakeTurn = Callable[..., None]


class _StoppedError(Exception):
    """Another thread has failed."""


class _Turns:
    """Lets the batches that are read at once come to each layer in their order, one at a time.

    So that sums don't depend, in their last digits, on which thread was faster.

    Args:
        layers: hidden-state indices.
    """

    def __init__(self, layers: Sequence[int]) -> None:
        self._next = dict.fromkeys([*layers, _END], 0)
        self._changed = threading.Condition()
        self._stopped = False

    def take(self, number: int, layer: int, do: Callable[[], None], *, last: bool) -> None:
        """Wait for the turn of a batch at a layer, and use it.

        Args:
            number: of the batch.
            layer: hidden-state index, or `_END`.
            do: what to do there.
            last: whether the batch comes to this layer no more.

        Raises:
            _StoppedError: `stop` was called.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._next[layer] == number)
            if self._stopped:
                raise _StoppedError
        do()
        if last:
            with self._changed:
                self._next[layer] = number + 1
                self._changed.notify_all()

    def stop(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


def keep_freed_memory() -> None:
    """Tell glibc to keep large blocks of memory that were freed, for the next batch to use.

    By default it hands them back, and the system clears every page of them again for the next
    tensor: a quarter of the time of a forward pass on a processor. Elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The processor's allocator raises a plain RuntimeError.
    return "DefaultCPUAllocator" in str(error) or "not enough memory" in str(error)
