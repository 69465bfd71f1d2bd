"""Tiny random encoders, in folders as they are published."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertModel,
    DistilBertForMaskedLM,
    ElectraForPreTraining,
    ModernBertForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaForSequenceClassification,
)

from tests.support.architectures import make_tiny_config

# Of each family something that is published: with a masked language model's head, another one, or
# none.
KINDS: dict[str, type[PreTrainedModel]] = {
    "bert": BertModel,
    "distilbert": DistilBertForMaskedLM,
    "electra": ElectraForPreTraining,
    "modernbert": ModernBertForMaskedLM,
    "roberta": RobertaForSequenceClassification,
}


def save_encoder(name: str, folder: Path, *, context: int = 64) -> Path:
    """Save a random encoder with a tokenizer that closes every text.

    Args:
        name: a key of `KINDS`.
        folder: where.
        context: most tokens of a text.
    """
    kind = KINDS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = make_tiny_config(
            name, encoder=True, max_position_embeddings=context + 2 * (name == "roberta"),
            initializer_range=0.15, pad_token_id=1,
        )  # fmt: skip
        model = kind(config)
    model.save_pretrained(folder)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789'.,?!-"
    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]
    words = [*special, *letters, *(f"##{letter}" for letter in letters)]
    backend = Tokenizer(
        models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]")  # noqa: S106
    )
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",  # noqa: S106
        sep_token="[SEP]", padding_side="left",  # noqa: S106
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    return folder


def lay_out_as_sentence_transformer(folder: Path, *, below: str = "") -> None:
    """Add what sentence-transformers puts beside an encoder, or, in old versions, above it."""
    if below:
        inner = folder / below
        inner.mkdir()
        for path in folder.iterdir():
            if path.is_file():
                path.rename(inner / path.name)
    modules = [
        {"idx": 0, "name": "0", "path": below, "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
