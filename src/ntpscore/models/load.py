"""Load a causal language model with its tokenizer: hub id, folder, GGUF file or short name."""

import contextlib
import functools
import hashlib
import io
import json
import platform
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import huggingface_hub
import torch
import transformers
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from ntpscore.errors import ModelError
from ntpscore.models.gemma_tokenizer import build_gemma_tokenizer, has_gemma_tokenizer
from ntpscore.models.gguf_header import GgufHeader, read_gguf_header
from ntpscore.models.hidden_states import check_stream
from ntpscore.models.language_model import LanguageModel
from ntpscore.models.options import DTYPE_NAMES, ModelOptions
from ntpscore.models.packaged import locate_packaged_model
from ntpscore.models.registry import MODELS, RegisteredModel, find_model
from ntpscore.models.short_attention import use_short_attention
from ntpscore.options import with_keywords

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_NAMES}
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_HUB_TIMEOUT = 10  # seconds
_TOKENIZER_FILES = ("*.json", "*.model", "*.txt", "*.jinja")
# What configurations call them; the second name is OpenELM's.
_WIDTH_NAMES = ("hidden_size", "model_dim")
_LAYERS_NAMES = ("num_hidden_layers", "num_transformer_layers")
_LENGTH_NAMES = ("max_position_embeddings", "max_context_length")
# What transformers raises for a checkpoint it can't read: all of it is about the files.
_LOADING_ERRORS = (
    OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, ImportError,
    NotImplementedError, SafetensorError, IndexError,
)  # fmt: skip


@dataclass
class _Source:
    """Where a model's files are, and what a result should say about them."""

    id: str
    folder: Path
    options: dict[str, Any]
    revision: str | None = None
    content_hash: str | None = None
    gguf: GgufHeader | None = field(default=None, repr=False)
    tokenizer: "_TokenizerSource | None" = None


@dataclass
class _TokenizerSource:
    """Where the tokenizer of a model is that comes without one."""

    id: str
    folder: Path
    revision: str | None


def load_model(
    model: str | Path, options: ModelOptions | None = None, **keywords: Any
) -> LanguageModel:
    """Load a causal language model in evaluation mode, with its tokenizer.

    Weights are read from safetensors or GGUF files only; nothing is unpickled. A model that looks
    ahead, or lacks weights, is refused. Whether it predicts text well is for
    `check_next_token_loss` to say.

    Args:
        model: A `.gguf` file, a folder written by `save_pretrained`, a short name (a key of
            `MODELS`), or an id on the Hugging Face hub. What is there locally comes first.
        options: Revision, dtype, device, …
        keywords: Options by name, such as `dtype="float32"`.

    Returns:
        The model, on its device.

    Raises:
        ModelError: There is no such model, its files are damaged or of the wrong kind, or the
            dtype or device is not available.
    """
    options = with_keywords(keywords, options or ModelOptions())[0]
    dtype, device_map = options.dtype, options.device_map
    target = _check_device(options.device)
    with _quiet_transformers():
        source = _locate(str(model), options.revision, trust_remote_code=options.trust_remote_code)
        if source.gguf is not None:
            with _gguf_parsed_once(), _alone(source.gguf.path) as folder:
                source.folder = folder
                loaded, tokenizer = _load(source, _gguf_dtype(dtype, target), device_map)
        else:
            loaded, tokenizer = _load(source, DTYPES.get(dtype, "auto"), device_map)
        if device_map is None:
            loaded = loaded.to(target)  # type: ignore[arg-type]  # transformers' stub of `to`
    loaded.eval().requires_grad_(requires_grad=False)
    use_short_attention(loaded, loaded.device)
    config = loaded.config.get_text_config(decoder=True)
    language_model = LanguageModel(
        model=loaded,
        tokenizer=tokenizer,
        id=source.id,
        revision=source.revision,
        content_hash=source.content_hash,
        width=_first_value(config, _WIDTH_NAMES),
        n_layers=_first_value(config, _LAYERS_NAMES),
        dtype=loaded.dtype,
        device=next(loaded.get_input_embeddings().parameters()).device,
        max_length=_first_value(config, _LENGTH_NAMES),
        tokenizer_id=None if source.tokenizer is None else source.tokenizer.id,
        tokenizer_revision=None if source.tokenizer is None else source.tokenizer.revision,
    )
    check_stream(language_model)
    return language_model


def _first_value(config: PreTrainedConfig, names: Sequence[str]) -> Any:
    """The first of these values that a configuration has; None if it has none."""
    return next((getattr(config, name) for name in names if hasattr(config, name)), None)


def _locate(model: str, revision: str | None, *, trust_remote_code: bool) -> _Source:
    # Code that comes with a model may lie in yet another repository.
    options = {"trust_remote_code": trust_remote_code, "local_files_only": not trust_remote_code}
    path = Path(model).expanduser()
    entry = find_model(model)
    if entry is not None:
        return _locate_registered(entry, revision, options)
    if path.is_dir():
        weights = _check_folder(path, str(path))
        return _Source(model, path, options, content_hash=_hash_of_weights(weights))
    if path.suffix.lower() == ".gguf" and path.is_file():
        return _locate_gguf(model, path, options)
    if path.is_file():
        msg = f"{path} is a file, but no .gguf file: give a model's folder, or a .gguf file"
        raise ModelError(msg)
    if path.suffix.lower() == ".gguf" or not _HUB_ID.fullmatch(model):
        msg = (
            f"there is no file or folder {model}, and it is no id on the hub (owner/name) and no "
            f"short name ({', '.join(MODELS)})"
        )
        raise ModelError(msg)
    patterns = [*_TOKENIZER_FILES, "*.safetensors", *(["*.py"] if trust_remote_code else [])]
    folder, commit = _download(model, revision, patterns)
    _check_folder(folder, model)
    return _Source(model, folder, options, revision=commit)


def _locate_registered(
    entry: RegisteredModel, revision: str | None, options: dict[str, Any]
) -> _Source:
    if entry.package is not None:
        path = locate_packaged_model(entry.name, entry.package)
        source = _locate_gguf(entry.name, path, options)
        if source.content_hash != entry.package.sha256:
            requirement = entry.package.requirement
            msg = (
                f"{path} is not the file {requirement} was published with. Reinstall it: "
                f"pip install --force-reinstall {entry.package.install_options}{requirement}"
            )
            raise ModelError(msg)
        source.revision = entry.package.requirement
        return source
    with_code = options["trust_remote_code"]
    if entry.needs_remote_code and not with_code:
        msg = (
            f"{entry.name} ({entry.hub_id}) runs only with Python code of its own, which can do "
            "whatever you can do on this machine. Read it on the model's page on the hub, and if "
            "you trust it, pass trust_remote_code=True (--trust-remote-code)."
        )
        raise ModelError(msg)
    source = _locate(str(entry.hub_id), revision or entry.revision, trust_remote_code=with_code)
    if entry.tokenizer is not None:
        source.tokenizer = _locate_tokenizer(entry.tokenizer, source.id)
    return source


def _locate_tokenizer(tokenizer: str, model: str) -> _TokenizerSource:
    if Path(tokenizer).is_dir():
        return _TokenizerSource(tokenizer, Path(tokenizer), None)
    try:
        folder, commit = _download(tokenizer, None, _TOKENIZER_FILES)
    except ModelError as error:
        msg = f"{model} has no tokenizer of its own and takes that of {tokenizer}: {error}"
        raise ModelError(msg) from error
    return _TokenizerSource(tokenizer, folder, commit)


def _locate_gguf(model: str, path: Path, options: dict[str, Any]) -> _Source:
    header = read_gguf_header(path)
    return _Source(model, path.parent, options, content_hash=_sha256(path), gguf=header)


def _download(model: str, revision: str | None, patterns: Sequence[str]) -> tuple[Path, str]:
    """Bring a model's files from the hub into its cache, and return their folder and commit."""
    download = functools.partial(
        huggingface_hub.snapshot_download,
        model,
        allow_patterns=list(patterns),
        ignore_patterns=["*/*", "consolidated*"],  # other formats, and the weights a second time
    )
    try:
        # Asked once and briefly: without a network the download itself would try for 20 seconds.
        info = huggingface_hub.HfApi().model_info(model, revision=revision, timeout=_HUB_TIMEOUT)
        if "*.safetensors" in patterns:
            _check_has_safetensors(model, [file.rfilename for file in info.siblings or ()])
        return Path(download(revision=info.sha)), str(info.sha)
    except ModelError:
        raise
    except GatedRepoError as error:
        msg = (
            f"{model} asks for an agreement: accept it on its page on the hub, then log in with "
            "`hf auth login`"
        )
        raise ModelError(msg) from error
    except RevisionNotFoundError as error:
        msg = f"{model} has no revision {revision!r}: give a branch, a tag or a commit of it"
        raise ModelError(msg) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        msg = (
            f"there is no model {model} on the hub, no such folder here, and no such short name "
            f"({', '.join(MODELS)}). If it is private, log in with `hf auth login`."
        )
        raise ModelError(msg) from error
    except Exception as error:  # noqa: BLE001  # each version of the client fails in its own way
        try:
            folder = Path(download(revision=revision, local_files_only=True))
        except (OSError, ValueError):
            msg = (
                f"there is no file or folder {model}, and the hub could not be asked for a model "
                f"of that name ({error}); the local cache does not hold it either. Check the "
                f"spelling and the network, or use a short name ({', '.join(MODELS)})."
            )
            raise ModelError(msg) from error
        return folder, folder.name


def _check_folder(folder: Path, name: str) -> list[Path]:
    """Check that a folder holds a whole model, and return its files of weights, in order."""
    names = sorted(path.name for path in folder.iterdir())
    if "config.json" not in names:
        hint = "A model's folder is what `save_pretrained` writes."
        if ggufs := [file for file in names if file.endswith(".gguf")]:
            hint = f"It holds a GGUF file: give {folder / ggufs[0]} itself."
        elif "adapter_config.json" in names:
            hint = "It holds an adapter: merge it into its base model and save that."
        msg = f"{name} has no config.json. {hint}"
        raise ModelError(msg)
    _check_has_safetensors(name, names)
    weights = [folder / file for file in names if file.endswith(".safetensors")]
    for path in weights:
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            msg = f"{path} is damaged or cut short ({error}). Download or copy it again."
            raise ModelError(msg) from error
    return weights


def _check_has_safetensors(where: str, names: list[str]) -> None:
    if any(name.endswith(".safetensors") for name in names):
        return
    msg = f"{where} holds no weights: expected one or more .safetensors files"
    if any(name.endswith((".bin", ".pt", ".pth", ".ckpt")) for name in names):
        msg = (
            f"{where} holds pickled weights only, and unpickling can run any code. Convert it to "
            "safetensors: load it with transformers where you trust it, then `save_pretrained`."
        )
    raise ModelError(msg)


def _hash_of_weights(weights: list[Path]) -> str:
    """The file's SHA-256; of several files, that of the list `sha256sum` prints for them."""
    if len(weights) == 1:
        return _sha256(weights[0])
    lines = "".join(f"{_sha256(path)}  {path.name}\n" for path in weights)
    return hashlib.sha256(lines.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(
    source: _Source, dtype: torch.dtype | str, device_map: str | dict[str, Any] | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    options = dict(source.options)
    weights_options: dict[str, Any] = {"use_safetensors": True}
    if source.gguf is not None:
        options["gguf_file"] = source.gguf.path.name
        weights_options = {}
        if hasattr(transformers, "GgufConfig"):
            # Newer versions can leave weights packed in blocks: slower over many texts. Not here.
            weights_options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    with _explained(source, "configuration"):
        config = AutoConfig.from_pretrained(source.folder, **options)
    _check_config(source, config)
    with _explained(source, "tokenizer"):
        tokenizer = _load_tokenizer(source, options)
    _check_tokenizer(source, tokenizer)
    with _explained(source, "weights"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source.folder,
            config=config,
            dtype=dtype,
            device_map=device_map,
            output_loading_info=True,
            **weights_options,
            **options,
        )
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        msg = (
            f"the weights of {source.id} lack {len(missing)} tensors of its architecture, which "
            f"would be random numbers (the first: {missing[0]}). The file is incomplete, or not of "
            "a causal language model."
        )
        raise ModelError(msg)
    if type(model).__module__.startswith("transformers_modules."):
        with _explained(source, "code"):
            _compute_buffers(model)
    return model, tokenizer


def _compute_buffers(model: PreTrainedModel) -> None:
    """Give a model with code of its own the buffers that its checkpoint does not hold.

    transformers 5 builds models without memory and then fills in what the checkpoint has. Buffers
    that only the constructor computes, such as frequencies of rotary embeddings, are left as
    whatever the memory held; its own models compute them again, those of others do not.
    """
    import accelerate

    with accelerate.init_empty_weights(include_buffers=False):
        fresh = type(model)(model.config)
    computed = dict(fresh.named_buffers(remove_duplicate=False))
    kept = model.state_dict().keys()
    for name, buffer in model.named_buffers(remove_duplicate=False):
        if name not in kept:
            owner, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(owner), attribute, computed[name].to(buffer.device))


def _load_tokenizer(source: _Source, options: dict[str, Any]) -> PreTrainedTokenizerBase:
    if source.tokenizer is not None:
        # The user trusts the model's code, not that of another repository.
        return AutoTokenizer.from_pretrained(
            source.tokenizer.folder, trust_remote_code=False, local_files_only=True
        )
    if source.gguf is None:
        return AutoTokenizer.from_pretrained(source.folder, **options)
    if has_gemma_tokenizer(source.gguf):
        return build_gemma_tokenizer(source.gguf)
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(
        source.folder, **options
    )
    return tokenizer


def _check_config(source: _Source, config: PreTrainedConfig) -> None:
    kind = config.model_type
    if config.is_encoder_decoder:
        msg = (
            f"{source.id} is an encoder-decoder ({kind}); only causal language models are scored, "
            "which predict the next token from those before it"
        )
        raise ModelError(msg)
    has_own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING and not has_own_code:
        msg = f"{source.id} is no causal language model: transformers knows none of type {kind!r}"
        raise ModelError(msg)


def _check_tokenizer(source: _Source, tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        # Which token fills up is all the same: padding is masked.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    if tokenizer.bos_token_id is None or not _asks_for_bos(source):
        return
    if not _puts_bos_in_front(tokenizer):
        # To transformers, a tokenizer.json that does not add it weighs more than its configuration.
        tokenizer.add_bos_token = True
        tokenizer.update_post_processor()
    if not _puts_bos_in_front(tokenizer):
        msg = (
            f"the tokenizer of {source.id} is to put {tokenizer.bos_token!r} in front of a text, "
            "and does not. Save it again with a current version of transformers."
        )
        raise ModelError(msg)


def _asks_for_bos(source: _Source) -> bool:
    if source.gguf is not None:
        return bool(source.gguf.metadata.get("tokenizer.ggml.add_bos_token", False))
    folder = source.folder if source.tokenizer is None else source.tokenizer.folder
    path = folder / "tokenizer_config.json"
    return path.is_file() and bool(json.loads(path.read_bytes()).get("add_bos_token", False))


def _puts_bos_in_front(tokenizer: PreTrainedTokenizerBase) -> bool:
    return bool(tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id])


@contextlib.contextmanager
def _explained(source: _Source, part: str) -> Iterator[None]:
    try:
        yield
    except _LOADING_ERRORS as error:
        text = str(error)
        if "trust_remote_code" in text:
            msg = (
                f"{source.id} needs Python code of its own. Read it, and if you trust it, pass "
                "trust_remote_code=True (--trust-remote-code)."
            )
        elif source.gguf is not None and "not supported" in text:
            msg = (
                f"{source.id}: transformers {transformers.__version__} can't read GGUF files of "
                f"architecture {source.gguf.architecture!r}. Use the model's safetensors files."
            )
        else:
            reason = text.strip().split("\n")[0] or type(error).__name__
            msg = f"the {part} of {source.id} can't be loaded: {reason}"
        raise ModelError(msg) from error


def _check_device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    match = re.fullmatch(r"cpu|mps|cuda(?::(\d+))?", device)
    if match is None:
        msg = f"unknown device {device!r}: expected auto, cpu, cuda, cuda:N or mps"
        raise ModelError(msg)
    if device == "mps" and not torch.backends.mps.is_available():
        msg = "device 'mps' is not available here: it needs a Mac with Apple silicon"
        raise ModelError(msg)
    if device.startswith("cuda") and int(match[1] or 0) >= torch.cuda.device_count():
        msg = (
            f"device {device!r} is not available: PyTorch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices. Use cpu, or install a CUDA build."
        )
        raise ModelError(msg)
    return torch.device(device)


def _gguf_dtype(dtype: str, device: torch.device) -> torch.dtype:
    if dtype != "auto":
        return DTYPES[dtype]
    return torch.bfloat16 if _has_fast_bfloat16(device) else torch.float32


def _has_fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # PyTorch emulates bfloat16 on older x86 processors, and calls it supported there too.
    if platform.machine().lower() in {"x86_64", "amd64"}:
        return bool(torch.cpu._is_avx512_bf16_supported())  # noqa: SLF001  # no public name in torch 2.8
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep transformers' warnings and progress bars off; downloads still show theirs."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def _gguf_parsed_once() -> Iterator[None]:
    """Let transformers parse a GGUF header once, and keep its progress bar off.

    It parses the header for the configuration and again for the weights (seconds each, for a large
    vocabulary), and builds the table of tensor names anew for each of the model's modules.
    """
    reader, name_map = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader = functools.cache(reader)  # type: ignore[misc,assignment]
    gguf.get_tensor_name_map = functools.cache(name_map)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        gguf.GGUFReader = reader  # type: ignore[misc]
        gguf.get_tensor_name_map = name_map


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[Path]:
    """A folder with this file alone: transformers would prefer a tokenizer lying beside it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            (folder / path.name).symlink_to(path.resolve())
        except OSError:  # Windows lets few users make links
            shutil.copyfile(path, folder / path.name)
        yield folder
