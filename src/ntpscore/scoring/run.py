"""From a language model and labelled text to a result: one forward pass, then closed forms."""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from torch import Tensor

from ntpscore.clock import Clock
from ntpscore.core.controls import shuffled_labels
from ntpscore.core.folds import COVERAGE, MOST_FOLDS
from ntpscore.core.moments import Moments, read_note
from ntpscore.core.scores import SCORES, score_moments, solve_bytes
from ntpscore.errors import DataError, ModelError, MomentsError, NtpscoreError
from ntpscore.files import make_folder, without_nan
from ntpscore.models import LanguageModel, check_next_token_loss
from ntpscore.models.options import ModelOptions
from ntpscore.options import with_keywords
from ntpscore.progress import Progress
from ntpscore.reading.adaptive_reading import UntilKnown
from ntpscore.reading.provenance import (
    describe_command,
    describe_model,
    describe_text,
    describe_versions,
    peak_memory,
)
from ntpscore.reading.reader import BatchReader, OnLayer, check_layers, keep_freed_memory
from ntpscore.reading.tokens import TokenizedText, plan_batches, tokenize
from ntpscore.scoring.advice import write_advice
from ntpscore.scoring.arguments import check_order, options_record, read_text, take_model
from ntpscore.scoring.best import find_best
from ntpscore.scoring.config import ScoreConfig
from ntpscore.scoring.result import SCHEMA_VERSION, ScoreResult, layer_record, write_moments
from ntpscore.text import LabelledText
from ntpscore.text.options import TextOptions

if TYPE_CHECKING:
    import pandas as pd

# Called with each layer of each batch: hidden-state index, the texts' indices, hidden states
# (texts, tokens, width) padded on the right, and tokens of each text. It must not keep the states.
Observer = Callable[[int, Sequence[int], Tensor, Tensor], None]
CHECKPOINT = "checkpoint.safetensors"
# Writing checkpoints may take at most this share of the time between them.
_CHECKPOINT_SHARE = 0.05
_MEMORY_MARGIN = 0.9
STAGES = ("load_data", "load_model", "sanity_check", "tokenize", "forward", "moments", "solve",
          "write", "total")  # fmt: skip


def score(
    model: "str | Path | LanguageModel",
    data: "str | Path | LabelledText | pd.DataFrame | Any",
    config: ScoreConfig | None = None,
    *,
    text_options: TextOptions | None = None,
    model_options: ModelOptions | None = None,
    out: str | Path | None = None,
    every_k: bool = False,
    progress: bool | None = None,
    **keywords: Any,
) -> ScoreResult:
    """Score a causal language model on labelled text: one forward pass, no training.

    Args:
        model: folder, `.gguf` file, short name, hub id, or a loaded model.
        data: `.jsonl`, `.csv`, `.tsv`, `.parquet`, a folder saved by `datasets`, short name, hub
            id, a data frame, or labelled text that was read before.
        config: layers, shuffles, seed, length limit, batch size.
        text_options: how to read the data: split, columns, …
        model_options: how to load the model: revision, dtype, device, …
        out: a folder for the result; a run that was interrupted there goes on where it was.
        every_k: write every k into `scores.csv`.
        progress: show progress bars on standard error; None means if it is a terminal.
        keywords: any option of `ScoreConfig`, `TextOptions` or `ModelOptions` by its name, such as
            `label_column="stars"`.

    Returns:
        The result; saved already if `out` was given.

    Raises:
        NtpscoreError: bad input; the message says what and where.

    Example:
        >>> result = score("Qwen/Qwen2-0.5B", "dair-ai/emotion")  # doctest: +SKIP
        >>> result.best["retained"]["layer"]  # doctest: +SKIP
    """
    chosen = with_keywords(
        keywords,
        config or ScoreConfig(),
        text_options or TextOptions(),
        model_options or ModelOptions(),
    )
    config, text_options, model_options = chosen
    check_order([model], data, "model, then data")
    folder = make_folder(out) if out is not None else None
    clock = Clock(STAGES)
    text = read_text(data, text_options, seed=config.seed, clock=clock)
    language_model = take_model(model, model_options, clock=clock, progress=progress)
    return score_text(
        language_model, text, folder=folder, config=config, clock=clock, every_k=every_k,
        progress=progress,
        options={**options_record(text_options, model_options), "every_k": every_k},
    )  # fmt: skip


def score_text(
    language_model: LanguageModel,
    text: LabelledText,
    *,
    folder: Path | None = None,
    config: ScoreConfig | None = None,
    clock: Clock | None = None,
    every_k: bool = False,
    progress: bool | None = None,
    options: dict[str, Any] | None = None,
    observe: Observer | None = None,
) -> ScoreResult:
    """`score` for a model that is loaded and text that is read.

    Args:
        language_model: from `load_model`.
        text: from `load_text`.
        folder: where checkpoints and the result go; None keeps all in memory.
        config: see `ScoreConfig`.
        clock: seconds that were spent already.
        every_k: write every k into `scores.csv`.
        progress: show progress bars on standard error; None means if it is a terminal.
        options: how model and text were asked for, to be recorded among the settings.
        observe: sees the hidden states of every layer and text once, and may see some again where
            memory ran out; not of what a checkpoint holds already, so it wants no folder.

    Raises:
        NtpscoreError: as `score`.
    """
    if observe is not None and folder is not None:
        raise NtpscoreError("a pass that is observed can't go on from a checkpoint: pass no folder")
    config = config or ScoreConfig()
    clock = clock or Clock(STAGES)
    keep_freed_memory()
    warnings: list[str] = []
    with clock("sanity_check"):
        loss = check_next_token_loss(language_model)
        if loss.verdict == "refuse" and not config.skip_sanity_check:
            raise ModelError(f"{loss.message} (--skip-sanity-check runs it all the same)")
        if loss.verdict != "ok":
            warnings.append(loss.message)
    layers = check_layers(config.layers, language_model, "--layers")
    n_outputs = len(text.classes)
    needed = check_memory(
        len(layers),
        language_model.width,
        n_outputs,
        config.shuffles,
        sums_device(language_model.device),
        folds=0 if config.until is None else MOST_FOLDS,
    )
    with clock("tokenize"):
        tokens = tokenize(text.texts, language_model, config.max_length)
    if all(len(one) == 1 for one in tokens.ids):
        raise DataError(
            "every text is a single token: there is no next token to predict, so no "
            "autoregressive subspace"
        )
    warnings += _warnings(text, tokens, language_model.width)
    with Progress(progress) as shown:
        shown.say(
            f"{len(text)} texts of {tokens.n_tokens} tokens; the moments of {len(layers)} layers "
            f"of width {language_model.width} take {needed / 1e6:.0f} MB"
        )
        run = _Pass(language_model, text, tokens, layers, config, folder, clock, shown, observe)
        warnings += run.go()
        # Writing the moments waits for the disk, solving for the processor.
        with clock("solve"), ThreadPoolExecutor(1) as background:
            saving = background.submit(write_moments, run.moments, folder) if folder else None
            shown.start("solving", len(layers), unit="layers")
            table = score_moments(run.moments, lambda _layer: shown.advance(1))
            if saving is not None:
                saving.result()
    rows = layer_record(table)
    best = {name: asdict(found) for name in SCORES if (found := find_best(table, name)) is not None}
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "model": {**describe_model(language_model), "next_token_loss": loss.loss},
        "data": describe_text(text, tokens),
        "settings": {
            **(options or {}),
            **asdict(config),
            "layers": list(layers),
            "pooling": "mean",
        },
        "layers": rows,
        "best": best,
        "advice": write_advice(rows, best, run.moments.n_texts, language_model.width),
        "warnings": warnings,
        "seconds": {},
        "peak_memory_bytes": peak_memory(),
        "versions": describe_versions(),
        "command": describe_command(),
    }
    if run.until is not None:
        record["until"] = until_record(run.until, config, run.moments.n_texts, len(text))
    record = without_nan(record)
    result = ScoreResult(record, table=table, moments=run.moments)
    if folder is not None:
        with clock("write"):
            result.write_table(folder, every_k=every_k)
    record["seconds"] = clock.seconds()
    if folder is not None:
        result.write_record(folder)
        (folder / CHECKPOINT).unlink(missing_ok=True)
        UntilKnown.forget(folder)
    return result


def until_record(until: UntilKnown, config: ScoreConfig, n_texts: int, of: int) -> dict[str, Any]:
    """How many texts were read, and what they say of all, for `result.json`."""
    stopped = n_texts < of
    return {
        "half_width": config.until,
        "stopped": stopped,
        "n_texts": n_texts,
        "of": of,
        "layer": until.folds.layer,
        "k": until.k,
        "coverage": COVERAGE,
        "waited_for": list(config.until_scores),
        "scores": {name: asdict(one) for name, one in until.estimates.items()} if stopped else {},
    }


def sums_device(device: torch.device) -> torch.device:
    """Where sums in float64 can be kept: the model's device, but the processor for `mps`."""
    return torch.device("cpu") if device.type == "mps" else device


def check_memory(
    n_layers: int,
    width: int,
    n_outputs: int,
    n_shuffles: int,
    device: torch.device,
    *,
    folds: int = 0,
) -> int:
    """The bytes that the sums of a run and the solving of a layer will take, if they fit.

    Args:
        n_layers: of the moments.
        width: d.
        n_outputs: c.
        n_shuffles: P.
        device: where the sums are kept.
        folds: further moments of one layer, without shuffles.

    Raises:
        ModelError: they don't fit into what is free on the device.
    """
    solving = solve_bytes(width) + folds * Moments.n_bytes(1, width, n_outputs, 0)
    needed = Moments.n_bytes(n_layers, width, n_outputs, n_shuffles) + solving
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = psutil.virtual_memory().available
    if needed > _MEMORY_MARGIN * free:
        per_layer = Moments.n_bytes(1, width, n_outputs, n_shuffles)
        fitting = int((_MEMORY_MARGIN * free - solving) / per_layer)
        advice = (
            f"choose at most {fitting} layers with --layers"
            if fitting > 0
            else "not even one layer fits: use a machine with more"
        )
        raise ModelError(
            f"the moments of {n_layers} layers of width {width}, and solving them, need "
            f"{needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free: {advice}"
        )
    return needed


class _Pass:
    """The forward pass over all texts, with checkpoints."""

    def __init__(
        self,
        language_model: LanguageModel,
        text: LabelledText,
        tokens: TokenizedText,
        layers: tuple[int, ...],
        config: ScoreConfig,
        folder: Path | None,
        clock: Clock,
        shown: Progress,
        observe: Observer | None = None,
    ) -> None:
        self.language_model = language_model
        self.observe: Observer = observe or (lambda *_: None)
        self.text = text
        self.ids = tokens.ids
        self.layers = layers
        self.config = config
        self.folder = folder
        self.clock = clock
        self.shown = shown
        # Apple's processors have no float64 on the graphics side.
        self.device = sums_device(language_model.device)
        self.labels = torch.from_numpy(np.ascontiguousarray(text.labels)).to(self.device)
        self.permutations = shuffled_labels(len(text), config.shuffles, config.seed).to(self.device)
        lengths = [len(one) for one in tokens.ids]
        self.until = None
        if config.until is not None:
            self.until = UntilKnown(
                lengths, batch_tokens=config.batch_tokens, seed=config.seed,
                half_width=config.until, names=config.until_scores, layer=layers[-1],
                width=language_model.width, n_outputs=len(text.classes), device=self.device,
            )  # fmt: skip
        self.batches = (
            plan_batches(lengths, config.batch_tokens) if self.until is None else self.until.batches
        )
        self.reader = BatchReader(language_model, text.texts, tokens.ids, clock, "moments")
        self.done = 0
        self.moments = Moments(
            layers, language_model.width, len(text.classes), config.shuffles, self.device
        )

    def go(self) -> list[str]:
        """Run what is left to run; returns warnings."""
        warnings = []
        if self.folder is not None and self._resume(self.folder):
            warnings.append(
                f"went on from a checkpoint after {self.moments.n_texts} of {len(self.ids)} texts"
            )
        self.shown.start("reading", len(self.ids), "texts", self.moments.n_texts)
        saved = time.perf_counter()
        wait = self.config.checkpoint_seconds

        def due() -> bool:
            return self.folder is not None and time.perf_counter() - saved > wait

        while self.done < len(self.batches):
            end = len(self.batches) if self.until is None else self.until.end_of_round(self.done)
            self.done += self.reader.read(
                self.batches[self.done : end],
                self.layers,
                self._part,
                on_batch=lambda batch: self.shown.advance(len(batch)),
                go_on=lambda: not due(),
            )
            if self.until is not None:
                with self.clock("solve"):
                    if self.until.known(self.done):
                        break
            if self.folder is not None and due():
                with self.clock("write"):
                    start = time.perf_counter()
                    self._checkpoint(self.folder)
                    saved = time.perf_counter()
                    wait = max(self.config.checkpoint_seconds, (saved - start) / _CHECKPOINT_SHARE)
        if self.reader.largest_batch < sys.maxsize:
            warnings.append(
                f"memory ran out: batches were cut to {self.reader.largest_batch} tokens"
            )
        return warnings

    def _part(
        self, indices: list[int], attention_mask: Tensor
    ) -> tuple[OnLayer, Callable[[], None]]:
        """Adds the texts of a batch, or of a part of one, to the moments."""
        attention_mask = attention_mask.to(self.device)
        labels, shuffled = self._labels(indices)
        batch = self.moments.batch(attention_mask, labels, shuffled)
        sums = [(self.moments, batch)]
        if self.until is not None:
            fold = self.until.folds.current
            sums.append((fold, fold.batch(attention_mask, labels)))

        def on_layer(layer: int, hidden_states: Tensor) -> None:
            # If memory runs out the layer comes again, so sums are added once nothing can fail.
            self.observe(layer, indices, hidden_states, batch.lengths)
            hidden_states = hidden_states.to(self.device)
            adds = [
                moments.prepare_layer(layer, hidden_states, part)
                for moments, part in sums
                if layer in moments.layers
            ]
            for add in adds:
                add()

        def finish() -> None:
            for moments, part in sums:
                moments.add_labels(part)

        return on_layer, finish

    def _labels(self, indices: list[int]) -> tuple[Tensor, Tensor | None]:
        rows = torch.tensor(indices, device=self.device)
        if not self.config.shuffles:
            return self.labels[rows], None
        return self.labels[rows], self.labels[self.permutations[:, rows]]

    # -- checkpoints ----------------------------------------------------------------------------

    def _fingerprint(self) -> str:
        """Names the run: two runs with the same one accumulate the same sums batch by batch."""
        parts = {
            "model": self.language_model.identity,
            "data": [self.text.source.content_hash, self.text.task, *self.text.classes],
            "layers": self.layers,
            # A changed tokenizer changes them, whatever else stays the same.
            "tokens": hashlib.sha256(json.dumps(self.ids).encode()).hexdigest(),
            "config": [self.config.shuffles, self.config.seed, self.config.max_length,
                       self.config.batch_tokens, self.config.until, self.config.until_scores],
        }  # fmt: skip
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _checkpoint(self, folder: Path) -> None:
        spent = {**self.clock.seconds()}
        note = {"run": self._fingerprint(), "done": str(self.done), "seconds": json.dumps(spent)}
        if self.until is not None:
            note["next_look"] = str(self.until.next_look)
            self.until.save(folder, self.done)
        self.moments.save(folder / CHECKPOINT, note)
        UntilKnown.forget(folder, but=self.done)

    def _resume(self, folder: Path) -> bool:
        """Take over the sums of an interrupted run of the same kind, if there are any."""
        path = folder / CHECKPOINT
        try:
            note = read_note(path)
            if note.get("run") != self._fingerprint():
                return False
            moments = Moments.load(path, self.device)
            if self.until is not None:
                self.until.load(folder, int(note["done"]))
                self.until.next_look = int(note["next_look"])
        except MomentsError:
            return False
        self.moments = moments
        self.done = int(note["done"])
        for stage, seconds in json.loads(note["seconds"]).items():
            if stage not in ("load_data", "load_model", "sanity_check", "tokenize"):
                self.clock.add(stage, seconds)
        return True


def _warnings(text: LabelledText, tokens: TokenizedText, width: int) -> list[str]:
    found = []
    n = len(text)
    if n <= width:
        found.append(
            f"{n} texts are no more than the width of {width}: least squares fits any labels, so "
            "r2 and retained say nothing, N is singular, and U's arbitrary part fills what the "
            "texts leave open (algorithm1, published, expected); supervised and subspace see only "
            f"the texts' own span. Use well over {width} texts."
        )
    if tokens.truncated:
        longest = max(map(len, tokens.ids))
        found.append(f"{tokens.truncated} of {n} texts were cut to {longest} tokens")
    if text.source.skipped:
        reasons = ", ".join(f"{count} {why}" for why, count in text.source.skipped.items())
        found.append(f"rows were skipped: {reasons}")
    return found
