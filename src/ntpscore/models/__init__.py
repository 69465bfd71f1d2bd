"""Causal language models: load one, check that it works, read its hidden states layer by layer."""

from typing import TYPE_CHECKING

from ntpscore.lazy import load_lazily

if TYPE_CHECKING:
    from ntpscore.models.hidden_states import check_stream as check_stream
    from ntpscore.models.hidden_states import stream_hidden_states as stream_hidden_states
    from ntpscore.models.language_model import LanguageModel as LanguageModel
    from ntpscore.models.load import DTYPES as DTYPES
    from ntpscore.models.load import load_model as load_model
    from ntpscore.models.next_token import NextTokenDistributions as NextTokenDistributions
    from ntpscore.models.options import ModelOptions as ModelOptions
    from ntpscore.models.packaged import PackagedModel as PackagedModel
    from ntpscore.models.registry import MODELS as MODELS
    from ntpscore.models.registry import RegisteredModel as RegisteredModel
    from ntpscore.models.registry import find_model as find_model
    from ntpscore.models.sanity import NextTokenLoss as NextTokenLoss
    from ntpscore.models.sanity import check_next_token_loss as check_next_token_loss

__getattr__, __dir__, __all__ = load_lazily(__name__)
