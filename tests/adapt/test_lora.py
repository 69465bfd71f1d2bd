"""LoRA: what it adapts, what it leaves alone, what it can learn."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn

from ntpscore import LanguageModel, load_adapter, load_model
from ntpscore.adapt import (
    LogisticConfig,
    LoraConfig,
    ScratchConfig,
    fit_logistic,
    fit_lora,
    fit_scratch,
)
from ntpscore.adapt.lora import ADAPTER
from ntpscore.adapt.lora_targets import find_lora_targets
from ntpscore.adapt.result import HEAD
from ntpscore.adapt.training import predict
from ntpscore.errors import DataError, ModelError, OutputError
from ntpscore.reading.tokens import tokenize
from ntpscore.result_folder import UNFINISHED
from ntpscore.text import Splits, load_splits
from tests.support.labelled_texts import write_rows

SHORT = LoraConfig(steps=5, batch_size=4, rank=4, alpha=8, learning_rate=1e-2)
SMALL = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
ARCHITECTURES = {
    "Llama": (transformers.LlamaConfig(**SMALL), {"q_proj", "k_proj", "v_proj"}),
    "Qwen2": (transformers.Qwen2Config(**SMALL), {"q_proj", "k_proj", "v_proj"}),
    "Gemma3": (transformers.Gemma3TextConfig(**SMALL), {"q_proj", "k_proj", "v_proj"}),
    "Phi3": (transformers.Phi3Config(**SMALL), {"qkv_proj"}),
    "GPT2": (
        transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64),
        {"c_attn"},
    ),
    "GPTNeoX": (
        transformers.GPTNeoXConfig(**{k: v for k, v in SMALL.items() if k != "head_dim"}),
        {"query_key_value"},
    ),
}


def of_architecture(name: str, tiny: LanguageModel) -> LanguageModel:
    """A random model of an architecture, with the tiny model's tokenizer."""
    config = ARCHITECTURES[name][0]
    config.vocab_size = len(tiny.tokenizer)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
    return LanguageModel(
        model, tiny.tokenizer, name, None, None, 32, 2, torch.float32, torch.device("cpu"), 64
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_projections_are_found_in_every_layer_and_trained(
    name: str, tiny: LanguageModel, splits: Splits
) -> None:
    model = of_architecture(name, tiny)
    expected = ARCHITECTURES[name][1]
    found = find_lora_targets(model)
    assert {one.rpartition(".")[2] for one in found} == expected
    assert len(found) == 2 * len(expected)
    before = {key: value.clone() for key, value in model.model.state_dict().items()}
    result = fit_lora(model, splits.train, config=SHORT)
    after = model.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    shapes = [
        (module.weight.shape if isinstance(module, nn.Linear) else module.weight.T.shape)
        for key, module in model.model.base_model.named_modules()
        if key in found
    ]
    adapters = sum(4 * (rows + columns) for rows, columns in shapes)
    assert result.record["trainable_parameters"] == adapters + (32 + 1) * 3
    base = sum(parameter.numel() for parameter in model.model.base_model.parameters())
    assert result.record["total_parameters"] == base + adapters + (32 + 1) * 3


def test_an_unknown_architecture_is_refused_with_its_linear_layers(tiny: LanguageModel) -> None:
    class Strange(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mixer, self.gate = nn.Linear(4, 4), nn.Linear(4, 4)

        @property
        def base_model(self) -> nn.Module:
            return self

    model: Any = Strange()
    strange = LanguageModel(
        model, tiny.tokenizer, "strange", None, None, 4, 1, torch.float32, torch.device("cpu"), 8
    )
    with pytest.raises(ModelError, match="its linear layers are called gate, mixer"):
        find_lora_targets(strange)


def test_the_model_is_left_as_it_was(tiny: LanguageModel, splits: Splits) -> None:
    base = tiny.model.base_model
    flags = {name: value.requires_grad for name, value in base.named_parameters()}
    modules = list(base.modules())
    ids = torch.tensor([[3, 7, 9, 30]])
    with torch.inference_mode():
        before = base(input_ids=ids).last_hidden_state
    fit_lora(tiny, splits.train, config=SHORT)
    assert {name: value.requires_grad for name, value in base.named_parameters()} == flags
    assert [id(module) for module in base.modules()] == [id(module) for module in modules]
    assert not base.training
    with torch.inference_mode():
        assert torch.equal(base(input_ids=ids).last_hidden_state, before)


def test_weights_stay_in_bfloat16_and_what_is_trained_is_float32(
    tiny_model_dir: Path, splits: Splits, tmp_path: Path
) -> None:
    model = load_model(tiny_model_dir, dtype="bfloat16")
    before = {key: value.clone() for key, value in model.model.state_dict().items()}
    result = fit_lora(model, splits.train, config=SHORT, folder=tmp_path)
    after = model.model.state_dict()
    assert all(
        after[key].dtype == torch.bfloat16 and torch.equal(after[key], before[key])
        for key in before
    )
    weights = load_file(tmp_path / ADAPTER / "adapter_model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert all(np.isfinite(result.loss_curve["loss"]))


def test_the_adapter_is_pefts_own_and_gives_the_same_outputs(
    tiny: LanguageModel, tiny_model_dir: Path, splits: Splits, tmp_path: Path
) -> None:
    result = fit_lora(tiny, splits.train, splits.test, config=SHORT, folder=tmp_path)
    config = peft.PeftConfig.from_pretrained(str(tmp_path / ADAPTER))
    assert (config.r, config.lora_alpha, config.lora_dropout, config.bias) == (4, 8, 0.05, "none")
    fresh = load_model(tiny_model_dir)
    with load_adapter(fresh, tmp_path) as adapted:
        head = load_file(tmp_path / HEAD)
        ids = tokenize(splits.test.texts, fresh, None).ids
        for row, text in zip(result.predictions["predicted"], ids, strict=True):
            with torch.inference_mode():
                hidden = adapted.model.base_model(input_ids=torch.tensor([text])).last_hidden_state
            outputs = hidden[0].mean(0).double() @ head["weights"] + head["intercept"]
            assert splits.train.classes[int(outputs.argmax())] == row
        assert adapted.content_hash != fresh.content_hash
        assert adapted.id == f"{fresh.id} + LoRA"
    assert not any("lora" in name for name, _ in fresh.model.named_modules())


def test_loading_an_adapter_that_is_not_there_or_of_another_model_is_refused(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    fit_scratch(tiny, splits.train, config=ScratchConfig(steps=1), folder=tmp_path)
    with pytest.raises(OutputError, match="holds no adapter"), load_adapter(tiny, tmp_path):
        pass
    other = of_architecture("GPT2", tiny)
    fit_lora(other, splits.train, config=SHORT, folder=tmp_path)
    with pytest.raises(OutputError, match="doesn't fit"), load_adapter(tiny, tmp_path):
        pass
    weights = tmp_path / ADAPTER / "adapter_model.safetensors"
    weights.write_bytes(b"broken")
    with pytest.raises(OutputError, match="not the file"), load_adapter(other, tmp_path):
        pass


def test_a_new_result_replaces_the_old_adapter(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    for seed in (0, 1):
        fit_lora(tiny, splits.train, config=LoraConfig(steps=2, rank=2, seed=seed), folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md", "adapter", "head.safetensors", "loss_curve.csv", "result.json"
    ]  # fmt: skip


def test_a_folder_that_cant_be_written_is_named(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    # A file where the adapter's folder is to be.
    (tmp_path / UNFINISHED).mkdir()
    (tmp_path / UNFINISHED / ADAPTER).write_text("in the way")
    with pytest.raises(OutputError, match="can't write"):
        fit_lora(tiny, splits.train, config=SHORT, folder=tmp_path)


def test_a_test_split_is_read_in_the_coding_of_the_train_split(
    tiny: LanguageModel, splits: Splits
) -> None:
    classes = splits.test.classes[::-1]
    labels = np.array([2, 1, 0])[splits.test.labels]
    recoded = replace(splits.test, classes=classes, labels=labels)
    one = fit_lora(tiny, splits.train, splits.test, config=SHORT)
    other = fit_lora(tiny, splits.train, recoded, config=SHORT)
    assert other.test == one.test
    assert other.predictions.equals(one.predictions)
    strange = replace(recoded, classes=("animals", "food", "cars"))
    with pytest.raises(DataError, match="cars"):
        fit_lora(tiny, splits.train, strange, config=SHORT)


def two_words(kind: str, folder: Path) -> Splits:
    """Texts with a cat or a dog, then rain or sun, among fillers; the label is one or their XOR."""
    rng = random.Random(0)
    rows = []
    for i in range(2000):
        first, second = rng.random() < 0.5, rng.random() < 0.5
        words = ["cat" if first else "dog", "rain" if second else "sun"]
        if kind == "xor":
            length = len(words) + rng.randint(2, 5)
            places = sorted(rng.sample(range(length), 2))
            text = [rng.choice(["the", "a", "was", "near", "my", "old"]) for _ in range(length)]
            for place, word in zip(places, words, strict=True):
                text[place] = word
        else:
            text = [*words, rng.choice(["today", "now", "then"])]
        label = first ^ second if kind == "xor" else first
        rows.append(
            {
                "text": " ".join(text),
                "label": "yes" if label else "no",
                "split": "train" if i < 1500 else "test",
            }
        )
    return load_splits(write_rows(folder / "two_words.jsonl", rows))


@pytest.mark.slow
def test_lora_gains_where_a_probe_fails_and_nothing_where_it_is_enough(
    tiny: LanguageModel, tmp_path: Path
) -> None:
    config = LoraConfig(steps=250, batch_size=16, learning_rate=1e-2)
    for kind, probe_at_most, gain_at_least in (("xor", 0.7, 0.25), ("one word", 1.0, -0.02)):
        splits = two_words(kind, tmp_path)
        probe = fit_logistic(tiny, splits.train, splits.test, config=LogisticConfig())
        accuracy = probe.record["converged"]["test"]["accuracy"]
        gain = fit_lora(tiny, splits.train, splits.test, config=config).test.accuracy - accuracy
        assert accuracy <= probe_at_most
        assert gain >= gain_at_least
        if kind == "one word":
            assert accuracy >= 0.98
            assert gain <= 0.02


def test_outputs_come_in_the_order_of_the_texts(tiny: LanguageModel, splits: Splits) -> None:
    from ntpscore.adapt.head import MeanTokenClassifier

    classifier = MeanTokenClassifier(tiny.model.base_model, tiny.width, 3)
    tokens = tokenize(splits.test.texts, tiny, None)
    together = predict(classifier, tiny, tokens, None)
    for i in (0, 17, 49):
        alone = tokenize(splits.test.texts[i : i + 1], tiny, None)
        one = predict(classifier, tiny, alone, None)
        np.testing.assert_allclose(together[i : i + 1], one, rtol=0, atol=1e-5)
