"""From a language model and labelled text to a result: one forward pass, then closed forms."""

import shlex
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ntpscore.clock import Clock
from ntpscore.core.controls import share_kept
from ntpscore.core.folds import COVERAGE, MOST_FOLDS
from ntpscore.core.moments import Moments
from ntpscore.core.precision import choose_precision
from ntpscore.core.prefix_products import SAFE_CONDITION, Precision
from ntpscore.core.scores import ScoreTable, join_tables, score_moments
from ntpscore.errors import DataError, ModelError
from ntpscore.files import without_nan
from ntpscore.forecast.evidence import Evidence
from ntpscore.forecast.lora import forecast_lora
from ntpscore.models import LanguageModel, NextTokenLoss, check_next_token_loss
from ntpscore.models.encoders import UNSCORED
from ntpscore.models.locate import check_short_name
from ntpscore.models.options import ModelOptions
from ntpscore.options import with_keywords
from ntpscore.progress import Progress
from ntpscore.reading.adaptive_reading import AdaptiveReading
from ntpscore.reading.features import FEATURES
from ntpscore.reading.memory import (
    How,
    MemoryPlan,
    Room,
    Sizes,
    inner_width,
    plan_memory,
    sums_device,
)
from ntpscore.reading.moments_pass import MomentsPass
from ntpscore.reading.provenance import (
    describe_command,
    describe_model,
    describe_text,
    describe_versions,
    peak_memory,
)
from ntpscore.reading.ranks import Ranks
from ntpscore.reading.reader import check_layers, passes_at_once
from ntpscore.reading.tokens import TokenizedText, tokenize, tokens_per_batch
from ntpscore.result_folder import UNFINISHED, hold_folder, holds_folder
from ntpscore.scoring.advice import write_advice
from ntpscore.scoring.arguments import check_order, options_record, read_text, take_model
from ntpscore.scoring.best import find_best
from ntpscore.scoring.config import ScoreConfig
from ntpscore.scoring.judge import judge_bytes, judge_features
from ntpscore.scoring.result import KIND, MOMENTS, SCHEMA_VERSION, ScoreResult
from ntpscore.scoring.tables import layer_record, without_scores
from ntpscore.text import LabelledText
from ntpscore.text.options import TextOptions

if TYPE_CHECKING:
    import pandas as pd

# Texts that keep their labels when these are shuffled.
_MUCH_KEPT = 0.05
# By how much scores may move where three rotated directions are 1,000 times larger.
_MOVED_BY = {"float32": "3e-2", "float32-pairs": "1e-3"}
STAGES = ("load_data", "load_model", "sanity_check", "tokenize", "forward", "moments", "solve",
          "accuracy", "write", "total")  # fmt: skip


def score(
    model: "str | Path | LanguageModel | tuple[Any, Any]",
    data: "str | Path | LabelledText | pd.DataFrame | Any",
    config: ScoreConfig | None = None,
    *,
    text_options: TextOptions | None = None,
    model_options: ModelOptions | None = None,
    out: str | Path | None = None,
    every_k: bool = False,
    keep_moments: bool = False,
    calibration: str | Path | None = None,
    progress: bool | None = None,
    ranks: Ranks | None = None,
    **keywords: Any,
) -> ScoreResult:
    """Score a causal language model on labelled text: one forward pass, no training.

    Args:
        model: folder, `.gguf` file, short name, hub id, a model that was loaded before, or
            `(model, tokenizer)` of `transformers`, which are left as they were.
        data: `.jsonl`, `.csv`, `.tsv`, `.parquet`, a folder saved by `datasets`, short name, hub
            id, a data frame, `(texts, labels)`, or labelled text that was read before.
        config: layers, shuffles, seed, length limit, batch size.
        text_options: how to read the data: split, columns, …
        model_options: how to load the model: revision, dtype, device, …
        out: a folder for the result; a run that was interrupted there goes on where it was.
        every_k: write every k into `scores.csv`.
        keep_moments: write `moments.safetensors`, from which every k can be solved again; some
            190 MB at 135 million parameters, 10 GB at 8 billion.
        calibration: forecast the LoRA gain by a file of `ntpscore study forecast --out`; None means
            ntpscore's own study.
        progress: show progress bars on standard error; None means if it is a terminal.
        ranks: processes that make this run together, each of which calls this; the others end when
            only the first has something left to do.
        keywords: any option of `ScoreConfig`, `TextOptions` or `ModelOptions` by its name, such as
            `label_column="stars"`.

    Returns:
        The result; saved already if `out` was given.

    Raises:
        NtpscoreError: bad input; the message says what and where.

    Examples:
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
    ranks = ranks or Ranks()
    progress = progress if ranks.is_first else False
    check_order([model], data, "model, then data")
    check_short_name(model, trust_remote_code=model_options.trust_remote_code)
    evidence = Evidence.load(calibration)  # a file that can't be read is told before the pass
    clock = Clock(STAGES)
    with nullcontext() if out is None else hold_folder(ranks.own_folder(out)) as folder:
        text = read_text(data, text_options, seed=config.seed, clock=clock, progress=progress)
        with take_model(model, model_options, clock=clock, progress=progress) as language_model:
            return score_text(
                language_model, text, folder=folder, config=config, clock=clock, every_k=every_k,
                keep_moments=keep_moments, evidence=evidence, progress=progress, ranks=ranks,
                options={**options_record(text_options, model_options), "every_k": every_k},
            )  # fmt: skip


@holds_folder
def score_text(
    language_model: LanguageModel,
    text: LabelledText,
    *,
    folder: Path | None = None,
    config: ScoreConfig | None = None,
    clock: Clock | None = None,
    every_k: bool = False,
    keep_moments: bool = False,
    evidence: Evidence | None = None,
    progress: bool | None = None,
    options: dict[str, Any] | None = None,
    encoders: bool = False,
    ranks: Ranks | None = None,
) -> ScoreResult:
    """`score` for a model that is loaded and text that is read.

    Args:
        language_model: from `load_model`.
        text: from `load_text`.
        folder: where checkpoints and the result go; None keeps all in memory.
        config: see `ScoreConfig`.
        clock: seconds that were spent already.
        every_k: write every k into `scores.csv`.
        keep_moments: write the moments too.
        evidence: what the forecast of LoRA rests on; None makes none.
        progress: show progress bars on standard error; None means if it is a terminal.
        options: how model and text were asked for, to be recorded among the settings.
        encoders: take a model that reads both ways too, without the six scores and without a
            forecast of LoRA, whose evidence is of causal models.
        ranks: as `score`.
    """
    config = config or ScoreConfig()
    clock = clock or Clock(STAGES)
    ranks = ranks or Ranks()
    has_scores = not language_model.reads_both_ways
    with clock("sanity_check"):
        loss = _check_model(language_model, text, config) if has_scores or not encoders else None
    layers = check_layers(config.layers, language_model, "--layers")
    device = sums_device(language_model.device)
    precision = choose_precision(config.precision, device, language_model.width)
    plan = _plan(language_model, text, len(layers), config, precision, ranks)
    with clock("tokenize"):
        tokens = tokenize(text.texts, language_model, config.max_length)
    if has_scores and all(len(ids) == 1 for ids in tokens.ids):
        raise DataError(
            "every text is a single token: there is no next token to predict, so no "
            "autoregressive subspace"
        )
    unsaid = _unsaid(text.n_groups, language_model.width)
    work = None if folder is None else folder / UNFINISHED
    with Progress(progress) as bar:
        bar.say(
            f"{len(text)} texts of {tokens.n_tokens} tokens; the moments of {len(layers)} layers "
            f"of width {language_model.width} take {plan.sums / 1e6:.0f} MB"
        )
        for line in unsaid:
            bar.say(line)
        reading = MomentsPass(
            language_model, text, tokens, layers, shuffles=config.shuffles, seed=config.seed,
            plan=plan, precision=precision, until=config.until,
            until_scores=config.until_scores,
            folder=work, checkpoint_seconds=config.checkpoint_seconds, clock=clock, bar=bar,
            feature_texts=config.feature_texts, published="published" in config.further_scores,
            pooling=config.pooling, ranks=ranks,
        )  # fmt: skip
        moments = reading.read()
        features = reading.keep_features()
        # Writing the moments waits for the disk, solving for the processor.
        with clock("solve"), ThreadPoolExecutor(1) as background:
            keep = work if keep_moments and ranks.is_first else None
            saving = background.submit(moments.save, keep / MOMENTS) if keep else None
            solve_on = torch.device("cpu") if reading.plan.solves_on_host else device
            table = _solve(moments, ranks, bar, solve_on)
            if saving is not None:
                saving.result()
        ranks.leave_to_first()
        with clock("accuracy"):
            judged = judge_features(features, text, config.seed, bar)
        table = table if has_scores else without_scores(table)
    best = {n: asdict(found) for n in table.names if (found := find_best(table, n)) is not None}
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "model": {**describe_model(language_model), "next_token_loss": loss and loss.loss},
        "data": describe_text(text, tokens),
        "settings": {
            **(options or {}),
            **asdict(config),
            "layers": list(layers),
            "precision": precision,
        },
        "accuracy": judged.accuracy,
        "learning_curve": judged.learning_curve,
        "mistakes": judged.mistakes,
        "layers": layer_record(table, with_scores=has_scores),
        "best": best,
        "warnings": [
            *([] if loss is None or loss.verdict == "ok" else [loss.message]),
            *language_model.warnings,
            *_warnings(text, tokens),
            *reading.warnings,
            *_warnings_of_precision(precision, table, language_model.dtype.itemsize),
        ],
        "unsaid": unsaid,
        "seconds": clock.seconds(),
        "peak_memory_bytes": peak_memory(),
        "versions": describe_versions(),
        "command": describe_command(),
    }
    if reading.adaptive is not None:
        record["until"] = until_record(reading.adaptive, config, moments.n_texts, len(text))
    record = without_nan(record)
    result = ScoreResult(
        record, table=table, held_out=judged.held_out, moments=moments, features=features
    )
    record["seconds"] = clock.seconds()  # the forecast tells a price by them
    if evidence is not None and has_scores:
        record["forecast"] = forecast_lora(record, evidence)
    record["advice"] = write_advice(record)
    if work is not None:
        with clock("write"):
            result.write_tables(work, every_k=every_k)
    record["seconds"] = clock.seconds()
    if folder is not None:
        result.complete(folder, [MOMENTS] * keep_moments + [FEATURES] * (features is not None))
    return result


def _solve(moments: Moments, ranks: Ranks, bar: Progress, device: torch.device) -> ScoreTable:
    """The scores of all layers, of which each process solves some."""
    own = ranks.own(moments.layers)
    bar.start("solving", len(own), unit="layers")
    table = score_moments(moments, lambda _: bar.advance(1), own, device)
    return join_tables(ranks.collect(table))


def _check_model(
    language_model: LanguageModel, text: LabelledText, config: ScoreConfig
) -> NextTokenLoss:
    """The loss on plain English, if the model is one that works."""
    if language_model.reads_both_ways:
        name, data = language_model.id, text.source.id
        data = "DATA" if data.startswith("in-memory ") else data
        raise ModelError(
            f"{name} is an encoder, which reads a text both ways: {UNSCORED}. For its held-out "
            f"accuracy: {shlex.join(['ntpscore', 'rank', data, name])}; for a classifier: "
            + shlex.join(["ntpscore", "adapt", name, data])
        )
    loss = check_next_token_loss(language_model)
    if loss.verdict == "refuse" and not config.skip_sanity_check:
        raise ModelError(f"{loss.message} (--skip-sanity-check runs it all the same)")
    return loss


def _plan(
    language_model: LanguageModel,
    text: LabelledText,
    n_layers: int,
    config: ScoreConfig,
    precision: Precision,
    ranks: Ranks,
) -> MemoryPlan:
    """What the run takes of the memory that is free now; all processes plan the same."""
    n_outputs, width = len(text.classes), language_model.width
    published = "published" in config.further_scores
    of_sums = Moments.n_bytes(n_layers, width, n_outputs, config.shuffles, published)
    batch_tokens = tokens_per_batch(config.batch_tokens, language_model.device)
    asked = max(ranks.collect(How(batch_tokens, passes_at_once(language_model, of_sums))))
    sizes = Sizes(
        layers=n_layers, width=width, inner=inner_width(language_model.model.config),
        outputs=n_outputs, shuffles=config.shuffles, number=language_model.dtype.itemsize,
        precision=precision, published=published,
        folds=0 if config.until is None else MOST_FOLDS + asked.passes,
        judging=judge_bytes(min(len(text), config.feature_texts), width, n_outputs),
    )  # fmt: skip
    rooms = ranks.collect(Room.of(language_model, ranks.here))
    return plan_memory(sizes, reduce(Room.least, rooms), asked)


def until_record(
    adaptive: AdaptiveReading, config: ScoreConfig, n_texts: int, of: int
) -> dict[str, Any]:
    """How many texts were read, and what they say of all, for `result.json`."""
    stopped = n_texts < of
    return {
        "half_width": config.until,
        "stopped": stopped,
        "n_texts": n_texts,
        "of": of,
        "layer": adaptive.layer,
        "k": adaptive.k,
        "coverage": COVERAGE,
        "waited_for": list(config.until_scores),
        "scores": {name: asdict(one) for name, one in adaptive.estimates.items()}
        if stopped
        else {},
    }


def _warnings_of_precision(precision: str, table: ScoreTable, n_bytes: int) -> list[str]:
    """What the precision of the sums may have done to scores of states of so many bytes."""
    if precision in _MOVED_BY:
        said = (
            f"products were added in {precision}, which may move scores by up to "
            f"{_MOVED_BY[precision]} where a few directions are much larger than the others: "
            "compare with --precision float64"
        )
        return [said]
    unsafe = [
        layer
        for layer, scores in zip(table.layers, table.by_layer, strict=True)
        if n_bytes > 2 and not scores.condition_C0 < SAFE_CONDITION
    ]
    if precision == "float64" or not unsafe:
        return []
    said = (
        f"exact-int8 may move scores of layers {', '.join(map(str, unsafe))} by more than 1e-6, "
        "since a few directions there are much larger than the others: --precision float64 does not"
    )
    return [said]


def _unsaid(n: int, width: int) -> list[str]:
    """What the scores don't say of so few texts; held-out accuracy does speak of them."""
    line = (
        f"{n} texts are no more than the width of {width}: a map that is fitted to all of them "
        "fits any labels, so r2 and retained say nothing, N is singular, and U's arbitrary part "
        "fills what the texts leave open (algorithm1, smallest_first, expected); supervised and "
        "subspace see only the texts' own span. Held-out accuracy is known all the same."
    )
    return [line] if n <= width else []


def _warnings(text: LabelledText, tokens: TokenizedText) -> list[str]:
    warnings = [*text.source.reading.warnings]
    n = text.n_groups
    if tokens.truncated:
        longest = max(map(len, tokens.ids))
        warnings.append(f"{tokens.truncated} of {len(text)} texts were cut to {longest} tokens")
    if text.source.skipped:
        reasons = ", ".join(f"{count} {why}" for why, count in text.source.skipped.items())
        warnings.append(f"rows were skipped: {reasons}")
    groups, labels = torch.from_numpy(text.groups), torch.from_numpy(text.labels)
    if n < len(text):
        warnings.append(
            f"{len(text)} texts are in {n} independent groups, with which r2_adjusted and shuffles "
            "reckon"
        )
    share = share_kept(groups, labels)
    if share > _MUCH_KEPT:
        warnings.append(
            f"{share:.0%} of the texts are in groups that no other can exchange labels with, for "
            "they differ in size and have several labels: shuffled labels are too much like the "
            "true ones"
        )
    return warnings
