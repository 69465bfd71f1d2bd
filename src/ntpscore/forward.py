"""Runs padded batches of texts through layers of a model, in halves where memory runs out."""

import ctypes
import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ntpscore.core.moments import NonFiniteError
from ntpscore.errors import ModelError, MomentsError
from ntpscore.models import LanguageModel, stream_hidden_states
from ntpscore.provenance import Clock
from ntpscore.tokens import pad_batch

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

OnLayer = Callable[[int, Tensor], None]
"""Takes a layer's number and its hidden states (b, t, d), which it must not keep."""
Part = Callable[[list[int], Tensor], tuple[OnLayer, Callable[[], None]]]
"""Takes the numbers and attention mask (b, t) of texts; says what to do with each layer and at the
end."""


def check_layers(
    layers: Sequence[int] | None, language_model: LanguageModel, option: str
) -> tuple[int, ...]:
    """Hidden-state indices in rising order, each once; all of them for None.

    Args:
        layers: what was asked for.
        language_model: the model that is to have them.
        option: the option that asked, to be named.

    Raises:
        ModelError: the model has no such layer.
    """
    last = language_model.n_layers
    if layers is None:
        return tuple(range(last + 1))
    outside = [layer for layer in layers if not 0 <= layer <= last]
    if outside:
        raise ModelError(
            f"{option} {', '.join(map(str, outside))} out of range: this model's hidden states are "
            f"numbered 0 (embedding) to {last} (last block)"
        )
    return tuple(sorted(set(layers)))


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
        self.largest_batch = sys.maxsize

    def read(self, indices: list[int], layers: Sequence[int], part: Part) -> None:
        """Hand over the hidden states of one batch; in several parts where memory runs out.

        Args:
            indices: the batch's texts.
            layers: hidden-state indices.
            part: called for every part with its texts and their mask on the model's device.

        Raises:
            MomentsError: a hidden state is NaN or infinite.
            ModelError: a single text is too large for the memory.
        """
        length = max(len(self._ids[i]) for i in indices)
        if len(indices) * length > self.largest_batch and len(indices) > 1:
            self._read_halves(indices, layers, part)
            return
        left = list(layers)
        start = time.perf_counter()
        spent = 0.0
        device = self._language_model.device
        input_ids, attention_mask = pad_batch(self._ids, indices, device)
        take, finish = part(indices, attention_mask)

        def on_layer(layer: int, hidden_states: Tensor) -> None:
            nonlocal spent
            begin = time.perf_counter()
            take(layer, hidden_states)
            left.remove(layer)
            spent += time.perf_counter() - begin

        try:
            # A causal model never looks at the padding on the right, so it needs no mask.
            stream_hidden_states(self._language_model, input_ids, None, on_layer, left)
        except NonFiniteError as error:
            text = self._texts[indices[error.text]]
            raise MomentsError(
                f"layer {error.layer} has a NaN or infinite hidden state in the text "
                f"{text[:80]!r}: try --dtype float32, or leave the text out"
            ) from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        finally:
            self._clock.add(self._stage, spent)
            self._clock.add("forward", time.perf_counter() - start - spent)
        if left:
            if len(indices) == 1:
                raise ModelError(
                    f"memory ran out on a single text of {length} tokens: use --max-length, fewer "
                    "--layers or a narrower --dtype"
                )
            self.largest_batch = len(indices) * length // 2
            if device.type == "cuda":
                torch.cuda.empty_cache()
            self._read_halves(indices, left, part)
            return
        finish()

    def _read_halves(self, indices: list[int], layers: Sequence[int], part: Part) -> None:
        half = len(indices) // 2
        self.read(indices[:half], layers, part)
        self.read(indices[half:], layers, part)


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
