"""Load a language model with its tokenizer: hub id, folder, GGUF file or short name."""

import contextlib
import functools
import hashlib
import importlib.util
import io
import json
import os
import platform
import re
import shutil
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from ntpscore.errors import ModelError
from ntpscore.extras import need_package
from ntpscore.files import TemporaryFolder
from ntpscore.models.context import configured_context, known_context
from ntpscore.models.encoders import UNSCORED, is_encoder
from ntpscore.models.failures import as_model_error, describe_cause
from ntpscore.models.gemma_tokenizer import build_gemma_tokenizer, has_gemma_tokenizer
from ntpscore.models.hidden_states import check_stream
from ntpscore.models.language_model import LanguageModel
from ntpscore.models.locate import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    Adapter,
    ModelFiles,
    has_tokenizer,
    locate_model,
    locate_tokenizer,
)
from ntpscore.models.options import DTYPE_NAMES, ModelOptions
from ntpscore.models.own_code import (
    admit_configuration,
    compute_buffers,
    has_own_code,
    only_weights_empty,
    shrink_causal_mask,
)
from ntpscore.models.short_attention import use_short_attention
from ntpscore.options import with_keywords

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_NAMES}


# What is set while a model loads is of the whole process: one thread at a time.
_LOADING = threading.RLock()
# By name and options, the one that `load_once` loaded last.
_loaded: dict[tuple[Any, ...], LanguageModel] = {}
# In front of the names of an adapter's tensors.
_PREFIX = "base_model.model."
# What the extra "tokenizers" installs, and how it is imported.
_TOKENIZER_PACKAGES = {
    "sentencepiece": "sentencepiece",
    "protobuf": "google.protobuf",
    "tiktoken": "tiktoken",
}


def load_model(
    model: str | Path, options: ModelOptions | None = None, **keywords: Any
) -> LanguageModel:
    """Load a causal language model, or an encoder, in evaluation mode, with its tokenizer.

    Weights are read from safetensors or GGUF files only; nothing is unpickled. A model that looks
    ahead, or lacks weights, is refused. Whether it predicts text well is for
    `check_next_token_loss` to say.

    Args:
        model: A `.gguf` file, a folder written by `save_pretrained` (of a model, or of an adapter
            of `peft`, which is merged into the model it was trained on), a short name (a key of
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
    target = _check_device(options.device)
    with _LOADING, _quiet_transformers():
        files = locate_model(
            str(model), options.revision, trust_remote_code=options.trust_remote_code
        )
        if options.tokenizer is not None:
            files.tokenizer = locate_tokenizer(str(options.tokenizer), files.id)
        if files.gguf is not None:
            dtype: torch.dtype | str = _gguf_dtype(options.dtype, target)
        else:
            dtype = DTYPES.get(options.dtype, "auto")
        with _only_what_belongs_to_it(files):
            loaded, tokenizer = _load(files, dtype, options.device_map)
        for adapter in files.adapters:
            loaded = _merge_adapter(loaded, adapter, files.id)
        name = _name(files)
        with as_model_error(f"the weights of {name} can't be prepared"):
            if options.device_map is None:
                loaded = loaded.to(target)  # type: ignore[arg-type]  # transformers' stub of `to`
            loaded.eval().requires_grad_(requires_grad=False)
            if not is_encoder(loaded.config):
                use_short_attention(loaded, loaded.device)
            language_model = LanguageModel(
                model=loaded,
                tokenizer=tokenizer,
                id=name,
                revision=files.adapters[-1].revision if files.adapters else files.revision,
                content_hash=_content_hash(files),
                dtype=loaded.dtype,
                device=next(loaded.get_input_embeddings().parameters()).device,
                width=0,  # this and the layers are for `check_stream` to find
                n_layers=0,
                warnings=_warnings(files, loaded.config),
                max_length=configured_context(loaded.config),
                tokenizer_id=None if files.tokenizer is None else files.tokenizer.id,
                tokenizer_revision=None if files.tokenizer is None else files.tokenizer.revision,
                reads_both_ways=is_encoder(loaded.config),
                loaded_with=(str(model), options),
            )
        check_stream(language_model)
        language_model.max_length = known_context(language_model)
    return language_model


def load_once(model: str | Path, options: ModelOptions) -> LanguageModel:
    """`load_model`, from memory if it was the last one here and no file of it changed since.

    Args:
        model: as `load_model`.
        options: as `load_model`.
    """
    path = Path(model)
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []
    stamps = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    key = (str(model), repr(options), *stamps)
    with _LOADING:
        if key not in _loaded:
            _loaded.clear()
            _loaded[key] = load_model(model, options)
        return _loaded[key]


def reload_model(model: str, options: ModelOptions, identity: list[str | None]) -> LanguageModel:
    """What a pickled model is now.

    Raises:
        ModelError: as `load_model`, or its weights, number format or tokenizer are others.
    """
    loaded = load_once(model, options)
    if loaded.identity != identity:
        raise ModelError(
            f"{model} is not the model that was pickled: {loaded.identity}, {identity}"
        )
    return loaded


def _warnings(files: ModelFiles, config: PreTrainedConfig) -> tuple[str, ...]:
    if is_encoder(config):
        return (f"{_name(files)} reads a text both ways ({config.model_type}): {UNSCORED}",)
    if _predicts(config) and "vision_config" not in config.sub_configs:
        return ()
    return (f"{_name(files)} reads images too ({config.model_type}): its text part is used",)


def _name(files: ModelFiles) -> str:
    return files.adapters[-1].id if files.adapters else files.id


def _content_hash(files: ModelFiles) -> str | None:
    if not files.adapters:
        return files.content_hash
    parts = [files.id, files.revision, files.content_hash]
    parts += [adapter.content_hash for adapter in files.adapters]
    return hashlib.sha256(os.fsencode("/".join(map(str, parts)))).hexdigest()


def _load(
    files: ModelFiles, dtype: torch.dtype | str, device_map: str | dict[str, Any] | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    # Code that comes with a model may lie in yet another repository.
    options: dict[str, Any] = {
        "trust_remote_code": files.trust_remote_code,
        "local_files_only": not files.trust_remote_code,
    }
    weights_options: dict[str, Any] = {"use_safetensors": True}
    if files.gguf is not None:
        options["gguf_file"] = files.gguf.path.name
        weights_options = {}
        if hasattr(transformers, "GgufConfig"):
            # Newer versions can leave weights packed in blocks: slower over many texts. Not here.
            weights_options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    with _loading(files, "configuration"):
        if files.trust_remote_code and files.gguf is None:
            admit_configuration(files.folder)
        config = AutoConfig.from_pretrained(files.folder, **options)
        _check_config(files, config)
        config.return_dict = True
    with _loading(files, "tokenizer"):
        tokenizer = _load_tokenizer(files, options)
        _check_tokenizer(files, tokenizer)
    # What unpacks quantized weights shows bars of its own.
    packed = getattr(config, "quantization_config", None) is not None
    hush = contextlib.redirect_stderr(io.StringIO()) if packed else contextlib.nullcontext()
    with _loading(files, "weights"), hush, only_weights_empty():
        loaded: Any = _auto_class(config).from_pretrained(
            files.folder,
            config=config,
            dtype=dtype,
            device_map=device_map,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # its own message points at a report that is not shown
            **weights_options,
            **options,
        )
        model, report = loaded
        compressor = getattr(getattr(model, "hf_quantizer", None), "compressor", None)
        if compressor is not None:
            # Else it would wait for a call of the whole model, and here its base is called.
            compressor.decompress_model(model)
    for key, found, expected in sorted(report["mismatched_keys"]):
        raise ModelError(
            f"the weights of {files.id} are not those of its configuration: {key} is of shape "
            f"{tuple(found)}, where the configuration asks for {tuple(expected)}"
        )
    needed = f"{model.base_model_prefix}." if is_encoder(config) else ""
    if missing := sorted(key for key in report["missing_keys"] if key.startswith(needed)):
        raise ModelError(
            f"the weights of {files.id} lack {len(missing)} tensors of its architecture, which "
            f"would be random numbers (the first: {missing[0]}). The file is incomplete, or not of "
            "a causal language model."
        )
    if has_own_code(type(model)):
        with _loading(files, "code"):
            compute_buffers(model)
            shrink_causal_mask(model)
    return model, tokenizer


def _merge_adapter(model: PreTrainedModel, adapter: Adapter, base: str) -> PreTrainedModel:
    """Put an adapter into the weights of the model it was trained on."""
    need_package("peft", "lora", f"the adapter {adapter.id}", ModelError)
    import peft

    with as_model_error(f"the adapter {adapter.id} does not fit its base model {base}"):
        config = peft.PeftConfig.from_pretrained(str(adapter.folder))
        if config.is_prompt_learning:
            raise ModelError(
                f"{adapter.id} is an adapter of kind {config.peft_type.value}, which puts tokens "
                "in front of a text; only adapters that change weights are read, such as LoRA"
            )
        with safe_open(adapter.folder / ADAPTER_WEIGHTS, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        _fit_vocabulary(model, shapes)
        # Of the whole model, or of the part without vocabulary head.
        children = {name.removeprefix(_PREFIX).split(".")[0] for name in shapes}
        whole = bool(children & {name for name, _ in model.named_children()})
        base_model = model if whole else model.base_model
        own = {_PREFIX + name for name in base_model.state_dict()}
        adapted = peft.PeftModel.from_pretrained(base_model, str(adapter.folder))
        wanted = set(peft.get_peft_model_state_dict(adapted, save_embedding_layers=False))
        if astray := (wanted - shapes.keys()) | (shapes.keys() - wanted - own):
            raise ModelError(
                f"the adapter {adapter.id} does not fit its base model {base}: {len(astray)} "
                f"tensors are on one side only (the first: {min(astray)})"
            )
        merged = adapted.merge_and_unload(safe_merge=True)
        return merged if whole else model


def _fit_vocabulary(model: PreTrainedModel, shapes: dict[str, list[int]]) -> None:
    """Give a model as many tokens as an adapter has that was trained with some more."""
    embeddings = model.get_input_embeddings()
    path = next(name for name, module in model.named_modules() if module is embeddings)
    for name, shape in shapes.items():
        of_embeddings = name.removesuffix(".weight").endswith((path, f"{path}.base_layer"))
        if of_embeddings and shape[0] != embeddings.num_embeddings:
            model.resize_token_embeddings(shape[0], mean_resizing=False)
            return


def _load_tokenizer(files: ModelFiles, options: dict[str, Any]) -> PreTrainedTokenizerBase:
    if files.gguf is not None and files.tokenizer is None:
        if has_gemma_tokenizer(files.gguf):
            return build_gemma_tokenizer(files.gguf)
        from_file: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(
            files.folder, **options
        )
        return from_file
    folder = files.tokenizer_folder
    problem = f"the tokenizer of {files.id} can't be loaded"
    hint = "Name the folder or hub id of the one it was trained with (--tokenizer NAME)."
    if not has_tokenizer(folder):
        raise ModelError(f"{problem}: there is none in {folder}. {hint}")
    if files.tokenizer is not None:
        # The user trusts the model's code, not that of another repository.
        options = {"trust_remote_code": False, "local_files_only": True}
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, **options)
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise
        if missing := _missing_package(folder, str(error)):
            raise ModelError(
                f"{problem} without the package {missing}: pip install 'ntpscore[tokenizers]'"
            ) from error
        raise ModelError(f"{problem}: {describe_cause(error)} {hint}") from error
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ModelError(f"{problem}: it has {len(tokenizer)} special tokens and no other. {hint}")
    return tokenizer


def _missing_package(folder: Path, message: str) -> str | None:
    """The package that a tokenizer's files need and that is not installed."""
    if not any(path.suffix in {".model", ".tiktoken"} for path in folder.iterdir()):
        return None  # transformers guesses so of any tokenizer that it can't read
    return next(
        (
            package
            for package, module in _TOKENIZER_PACKAGES.items()
            if package in message and importlib.util.find_spec(module) is None
        ),
        None,
    )


def _check_config(files: ModelFiles, config: PreTrainedConfig) -> None:
    kind = config.model_type
    if config.is_encoder_decoder:
        raise ModelError(
            f"{files.id} is an encoder-decoder ({kind}); only causal language models and encoders "
            "are read"
        )
    if not (is_encoder(config) or _predicts(config) or _is_multimodal(config)):
        raise ModelError(
            f"{files.id} is no causal language model and no encoder of text: transformers knows "
            f"none of type {kind!r}"
        )


def _predicts(config: PreTrainedConfig) -> bool:
    """Whether it is a configuration of a causal language model."""
    has_own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    return has_own_code or type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING


def _is_multimodal(config: PreTrainedConfig) -> bool:
    return type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING


def _auto_class(config: PreTrainedConfig) -> Any:
    if is_encoder(config):
        return AutoModelForMaskedLM
    return AutoModelForCausalLM if _predicts(config) else AutoModelForImageTextToText


def _check_tokenizer(files: ModelFiles, tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        # Which token fills up is all the same: padding is masked.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    if tokenizer.bos_token_id is None or not _asks_for_bos(files):
        return
    if not _puts_bos_in_front(tokenizer):
        # To transformers, a tokenizer.json that does not add it weighs more than its configuration.
        tokenizer.add_bos_token = True
        tokenizer.update_post_processor()
    if not _puts_bos_in_front(tokenizer):
        raise ModelError(
            f"the tokenizer of {files.id} is to put {tokenizer.bos_token!r} in front of a text, "
            "and does not. Save it again with a current version of transformers."
        )


def _asks_for_bos(files: ModelFiles) -> bool:
    if files.gguf is not None and files.tokenizer is None:
        return bool(files.gguf.metadata.get("tokenizer.ggml.add_bos_token", False))
    path = files.tokenizer_folder / "tokenizer_config.json"
    return path.is_file() and bool(json.loads(path.read_bytes()).get("add_bos_token", False))


def _puts_bos_in_front(tokenizer: PreTrainedTokenizerBase) -> bool:
    return bool(tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id])


@contextlib.contextmanager
def _loading(files: ModelFiles, part: str) -> Iterator[None]:
    """Say of whatever is raised which part of which model it is about, and what can be done."""
    with as_model_error(f"the {part} of {files.id} can't be loaded"):
        try:
            yield
        except Exception as error:
            if "trust_remote_code" in str(error):
                raise ModelError(
                    f"{files.id} needs Python code of its own. Read it, and if you trust it, pass "
                    "trust_remote_code=True (--trust-remote-code)."
                ) from error
            if files.gguf is not None and "not supported" in str(error):
                raise ModelError(
                    f"{files.id}: transformers {transformers.__version__} can't read GGUF files of "
                    f"architecture {files.gguf.architecture!r}. Use the model's safetensors files."
                ) from error
            raise


def _check_device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    match = re.fullmatch(r"cpu|mps|cuda(?::(\d+))?", device)
    if match is None:
        raise ModelError(f"unknown device {device!r}: expected auto, cpu, cuda, cuda:N or mps")
    if device == "mps" and not torch.backends.mps.is_available():
        raise ModelError("device 'mps' is not available here: it needs a Mac with Apple silicon")
    if device.startswith("cuda") and int(match[1] or 0) >= torch.cuda.device_count():
        raise ModelError(
            f"device {device!r} is not available: PyTorch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices. Use cpu, or install a CUDA build."
        )
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
    import gguf

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
def _only_what_belongs_to_it(files: ModelFiles) -> Iterator[None]:
    """Let `files.folder` hold nothing that transformers would take for a part of the model.

    Beside a GGUF file that is a tokenizer; beside weights it is an adapter, which is merged later.
    """
    if files.gguf is not None:
        members = [files.gguf.path]
    elif (files.folder / ADAPTER_CONFIG).exists():
        adapter = {ADAPTER_CONFIG, ADAPTER_WEIGHTS}
        members = [path for path in files.folder.iterdir() if path.name not in adapter]
    else:
        yield
        return
    parsed_once = contextlib.nullcontext() if files.gguf is None else _gguf_parsed_once()
    temporary = TemporaryFolder()
    with parsed_once:
        files.folder = temporary.path
        for path in members:
            try:
                (files.folder / path.name).symlink_to(path.resolve())
            except OSError:  # Windows lets few users make links
                shutil.copyfile(path, files.folder / path.name)
        yield
