"""One forward pass that hands over every layer's hidden states as soon as they exist.

Keeping all layers of a batch costs (L + 1) times the memory of one. A decoder block's input *is*
the hidden state of its index, so a hook in front of each block sees every layer in turn and none is
kept. Layer L, after the final norm, is what the base model returns.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ntpscore.errors import ModelError
from ntpscore.models.failures import as_model_error, is_out_of_memory
from ntpscore.models.kept_state import find_kept_state, tensor_attributes
from ntpscore.models.language_model import LanguageModel
from ntpscore.models.residual_streams import find_merge

# A position's hidden state may differ by rounding when the tokens after it change; a model that
# looks ahead differs by the size of the hidden state itself.
_CAUSAL_TOLERANCE = 0.1
_SAME_TOLERANCE = 0.02
# What is masked is multiplied by zero, in every number format.
_MASK_TOLERANCE = 1e-5
# Tokens of the two texts that a model is tried on.
_LONG, _SHORT = 12, 7


class _PassFinishedError(Exception):
    """Raised in front of the block after the last one whose output is wanted."""


class _TakerError(Exception):
    """Carries what `on_layer` raised through the model's code: it is none of the model's faults."""


def stream_hidden_states(
    language_model: LanguageModel,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    on_layer: Callable[[int, Tensor], None],
    layers: Sequence[int],
) -> None:
    """Run the base model once and call `on_layer` for each wanted layer, in increasing order.

    Where `language_model.streams` is false all layers are kept until the pass has ended, with the
    same result. Blocks above the last wanted layer are not run. Several threads may stream from the
    same model at once.

    Args:
        language_model: The model, as `load_model` returns it.
        input_ids: Token ids, (batch, length), padded on the right, on the model's device.
        attention_mask: 1 for a token and 0 for padding, (batch, length); None where nothing is
            padded, or the model never looks ahead.
        on_layer: Called with the hidden-state index and the hidden states (batch, length, d) in
            the pass's dtype. It must not change or keep them: later blocks read the same tensor.
        layers: Hidden-state indices, 0 (the embedding) to L (the last block after the final norm).

    Raises:
        ModelError: A layer is not in 0 … L, or none is wanted.
    """
    wanted = sorted(set(layers))
    if not wanted or wanted[0] < 0 or wanted[-1] > language_model.n_layers:
        raise ModelError(
            f"layers {list(layers)} can't be read from {language_model.id}: its hidden states are "
            f"numbered 0 to {language_model.n_layers}"
        )
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
    for state in language_model.kept_state:
        state.reset()
    if language_model.blocks is None:
        for layer, hidden_states in enumerate(_all_hidden_states(language_model, inputs)):
            if layer in wanted:
                on_layer(layer, hidden_states)
        return

    def take(layer: int, hidden_states: Tensor) -> None:
        if language_model.merge_streams is not None and layer < language_model.n_layers:
            hidden_states = language_model.merge_streams(hidden_states)
        try:
            on_layer(layer, hidden_states)
        except Exception as error:
            raise _TakerError from error

    with (
        _hooks(language_model.blocks, wanted, take, language_model.n_layers),
        _last_state_of(language_model) as last_state,
        torch.inference_mode(),
    ):
        try:
            with _forward_pass(language_model):
                output = language_model.base(**inputs, **language_model.flags)
        except _PassFinishedError:
            return
        on_layer(language_model.n_layers, last_state(output))


@contextmanager
def _forward_pass(language_model: LanguageModel) -> Iterator[None]:
    """Blame the model for what it raises, but not for what the reader of its states does."""
    try:
        yield
    except _TakerError as error:
        raise error.__cause__ or error from None
    except Exception as error:
        if isinstance(error, _PassFinishedError) or is_out_of_memory(error):
            raise
        with as_model_error(f"the forward pass of {language_model.id} failed"):
            raise


@contextmanager
def _last_state_of(language_model: LanguageModel) -> Iterator[Callable[[Any], Tensor]]:
    """How to read layer L of a pass: the output, or what went into its narrowing."""
    if language_model.narrowing is None:
        yield lambda output: output.last_hidden_state
        return
    wide: dict[int, Tensor] = {}  # by thread

    def keep(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        wide[threading.get_ident()] = args[0]

    handle = language_model.narrowing.register_forward_pre_hook(keep)
    try:
        yield lambda _output: wide[threading.get_ident()]
    finally:
        handle.remove()


@dataclass(frozen=True)
class _Stream:
    """What the pass of one thread does in front of the blocks."""

    wanted: frozenset[int]
    last: int
    on_layer: Callable[[int, Tensor], None]


class _Running(threading.local):
    """The stream of the pass that this thread is at."""

    stream: _Stream | None = None


_running = _Running()
# Passes over the same blocks share their hooks: while one thread puts a hook in place, another must
# not run the block, which might find half of it.
_hooks_of: dict[int, tuple[int, list[RemovableHandle]]] = {}
_lock = threading.Lock()


@contextmanager
def _hooks(
    blocks: Sequence[nn.Module],
    wanted: Sequence[int],
    on_layer: Callable[[int, Tensor], None],
    n_layers: int,
) -> Iterator[None]:
    before, key = _running.stream, id(blocks[0])
    with _lock:
        passes, handles = _hooks_of.get(key) or (0, _put_hooks(blocks[:n_layers]))
        _hooks_of[key] = (passes + 1, handles)
    _running.stream = _Stream(frozenset(wanted), wanted[-1], on_layer)
    try:
        yield
    finally:
        _running.stream = before
        with _lock:
            passes, handles = _hooks_of.pop(key)
            if passes > 1:
                _hooks_of[key] = (passes - 1, handles)
            else:
                for handle in handles:
                    handle.remove()


def _put_hooks(blocks: Sequence[nn.Module]) -> list[RemovableHandle]:
    def in_front_of(layer: int) -> Callable[..., None]:
        def hook(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            stream = _running.stream
            if stream is None or layer not in stream.wanted:
                return
            stream.on_layer(layer, args[0] if args else kwargs["hidden_states"])
            if layer == stream.last:
                raise _PassFinishedError

        return hook

    return [
        block.register_forward_pre_hook(in_front_of(layer), with_kwargs=True)
        for layer, block in enumerate(blocks)
    ]


@torch.inference_mode()
def _all_hidden_states(
    language_model: LanguageModel, inputs: Mapping[str, Tensor | None]
) -> tuple[Tensor, ...]:
    with _last_state_of(language_model) as last_state, _forward_pass(language_model):
        output = language_model.base(**inputs, **language_model.flags, output_hidden_states=True)
        *below, _ = output.hidden_states or (None,)
        if language_model.merge_streams is not None:
            below = list(map(language_model.merge_streams, below))
        # Not always the last of the hidden states, which some give from before the final norm.
        return (*below, last_state(output)) if below else ()


def check_stream(language_model: LanguageModel) -> bool:
    """Find the decoder blocks and check the stream against transformers' own hidden states.

    Two short made-up texts run through the model, the second one the beginning of the first and
    padded. Sets `language_model.blocks` where a list of blocks reproduces every layer, and to None
    where none does. `load_model` calls it.

    Args:
        language_model: The model; its `n_layers` and `blocks` are set.

    Returns:
        Whether hidden states can be streamed.

    Raises:
        ModelError: The model gives no hidden states, looks ahead (or, where it may, at padding), or
            gives others for the same texts the second time.
    """
    with as_model_error(f"the first forward pass of {language_model.id} failed"):
        input_ids, attention_mask = _two_texts(language_model)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        language_model.merge_streams = find_merge(language_model.base)
        before = tensor_attributes(language_model.base)
        expected = _all_hidden_states(language_model, inputs)
        language_model.kept_state = find_kept_state(language_model.base, before)
    if not expected:
        raise ModelError(
            f"{language_model.id} returns no hidden states, so there is nothing to score"
        )
    language_model.n_layers = len(expected) - 1
    language_model.width = expected[0].shape[-1]
    if expected[-1].shape[-1] < language_model.width:
        language_model.narrowing = _find_narrowing(language_model, expected[-1].shape[-1])
        if language_model.narrowing is not None:
            expected = _all_hidden_states(language_model, inputs)
    _check_shapes(language_model, expected, input_ids.shape)
    if language_model.reads_both_ways:
        _check_mask(language_model, expected[-1], inputs)
    else:
        _check_causal(language_model, expected[-1])
    for blocks in _block_lists(language_model):
        language_model.blocks = blocks
        if _reproduces(language_model, inputs, expected):
            return True
    language_model.blocks = None
    again = _collect(language_model, inputs)
    if not all(map(_same, again, expected)):
        raise ModelError(
            f"{language_model.id} gives other hidden states for the same texts the second time: it "
            "keeps something from one call to the next, or draws at random"
        )
    return False


def _collect(language_model: LanguageModel, inputs: dict[str, Tensor]) -> list[Tensor]:
    states: list[Tensor] = []
    stream_hidden_states(
        language_model,
        **inputs,
        on_layer=lambda _, hidden_states: states.append(hidden_states),
        layers=range(language_model.n_layers + 1),
    )
    return states


def _two_texts(language_model: LanguageModel) -> tuple[Tensor, Tensor]:
    # Spread over the vocabulary, away from its ends, where special tokens live.
    embedding: Any = language_model.model.get_input_embeddings()
    ids = (
        torch.linspace(0.2, 0.8, _LONG)
        .mul(embedding.num_embeddings)
        .long()
        .to(language_model.device)
    )
    input_ids = torch.stack([ids, torch.cat([ids[:_SHORT], ids[:1].expand(_LONG - _SHORT)])])
    attention_mask = torch.ones_like(input_ids)
    attention_mask[1, _SHORT:] = 0
    return input_ids, attention_mask


def _find_narrowing(language_model: LanguageModel, narrow: int) -> nn.Linear | None:
    """The last linear layer from the model's width to that of its output."""
    return next(
        (
            module
            for module in reversed(list(language_model.base.modules()))
            if isinstance(module, nn.Linear)
            and (module.in_features, module.out_features) == (language_model.width, narrow)
        ),
        None,
    )


def _check_shapes(
    language_model: LanguageModel, expected: Sequence[Tensor], shape: torch.Size
) -> None:
    wanted = (*shape, language_model.width)
    other = {
        layer: tuple(states.shape)
        for layer, states in enumerate(expected)
        if states.shape != wanted
    }
    if other:
        layer, given = next(iter(other.items()))
        kind = language_model.model.config.model_type
        raise ModelError(
            f"{language_model.id} is of an architecture ({kind}) that is not supported yet: layer "
            f"{layer} has hidden states of shape {given}, expected {wanted} (texts, tokens, width)"
        )


def _check_causal(language_model: LanguageModel, hidden_states: Tensor) -> None:
    difference = _difference(hidden_states[1, :_SHORT], hidden_states[0, :_SHORT])
    if difference > _CAUSAL_TOLERANCE:
        raise ModelError(
            f"{language_model.id} is no causal language model: its hidden states depend on the "
            f"tokens that follow (by {difference:.0%}). Give a model that predicts the next token."
        )


def _check_mask(
    language_model: LanguageModel, hidden_states: Tensor, inputs: dict[str, Tensor]
) -> None:
    input_ids = inputs["input_ids"].clone()
    input_ids[1, _SHORT:] = input_ids[0, -1]
    other = _all_hidden_states(language_model, {**inputs, "input_ids": input_ids})[-1]
    difference = _difference(hidden_states[1, :_SHORT], other[1, :_SHORT])
    if difference > _MASK_TOLERANCE:
        raise ModelError(
            f"{language_model.id} reads padding, whatever its mask says: what it makes of a text "
            f"hangs on the texts beside it (by {difference:.2%})"
        )


def _difference(got: Tensor, expected: Tensor) -> float:
    """The relative difference of hidden states; 0 of broken weights, of which the loss tells."""
    got, expected = got.float(), expected.float()
    if not torch.isfinite(got).all() or not torch.isfinite(expected).all():
        return 0.0
    return float(torch.linalg.norm(got - expected) / torch.linalg.norm(got))


def _block_lists(language_model: LanguageModel) -> Iterator[Sequence[nn.Module]]:
    for module in language_model.base.modules():
        if isinstance(module, nn.ModuleList) and len(module) == language_model.n_layers > 0:
            yield list(module)


def _reproduces(
    language_model: LanguageModel, inputs: dict[str, Tensor], expected: Sequence[Tensor]
) -> bool:
    seen: list[int] = []
    equal: list[bool] = []

    def compare(layer: int, hidden_states: Tensor) -> None:
        seen.append(layer)
        equal.append(_same(hidden_states, expected[layer]))

    layers = range(len(expected))
    try:
        stream_hidden_states(
            language_model, inputs["input_ids"], inputs["attention_mask"], compare, layers
        )
    except (ModelError, AttributeError):
        # These modules take no hidden states, or the model returns none: another kind of model.
        return False
    return seen == list(layers) and all(equal)


def _same(got: object, expected: Tensor) -> bool:
    if not isinstance(got, Tensor) or got.shape != expected.shape:
        return False
    # Two runs on a graphics card may differ by rounding. The median, since a few huge entries
    # would hide everything else in a norm.
    got, expected = got.float(), expected.float().to(got.device)
    scale = float(expected.nan_to_num().abs().median())
    return torch.allclose(
        got, expected, rtol=_SAME_TOLERANCE, atol=_SAME_TOLERANCE * scale, equal_nan=True
    )
