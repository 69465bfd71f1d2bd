"""LoRA: low-rank updates of the attention's projections, and a head on the mean token."""

import hashlib
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from ntpscore.adapt.config import LoraConfig
from ntpscore.adapt.head import LinearHead, MeanTokenClassifier
from ntpscore.adapt.lora_targets import choose_targets, describe_targets
from ntpscore.adapt.result import AdaptResult, read_adapt_folder
from ntpscore.adapt.training import fit_classifier, seeded_chance
from ntpscore.errors import OutputError
from ntpscore.extras import need_package
from ntpscore.models import LanguageModel
from ntpscore.models.failures import as_model_error
from ntpscore.progress import Progress
from ntpscore.text import LabelledText

ADAPTER = "adapter"
LORA = ("peft", "lora", "LoRA")


def fit_lora(
    model: LanguageModel,
    train: LabelledText,
    test: LabelledText | None = None,
    *,
    config: LoraConfig | None = None,
    folder: Path | None = None,
    progress: bool | None = None,
) -> AdaptResult:
    """Train LoRA on q, k and v of every layer, and a head on the mean token of the last block.

    The model is as it was before when this returns. `adapter/` in the folder is what `peft` reads.

    Args:
        model: from `load_model`.
        train: the texts to fit.
        test: the texts left aside.
        config: see `LoraConfig`.
        folder: where checkpoints, adapter and result go; an interrupted run there goes on.
        progress: show bars; None means on a terminal.

    Raises:
        NtpscoreError: bad input, an architecture without known projections, or a loss that is no
            number.

    Source:
        Hu et al., "LoRA: low-rank adaptation of large language models", 2021; settings of Next
        Token Perception Score, section 5.
    """
    need_package(*LORA)
    import peft

    config = config or LoraConfig()
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        bias="none",
        target_modules=choose_targets(model, config.target_modules),
    )
    with _injected(model) as base:
        with seeded_chance(model.device, config.seed):
            with as_model_error(f"LoRA can't go into {model.id}"):
                adapted: Any = peft.get_peft_model(base, settings)
            classifier = MeanTokenClassifier(
                adapted, model.output_width, len(train.classes), model.device,
                reads_both_ways=model.reads_both_ways,
            )  # fmt: skip
        targets = adapted.targeted_module_names
        with Progress(progress) as bar:
            bar.say(describe_targets(targets, config.target_modules))
        try:
            return fit_classifier(
                "lora",
                classifier,
                model,
                train,
                test,
                config,
                folder=folder,
                progress=progress,
                weights={ADAPTER: lambda to: _write_adapter(classifier, to)},
                extra={"targets": sorted({name.rpartition(".")[2] for name in targets})},
            )
        finally:
            adapted.unload()


@contextmanager
def load_adapter(model: LanguageModel, folder: str | Path) -> Iterator[LanguageModel]:
    """The model with an adapter that `fit_lora` saved, for as long as the block runs.

    Args:
        model: the model the adapter was trained on.
        folder: the result folder of `fit_lora`.

    Yields:
        The adapted model: the same weights in memory, with another name and content hash.
    """
    need_package(*LORA)
    import peft

    saved = read_adapt_folder(folder)
    name = f"{ADAPTER}/adapter_model.safetensors"
    if name not in saved.files:
        raise OutputError(f"{folder} holds no adapter: its result has no {name}")
    weights = saved.path(name)
    path = saved.path(f"{ADAPTER}/adapter_config.json").parent
    with _injected(model) as base:
        try:
            with seeded_chance(model.device, 0):  # peft draws weights before it reads them
                adapted = peft.PeftModel.from_pretrained(base, str(path))
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise OutputError(f"{path} doesn't fit {model.id}: {error}") from error
        try:
            adapted.eval()
            digest = hashlib.sha256(weights.read_bytes()).hexdigest()
            names = f"{model.revision}/{model.content_hash}/{digest}"
            yield replace(
                model,
                id=f"{model.id} + LoRA",
                content_hash=hashlib.sha256(names.encode()).hexdigest(),
                loaded_with=None,
            )
        finally:
            adapted.unload()


@contextmanager
def load_classifier(
    model: LanguageModel, folder: Path, head: LinearHead
) -> Iterator[MeanTokenClassifier]:
    """The classifier that `fit_lora` trained, for as long as the block runs; head from there."""
    with load_adapter(model, folder) as adapted:
        classifier = MeanTokenClassifier(
            adapted.model.base_model, model.width, len(head.intercept), model.device,
            reads_both_ways=model.reads_both_ways,
        )  # fmt: skip
        with torch.no_grad():
            classifier.head.weight.copy_(head.weights.T)
            classifier.head.bias.copy_(head.intercept)
        yield classifier.eval()


@contextmanager
def _injected(model: LanguageModel) -> Iterator[Any]:
    """The base model to put adapters into; its flags are as they were before, afterwards."""
    base: nn.Module = model.base
    required = [(parameter, parameter.requires_grad) for parameter in base.parameters()]
    # peft asks the base for them, and wrappers such as ProphetNet's know of none.
    embeddings: nn.Module = model.model.get_input_embeddings()
    base.__dict__["get_input_embeddings"] = lambda: embeddings
    try:
        with warnings.catch_warnings():
            # What peft and transformers say to each other is nothing a user could act on: a flag
            # that will be renamed, transposed weights (Conv1D) that peft has noticed itself, and a
            # base model that has no configuration on the hub.
            for message in (".*is_gradient_checkpointing", "fan_in_fan_out", "Could not find a co"):
                warnings.filterwarnings("ignore", message=message)
            yield base
    finally:
        del base.__dict__["get_input_embeddings"]
        for parameter, flag in required:
            parameter.requires_grad_(flag)
        base.eval()


def _write_adapter(classifier: MeanTokenClassifier, folder: Path) -> None:
    path = folder / ADAPTER
    base: Any = classifier.base
    try:
        shutil.rmtree(path, ignore_errors=True)
        base.save_pretrained(path, save_embedding_layers=False)
    except (OSError, ValueError, SafetensorError) as error:  # peft's refusal is a ValueError
        raise OutputError(f"can't write {path}: {error}") from error
