"""Texts as token ids: cut to the length limit, counted, sorted into batches."""

import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

from ntpscore.errors import DataError, ModelError
from ntpscore.models import LanguageModel
from ntpscore.models.context import TRIED, try_context
from ntpscore.models.failures import as_model_error
from ntpscore.models.vocabulary import check_token_ids
from ntpscore.reading import BATCH_TOKENS, BATCH_TOKENS_ON_CUDA

# Padding of a batch, as a share of the most tokens it may have: smaller batches cost more than the
# padding they save.
_PADDING_SHARE = 0.03
# Texts that are tokenized at once: what a tokenizer says of them takes far more than their ids.
_AT_ONCE = 1000


class TokenIds(Sequence[list[int]]):
    """A list of token ids for each text, held in 32 bits each: lists take ten times as much.

    Args:
        ids: of each text.
    """

    def __init__(self, ids: Iterable[Iterable[int]] = ()) -> None:
        self._joined, self._ends = array("i"), array("q", [0])
        self.extend(ids)

    def extend(self, ids: Iterable[Iterable[int]]) -> None:
        """Add further texts."""
        for of_text in ids:
            self._joined.extend(of_text)
            self._ends.append(len(self._joined))

    def __len__(self) -> int:
        """How many texts there are."""
        return len(self._ends) - 1

    @overload
    def __getitem__(self, text: int) -> list[int]: ...
    @overload
    def __getitem__(self, text: slice) -> list[list[int]]: ...
    def __getitem__(self, text: int | slice) -> list[int] | list[list[int]]:
        """The ids of a text, or of several."""
        if isinstance(text, slice):
            return [self[i] for i in range(len(self))[text]]
        i = range(len(self))[text]
        return self._joined[self._ends[i] : self._ends[i + 1]].tolist()


@dataclass(frozen=True)
class TokenizedText:
    """Token ids of each text, cut to the length limit.

    Attributes:
        ids: one list of token ids per text.
        truncated: how many texts were cut.
    """

    ids: Sequence[list[int]]
    truncated: int

    @property
    def n_tokens(self) -> int:
        """Tokens of all texts together."""
        return sum(map(len, self.ids))


def tokenize(
    texts: Sequence[str], language_model: LanguageModel, max_length: int | None
) -> TokenizedText:
    """Tokenize texts once, cutting those that are too long.

    Args:
        texts: n strings.
        language_model: whose tokenizer, and whose context is the limit if none is given.
        max_length: most tokens of a text.

    Raises:
        DataError: a text has no token at all.
        ModelError: the limit is beyond the model's context, the tokenizer fails, or it makes tokens
            that the model doesn't know.
    """
    context = language_model.max_length
    if max_length is not None and context is not None and max_length > context:
        raise ModelError(
            f"max_length {max_length} is beyond the context of {context} tokens of "
            f"{language_model.id}"
        )
    limit = max_length or context or sys.maxsize
    uncut = TokenIds()
    for start in range(0, len(texts), _AT_ONCE):
        part = list(texts[start : start + _AT_ONCE])
        with as_model_error(f"the tokenizer of {language_model.id} failed"):
            # Without verbose the tokenizer doesn't warn of long texts: they are cut and counted
            # here.
            encoded = language_model.tokenizer(
                part, return_attention_mask=False, return_token_type_ids=False, verbose=False
            )
            ids: list[list[int]] = encoded["input_ids"]
            uncut.extend(ids)
        for text, token_ids in zip(part, ids, strict=True):
            if not token_ids:
                raise DataError(f"the tokenizer of {language_model.id} makes no token of {text!r}")
    check_token_ids(language_model, uncut)
    longest = min(max(map(len, uncut)), limit)
    if longest > TRIED:
        limit = min(limit, try_context(language_model, longest))
    truncated = sum(len(token_ids) > limit for token_ids in uncut)
    # Encoders were trained on texts that are closed by a token of their own.
    closing = set(
        language_model.tokenizer.all_special_ids if language_model.reads_both_ways else ()
    )
    cut = (
        [*one[: limit - 1], one[-1]] if len(one) > limit and one[-1] in closing else one[:limit]
        for one in uncut
    )
    return TokenizedText(TokenIds(cut) if truncated else uncut, truncated)


def tokens_per_batch(batch_tokens: int | None, device: torch.device) -> int:
    """What was asked for, or what suits the model's device."""
    if batch_tokens is not None:
        return batch_tokens
    return BATCH_TOKENS_ON_CUDA if device.type == "cuda" else BATCH_TOKENS


def plan_batches(
    lengths: Sequence[int], batch_tokens: int, texts: Iterable[int] | None = None
) -> list[list[int]]:
    """Batches of texts of about the same length, each within a budget of padded tokens.

    Long texts come first: if memory does not suffice it shows at once.

    Args:
        lengths: tokens of each text.
        batch_tokens: most tokens of a batch, padding included; a longer text is alone.
        texts: numbers of those to be read; None means all.
    """
    batches: list[list[int]] = []
    longest = padding = 0
    for i in _by_length(lengths, texts):
        padding += longest - lengths[i]
        full = not batches or (len(batches[-1]) + 1) * longest > batch_tokens
        if full or padding > _PADDING_SHARE * batch_tokens:
            batches.append([])
            longest, padding = lengths[i], 0
        batches[-1].append(i)
    return batches


def plan_shares(
    lengths: Sequence[int], batch_tokens: int, n_shares: int, texts: Iterable[int] | None = None
) -> list[list[list[int]]]:
    """Batches for each of the passes that run at once; see `plan_batches`.

    Texts are dealt by length, so that all shares end together.
    """
    order = _by_length(lengths, texts)
    return [
        plan_batches(lengths, batch_tokens, order[share::n_shares]) for share in range(n_shares)
    ]


def _by_length(lengths: Sequence[int], texts: Iterable[int] | None) -> list[int]:
    texts = range(len(lengths)) if texts is None else texts
    return sorted(texts, key=lambda i: (-lengths[i], i))


def pad_batch(
    ids: Sequence[Sequence[int]], indices: Sequence[int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask (b, t) of some texts, padded on the right."""
    length = max(len(ids[i]) for i in indices)
    input_ids = torch.zeros(len(indices), length, dtype=torch.long)
    attention_mask = torch.zeros(len(indices), length, dtype=torch.long)
    for row, i in enumerate(indices):
        input_ids[row, : len(ids[i])] = torch.tensor(ids[i])
        attention_mask[row, : len(ids[i])] = 1
    return input_ids.to(device), attention_mask.to(device)
