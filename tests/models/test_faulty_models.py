"""Models with a fault, as people have them: one `ModelError` that says which, where and why.

Wherever a message says what to do, the test does it and the model then works.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

import ntpscore
from ntpscore.errors import ModelError
from ntpscore.models import LanguageModel, check_next_token_loss, load_model, stream_hidden_states
from ntpscore.models import load as load_module
from ntpscore.models.failures import as_model_error
from ntpscore.rank.run import rank_models
from ntpscore.reading.tokens import tokenize
from tests.support.cli_run import run_cli
from tests.support.labelled_texts import make_rows, write_rows
from tests.support.tiny_models import save_random_model

# What peft and transformers say to each other when an adapter is made.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning"),
]

TEXTS = ["the cat sat on the mat", "a small dog", "she bought bread"]


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _states(language_model: LanguageModel, text: str = TEXTS[0]) -> torch.Tensor:
    """The last hidden states of one text: proof that a model works."""
    ids = tokenize([text], language_model, None).ids
    seen: list[torch.Tensor] = []
    stream_hidden_states(
        language_model,
        torch.tensor(ids),
        None,
        lambda _layer, hidden_states: seen.append(hidden_states.clone()),
        [language_model.n_layers],
    )
    assert seen[0].shape == (1, len(ids[0]), language_model.width)
    assert seen[0].isfinite().all()
    return seen[0]


# -- errors -----------------------------------------------------------------------------------


def test_the_whole_upstream_message_is_kept() -> None:
    with pytest.raises(ModelError) as caught, as_model_error("the weights of x can't be loaded"):
        raise ValueError("first line\nsecond line")
    assert str(caught.value) == "the weights of x can't be loaded: first line\nsecond line"


def test_a_message_of_many_pages_is_cut_and_says_so() -> None:
    with pytest.raises(ModelError, match=r"x{2000} … \(9000 characters\)$"), as_model_error("p"):
        raise RuntimeError("x" * 9000)


class _Panic(BaseException):
    """As the tokenizers library raises where it panics."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("q_proj"), "p: KeyError: 'q_proj'"),
        (AttributeError("no such thing"), "p: AttributeError: no such thing"),
        (RuntimeError(), "p: RuntimeError"),
        (_Panic("index out of bounds"), "p: index out of bounds"),
        (MemoryError("big"), r"p: memory ran out \(big\): use a narrower --dtype"),
    ],
)
def test_whatever_is_raised_is_a_model_error(error: BaseException, message: str) -> None:
    with pytest.raises(ModelError, match=f"^{message}"), as_model_error("p"):
        raise error


def test_an_interruption_is_none_of_the_models_faults() -> None:
    with pytest.raises(KeyboardInterrupt), as_model_error("p"):
        raise KeyboardInterrupt


# -- tokenizers -------------------------------------------------------------------------------


def test_tokens_that_the_model_does_not_know_are_named(
    tiny_copy: Path, tiny_model_dir: Path
) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_copy)
    n_known = len(tokenizer)
    tokenizer.add_tokens(["<|user|>", "<|assistant|>"])
    tokenizer.save_pretrained(tiny_copy)
    language_model = load_model(tiny_copy)
    assert check_next_token_loss(language_model).verdict != "refuse"
    # Tokens that do not occur harm nobody.
    assert list(tokenize(TEXTS, language_model, None).ids) == list(
        tokenize(TEXTS, load_model(tiny_model_dir), None).ids
    )
    with pytest.raises(ModelError) as caught:
        tokenize([*TEXTS, "<|user|> hello"], language_model, None)
    assert f"'<|user|>' ({n_known}); it knows the ids 0 to {n_known - 1}" in str(caught.value)
    assert str(tiny_copy) in str(caught.value)
    # The first hint, and the second.
    _states(load_model(tiny_copy, tokenizer=tiny_model_dir), "<|user|> hello")
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_copy)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(tiny_copy)
    _states(load_model(tiny_copy), "<|user|> hello")


def test_a_folder_without_tokenizer_takes_the_one_that_is_named(
    tiny_copy: Path, tiny_model_dir: Path
) -> None:
    for path in tiny_copy.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match=r"there is none in .*--tokenizer NAME"):
        load_model(tiny_copy)
    language_model = load_model(tiny_copy, tokenizer=tiny_model_dir)
    assert language_model.tokenizer_id == str(tiny_model_dir)
    _states(language_model)


def test_a_tokenizer_without_vocabulary_is_refused(tiny_copy: Path, tiny_model_dir: Path) -> None:
    (tiny_copy / "tokenizer.json").unlink()  # its configuration is left
    with pytest.raises(ModelError, match=r"(?s)the tokenizer of .*--tokenizer NAME"):
        load_model(tiny_copy)
    _states(load_model(tiny_copy, tokenizer=tiny_model_dir))


def test_a_tokenizer_that_is_not_there_is_named(tiny_copy: Path) -> None:
    with pytest.raises(ModelError, match=r"it takes that of \./nowhere: "):
        load_model(tiny_copy, tokenizer="./nowhere")


@pytest.fixture(scope="session")
def sentencepiece_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `tokenizer.model` as Llama 2 has it, alone."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("sentencepiece")
    (folder / "text.txt").write_text("\n".join(TEXTS * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        minloglevel=2,
    )
    return folder / "tokenizer.model"


def test_a_sentencepiece_file_alone_is_read(tiny_copy: Path, sentencepiece_file: Path) -> None:
    for path in tiny_copy.glob("tokenizer*"):
        path.unlink()
    shutil.copy(sentencepiece_file, tiny_copy / "tokenizer.model")
    language_model = load_model(tiny_copy)
    ids = language_model.tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]
    assert language_model.tokenizer.decode(ids) == TEXTS[0]
    _states(language_model)


@pytest.mark.parametrize("package", ["sentencepiece", "protobuf"])
def test_a_missing_package_of_a_tokenizer_is_named(
    tiny_copy: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    (tiny_copy / "tokenizer.json").unlink()
    (tiny_copy / "tokenizer.model").touch()

    def from_pretrained(*_: Any, **__: Any) -> None:
        raise ImportError(f"requires the {package} library but it was not found")

    monkeypatch.setattr(load_module.AutoTokenizer, "from_pretrained", from_pretrained)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=rf"without the package {package}.*ntpscore\[tokenizers\]"):
        load_model(tiny_copy)


def test_a_tokenizer_that_fails_on_a_text_is_the_models_fault(tiny_model: LanguageModel) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise TypeError("text input must be of type str")

    broken = replace(tiny_model, tokenizer=fail)
    with pytest.raises(ModelError, match=r"the tokenizer of .* failed: TypeError: text input"):
        tokenize(TEXTS, broken, None)
    with pytest.raises(ModelError, match=r"the tokenizer of .* failed: TypeError: text input"):
        check_next_token_loss(broken)


# -- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_git_lfs_pointers_are_told_and_replaced_by_the_files_work(
    tiny_copy: Path, tiny_model_dir: Path, file: str
) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2\nsize 4096\n"
    (tiny_copy / file).write_text(pointer)
    with pytest.raises(ModelError, match=rf"{file} is a Git LFS pointer.*git lfs pull"):
        load_model(tiny_copy)
    shutil.copy(tiny_model_dir / file, tiny_copy / file)  # what `git lfs pull` does
    _states(load_model(tiny_copy))


def test_pickled_weights_are_converted_as_the_message_says(
    tiny_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = load_file(tiny_copy / "model.safetensors")
    torch.save(weights, tiny_copy / "pytorch_model.bin")
    (tiny_copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="pickled weights only") as caught:
        load_model(tiny_copy)
    converting = str(caught.value).partition("trust it: ")[2].partition(", and the same")[0]
    monkeypatch.chdir(tmp_path)
    exec(converting)  # noqa: S102  # what the message tells a user to run
    transformers.AutoTokenizer.from_pretrained(tiny_copy).save_pretrained("FOLDER")
    _states(load_model("FOLDER"))


@pytest.mark.parametrize("name", ["./no-such-model", "nobody/no-such-model", "gtp2", "a/b/c"])
def test_a_mistyped_name_fails_soon_without_a_network(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def model_info(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    start = time.perf_counter()
    with pytest.raises(ModelError, match=r"there is no file or folder"):
        load_model(name)
    assert time.perf_counter() - start < 3


MISTYPED = [
    "score ./no-such helpdesk", "adapt qwen2-0.5b ./no-such", "rank helpdesk ./no-such",
    "predict ./no-such", "show ./no-such", "study run ./no-such", "study tables ./no-such",
]  # fmt: skip
_RUN = """
import contextlib, io, json, sys
from ntpscore.cli.main import run
for command in sys.argv[1:]:
    code, told = 0, io.StringIO()
    with contextlib.redirect_stderr(told):
        try:
            run(command.split())
        except SystemExit as ended:
            code = ended.code
    large = {"torch", "transformers", "peft", "scipy"} & set(sys.modules)
    print(json.dumps([code, told.getvalue(), sorted(large)]))
"""


@pytest.fixture(scope="module")
def mistyped() -> dict[str, tuple[int, str, list[str]]]:
    """Exit code, message and large modules loaded by then, of commands one after the other."""
    ended = subprocess.run(
        [sys.executable, "-c", _RUN, *MISTYPED],
        env={**os.environ, "PYTHONPATH": str(Path(ntpscore.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(MISTYPED, map(json.loads, ended.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("command", MISTYPED)
def test_a_mistyped_name_is_told_before_anything_large_is_imported(
    command: str, mistyped: dict[str, tuple[int, str, list[str]]]
) -> None:
    """Most of the time of a command that fails at once would be spent on importing torch."""
    code, told, large = mistyped[command]
    assert code == 2
    assert re.search("no (such )?file.* (./)?no-such", told)
    assert large == []


# -- adapters ---------------------------------------------------------------------------------


@pytest.fixture
def adapter(tiny_copy: Path, tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """A LoRA adapter of the random Llama, and what the adapted model makes of a text."""
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_copy)
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        adapted = peft.get_peft_model(model, settings).eval()
    folder = tmp_path / "adapter"
    adapted.save_pretrained(folder)
    ids = transformers.AutoTokenizer.from_pretrained(tiny_copy)(TEXTS[0])["input_ids"]
    with torch.inference_mode():
        base = adapted.get_base_model().base_model
        return folder, base(torch.tensor([ids])).last_hidden_state


@pytest.mark.parametrize("with_config", [False, True])
def test_an_adapter_is_loaded_on_its_base_model(
    adapter: tuple[Path, torch.Tensor], tiny_copy: Path, *, with_config: bool
) -> None:
    folder, expected = adapter
    if with_config:
        shutil.copy(tiny_copy / "config.json", folder)
    language_model = load_model(folder)
    assert language_model.id == str(folder)
    assert language_model.content_hash != load_model(tiny_copy).content_hash
    # The update is added to the weights once, instead of to their product with each state.
    torch.testing.assert_close(_states(language_model), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(_states(load_model(tiny_copy)), expected, rtol=0.1)
    assert language_model.streams


def test_an_adapter_beside_a_whole_model_is_loaded_upon_it(
    adapter: tuple[Path, torch.Tensor], tiny_copy: Path
) -> None:
    folder, expected = adapter
    for path in folder.iterdir():
        shutil.copy(path, tiny_copy)
    language_model = load_model(tiny_copy)
    torch.testing.assert_close(_states(language_model), expected, rtol=1e-4, atol=1e-5)


def test_the_adapter_of_a_model_that_moved_is_mended_as_the_message_says(
    adapter: tuple[Path, torch.Tensor], tiny_copy: Path
) -> None:
    folder, expected = adapter
    moved = tiny_copy.rename(tiny_copy.parent / "moved")
    with pytest.raises(
        ModelError, match=r"is an adapter of .*/tiny, which is not to be had.*write"
    ):
        load_model(folder)
    _edit(folder / "adapter_config.json", base_model_name_or_path=str(moved))
    torch.testing.assert_close(_states(load_model(folder)), expected, rtol=1e-4, atol=1e-5)
    # A path is also looked for from the adapter's own folder.
    _edit(folder / "adapter_config.json", base_model_name_or_path="../moved")
    torch.testing.assert_close(_states(load_model(folder)), expected, rtol=1e-4, atol=1e-5)


def test_a_pickled_adapter_is_converted_as_the_message_says(
    adapter: tuple[Path, torch.Tensor],
) -> None:
    folder, expected = adapter
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match="is pickled") as caught:
        load_model(folder)
    exec(str(caught.value).partition("as safetensors: ")[2])  # noqa: S102  # as above
    torch.testing.assert_close(_states(load_model(folder)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_model_name_or_path": None}, "does not name the model"),
        ({"peft_type": "NEW_KIND"}, "the adapter .* does not fit its base model .*NEW_KIND"),
        ({"target_modules": ["q_proj"]}, "does not fit its base model .* 6 tensors"),
        ({"r": 8}, "does not fit its base model .*size mismatch"),
    ],
)
def test_a_faulty_adapter_says_why(
    adapter: tuple[Path, torch.Tensor], change: dict[str, Any], message: str
) -> None:
    folder, _ = adapter
    _edit(folder / "adapter_config.json", **change)
    with pytest.raises(ModelError, match=f"(?s){message}"):
        load_model(folder)


def test_an_adapter_without_weights_says_so(adapter: tuple[Path, torch.Tensor]) -> None:
    folder, _ = adapter
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        load_model(folder)


def test_an_adapter_with_more_tokens_than_its_base_model_brings_them(
    tiny_copy: Path, tmp_path: Path
) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_copy)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_copy)
    tokenizer.add_tokens(["<|user|>"])
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj"])).eval()
    adapted.save_pretrained(tmp_path / "adapter")
    tokenizer.save_pretrained(tmp_path / "adapter")
    ids = torch.tensor([tokenizer("<|user|> hello")["input_ids"]])
    with torch.inference_mode():
        expected = adapted.get_base_model().base_model(ids).last_hidden_state
    states = _states(load_model(tmp_path / "adapter"), "<|user|> hello")
    torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-5)


def test_an_adapter_of_the_base_without_head_is_loaded(tiny_copy: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_copy)
    settings = peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    adapted = peft.get_peft_model(model.base_model, settings).eval()
    adapted.save_pretrained(tmp_path / "adapter")
    _edit(tmp_path / "adapter" / "adapter_config.json", base_model_name_or_path=str(tiny_copy))
    ids = transformers.AutoTokenizer.from_pretrained(tiny_copy)(TEXTS[0])["input_ids"]
    with torch.inference_mode():
        expected = adapted(torch.tensor([ids])).last_hidden_state
    torch.testing.assert_close(
        _states(load_model(tmp_path / "adapter")), expected, rtol=1e-4, atol=1e-5
    )


def test_an_adapter_that_leaves_the_weights_as_they_are_is_refused(
    tiny_copy: Path, tmp_path: Path
) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_copy)
    settings = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    peft.get_peft_model(model, settings).save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelError, match="kind PROMPT_TUNING, which puts tokens in front"):
        load_model(tmp_path / "adapter")


# -- configurations ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": "three"},
        {"hidden_size": 32.5},
        {"num_attention_heads": None},
        {"rope_parameters": "yes"},
        {"hidden_act": "made_up"},
        {"vocab_size": -1},
    ],
)
def test_values_of_the_wrong_type_are_the_models_fault(
    tiny_copy: Path, changes: dict[str, Any]
) -> None:
    _edit(tiny_copy / "config.json", **changes)
    with pytest.raises(ModelError, match=f"(?s)(configuration|weights) of {tiny_copy} can't be"):
        load_model(tiny_copy)


@pytest.mark.parametrize("text", ["[1, 2]", '"llama"', "{}", "{", "null"])
def test_a_configuration_that_is_none_is_the_models_fault(tiny_copy: Path, text: str) -> None:
    (tiny_copy / "config.json").write_text(text)
    with pytest.raises(ModelError, match=f"(?s)the configuration of {tiny_copy} can't be loaded"):
        load_model(tiny_copy)


def test_a_configuration_without_return_dict_changes_nothing(
    tiny_copy: Path, tiny_model: LanguageModel
) -> None:
    _edit(tiny_copy / "config.json", return_dict=False)
    language_model = load_model(tiny_copy)
    assert torch.equal(_states(language_model), _states(tiny_model))
    assert check_next_token_loss(language_model).loss == check_next_token_loss(tiny_model).loss


def test_a_class_of_a_newer_transformers_is_named(tiny_copy: Path) -> None:
    _edit(tiny_copy / "config.json", model_type="llama9", architectures=["Llama9ForCausalLM"])
    with pytest.raises(ModelError, match=r"(?s)the configuration of .* can't be loaded: .*llama9"):
        load_model(tiny_copy)


# -- numbers ----------------------------------------------------------------------------------


def test_float16_that_overflows_is_told_from_a_wrong_tokenizer(tiny_copy: Path) -> None:
    weights = load_file(tiny_copy / "model.safetensors")
    for name in weights:
        if "up_proj" in name or "down_proj" in name:
            weights[name] *= 300
    save_file(weights, tiny_copy / "model.safetensors", metadata={"format": "pt"})
    found = check_next_token_loss(load_model(tiny_copy, dtype="float16"))
    assert found.verdict == "refuse"
    assert "float16" in found.message
    assert "tokenizer" not in found.message
    for dtype in ("bfloat16", "float32"):
        assert f"{dtype}" in found.message
        assert check_next_token_loss(load_model(tiny_copy, dtype=dtype)).loss < 20


# -- forward passes ---------------------------------------------------------------------------


class _Broken(nn.Module):
    def forward(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError("this kernel needs a GPU")


def test_what_a_models_code_raises_names_model_and_stage(tiny_model_dir: Path) -> None:
    language_model = load_model(tiny_model_dir)
    language_model.base.layers[1].mlp = _Broken()
    with pytest.raises(
        ModelError, match=f"the forward pass of {tiny_model_dir} failed: this kernel needs a GPU"
    ):
        _states(language_model)
    with pytest.raises(ModelError, match="on a page of English: this kernel needs a GPU"):
        check_next_token_loss(language_model)


def test_what_the_reader_of_states_raises_is_no_fault_of_the_model(
    tiny_model: LanguageModel,
) -> None:
    def fail(layer: int, _hidden_states: torch.Tensor) -> None:
        raise KeyError(layer)

    for layers in ([1], [tiny_model.n_layers]):
        with pytest.raises(KeyError):
            stream_hidden_states(tiny_model, torch.tensor([[3, 4]]), None, fail, layers)


# -- contexts ---------------------------------------------------------------------------------


def _longer_than(n_tokens: int) -> str:
    return "the cat sat on the mat and looked at the rain " * (n_tokens // 8)


@pytest.fixture
def save(tmp_path: Path, tiny_model_dir: Path) -> Callable[[Any], LanguageModel]:
    """Saves and loads a random model of a configuration."""
    vocabulary = len(transformers.AutoTokenizer.from_pretrained(tiny_model_dir))

    def save_and_load(make: Callable[..., Any], **changes: Any) -> LanguageModel:
        config = make(**{"vocab_size": vocabulary, **changes})
        return load_model(save_random_model(config, tiny_model_dir, tmp_path / "saved"))

    return save_and_load


CAMEMBERT = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "is_decoder": True, "pad_token_id": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("make", "options", "context"),
    [
        (
            transformers.MptConfig,
            {"d_model": 16, "n_heads": 2, "n_layers": 2, "max_seq_len": 24},
            24,
        ),
        (transformers.GPT2Config, {"n_embd": 16, "n_head": 2, "n_layer": 2, "n_positions": 24}, 24),
        (transformers.BloomConfig, {"hidden_size": 16, "n_head": 2, "n_layer": 2}, None),
        (
            transformers.OPTConfig,
            {"hidden_size": 16, "ffn_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
             "max_position_embeddings": 24, "word_embed_proj_dim": 16},
            24,
        ),
        (transformers.CamembertConfig, {**CAMEMBERT, "max_position_embeddings": 26}, 24),
        (transformers.Data2VecTextConfig, {**CAMEMBERT, "max_position_embeddings": 26}, 24),
        # A table of 700 rows, the first of which stand for padding: found out on a long text.
        (transformers.CamembertConfig, {**CAMEMBERT, "max_position_embeddings": 700}, 698),
    ],
)  # fmt: skip
def test_texts_are_cut_to_the_context_that_the_model_takes(
    save: Callable[..., LanguageModel], make: Any, options: dict[str, Any], context: int | None
) -> None:
    language_model = save(make, **options)
    text = _longer_than(900)
    uncut = language_model.tokenizer(text)["input_ids"]
    tokens = tokenize([text, "a cat"], language_model, None)
    assert tokens.truncated == (context is not None)
    assert tokens.ids[0] == uncut[:context]
    assert len(tokens.ids[1]) == len(language_model.tokenizer("a cat")["input_ids"])
    states = _states(language_model, text)
    assert states.shape[1] == (context or len(uncut))


def test_no_token_is_cut_where_the_configuration_says_minus_one(tiny_copy: Path) -> None:
    _edit(tiny_copy / "config.json", max_position_embeddings=-1)
    language_model = load_model(tiny_copy)
    assert language_model.max_length is None
    text = _longer_than(900)
    tokens = tokenize([text], language_model, None)
    assert list(tokens.ids) == [language_model.tokenizer(text)["input_ids"]]
    assert tokens.truncated == 0


# -- states of another shape ------------------------------------------------------------------


def test_a_narrower_last_layer_is_read_before_it_is_made_narrow(
    save: Callable[..., LanguageModel],
) -> None:
    language_model = save(
        transformers.OPTConfig, hidden_size=32, ffn_dim=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=64, word_embed_proj_dim=8,
        do_layer_norm_before=False,
    )  # fmt: skip
    assert (language_model.width, language_model.output_width) == (32, 8)
    states = _states(language_model)
    ids = torch.tensor(list(tokenize([TEXTS[0]], language_model, None).ids))
    with torch.inference_mode():
        assert language_model.narrowing is not None
        output = language_model.base(ids).last_hidden_state
        assert torch.equal(language_model.narrowing(states), output)


# -- code of its own --------------------------------------------------------------------------

_CODE = """
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel


class OwnConfig(LlamaConfig):
    model_type = "own"


class OwnModel(LlamaModel):
    config_class = OwnConfig


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""
_FAILING_NORM = """class OwnForCausalLM(LlamaForCausalLM):
    def __init__(self, config):
        super().__init__(config)
        self.model.norm.forward = self.fail

    def fail(self, states):
        return states / [1]

"""
_FAULTS = {
    "import": ("import torch", "import torch, not_installed_anywhere", "not_installed_anywhere"),
    "constructor": (
        "    config_class = OwnConfig\n",
        "    config_class = OwnConfig\n\n    def __init__(self, config):\n        config.no_such\n",
        "no_such",
    ),
    "forward pass": (
        "class OwnForCausalLM(LlamaForCausalLM):\n",
        _FAILING_NORM,
        "the forward pass of .* unsupported operand",
    ),
}  # fmt: skip


def _write_own_code(folder: Path, code: str) -> Path:
    (folder / "own.py").write_text(code)
    auto_map = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    _edit(folder / "config.json", model_type="own", auto_map=auto_map)
    return folder


@pytest.mark.usefixtures("code_cache")
@pytest.mark.parametrize("fault", [None, *_FAULTS])
def test_a_fault_in_a_models_own_code_is_the_models(tiny_copy: Path, fault: str | None) -> None:
    if fault is None:
        _write_own_code(tiny_copy, _CODE)
        _states(load_model(tiny_copy, trust_remote_code=True))
        return
    old, new, message = _FAULTS[fault]
    assert old in _CODE
    _write_own_code(tiny_copy, _CODE.replace(old, new))
    with pytest.raises(ModelError, match=f"(?s){tiny_copy}.*{message}|{message}"):
        load_model(tiny_copy, trust_remote_code=True)


# -- commands ---------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sixty labelled texts."""
    return write_rows(tmp_path / "data.jsonl", make_rows(48))


@pytest.fixture
def broken_models(tiny_copy: Path, tmp_path: Path) -> list[Path]:
    """Models with faults that show at different stages."""
    folders = [
        shutil.copytree(tiny_copy, tmp_path / name)
        for name in ("configuration", "tokenizer", "weights", "pass")
    ]
    _edit(folders[0] / "config.json", num_hidden_layers="three")
    (folders[1] / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": 1}}')
    _edit(folders[2] / "config.json", intermediate_size=48)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders[3])
    tokenizer.add_tokens(["today", "near", "some", "saw"])
    tokenizer.save_pretrained(folders[3])
    return folders


@pytest.mark.parametrize("number", range(4))
def test_a_command_ends_with_one_message_and_code_2(
    broken_models: list[Path], data: Path, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    folder = broken_models[number]
    assert run_cli("score", folder, data) == 2
    message = capsys.readouterr().err
    assert "bug" not in message
    assert str(folder) in message


def test_a_ranking_goes_on_with_the_other_models(
    broken_models: list[Path], tiny_model_dir: Path, data: Path
) -> None:
    result = rank_models(data, [*broken_models, tiny_model_dir], progress=False)
    assert list(result.failures) == [str(folder) for folder in broken_models]
    for folder, reason in result.failures.items():
        assert folder in reason
    assert list(result.standings["model"]) == [str(tiny_model_dir)]
