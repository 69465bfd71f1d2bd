"""Encoders, such as BERT: they read a text both ways and predict no next token."""

from transformers import MODEL_FOR_MASKED_LM_MAPPING, PreTrainedConfig

UNSCORED = "the scores of next tokens are not defined for it"
"""What is said of an encoder."""
# What configurations call it where an architecture can do both.
_DECODES = ("is_encoder_decoder", "is_decoder", "causal")


def is_encoder(config: PreTrainedConfig) -> bool:
    """Whether a configuration is that of a model which reads both ways."""
    own_code = getattr(config, "auto_map", None) or {}
    known = type(config) in MODEL_FOR_MASKED_LM_MAPPING or (
        "AutoModelForMaskedLM" in own_code and "AutoModelForCausalLM" not in own_code
    )
    return known and not any(getattr(config, name, False) for name in _DECODES)
