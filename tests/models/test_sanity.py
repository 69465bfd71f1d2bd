"""Tests of `ntpscore.models.sanity`."""

import math
from dataclasses import replace
from importlib import resources
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from ntpscore.models import LanguageModel, check_next_token_loss


class _Fixed(nn.Module):
    """Gives every next token's true id a chosen loss, whatever the text."""

    def __init__(self, loss: float, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 2)
        self.loss = loss

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def forward(self, input_ids: torch.Tensor, **_: Any) -> SimpleNamespace:
        size = self.embedding.num_embeddings
        probability = math.exp(-self.loss)
        logits = torch.full((*input_ids.shape, size), math.log((1 - probability) / (size - 1)))
        following = input_ids.roll(-1, dims=1)[..., None]
        logits.scatter_(2, following, math.log(probability))
        return SimpleNamespace(logits=logits)


@pytest.mark.parametrize(
    ("loss", "verdict"), [(1.5, "ok"), (4.4, "ok"), (4.6, "warn"), (6.4, "warn"), (6.6, "refuse")]
)
def test_next_token_loss_is_judged_by_its_thresholds(
    tiny_model: LanguageModel, loss: float, verdict: str
) -> None:
    found = check_next_token_loss(replace(tiny_model, model=_Fixed(loss, 1000)))
    assert found.verdict == verdict
    assert found.loss == pytest.approx(loss, abs=1e-4)
    assert f"{found.loss:.2f} nats" in found.message


def test_next_token_loss_equals_transformers_own(tiny_model: LanguageModel) -> None:
    found = check_next_token_loss(replace(tiny_model, max_length=100))
    assert found.n_tokens == 100
    page = _page(tiny_model)[:, :100]
    with torch.inference_mode():
        expected = tiny_model.model(input_ids=page, labels=page).loss.item()
    assert found.loss == pytest.approx(expected, rel=1e-5)


def _page(language_model: LanguageModel) -> torch.Tensor:
    text = resources.files("ntpscore.models").joinpath("data/plain_english.txt").read_text("utf-8")
    return torch.tensor([language_model.tokenizer(text, verbose=False)["input_ids"]])


@pytest.mark.parametrize(("max_length", "expected"), [(20, 20), (None, 512), (4096, 512)])
def test_next_token_loss_reads_no_more_than_the_context(
    tiny_model: LanguageModel, max_length: int | None, expected: int
) -> None:
    language_model = replace(tiny_model, model=_Fixed(2.0, 1000), max_length=max_length)
    assert check_next_token_loss(language_model).n_tokens == expected


def test_next_token_loss_refuses_what_is_not_finite(tiny_model: LanguageModel) -> None:
    model = _Fixed(2.0, 1000)
    model.forward = lambda input_ids, **_: SimpleNamespace(  # type: ignore[method-assign]
        logits=torch.full((*input_ids.shape, 1000), torch.nan)
    )
    found = check_next_token_loss(replace(tiny_model, model=model))
    assert found.verdict == "refuse"
    assert math.isnan(found.loss)


def test_next_token_loss_refuses_another_models_tokenizer(tiny_model: LanguageModel) -> None:
    found = check_next_token_loss(replace(tiny_model, model=_Fixed(2.0, 100)))
    assert found.verdict == "refuse"
    assert "another model's tokenizer" in found.message


def test_next_token_loss_refuses_a_tokenizer_that_gives_nothing(tiny_model: LanguageModel) -> None:
    mute = replace(tiny_model, tokenizer=lambda *_, **__: {"input_ids": []})
    assert check_next_token_loss(mute).verdict == "refuse"


@pytest.mark.slow
@pytest.mark.realmodel
def test_next_token_loss_of_smollm2_is_that_of_a_working_model(smollm2: LanguageModel) -> None:
    found = check_next_token_loss(smollm2)
    assert found.verdict == "ok"
    assert 2.5 < found.loss < 3.5


@pytest.mark.slow
@pytest.mark.realmodel
def test_next_token_loss_refuses_smollm2_with_shuffled_tokens(smollm2: LanguageModel) -> None:
    def shuffled(*args: Any, **kwargs: Any) -> dict[str, list[int]]:
        tokens = smollm2.tokenizer(*args, **kwargs)["input_ids"]
        return {"input_ids": [(token * 7919 + 13) % 49152 for token in tokens]}

    assert check_next_token_loss(replace(smollm2, tokenizer=shuffled)).verdict == "refuse"
