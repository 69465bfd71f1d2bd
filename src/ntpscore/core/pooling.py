"""The mean token of a text, which stands for it wherever labels are fitted."""

import torch
from jaxtyping import Float
from torch import Tensor


def mean_tokens(
    hidden_states: Float[Tensor, "b t d"], attention_mask: Tensor
) -> Float[Tensor, "b d"]:
    """The mean of each text's tokens, in float32.

    Args:
        hidden_states: (b, t, d); what stands at the padding may be anything, NaN too.
        attention_mask: (b, t), non-zero where there is a token, at least one a text.
    """
    is_token = (attention_mask != 0).to(hidden_states.device)[:, :, None]
    kept = hidden_states.to(torch.float32).masked_fill(~is_token, 0.0)
    return kept.sum(1) / is_token.sum(1)
