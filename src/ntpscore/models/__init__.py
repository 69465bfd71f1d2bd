"""Causal language models: load one, check that it works, read its hidden states layer by layer."""

from ntpscore.models.hidden_states import check_stream, stream_hidden_states
from ntpscore.models.language_model import LanguageModel
from ntpscore.models.load import DTYPES, load_model
from ntpscore.models.next_token import NextTokenDistributions
from ntpscore.models.packaged import PackagedModel
from ntpscore.models.registry import MODELS, RegisteredModel, find_model
from ntpscore.models.sanity import NextTokenLoss, check_next_token_loss

__all__ = [
    "DTYPES",
    "MODELS",
    "LanguageModel",
    "NextTokenDistributions",
    "NextTokenLoss",
    "PackagedModel",
    "RegisteredModel",
    "check_next_token_loss",
    "check_stream",
    "find_model",
    "load_model",
    "stream_hidden_states",
]
