"""Lemma 1 on a real model: its margin, and the probability of right decoding that follows."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ntpscore.core.moments import Moments
from ntpscore.core.subspaces import solve_subspaces
from ntpscore.errors import DataError, ModelError
from ntpscore.models import LanguageModel, stream_hidden_states
from ntpscore.models.next_token import vocabulary_head
from ntpscore.reading.tokens import pad_batch, plan_batches, tokenize, tokens_per_batch
from ntpscore.text import LabelledText

# Hidden states whose logits are held at once.
_CHUNK = 128
# Of the search for the two rows that are farthest apart: each goes to the row farthest from one.
_HOPS = 4


@dataclass(frozen=True)
class DecodingMargin:
    """What Lemma 1 says of a model's last layer, on some texts.

    Attributes:
        n_tokens: next tokens that were looked at.
        smallest: Δ, the least margin `⟨w_y − w_j, h⟩` of the token y that the vocabulary head makes
            of a next token's hidden state h, over all tokens j and next tokens.
        median: the median of these margins over next tokens.
        diameter: M, how far rows of the head are apart; from below, which favours the bound.
        error: ε, the root of the mean squared error of the best linear prediction of h from the
            prefix sum, `‖ĥ − h‖`, with all columns of V.
        bound: `1 − M² ε² / Δ²`, at least 0: so often is ĥ decoded as h is, by the lemma's proof and
            Chebyshev's inequality.
        bound_at_median: the same, were every margin the median one.
    """

    n_tokens: int
    smallest: float
    median: float
    diameter: float
    error: float

    @property
    def bound(self) -> float:
        """See above."""
        return self._bound(self.smallest)

    @property
    def bound_at_median(self) -> float:
        """See above."""
        return self._bound(self.median)

    def _bound(self, margin: float) -> float:
        return max(0.0, 1 - (self.diameter * self.error / margin) ** 2) if margin > 0 else 0.0


@torch.inference_mode()
def decoding_margin(
    language_model: LanguageModel, text: LabelledText, *, max_length: int | None = None
) -> DecodingMargin:
    """Measure what Lemma 1 hangs on, at the model's last layer.

    Args:
        language_model: from `load_model`.
        text: the labels don't matter.
        max_length: tokens after which a text is cut; None means the model's context.

    Raises:
        ModelError: the model has no vocabulary head of its width.
        DataError: no text has a next token.

    Source:
        Next Token Perception Score, Lemma 1 and its proof.
    """
    tokens = tokenize(text.texts, language_model, max_length)
    lengths = [len(ids) for ids in tokens.ids]
    n_next = sum(lengths) - len(lengths)
    if not n_next:
        raise DataError("every text is a single token: there is no next token to predict")
    head = vocabulary_head(language_model)
    width, layer = language_model.width, language_model.n_layers
    if head.weight.shape[1] != width:
        raise ModelError(f"{language_model.id} has no vocabulary head of width {width}")
    rows = head.weight.detach().float()
    moments = Moments([layer], width, 1)
    margins: list[Tensor] = []
    for texts in plan_batches(lengths, tokens_per_batch(None, language_model.device)):
        input_ids, mask = pad_batch(tokens.ids, texts, language_model.device)

        def take(
            _layer: int, states: Tensor, texts: list[int] = texts, mask: Tensor = mask
        ) -> None:
            moments.update([states.cpu()], mask.cpu(), torch.zeros(len(texts), dtype=torch.long))
            behind_first = mask.bool() & (torch.arange(mask.shape[1], device=mask.device) > 0)
            margins.extend(_margins(part, rows) for part in states[behind_first].split(_CHUNK))

        stream_hidden_states(language_model, input_ids, None, take, [layer])
    every = torch.cat(margins)
    sums = moments.layer(layer)
    left = sums.next_power - float(solve_subspaces(sums).next_token.values.sum())
    return DecodingMargin(
        n_tokens=n_next,
        smallest=float(every.min()),
        median=float(np.median(every.numpy())),
        diameter=_diameter(rows),
        error=float(np.sqrt(max(0.0, left) * len(lengths) / n_next)),
    )


def _margins(states: Float[Tensor, "n d"], rows: Float[Tensor, "v d"]) -> Float[Tensor, " n"]:
    """How far the best token's logit is above the next one's."""
    first, second = (states.to(rows) @ rows.T).topk(2, dim=1).values.T
    margins: Tensor = (first - second).cpu()
    return margins


def _diameter(rows: Float[Tensor, "v d"]) -> float:
    """How far two rows are apart that are far apart: at most the largest distance of any."""
    here, farthest = rows.mean(0), 0.0
    for hop in range(_HOPS):
        distances = (rows - here).norm(dim=1)
        here = rows[distances.argmax()]
        if hop:  # the first was to no row
            farthest = max(farthest, float(distances.max()))
    return farthest
