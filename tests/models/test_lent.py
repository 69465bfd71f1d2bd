"""A model that is in memory already comes back as it was."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import ntpscore
from ntpscore.errors import ModelError, NtpscoreError
from ntpscore.models import load_model
from ntpscore.models.lent import borrow_model, is_lent


def test_a_lent_model_gives_what_the_loaded_one_gives_and_is_left_as_it_was(
    tiny_model_dir: Path,
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    tokenizer.padding_side = "left"
    # The library hangs hooks of its own on a model that is asked for hidden states.
    model(torch.tensor([[1, 2]]), output_hidden_states=True)
    hooks = [len(module._forward_hooks) for module in model.modules()]
    model.train()
    frozen = next(model.parameters())
    frozen.requires_grad_(requires_grad=False)
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    texts = [f"it is {word} today and {i}" for i in range(40) for word in ("rain", "sun")]
    labels = ["wet", "dry"] * 40
    found = ntpscore.score((model, tokenizer), (texts, labels), shuffles=0)
    assert model.training
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before
    assert tokenizer.padding_side == "left"
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert found.record["model"]["content_hash"]
    assert "ntpscore adapt" not in str(found)
    loaded = load_model(tiny_model_dir, dtype="float32")
    same = ntpscore.score(loaded, (texts, labels), shuffles=0, feature_texts=0)
    # Attention is another function of torch, of the same numbers.
    for one, other in zip(found.record["layers"], same.record["layers"], strict=True):
        assert one["r2"] == pytest.approx(other["r2"], abs=1e-3)


def test_what_is_no_pair_is_told() -> None:
    assert not is_lent("gpt2")
    assert is_lent((torch.nn.Linear(1, 1), str))
    with (
        pytest.raises(ModelError, match="no model of transformers"),
        borrow_model(torch.nn.Linear(1, 1), str),
    ):
        pass
    with pytest.raises(NtpscoreError, match="pair of two lists of the same length"):
        ntpscore.score("gpt2", (["a", "b"], ["x"]))
