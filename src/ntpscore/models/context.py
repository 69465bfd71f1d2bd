"""How many tokens of a text a model takes: what its configuration says, and what it really does."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedConfig

from ntpscore.errors import ModelError
from ntpscore.models.failures import is_out_of_memory
from ntpscore.models.hidden_states import stream_hidden_states
from ntpscore.models.language_model import LanguageModel

# What configurations call it. Some give −1 for "no limit", some leave it out.
_NAMES = (
    "max_position_embeddings", "max_context_length", "max_seq_len", "max_sequence_length",
    "n_positions", "n_ctx", "seq_length", "max_target_positions",
)  # fmt: skip

TRIED = 512
"""So many tokens, or the whole context if it is shorter, a model is known to take once loaded."""


def configured_context(config: PreTrainedConfig) -> int | None:
    """The context in tokens that a configuration gives by a known name; None if it gives none."""
    text_config = config.get_text_config(decoder=True)
    for name in _NAMES:
        value = getattr(text_config, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def known_context(language_model: LanguageModel) -> int | None:
    """The context that the configuration gives, or less where the model does not take that much.

    Longer contexts than `TRIED` are tried when there are texts that long.
    """
    context = language_model.max_length
    tried = min(context or TRIED, TRIED)
    taken = try_context(language_model, tried)
    return context if taken == tried else taken


def try_context(language_model: LanguageModel, longest: int) -> int:
    """How many tokens, of so many, the model takes: found by trying.

    Tables of positions may be longer than the configuration says, or shorter, as some keep rows for
    padding. Positions are looked up before or inside the first block, so one block is run.
    """
    failure = _failure_at(language_model, longest)
    if failure is None:
        return longest
    if longest == 1 or _failure_at(language_model, 1) is not None:
        raise failure
    fits, fails = 1, longest
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if _failure_at(language_model, middle) is None:
            fits = middle
        else:
            fails = middle
    return fits


def _failure_at(language_model: LanguageModel, length: int) -> ModelError | None:
    input_ids = torch.zeros(1, length, dtype=torch.long, device=language_model.device)
    try:
        with _CheckedLookups():  # type: ignore[no-untyped-call]  # torch's constructor
            stream_hidden_states(
                language_model,
                input_ids,
                None,
                lambda _layer, _hidden_states: None,
                [min(1, language_model.n_layers)],
            )
    except ModelError as error:
        return error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    return None  # of a text that is too large for the memory, the pass itself says so


class _CheckedLookups(TorchDispatchMode):
    """Raises where a table is read beyond its end; on CUDA that would end the whole process."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        table, index = None, None
        if func is torch.ops.aten.embedding.default:
            table, index, rows = args[0], args[1], args[0].shape[0]
        elif func in (torch.ops.aten.index_select.default, torch.ops.aten.gather.default):
            table, index, rows = args[0], args[2], args[0].shape[args[1]]
        if isinstance(table, Tensor) and isinstance(index, Tensor) and index.numel():
            last = int(index.max())
            if last >= rows:
                raise IndexError(f"position {last} of a table of {rows}")
        return func(*args, **(kwargs or {}))
