"""Which token ids a model has embeddings for."""

from collections.abc import Sequence
from typing import Any

from ntpscore.errors import ModelError
from ntpscore.models.language_model import LanguageModel

_MOST_NAMES = 5


def check_token_ids(language_model: LanguageModel, ids: Sequence[Sequence[int]]) -> None:
    """Check that a model knows the tokens that its tokenizer made of texts."""
    embeddings: Any = language_model.model.get_input_embeddings()
    n_known = getattr(embeddings, "num_embeddings", None)
    if n_known is None:
        return  # made in another way than by looking up a row
    beyond = sorted({token for text in ids for token in text if token >= n_known})
    if not beyond:
        return
    names = language_model.tokenizer.convert_ids_to_tokens(beyond[:_MOST_NAMES])
    tokens = ", ".join(f"{name!r} ({token})" for name, token in zip(names, beyond, strict=False))
    more = f" and {len(beyond) - _MOST_NAMES} more" if len(beyond) > _MOST_NAMES else ""
    raise ModelError(
        f"the tokenizer of {language_model.id} makes tokens of the texts that the model has no "
        f"embedding for: {tokens}{more}; it knows the ids 0 to {n_known - 1}. It is another "
        "model's tokenizer, or tokens were added to it and not to the model. Name the right one "
        "(--tokenizer NAME), or train the model with `resize_token_embeddings`."
    )
