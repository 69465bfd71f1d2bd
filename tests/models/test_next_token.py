"""Next-token distributions from last hidden states against the model's own logits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import CohereConfig, Gemma2Config, GraniteConfig, PreTrainedConfig

from ntpscore.errors import ModelError
from ntpscore.models import (
    LanguageModel,
    NextTokenDistributions,
    load_model,
    stream_hidden_states,
)
from tests.support.tiny_models import save_random_model

SIZES: dict[str, Any] = {
    "vocab_size": 384, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "initializer_range": 0.5,
}  # fmt: skip


def last_states(language_model: LanguageModel, input_ids: torch.Tensor) -> torch.Tensor:
    found: list[torch.Tensor] = []
    stream_hidden_states(
        language_model, input_ids, None, lambda _, h: found.append(h[:, -1].clone()),
        [language_model.n_layers],
    )  # fmt: skip
    return found[0]


def check_against_logits(language_model: LanguageModel, n_texts: int = 70) -> None:
    generator = torch.Generator().manual_seed(0)
    input_ids = torch.randint(5, 300, (n_texts, 9), generator=generator)
    with torch.inference_mode():
        logits = language_model.model(input_ids=input_ids).logits[:, -1]
    expected = torch.softmax(logits.double(), -1).numpy()
    source = NextTokenDistributions(language_model, last_states(language_model, input_ids))
    for _ in range(2):
        chunks = list(source)
        assert len(chunks) > 1
        got = np.concatenate(chunks)
        # The pass is in float32.
        assert got.shape == expected.shape
        assert (np.abs(got - expected) <= np.maximum(1e-4 * expected, 1e-7)).all()
    assert expected.max() > 3 / 384  # not uniform, where any head would do


def test_probabilities_are_those_of_the_model(tiny_model: LanguageModel) -> None:
    check_against_logits(tiny_model)


@pytest.mark.parametrize(
    "config",
    [
        Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=2.0),
        GraniteConfig(**SIZES, logits_scaling=3.0),
        CohereConfig(**SIZES, logit_scale=0.25),
    ],
    ids=["soft cap", "divided", "multiplied"],
)
def test_logits_are_capped_and_scaled_as_the_model_does(
    config: PreTrainedConfig, tiny_model_dir: Path, tmp_path: Path
) -> None:
    check_against_logits(load_model(save_random_model(config, tiny_model_dir, tmp_path)))


def test_an_unknown_kind_of_head_is_refused(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    language_model = load_model(tiny_model_dir)
    with monkeypatch.context() as patched:
        other_head = nn.Linear(32, language_model.model.config.vocab_size)
        patched.setattr(language_model.model, "get_output_embeddings", lambda: other_head)
        with pytest.raises(ModelError, match="unknown kind"):
            NextTokenDistributions(language_model, torch.zeros(2, 32))
    monkeypatch.setattr(language_model.model, "get_output_embeddings", lambda: None)
    monkeypatch.setattr(language_model.model, "get_input_embeddings", lambda: nn.Embedding(384, 8))
    with pytest.raises(ModelError, match="no vocabulary head"):
        NextTokenDistributions(language_model, torch.zeros(2, 32))
