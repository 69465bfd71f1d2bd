"""A causal language model with its tokenizer, ready for a pass over texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass
class LanguageModel:
    """A causal language model, its tokenizer and what a reader of results must know about them.

    Attributes:
        model: A transformers causal language model in evaluation mode, without gradients;
            `model.base_model` runs without the vocabulary head.
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
        max_length: Context length in tokens, None where the model names none.
        tokenizer_id: Hub id of the tokenizer, where the model has none of its own; None otherwise.
        tokenizer_revision: Commit of that tokenizer.
        blocks: The L decoder blocks in the order they run; None where they were not found, so that
            hidden states can't be streamed (see `streams`).
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
    blocks: Sequence[torch.nn.Module] | None = None

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
