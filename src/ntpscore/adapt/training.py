"""The training that LoRA and training from scratch share: Adafactor, cosine schedule, checkpoints.

`transformers.Trainer` pickles its checkpoints and orders its batches by itself; this loop keeps
safetensors only, and its batches and dropout are functions of seed and step, so that a run that was
killed goes on to the same last bit.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers.optimization import Adafactor

from ntpscore.adapt.config import TrainingConfig
from ntpscore.adapt.evaluation import evaluate_split
from ntpscore.adapt.head import LinearHead, MeanTokenClassifier, label_tensor, loss_of
from ntpscore.adapt.readout import Readout
from ntpscore.adapt.record import make_record, tabulate_predictions, tokenize_splits
from ntpscore.adapt.result import LOSS_COLUMNS, STAGES, AdaptResult
from ntpscore.clock import Clock
from ntpscore.errors import OutputError, TrainingError
from ntpscore.files import write_tensors
from ntpscore.models import LanguageModel
from ntpscore.progress import Progress
from ntpscore.reading.features import hash_tokens
from ntpscore.reading.tokens import TokenizedText, pad_batch, plan_batches
from ntpscore.result_folder import UNFINISHED, holds_folder
from ntpscore.text import LabelledText

CHECKPOINT = "training.safetensors"
_EVALUATION_TOKENS = 4096
# Writing checkpoints may take at most this share of the time between them.
_CHECKPOINT_SHARE = 0.05
# What Adafactor keeps of a parameter from step to step: of matrices rows and columns, else all.
_STATE = {"exp_avg_sq_row", "exp_avg_sq_col", "exp_avg_sq"}
# Texts are sorted by length within windows of so many batches: little padding, and still chance.
_WINDOW = 32


def learning_rate_at(step: int, config: TrainingConfig) -> float:
    """The learning rate of a step, 0 … steps − 1: a linear warm-up, then half a cosine to zero."""
    warmup = math.ceil(config.warmup_share * config.steps)
    if step < warmup:
        return config.learning_rate * step / warmup
    progress = (step - warmup) / max(1, config.steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimiser(parameters: Sequence[nn.Parameter], config: TrainingConfig) -> Adafactor:
    """Adafactor with a learning rate of its own, in transformers' reading of it.

    `torch.optim.Adafactor` scales its steps by the size of the parameters, which can't be turned
    off there; neither the paper's settings nor `transformers.Trainer` do that.

    Source:
        Shazeer, Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018.
    """
    return Adafactor(
        parameters,
        lr=config.learning_rate,
        eps=(1e-30, 1e-3),
        clip_threshold=1.0,
        decay_rate=-0.8,
        beta1=None,
        weight_decay=config.weight_decay,
        scale_parameter=False,
        relative_step=False,
        warmup_init=False,
    )


def epoch_batches(
    lengths: Sequence[int], batch_size: int, seed: int, epoch: int
) -> list[list[int]]:
    """All texts once, in batches of texts of about the same length, in random order."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    window = _WINDOW * batch_size
    batches: list[list[int]] = []
    for start in range(0, len(order), window):
        by_length = sorted(order[start : start + window].tolist(), key=lambda i: lengths[i])
        batches += [
            by_length[first : first + batch_size] for first in range(0, len(by_length), batch_size)
        ]
    return [batches[i] for i in rng.permutation(len(batches))]


class Training:
    """One training run, with checkpoints.

    Args:
        classifier: the model and its head; parameters that require no gradient stay as they are.
        language_model: names the run, its device and its number format.
        text: what to fit.
        tokens: its token ids.
        config: how.
        method: names the run.
        folder: the result's, held; None keeps no checkpoints.

    Attributes:
        curve: a row (step, samples, loss, learning_rate) per step that was taken.
        tokens_seen: without padding, repetitions counted.
    """

    def __init__(
        self,
        classifier: MeanTokenClassifier,
        language_model: LanguageModel,
        text: LabelledText,
        tokens: TokenizedText,
        config: TrainingConfig,
        method: str,
        folder: Path | None,
    ) -> None:
        self._classifier = classifier
        self._language_model = language_model
        self._text = text
        self._tokens = tokens
        self._config = config
        self._method = method
        self._path = None if folder is None else folder / UNFINISHED / CHECKPOINT
        self._lengths = list(map(len, tokens.ids))
        self._labels = label_tensor(text.labels, text.task).to(language_model.device)
        self._trainable = {
            name: parameter
            for name, parameter in classifier.named_parameters()
            if parameter.requires_grad
        }
        self._optimiser = make_optimiser(list(self._trainable.values()), config)
        self._epoch: tuple[int, list[list[int]]] = (-1, [])
        self.curve: list[tuple[int, int, float, float]] = []
        self.tokens_seen = 0

    @property
    def n_trainable(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self._trainable.values())

    @property
    def samples_seen(self) -> int:
        """Texts that went into steps, repetitions counted."""
        return self.curve[-1][1] if self.curve else 0

    def run(self, clock: Clock, progress: bool | None) -> list[str]:
        """Take all steps that are left.

        Returns:
            Warnings.

        Raises:
            OutputError: the folder holds a checkpoint of another run, or can't be written.
            TrainingError: the loss is NaN or infinite.
        """
        warnings = self._resume(clock)
        self._classifier.train()
        saved = time.perf_counter()
        wait = self._config.checkpoint_seconds
        with Progress(progress) as bar:
            done = len(self.curve)
            bar.start("training", self._config.steps, "steps", done)
            for step in range(done, self._config.steps):
                with clock("fit"):
                    self._step(step)
                bar.advance(1)
                if self._path is not None and time.perf_counter() - saved > wait:
                    start = time.perf_counter()
                    self._checkpoint(self._path, clock)
                    saved = time.perf_counter()
                    wait = max(self._config.checkpoint_seconds, (saved - start) / _CHECKPOINT_SHARE)
        self._classifier.eval()
        return warnings

    def _step(self, step: int) -> None:
        config = self._config
        batches = [
            self._batch(step * config.gradient_accumulation + part)
            for part in range(config.gradient_accumulation)
        ]
        n = sum(map(len, batches))
        total = 0.0
        for part, indices in enumerate(batches):
            with seeded_chance(self._language_model.device, config.seed, step, part):
                input_ids, mask = pad_batch(self._tokens.ids, indices, self._language_model.device)
                with narrow_products(self._language_model):
                    outputs = self._classifier(input_ids, mask)
                loss = loss_of(outputs, self._labels[indices].to(outputs.device), self._text.task)
                # The mean over the texts of the step, however they are divided.
                loss = loss * (len(indices) / n)
                loss.backward()
            total += float(loss.detach())
        if not math.isfinite(total):
            has_checkpoint = self._path is not None and self._path.exists()
            raise TrainingError(
                f"the loss is {total} at step {step + 1} of {config.steps}: lower --learning-rate, "
                "or use --dtype float32. "
                + (
                    f"The last good checkpoint is {self._path}"
                    if has_checkpoint
                    else "No checkpoint is kept"
                )
            )
        rate = learning_rate_at(step, config)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.tokens_seen += sum(self._lengths[i] for batch in batches for i in batch)
        self.curve.append((step + 1, self.samples_seen + n, total, rate))

    def _batch(self, number: int) -> list[int]:
        epoch, within = divmod(number, math.ceil(len(self._tokens.ids) / self._config.batch_size))
        if self._epoch[0] != epoch:
            batches = epoch_batches(
                self._lengths, self._config.batch_size, self._config.seed, epoch
            )
            self._epoch = (epoch, batches)
        return self._epoch[1][within]

    # -- checkpoints ----------------------------------------------------------------------------

    @cached_property
    def _fingerprint(self) -> str:
        """Names the run: two runs with the same one take the same steps."""
        config = {**asdict(self._config), "checkpoint_seconds": None}
        labels = np.ascontiguousarray(self._text.labels).tobytes()
        parts = {
            "method": self._method,
            "model": self._language_model.identity,
            "data": [self._text.task, *self._text.classes, hashlib.sha256(labels).hexdigest()],
            "tokens": hash_tokens(self._tokens),
            "config": config,
        }
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _checkpoint(self, path: Path, clock: Clock) -> None:
        tensors = {
            f"parameter.{name}": value.detach().cpu() for name, value in self._trainable.items()
        }
        for name, parameter in self._trainable.items():
            state = self._optimiser.state[parameter]
            for key in _STATE & state.keys():
                tensors[f"state.{key}.{name}"] = state[key].cpu()
        note = {
            "run": self._fingerprint,
            "curve": json.dumps(self.curve),
            "tokens_seen": str(self.tokens_seen),
            "seconds": json.dumps(clock.seconds()),
        }
        write_tensors(path, tensors, note)

    def _resume(self, clock: Clock) -> list[str]:
        """Take over the state of an interrupted run, if there is one."""
        path = self._path
        if path is None or not path.exists():
            return []
        try:
            with safe_open(path, framework="pt") as file:
                note = file.metadata() or {}
                names = set(file.keys())
                if note.get("run") != self._fingerprint:
                    raise OutputError(
                        f"{path} is a checkpoint of another run (other data, model or settings): "
                        "delete it, or choose another --out"
                    )
                steps = len(json.loads(note["curve"]))
                for name, parameter in self._trainable.items():
                    with torch.no_grad():
                        parameter.copy_(file.get_tensor(f"parameter.{name}"))
                    # Adafactor computes its RMS anew in every step.
                    state: dict[str, Any] = {"step": steps, "RMS": 0}
                    for key in _STATE:
                        if f"state.{key}.{name}" in names:
                            value = file.get_tensor(f"state.{key}.{name}")
                            state[key] = value.to(parameter.device)
                    self._optimiser.state[parameter] = state
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise OutputError(
                f"{path} is no checkpoint, or was cut short: delete it to start anew ({error})"
            ) from error
        self.curve = [tuple(row) for row in json.loads(note["curve"])]
        self.tokens_seen = int(note["tokens_seen"])
        for stage, seconds in json.loads(note["seconds"]).items():
            if stage in ("fit", "total"):
                clock.add(stage, seconds)
        return [f"went on from a checkpoint after {steps} of {self._config.steps} steps"]


@contextmanager
def seeded_chance(device: torch.device, *seed: int) -> Iterator[None]:
    """Torch's global random numbers from a seed; as they were before, afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        yield


def narrow_products(language_model: LanguageModel) -> AbstractContextManager[None]:
    """Matrix products in the model's number format, weights and optimiser in float32."""
    if language_model.dtype == torch.float32:
        return nullcontext()
    narrow: AbstractContextManager[None] = torch.autocast(
        language_model.device.type, dtype=language_model.dtype
    )
    return narrow


def predict(
    classifier: MeanTokenClassifier,
    language_model: LanguageModel,
    tokens: TokenizedText,
    progress: bool | None,
) -> npt.NDArray[np.float32]:
    """(n, c) outputs for texts, in their order."""
    classifier.eval()
    n_outputs = classifier.head.out_features
    outputs = np.empty((len(tokens.ids), n_outputs), dtype=np.float32)
    with Progress(progress) as bar, torch.inference_mode():
        bar.start("evaluating", len(tokens.ids), "texts")
        for batch in plan_batches(list(map(len, tokens.ids)), _EVALUATION_TOKENS):
            input_ids, mask = pad_batch(tokens.ids, batch, language_model.device)
            with narrow_products(language_model):
                outputs[batch] = classifier(input_ids, mask).cpu().numpy()
            bar.advance(len(batch))
    return outputs


@holds_folder
def fit_classifier(
    method: str,
    classifier: MeanTokenClassifier,
    language_model: LanguageModel,
    train: LabelledText,
    test: LabelledText | None,
    config: TrainingConfig,
    *,
    folder: Path | None,
    progress: bool | None,
    weights: Mapping[str, Callable[[Path], None]] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> AdaptResult:
    """Train, evaluate on both splits and write the result.

    `weights` names files or folders of the result that hold what was trained, with what writes them
    into a folder; None keeps no weights, nor the head. `extra` is what only this method has to say
    in the record.
    """
    clock = Clock(STAGES)
    splits = tokenize_splits(language_model, train, test, config.max_length, clock)
    training = Training(classifier, language_model, train, splits[0].tokens, config, method, folder)
    warnings = training.run(clock, progress)
    with clock("evaluate"):
        outputs = [predict(classifier, language_model, split.tokens, progress) for split in splits]
        evaluations = [
            evaluate_split(of_split, split.text, train, seed=config.seed)
            for split, of_split in zip(splits, outputs, strict=True)
        ]
    record = make_record(
        method,
        language_model,
        splits,
        config,
        layers=[language_model.n_layers],
        evaluations=evaluations,
        trainable_parameters=training.n_trainable,
        total_parameters=sum(parameter.numel() for parameter in classifier.parameters()),
        clock=clock,
        steps=config.steps,
        samples_seen=training.samples_seen,
        tokens_seen=training.tokens_seen,
        warnings=warnings,
        extra=extra,
    )
    curve = pd.DataFrame(training.curve, columns=list(LOSS_COLUMNS))
    predictions = None if test is None else tabulate_predictions(outputs[1], splits[1].text)
    result = AdaptResult(record, loss_curve=curve, predictions=predictions)
    if weights is not None:
        matrix, intercept = (
            parameter.detach().cpu().double()
            for parameter in (classifier.head.weight.T, classifier.head.bias)
        )
        head = LinearHead(language_model.n_layers, matrix, intercept)
        result.readout = Readout.of_fit(head, method, language_model, train, config.max_length)
    if folder is not None:
        for write in (weights or {}).values():
            write(folder / UNFINISHED)
        result.complete(folder, list(weights or {}))
    return result
