"""Tests of `ntpscore.models.registry`, and of models loaded by a short name."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError

from ntpscore.errors import ModelError
from ntpscore.models import MODELS, RegisteredModel, find_model, load_model, registry
from ntpscore.models import locate as locate_module
from ntpscore.reading.provenance import describe_model


def test_every_model_is_registered_once_and_completely() -> None:
    assert len(MODELS) == len(registry._ALL)
    for name, model in MODELS.items():
        assert name == model.name == name.lower()
        assert (model.hub_id is None) != (model.package is None)
        assert model.licence
        assert model.citation
        if model.needs_remote_code:
            assert "--trust-remote-code" in model.note
        if model.tokenizer is not None:
            assert model.tokenizer in model.note


def test_the_eight_models_of_the_paper_are_registered() -> None:
    assert {model.hub_id for model in MODELS.values() if model.package is None} == {
        "Qwen/Qwen2-0.5B", "Qwen/Qwen2-1.5B", "Qwen/Qwen2-7B",
        "apple/OpenELM-270M", "apple/OpenELM-450M", "apple/OpenELM-1_1B", "apple/OpenELM-3B",
        "meta-llama/Meta-Llama-3-8B",
    }  # fmt: skip
    assert {m.name for m in MODELS.values() if m.needs_remote_code} == {
        "openelm-270m", "openelm-450m", "openelm-1.1b", "openelm-3b",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "inner", "vocabulary", "keys", "biased", "tied"),
    [
        # As their config.json has it: intermediate_size, vocab_size, width of the keys,
        # biases on queries, keys and values, tie_word_embeddings.
        ("smollm2-135m", 1536, 49_152, 192, False, True),
        ("qwen2-0.5b", 4864, 151_936, 128, True, True),
        ("qwen2-1.5b", 8960, 151_936, 256, True, True),
        ("qwen2-7b", 18_944, 152_064, 512, True, False),
        ("llama3-8b", 14_336, 128_256, 1024, False, False),
    ],
)
def test_parameters_of_llamas_and_qwens_add_up(
    name: str, inner: int, vocabulary: int, keys: int, *, biased: bool, tied: bool
) -> None:
    d, layers = MODELS[name].width, MODELS[name].layers
    assert d is not None
    assert layers is not None
    attention = 2 * d * d + 2 * d * keys + (d + 2 * keys if biased else 0)
    block = attention + 3 * d * inner + 2 * d
    embeddings = vocabulary * d * (1 if tied else 2)
    assert MODELS[name].parameters == embeddings + layers * block + d


def test_parameters_of_gemma_add_up() -> None:
    # Heads of width 256, four of them with one key and value; norms around both halves of a block,
    # and on queries and keys.
    d, layers, inner, vocabulary = 640, 18, 2048, 262_144
    block = 2 * d * 1024 + 2 * d * 256 + 3 * d * inner + 4 * d + 2 * 256
    gemma = MODELS["gemma3-270m"]
    assert (gemma.width, gemma.layers) == (d, layers)
    assert gemma.parameters == vocabulary * d + layers * block + d


@pytest.mark.parametrize(
    ("name", "head"),
    [("openelm-270m", 64), ("openelm-450m", 64), ("openelm-1.1b", 64), ("openelm-3b", 128)],
)
def test_parameters_of_openelm_add_up(name: str, head: int) -> None:
    """Layer-wise scaling: attention grows from 0.5 to 1 times the width, the rest from 0.5 to 4."""
    d, layers = MODELS[name].width, MODELS[name].layers
    assert d is not None
    assert layers is not None

    def divisible(value: float, divisor: int) -> int:
        rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
        return rounded + divisor if rounded < 0.9 * value else rounded

    total = 32_000 * d + d
    for layer in range(layers):
        share = layer / (layers - 1)
        queries = divisible(d * round(0.5 + 0.5 * share, 2), 4 * head)
        keys = queries // head // 4 * head
        inner = divisible(d * round(0.5 + 3.5 * share, 2), 256)
        total += 2 * d * queries + 2 * d * keys + 2 * head + 3 * d * inner + 2 * d
    assert MODELS[name].parameters == total


@pytest.mark.slow
@pytest.mark.realmodel
def test_the_packaged_model_is_as_registered(smollm2: Any) -> None:
    entry = MODELS["smollm2-135m"]
    assert (smollm2.width, smollm2.n_layers) == (entry.width, entry.layers)
    assert smollm2.model.num_parameters() == entry.parameters


def test_a_local_path_comes_before_a_short_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_model("qwen2-0.5b") is MODELS["qwen2-0.5b"]
    assert find_model(Path("qwen2-0.5b")) is None
    assert find_model("no-such-name") is None
    (tmp_path / "qwen2-0.5b").mkdir()
    assert find_model("qwen2-0.5b") is None
    with pytest.raises(ModelError, match=r"qwen2-0\.5b has no config\.json"):
        load_model("qwen2-0.5b")


@pytest.fixture
def made_up(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> RegisteredModel:
    """The random Llama, under the short name "made-up": its folder stands for the hub id."""
    entry = RegisteredModel("made-up", 32, 3, None, "none", "nobody", hub_id=str(tiny_model_dir))
    monkeypatch.setitem(MODELS, "made-up", entry)
    return entry


def test_load_model_by_short_name_says_what_was_loaded(made_up: RegisteredModel) -> None:
    loaded = load_model("made-up")
    assert loaded.id == made_up.hub_id
    assert (loaded.tokenizer_id, loaded.tokenizer_revision) == (None, None)
    assert len(loaded.identity) == 4


@pytest.mark.parametrize(("given", "asked"), [(None, "registered"), ("v2", "v2")])
def test_load_model_takes_the_registered_revision_unless_one_is_given(
    made_up: RegisteredModel,
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str | None,
    asked: str,
) -> None:
    entry = replace(made_up, hub_id="owner/name", revision="registered")
    monkeypatch.setitem(MODELS, "made-up", entry)
    seen = []

    def download(model: str, revision: str | None, _patterns: Any) -> tuple[Path, str]:
        seen.append((model, revision))
        return tiny_model_dir, "commit"

    monkeypatch.setattr(locate_module, "_download", download)
    loaded = load_model("made-up", revision=given)
    assert seen == [("owner/name", asked)]
    assert (loaded.id, loaded.revision) == ("owner/name", "commit")


def test_load_model_runs_no_code_that_only_the_registry_knows_of(
    made_up: RegisteredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "made-up", replace(made_up, needs_remote_code=True))
    with pytest.raises(ModelError, match=r"made-up .* Python code .*--trust-remote-code"):
        load_model("made-up")
    assert load_model("made-up", trust_remote_code=True).id == made_up.hub_id


@pytest.fixture
def without_tokenizer(
    made_up: RegisteredModel, tiny_copy: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> RegisteredModel:
    """As "made-up", but its folder holds no tokenizer; another folder does."""
    for path in tiny_copy.glob("tokenizer*"):
        path.unlink()
    entry = replace(made_up, hub_id=str(tiny_copy), tokenizer=str(tiny_model_dir))
    monkeypatch.setitem(MODELS, "made-up", entry)
    return entry


def test_load_model_takes_the_tokenizer_from_where_it_is_registered(
    without_tokenizer: RegisteredModel, tiny_model_dir: Path
) -> None:
    loaded, whole = load_model("made-up"), load_model(tiny_model_dir)
    text = "she bought bread"
    assert loaded.tokenizer(text)["input_ids"] == whole.tokenizer(text)["input_ids"]
    assert loaded.tokenizer.padding_side == "right"
    assert loaded.identity[-2:] == [str(tiny_model_dir), None]
    assert describe_model(loaded)["tokenizer_id"] == str(tiny_model_dir)
    assert describe_model(whole)["tokenizer_id"] is None


def test_load_model_puts_bos_in_front_where_that_tokenizer_asks_for_it(
    without_tokenizer: RegisteredModel,
    tiny_model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for path in tiny_model_dir.glob("tokenizer*"):
        shutil.copy(path, folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "add_bos_token": True}))
    monkeypatch.setitem(MODELS, "made-up", replace(without_tokenizer, tokenizer=str(folder)))
    tokenizer = load_model("made-up").tokenizer
    assert tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id


def test_load_model_downloads_no_weights_for_a_tokenizer(
    without_tokenizer: RegisteredModel, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "made-up", replace(without_tokenizer, tokenizer="owner/name"))
    asked = {}

    def snapshot_download(model: str, **options: Any) -> str:
        asked.update(options, model=model)
        return str(tiny_model_dir)

    answer = SimpleNamespace(sha="abc", siblings=[SimpleNamespace(rfilename="tokenizer.json")])
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: answer)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    loaded = load_model("made-up")
    assert (loaded.tokenizer_id, loaded.tokenizer_revision) == ("owner/name", "abc")
    assert asked["model"] == "owner/name"
    assert not {"*.safetensors", "*.py"} & set(asked["allow_patterns"])


def test_load_model_says_whose_tokenizer_asks_for_an_agreement(
    without_tokenizer: RegisteredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "made-up", replace(without_tokenizer, tokenizer="owner/name"))

    def refuse(*_: Any, **__: Any) -> None:
        raise GatedRepoError.__new__(GatedRepoError, "refused")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    with pytest.raises(ModelError, match=r"takes that of owner/name: .* asks for an agreement"):
        load_model("made-up")
