"""A model that somebody holds in memory already: borrowed for a pass, and left as it was."""

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ntpscore.errors import ModelError
from ntpscore.models.context import known_context
from ntpscore.models.encoders import is_encoder
from ntpscore.models.hidden_states import check_stream
from ntpscore.models.language_model import LanguageModel


def is_lent(model: object) -> bool:
    """Whether this is a pair of a `transformers` model and its tokenizer."""
    return isinstance(model, tuple) and len(model) == 2 and isinstance(model[0], torch.nn.Module)


@contextmanager
def borrow_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Iterator[LanguageModel]:
    """A language model of what is in memory; mode and gradients are as before afterwards.

    The tokenizer is copied, since padding is set on it. What it puts in front of a text is taken
    as it is.

    Args:
        model: a causal language model, or an encoder, of `transformers`.
        tokenizer: its tokenizer.
    """
    if not isinstance(model, PreTrainedModel) or not callable(tokenizer):
        raise ModelError(
            f"a pair of {type(model).__name__} and {type(tokenizer).__name__} is no model of "
            "transformers with its tokenizer"
        )
    own = copy.deepcopy(tokenizer)
    own.padding_side = "right"
    if own.pad_token is None:
        own.pad_token = own.eos_token or own.convert_ids_to_tokens(0)
    modes = {module: module.training for module in model.modules()}
    gradients = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        model.eval().requires_grad_(requires_grad=False)
        language_model = LanguageModel(
            model=model,
            tokenizer=own,
            id=model.config.name_or_path or f"in-memory {type(model).__name__}",
            revision=None,
            content_hash=_hash_weights(model),
            dtype=model.dtype,
            device=next(model.get_input_embeddings().parameters()).device,
            width=0,  # this and the layers are for `check_stream` to find
            n_layers=0,
            max_length=None,
            reads_both_ways=is_encoder(model.config),
        )
        check_stream(language_model)
        language_model.max_length = known_context(language_model)
        yield language_model
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, has_gradient in gradients.items():
            parameter.requires_grad_(has_gradient)


def _hash_weights(model: PreTrainedModel) -> str:
    """SHA-256 (hex) of all weights, so that results of changed ones are told apart."""
    hashed = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        hashed.update(name.encode())
        hashed.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return hashed.hexdigest()
