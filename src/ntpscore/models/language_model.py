"""A language model with its tokenizer, ready for a pass over texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ntpscore.errors import ModelError
from ntpscore.models.kept_state import KeptState
from ntpscore.models.options import ModelOptions


@dataclass
class LanguageModel:
    """A language model, its tokenizer and what a reader of results must know about them.

    Attributes:
        model: A transformers causal language model, or an encoder, in evaluation mode, without
            gradients.
        tokenizer: Its tokenizer: pads on the right, puts the beginning-of-sequence token in front
            where the model was trained so.
        id: Hub id, path as given, or short name of a packaged model.
        revision: Hub commit, or the package with its version; None for a file or a folder.
        content_hash: SHA-256 of the weights (hex); None for a model from the hub, whose commit
            says it all.
        width: Length d of a hidden state.
        n_layers: Number of decoder blocks L; hidden states are numbered 0 to L.
        dtype: Number format of the forward pass.
        device: Where the token ids go.
        max_length: Context length in tokens, None where the model is not known to have a limit.
        tokenizer_id: Hub id of the tokenizer, where the model has none of its own; None otherwise.
        tokenizer_revision: Commit of that tokenizer.
        warnings: What a reader of results should know of how it was loaded.
        blocks: The L decoder blocks in the order they run; None where they were not found, so that
            hidden states can't be streamed (see `streams`).
        merge_streams: Makes one hidden state (b, t, d) of the several that a block of some
            architectures hands on; None where it is one already.
        narrowing: The layer that makes the base model's output narrower than d, as in OPT-350m;
            its input is layer L. None where there is none.
        kept_state: What the model keeps from one call to the next: put back before each pass, of
            which there is one at a time.
        reads_both_ways: Whether it is an encoder: padding has to be masked, and there is no next
            token.
        loaded_with: What `load_model` was given; None for a model that is in memory alone.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    id: str
    revision: str | None
    content_hash: str | None
    width: int
    n_layers: int
    dtype: torch.dtype
    device: torch.device
    max_length: int | None
    tokenizer_id: str | None = None
    tokenizer_revision: str | None = None
    warnings: tuple[str, ...] = ()
    blocks: Sequence[torch.nn.Module] | None = None
    merge_streams: Callable[[torch.Tensor], torch.Tensor] | None = None
    narrowing: torch.nn.Linear | None = None
    kept_state: Sequence[KeptState] = ()
    reads_both_ways: bool = False
    loaded_with: tuple[str, ModelOptions] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle holds how the model is loaded again, and what tells it from others."""
        from ntpscore.models.load import reload_model

        if self.loaded_with is None:
            raise ModelError(
                f"{self.id} can't be pickled, for it can't be loaded again by its name: save it "
                "into a folder, and load it from there"
            )
        return reload_model, (*self.loaded_with, self.identity)

    def __sklearn_clone__(self) -> "LanguageModel":
        """Itself: scikit-learn copies whatever is a parameter."""
        return self

    @property
    def base(self) -> Any:
        """The model without its vocabulary head: returns `last_hidden_state`."""
        base = self.model.base_model
        # Of some text parts of multimodal models the name of the base is not that of the attribute.
        return self.model.model if base is self.model and hasattr(base, "model") else base

    @property
    def flags(self) -> dict[str, bool]:
        """How the base is called, besides its inputs."""
        return {"return_dict": True} | ({} if self.reads_both_ways else {"use_cache": False})

    @property
    def output_width(self) -> int:
        """Length of `last_hidden_state`, which is d but for models with a narrower output."""
        return self.width if self.narrowing is None else self.narrowing.out_features

    @property
    def identity(self) -> list[str | None]:
        """What tells these weights, number format and tokenizer from others."""
        weights = [self.id, self.revision, self.content_hash, str(self.dtype)]
        if self.tokenizer_id is None:
            return weights
        return [*weights, self.tokenizer_id, self.tokenizer_revision]

    @property
    def streams(self) -> bool:
        """Whether hidden states come one by one, instead of all being kept until the pass ends."""
        return self.blocks is not None
