"""How one vector is made of a text's hidden states: a function each, and its entry in `POOLINGS`.

What a command offers, checks and keeps is read from `POOLINGS`; docs/extend.md shows a further one.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    # The hidden states of a batch, (b, t, d), and its attention mask, (b, t), on the same device,
    # which is non-zero where there is a token, at least one a text, and 0 for padding, on the
    # right: (b, d), a row of which depends on one text alone. What stands at the padding may be
    # anything, NaN too.
    Pooling = Callable[[Float[Tensor, "b t d"], Int[Tensor, "b t"]], Float[Tensor, "b d"]]


def mean_tokens(
    hidden_states: "Float[Tensor, 'b t d']", attention_mask: "Int[Tensor, 'b t']"
) -> "Float[Tensor, 'b d']":
    """The mean of each text's tokens, in float32."""
    import torch

    is_token = (attention_mask != 0)[:, :, None]
    tokens = hidden_states.masked_fill(~is_token, 0.0)
    return tokens.sum(1, dtype=torch.float32) / is_token.sum(1)


def last_tokens(
    hidden_states: "Float[Tensor, 'b t d']", attention_mask: "Int[Tensor, 'b t']"
) -> "Float[Tensor, 'b d']":
    """The last token of each text."""
    last = (attention_mask != 0).sum(1) - 1
    return hidden_states.take_along_dim(last[:, None, None], 1).squeeze(1)


# By the names that results, files and options have; a text's mean token is the usual one.
POOLINGS: "dict[str, Pooling]" = {"mean": mean_tokens, "last": last_tokens}
