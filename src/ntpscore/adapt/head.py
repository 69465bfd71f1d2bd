"""A linear head on the mean token of a model's last block."""

from contextlib import AbstractContextManager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class MeanTokenClassifier(nn.Module):
    """A base model and a linear head on the mean of its last hidden states.

    The head, the mean and everything after it are float32, whatever the base computes in.

    Args:
        base: a causal transformer without vocabulary head, which returns `last_hidden_state`.
        width: d, of its hidden states.
        n_outputs: c, classes or targets.
        device: where the head lives.
    """

    def __init__(
        self, base: nn.Module, width: int, n_outputs: int, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__()
        self.base = base
        self.head = nn.Linear(width, n_outputs, dtype=torch.float32, device=device)

    def forward(
        self, input_ids: Int[Tensor, "b t"], attention_mask: Int[Tensor, "b t"]
    ) -> Float[Tensor, "b c"]:
        """Logits or target estimates.

        Args:
            input_ids: (b, t), padded on the right.
            attention_mask: (b, t), 1 for a token and 0 for padding.
        """
        # A causal model never looks at the padding on the right, so it needs no mask.
        output = self.base(input_ids=input_ids, use_cache=False, return_dict=True)
        hidden_states = output.last_hidden_state.float()
        is_token = attention_mask.to(hidden_states.device)[:, :, None]
        mean = hidden_states.masked_fill(is_token == 0, 0.0).sum(1) / is_token.sum(1)
        with _full_precision(mean.device):
            outputs: Tensor = self.head(mean.to(self.head.weight.device))
        return outputs


def _full_precision(device: torch.device) -> AbstractContextManager[None]:
    without: AbstractContextManager[None] = torch.autocast(device.type, enabled=False)
    return without
