"""Code that models bring along, most of it written for transformers 4, under transformers 5."""

import contextlib
import inspect
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from ntpscore.models.context import TRIED


def has_own_code(kind: type) -> bool:
    """Whether a class is of code that a model brought along."""
    return kind.__module__.startswith("transformers_modules.")


def admit_configuration(folder: Path) -> None:
    """Let the class of a model's configuration have a `__post_init__` of its own, as OpenELM's has.

    transformers 5 calls a method of that name with whatever it has no field for, of which there is
    always something: `auto_map`. Such a class calls its own itself, with nothing.

    Args:
        folder: where the model's files are; its code is run.
    """
    content, _ = PreTrainedConfig.get_config_dict(folder)
    reference = content.get("auto_map", {}).get("AutoConfig")
    if reference is None:
        return
    kind: Any = get_class_from_dynamic_module(reference, folder)
    own = getattr(kind, "__post_init__", None)
    if own is None or _takes_keywords(own):
        return

    def post_init(self: Any, **keywords: Any) -> None:
        if keywords:
            PreTrainedConfig.__post_init__(self, **keywords)
        else:
            own(self)

    kind.__post_init__ = post_init


def _takes_keywords(function: Any) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


@contextlib.contextmanager
def only_weights_empty() -> Iterator[None]:
    """Let a model's own code compute while it is built.

    transformers 5 builds models without any memory, where nothing can be computed or copied, such
    as tables of sines. Here only the weights, which are read afterwards, are without.
    """
    import accelerate

    usual = PreTrainedModel.__dict__["get_init_context"]

    def contexts(cls: type[PreTrainedModel], *args: Any, **keywords: Any) -> list[Any]:
        return [
            accelerate.init_empty_weights(include_buffers=False)
            if has_own_code(cls) and context == torch.device("meta")
            else context
            for context in usual.__get__(None, cls)(*args, **keywords)
        ]

    kind: Any = PreTrainedModel
    kind.get_init_context = classmethod(contexts)
    try:
        yield
    finally:
        kind.get_init_context = usual


def compute_buffers(model: PreTrainedModel) -> None:
    """Give a model with code of its own the buffers that its checkpoint does not hold.

    Those that only the constructor computes, such as frequencies of rotary embeddings, transformers
    5 leaves as whatever the memory held: its own models compute them again, those of others do not.
    """
    import accelerate

    with accelerate.init_empty_weights(include_buffers=False):
        fresh = type(model)(model.config)
    computed = dict(fresh.named_buffers(remove_duplicate=False))
    in_checkpoint = model.state_dict().keys()
    for name, buffer in model.named_buffers(remove_duplicate=False):
        if name not in in_checkpoint:
            owner, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(owner), attribute, computed[name].to(buffer.device))


def shrink_causal_mask(model: PreTrainedModel) -> None:
    """Let a table of which token sees which grow with the texts, from so many as are tried first.

    Code of the time of transformers 4.38, OpenELM's too, keeps one of context × context and copies
    it for every text of a batch: 4 million numbers a text, however short.
    """
    for module in model.modules():
        table = dict(module.named_buffers(recurse=False)).get("causal_mask")
        if table is None or table.dim() != 2 or not torch.equal(table, _ahead(table, len(table))):
            continue
        module.causal_mask = _ahead(table, min(TRIED, len(table)))
        module.register_forward_pre_hook(_grow_causal_mask, with_kwargs=True)


# Several threads may run the same model: one that shrank the table would take it from another.
_growing = threading.Lock()


def _grow_causal_mask(module: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    given = [*args[:1], keywords.get("input_ids"), keywords.get("inputs_embeds")]
    length = next(one.shape[1] for one in given if one is not None)
    with _growing:
        if length > len(module.causal_mask):
            module.causal_mask = _ahead(module.causal_mask, length)


def _ahead(table: Tensor, length: int) -> Tensor:
    return table.new_ones(length, length).triu(1)
