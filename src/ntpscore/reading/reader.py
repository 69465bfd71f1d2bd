"""Runs padded batches of texts through layers of a model, in halves where memory runs out."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from ntpscore.clock import Clock
from ntpscore.core.moments import NonFiniteError
from ntpscore.errors import ModelError, MomentsError
from ntpscore.models import LanguageModel, stream_hidden_states
from ntpscore.models.failures import is_out_of_memory
from ntpscore.models.layers import read_layers
from ntpscore.reading.consumers import Consumer
from ntpscore.reading.tokens import pad_batch

# More threads than this share the passes: each pass holds a batch's activations in memory.
_MOST_PASSES = 8
# Sums of all threads together. Wide models gain little from several passes, and their sums are
# large: from a width of about 1,700 on, with 30 layers, there is one pass.
_MOST_BYTES = 4 << 30


def check_layers(
    layers: Sequence[int] | str | None, language_model: LanguageModel, option: str
) -> tuple[int, ...]:
    """Hidden-state indices in rising order, each once; all of them for None.

    Args:
        layers: what was asked for; -1 is the last; a text such as "0,4,8-last".
        language_model: the model that is to have them.
        option: the option that asked, to be named.
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


def passes_at_once(language_model: LanguageModel, n_bytes: int = 0) -> int:
    """How many threads can run the model at the same time.

    On a processor a thread for each core gains: operations on a few thousand tokens gain little
    from more cores.

    Args:
        language_model: the model.
        n_bytes: what each of the threads keeps for itself.
    """
    model = language_model.model
    known = type(model).__module__.startswith("transformers.")
    if language_model.device.type != "cpu" or not language_model.streams or not known:
        return 1  # a model's own code may keep state from one call to the next
    if language_model.kept_state or language_model.narrowing is not None:
        return 1
    if any(_follows_length(module) for module in model.modules()):
        return 1
    most = _MOST_BYTES // n_bytes if n_bytes else _MOST_PASSES
    return max(1, min(torch.get_num_threads(), _MOST_PASSES, most))


def _follows_length(module: Any) -> bool:
    """Whether these are rotary embeddings that write their frequencies anew for each batch."""
    kinds = getattr(module, "rope_type", None)
    kinds = kinds.values() if isinstance(kinds, dict) else [kinds]
    return any(kind == "longrope" or "dynamic" in str(kind) for kind in kinds)


class BatchReader:
    """The forward pass over batches of texts.

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
        shares: Sequence[Sequence[list[int]]],
        layers: Sequence[int],
        consumers: Sequence[Consumer],
        *,
        on_batch: Callable[[int], None] = lambda _: None,
        go_on: Callable[[], bool] = lambda: True,
    ) -> int:
        """Hand over the hidden states of batches; of one in several parts where memory runs out.

        Args:
            shares: batches for each of the passes that run at once, see `passes_at_once`. So what a
                consumer sees, and in which order, hangs on no thread's speed.
            layers: hidden-state indices.
            consumers: of each share. One that has several of them is called by several threads.
            on_batch: called with the number of texts after each batch.
            go_on: asked whenever a share comes to its second batch, its third, … first.

        Returns:
            How many batches of every share were read, or all of one that has fewer.

        Raises:
            MomentsError: a hidden state is NaN or infinite.
            ModelError: a single text is too large for the memory.
        """
        lock = threading.Lock()
        begun, limit = 0, sys.maxsize

        def work(share: Sequence[list[int]], consumer: Consumer) -> None:
            nonlocal begun, limit
            try:
                for number, batch in enumerate(share):
                    with lock:
                        if begun == number and 0 < number < limit and not go_on():
                            limit = number
                        if number >= limit:
                            return
                        begun = max(begun, number + 1)
                    self._read(batch, layers, consumer, 1 / len(shares))
                    with lock:
                        on_batch(len(batch))
            except BaseException:
                limit = 0
                raise

        if len(shares) == 1:
            work(shares[0], consumers[0])
            return begun
        cores = torch.get_num_threads()
        per_share = max(1, cores // len(shares))
        try:
            with ThreadPoolExecutor(
                len(shares), initializer=torch.set_num_threads, initargs=(per_share,)
            ) as pool:
                try:
                    for done in [
                        pool.submit(work, *one) for one in zip(shares, consumers, strict=True)
                    ]:
                        done.result()
                except BaseException:
                    limit = 0
                    raise
        finally:
            torch.set_num_threads(cores)
        return begun

    def _read(
        self, texts: list[int], layers: Sequence[int], consumer: Consumer, share: float
    ) -> None:
        """Read these layers of one batch, or of a part of one."""
        length = max(len(self._ids[i]) for i in texts)
        n_tokens, half = len(texts) * length, len(texts) // 2
        left = list(layers)
        if n_tokens <= self.largest_batch or not half:
            input_ids, attention_mask = pad_batch(self._ids, texts, self._language_model.device)
            self._pass(texts, input_ids, attention_mask, left, consumer, share)
            if not left:
                return
            if not half:
                raise ModelError(
                    f"memory ran out on a single text of {length} tokens: use --max-length, fewer "
                    "--layers or a narrower --dtype"
                )
            with self._lock:  # another batch may have run out of memory at fewer tokens meanwhile
                self.largest_batch = min(self.largest_batch, n_tokens // 2)
            if input_ids.device.type == "cuda":
                torch.cuda.empty_cache()
        for part in (texts[:half], texts[half:]):
            self._read(part, left, consumer, share)

    def _pass(
        self,
        texts: list[int],
        input_ids: Tensor,
        attention_mask: Tensor,
        left: list[int],
        consumer: Consumer,
        share: float,
    ) -> None:
        """One pass; takes out of `left` the layers that were taken before memory ran out."""
        spent, start = 0.0, time.perf_counter()
        batch = consumer.begin(texts, attention_mask)

        def on_layer(layer: int, hidden_states: Tensor) -> None:
            nonlocal spent
            began = time.perf_counter()
            consumer.take(batch, layer, hidden_states)
            left.remove(layer)
            spent += time.perf_counter() - began

        try:
            # A causal model never looks at the padding on the right, so it needs no mask.
            mask = attention_mask if self._language_model.reads_both_ways else None
            stream_hidden_states(self._language_model, input_ids, mask, on_layer, left)
            consumer.end(batch)
        except NonFiniteError as error:
            text = self._texts[texts[error.text]]
            raise MomentsError(
                f"layer {error.layer} has a NaN or infinite hidden state in the text "
                f"{text[:80]!r}: try --dtype float32, or leave the text out"
            ) from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        finally:
            self._clock.add(self._stage, share * spent)
            self._clock.add("forward", share * (time.perf_counter() - start - spent))
