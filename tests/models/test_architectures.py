"""Every architecture of language model that transformers knows, as a tiny random model.

A dozen families are in the default run; `make architectures` runs all (`-m architectures`).
"""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import safe_open

from ntpscore.adapt.config import LoraConfig, ProbeConfig
from ntpscore.adapt.lora import fit_lora
from ntpscore.adapt.lora_targets import describe_targets, find_lora_targets
from ntpscore.adapt.probe import fit_probe
from ntpscore.errors import ModelError
from ntpscore.models import LanguageModel, stream_hidden_states
from ntpscore.reading.tokens import pad_batch, tokenize
from ntpscore.text import Splits, load_splits
from tests.support.architectures import (
    ARCHITECTURES,
    ENCODERS,
    ENCODERS_NOT_READ,
    ENCODERS_NOT_TINY,
    NOT_READ,
    NOT_TINY,
    WITHOUT_LORA,
    describe_architecture,
    make_tiny_language_model,
)
from tests.support.labelled_texts import make_rows, write_rows

FAMILIES = (
    "bloom", "ctrl", "deepseek_v3", "falcon_h1", "gemma3n_text", "gpt2", "gpt_neox", "llama",
    "llama4_text", "mamba2", "mpt", "olmo2", "opt", "phi3", "qwen3_next",
)  # fmt: skip
ENCODER_FAMILIES = ("bert", "distilbert", "electra", "modernbert", "mpnet", "roberta")
_SLOW = pytest.mark.architectures
ALL = [
    pytest.param(name, False, marks=() if name in FAMILIES else _SLOW)
    for name in ARCHITECTURES
    if name not in NOT_READ
] + [
    pytest.param(name, True, id=f"{name}-encoder", marks=() if name in ENCODER_FAMILIES else _SLOW)
    for name in ENCODERS
    if name not in ENCODERS_NOT_READ
]
# What peft and transformers say of themselves.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def tokenizer(tiny_model_dir: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(tiny_model_dir)


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    rows = make_rows(8)
    for number, row in enumerate(rows):
        row["label"] = ("food", "weather")[number % 2]
    return load_splits(write_rows(tmp_path_factory.mktemp("data") / "data.jsonl", rows))


def _alone(language_model: LanguageModel, ids: list[int]) -> list[torch.Tensor]:
    """Every layer of one text without padding, from transformers' own outputs."""
    with torch.inference_mode():
        output = language_model.base(
            input_ids=torch.tensor([ids]), **language_model.flags, output_hidden_states=True
        )
        below = list(output.hidden_states[:-1])
        if language_model.merge_streams is not None:
            below = [language_model.merge_streams(states) for states in below]
    return [*(states[0] for states in below), output.last_hidden_state[0]]


@pytest.mark.parametrize(("name", "encoder"), ALL)
def test_an_architecture_is_read_probed_and_adapted(
    name: str, encoder: bool, tokenizer: Any, splits: Splits
) -> None:
    language_model = make_tiny_language_model(name, tokenizer, encoder=encoder)
    assert language_model.reads_both_ways == encoder
    ids = tokenize(splits.train.texts, language_model, None).ids
    assert len({len(one) for one in ids}) > 2
    alone = [_alone(language_model, one) for one in ids]
    n_compared = 0

    def compare(layer: int, hidden_states: torch.Tensor) -> None:
        nonlocal n_compared
        for states, expected in zip(hidden_states, alone, strict=True):
            n_tokens, scale = len(expected[layer]), expected[layer].abs().max()
            difference = (states[:n_tokens] - expected[layer]).abs().max()
            # float32, in another order of sums for each shape of a batch; recurrences add it up.
            assert difference <= 1e-4 * scale, (layer, float(difference / scale))
            n_compared += 1

    layers = range(language_model.n_layers + 1)
    input_ids, mask = pad_batch(ids, range(len(ids)), language_model.device)
    stream_hidden_states(language_model, input_ids, mask if encoder else None, compare, layers)
    assert n_compared == len(ids) * len(layers)

    probed = fit_probe(language_model, splits.train, splits.test, config=ProbeConfig(epochs=1))
    assert probed.record["layers"] == [language_model.n_layers]
    lora = LoraConfig(steps=3, batch_size=2, rank=2)
    if name in WITHOUT_LORA:
        with pytest.raises(ModelError, match=f"{name} has no projections"):
            fit_lora(language_model, splits.train, config=lora)
        return
    targets = find_lora_targets(language_model)
    before = {key: value.clone() for key, value in language_model.model.state_dict().items()}
    adapted = fit_lora(language_model, splits.train, config=lora)
    assert adapted.record["trainable_parameters"] > 2 * len(targets)
    after = language_model.model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize(
    ("name", "reason", "encoder"),
    [
        *((name, reason, False) for name, reason in NOT_READ.items()),
        *((name, reason, True) for name, reason in ENCODERS_NOT_READ.items()),
    ],
)
def test_what_can_not_be_read_is_refused_with_its_reason(
    name: str, reason: str, encoder: bool
) -> None:
    with pytest.raises(ModelError, match=f"^{name} {reason.split('(', maxsplit=1)[0]}"):
        make_tiny_language_model(name, encoder=encoder)


def test_indexers_and_parts_without_text_are_left_alone() -> None:
    for name in ("deepseek_v32", "git", "bart"):
        language_model = make_tiny_language_model(name)
        every = [module for module, _ in language_model.base.named_modules()]
        aside = ("indexer.", "image_encoder", "encoder_attn")
        assert any(part in module for part in aside for module in every)
        targets = find_lora_targets(language_model)
        assert not any(part in target for part in aside for target in targets)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("deepseek_v3", {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj"}),
        ("minicpm3", {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj"}),
        ("ctrl", {"Wq", "Wk", "Wv"}),
        ("mamba", {"in_proj", "x_proj"}),
        ("jamba", {"in_proj", "x_proj", "out_proj"}),
        ("zamba2", {"in_proj", "out_proj", "q_proj", "k_proj", "v_proj"}),
        ("falcon_h1", {"in_proj", "q_proj", "k_proj", "v_proj"}),
    ],
)
def test_targets_of_lora_are_what_the_architecture_has(name: str, expected: set[str]) -> None:
    targets = find_lora_targets(make_tiny_language_model(name))
    assert {target.rpartition(".")[2] for target in targets} == expected
    note = describe_targets(targets)
    without_attention = expected & {"in_proj", "x_proj", "out_proj"}
    assert note.startswith(f"LoRA goes into {', '.join(sorted(expected))}: {len(targets)} linear")
    without = f"; {', '.join(sorted(without_attention))} are of layers that have a state"
    assert (without in note) == bool(without_attention)
    assert "a state" not in describe_targets(targets, "all-linear")


def _rows(*, encoder: bool) -> dict[str, str]:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")
    lines = page.split("## Encoders")[encoder].splitlines()
    return {line.split("`")[1]: line for line in lines if line.startswith("| `")}


def test_the_tables_of_architectures_lack_none() -> None:
    assert _rows(encoder=False).keys() == {*ARCHITECTURES, *NOT_TINY}
    assert _rows(encoder=True).keys() == {*ENCODERS, *ENCODERS_NOT_TINY}


@pytest.mark.parametrize(("name", "encoder"), ALL)
def test_the_table_of_architectures_is_current(name: str, encoder: bool) -> None:
    row = describe_architecture(name, encoder=encoder)  # python scripts/models_table.py
    assert _rows(encoder=encoder)[name] == row


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("o_proj", {"o_proj"}),
        ("q_proj, down_proj", {"q_proj", "down_proj"}),
        (
            "all-linear",
            {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
        ),
        (r".*layers\.1\..*v_proj", {"v_proj"}),
    ],
)
def test_targets_of_lora_can_be_chosen_as_peft_takes_them(
    asked: str, expected: set[str], tokenizer: Any, splits: Splits, tmp_path: Path
) -> None:
    language_model = make_tiny_language_model("llama", tokenizer)
    config = LoraConfig(steps=1, rank=2, target_modules=asked)
    fit_lora(language_model, splits.train, config=config, folder=tmp_path)
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", framework="pt") as file:
        adapted = {name.split(".lora_")[0] for name in file.keys()}  # noqa: SIM118
    assert {name.rpartition(".")[2] for name in adapted} == expected
    assert ("layers.1." in asked.replace("\\", "")) == all(".1." in name for name in adapted)


def test_a_model_without_known_targets_is_adapted_as_the_message_says(
    tokenizer: Any, splits: Splits
) -> None:
    # With numbers so small that it is not seen to look ahead, which is no matter here.
    language_model = make_tiny_language_model("xlnet", tokenizer, initializer_range=0.02)
    with pytest.raises(ModelError, match=r"called layer_1, layer_2.*--target-modules.*all-linear"):
        fit_lora(language_model, splits.train, config=LoraConfig(steps=1))
    for asked in ("layer_1,layer_2", "all-linear"):
        config = LoraConfig(steps=1, target_modules=asked)
        assert fit_lora(language_model, splits.train, config=config).record["steps"] == 1
    with pytest.raises(ModelError, match=r"LoRA can't go into xlnet: .*no_such"):
        fit_lora(language_model, splits.train, config=LoraConfig(target_modules="no_such"))
