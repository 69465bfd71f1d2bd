"""The model's distribution of the token after a text, from the text's last hidden state."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ntpscore.errors import ModelError
from ntpscore.models.failures import as_model_error
from ntpscore.models.hidden_states import stream_hidden_states
from ntpscore.models.language_model import LanguageModel

_CHUNK = 64  # texts whose probabilities are held at once
_PROBE = "The weather was fine, so they"
# Logits of two ways through one head differ by the rounding of the pass's dtype alone.
_SAME_TOLERANCE = 0.02


@dataclass(frozen=True)
class NextTokenDistributions:
    """Next-token probabilities of many texts, made chunk by chunk whenever they are iterated.

    A hidden state of layer L says all that the vocabulary head sees, so n × d numbers stand for the
    n × V table.

    Attributes:
        language_model: the model, whose head is applied.
        last_states: (n, d) layer L's hidden state at the last token of each text.

    Raises:
        ModelError: the head does more than is known here, so that its probabilities would be wrong.
    """

    language_model: LanguageModel
    last_states: Tensor

    def __post_init__(self) -> None:
        """Check the head against the model's own logits."""
        _check_head(self.language_model)

    def __iter__(self) -> Iterator[npt.NDArray[np.float32]]:
        """Chunks (b, V) of probabilities, rows in the order of the texts."""
        for chunk in self.last_states.split(_CHUNK):
            yield torch.softmax(_logits(self.language_model, chunk), dim=-1).cpu().numpy()


def vocabulary_head(language_model: LanguageModel) -> nn.Linear:
    """What makes logits of the base model's output.

    Raises:
        ModelError: there is none.
    """
    model: Any = language_model.model
    head: nn.Linear | None = model.get_output_embeddings()
    if head is None:
        # Some, such as OpenELM, have none of their own: the embeddings are used once more.
        weight = model.get_input_embeddings().weight
        if weight.shape[1] != language_model.output_width:
            raise ModelError(f"{language_model.id} has no vocabulary head that can be found")
        rows, width = weight.shape
        head = nn.Linear(width, rows, bias=False, device="meta")
        head.weight = weight
    return head


@torch.inference_mode()
def _logits(language_model: LanguageModel, last_states: Tensor) -> Tensor:
    """(b, V) float32 logits of hidden states (b, d)."""
    head = vocabulary_head(language_model)
    weight = head.weight
    if language_model.narrowing is not None:
        last_states = language_model.narrowing(last_states.to(weight.device, weight.dtype))
    logits: Tensor = head(last_states.to(weight.device, weight.dtype)).float()
    config = language_model.model.config.get_text_config()
    logits = logits * (getattr(config, "logit_scale", None) or 1.0)
    logits = logits / (getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return cap * torch.tanh(logits / cap) if cap else logits


@torch.inference_mode()
def _check_head(language_model: LanguageModel) -> None:
    ids = language_model.tokenizer(_PROBE, verbose=False)["input_ids"]
    input_ids = torch.tensor([ids], device=language_model.device)
    with as_model_error(f"the forward pass of {language_model.id} failed"):
        output = language_model.model(input_ids=input_ids, use_cache=False, return_dict=True)
    expected = output.logits[0].float()
    states: list[Tensor] = []
    stream_hidden_states(
        language_model,
        input_ids,
        None,
        lambda _layer, hidden_states: states.append(hidden_states[0].clone()),
        [language_model.n_layers],
    )
    got = _logits(language_model, states[0]).to(expected.device)
    scale = float(expected.abs().median())
    if got.shape != expected.shape or not torch.allclose(
        got, expected, rtol=_SAME_TOLERANCE, atol=_SAME_TOLERANCE * scale
    ):
        raise ModelError(
            f"the vocabulary head of {language_model.id} is of an unknown kind: its next-token "
            "probabilities can't be made from hidden states"
        )
