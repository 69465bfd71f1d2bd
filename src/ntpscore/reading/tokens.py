"""Texts as token ids: cut to the length limit, counted, sorted into batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from ntpscore.errors import DataError, ModelError
from ntpscore.models import LanguageModel

# Padding of a batch, as a share of the most tokens it may have: smaller batches cost more than the
# padding they save.
_PADDING_SHARE = 0.03
# Of the budget, in search of an even number of batches.
_SHARES_OF_BUDGET = (0.97, 0.94, 0.91, 0.88)


@dataclass(frozen=True)
class TokenizedText:
    """Token ids of each text, cut to the length limit.

    Attributes:
        ids: one list of token ids per text.
        truncated: how many texts were cut.
    """

    ids: list[list[int]]
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
        ModelError: the limit is beyond the model's context.
    """
    context = language_model.max_length
    if max_length is not None and context is not None and max_length > context:
        raise ModelError(
            f"max_length {max_length} is beyond the context of {context} tokens of "
            f"{language_model.id}"
        )
    limit = max_length or context
    # Without verbose the tokenizer doesn't warn of long texts: they are cut and counted here.
    encoded = language_model.tokenizer(
        list(texts), return_attention_mask=False, return_token_type_ids=False, verbose=False
    )
    ids: list[list[int]] = encoded["input_ids"]
    truncated = 0
    if limit is not None:
        truncated = sum(len(one) > limit for one in ids)
        ids = [one[:limit] for one in ids]
    for text, one in zip(texts, ids, strict=True):
        if not one:
            raise DataError(f"the tokenizer of {language_model.id} makes no token of {text!r}")
    return TokenizedText(ids, truncated)


def plan_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Batches of text indices of about the same length, each within a budget of padded tokens.

    Smaller batches come first: where several are read at once, a batch that is faster than the one
    before it would have to wait for it at every layer. Their number is even where it can be, so
    that two at once end together.

    Args:
        lengths: tokens of each text.
        batch_tokens: most tokens of a batch, padding included; a longer text is alone.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    first = _cut(order, lengths, batch_tokens)
    smaller = (_cut(order, lengths, int(share * batch_tokens)) for share in _SHARES_OF_BUDGET)
    chosen = next((plan for plan in chain([first], smaller) if len(plan) % 2 == 0), first)
    return sorted(chosen, key=lambda batch: len(batch) * lengths[batch[0]])


def _cut(order: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Batches of texts in this order, in which none is longer than the one before it."""
    batches: list[list[int]] = []
    longest = padding = 0
    for index in order:
        padding += longest - lengths[index]
        full = not batches or (len(batches[-1]) + 1) * longest > budget
        if full or padding > _PADDING_SHARE * budget:
            batches.append([])
            longest, padding = lengths[index], 0
        batches[-1].append(index)
    return batches


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
