"""Rank models for one data set: one forward pass per model, then closed forms."""

import gc
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ntpscore.clock import Clock
from ntpscore.errors import NtpscoreError, OutputError
from ntpscore.files import to_json, without_nan, write_text
from ntpscore.forecast.evidence import Evidence
from ntpscore.metrics import METRICS
from ntpscore.models import LanguageModel
from ntpscore.models.options import ModelOptions
from ntpscore.options import refuse_late, with_keywords
from ntpscore.rank.order import compare_lost, rank_held_out, rank_values
from ntpscore.rank.result import ACCURACY, CONSENSUS, KIND, SCHEMA_VERSION, RankResult
from ntpscore.rank.values import (
    FAILURES,
    RANKED_BY,
    LayerChoice,
    LayerRole,
    Value,
    compute_values,
    explain_failure,
    places_of,
)
from ntpscore.ray_tasks import Lost, Task, run_tasks
from ntpscore.reading.reader import check_layers
from ntpscore.result_folder import checksum, hold_folder, read_sealed, seal
from ntpscore.scoring.arguments import check_order, options_record, read_text, take_model
from ntpscore.scoring.config import ScoreConfig
from ntpscore.scoring.result import ScoreResult, load_result
from ntpscore.scoring.run import STAGES, score_text
from ntpscore.text import LabelledText
from ntpscore.text.options import TextOptions

if TYPE_CHECKING:
    import pandas as pd

# What stands in the folder of each model, beside the result of `score` on it.
RANKED, _RANKED_KIND = "ranked.json", "ranked model"
# What the record of data has from a tokenizer.
_OF_TOKENS = {"n_tokens", "truncated", "lengths"}


@dataclass(frozen=True)
class _Ranked:
    """What stays of a model when the next one is loaded: its sums would fill the memory.

    Attributes:
        entry: what the ranking's record says of the model.
        layer_at: the layer of each place.
        values: by place and metric; empty where no metrics were asked for.
        result: of `score`, without moments and features.
    """

    entry: dict[str, Any]
    layer_at: dict[LayerRole, int | None]
    values: dict[LayerRole, dict[str, Value]]
    result: ScoreResult


def rank_models(
    data: "str | Path | LabelledText | pd.DataFrame | Any",
    models: "Sequence[str | Path | LanguageModel]",
    config: ScoreConfig | None = None,
    *,
    text_options: TextOptions | None = None,
    model_options: ModelOptions | None = None,
    out: str | Path | None = None,
    metric: str = ACCURACY,
    all_metrics: bool = False,
    layer: LayerChoice = "both",
    calibration: str | Path | None = None,
    ray: str | None = None,
    progress: bool | None = None,
    **keywords: Any,
) -> RankResult:
    """Rank language models, encoders among them, by what a frozen readout reaches on other texts.

    That is the held-out accuracy (of targets, R²) at the best layer and pooling, the choice
    repeated inside the folds. Models whose paired difference on the same texts is within its 95 %
    interval share a rank.

    Metrics, where asked for, are computed on the last layer, and again on the layer whose
    `r2_adjusted` is largest; the six scores stand at the layer and k where `score` finds that they
    say most. Values equal within 1e-6 (relative) share a rank. The consensus is the mean rank over
    the metrics that are defined for every model and are no baseline; the six scores take no part.

    A model that can't be loaded or read, or runs out of memory, does not stop the others: see
    `RankResult.failures`. Nor does a metric that fails on one model: its row says why.

    Args:
        data: as in `score`.
        models: folders, `.gguf` files, short names, hub ids or loaded models, each once.
        config: shuffles, seed, length limit, batch size; its layers must be None.
        text_options: how to read the data.
        model_options: how to load each model.
        out: a folder for the ranking, with a folder of `score` for each model. An interrupted
            ranking goes on there at the model it had come to.
        metric: what to sort by: `accuracy`, or the name of a metric, a score or `consensus`, which
            are then computed too.
        all_metrics: compute every metric.
        layer: where: `both`, `last`, `best` or a hidden-state index (-1 is the last), read alone:
            then accuracy and the six scores are of that layer too, and `leep` is defined on the
            last layer only.
        calibration: see `score`.
        ray: the address of a Ray cluster to rank the models on, see `run_tasks`; None ranks them
            here, one after the other.
        progress: show progress bars on standard error; None means if it is a terminal.
        keywords: any option of `ScoreConfig`, `TextOptions` or `ModelOptions` by its name.

    Returns:
        The ranking; saved already if `out` was given.

    Raises:
        NtpscoreError: bad input, or no model could be ranked; the message says what and where.

    Examples:
        >>> ranking = rank_models("dair-ai/emotion", ["gpt2", "gpt2-medium"])  # doctest: +SKIP
        >>> ranking.standings[["model", "rank", "accuracy"]]  # doctest: +SKIP
    """
    chosen = with_keywords(
        keywords,
        config or ScoreConfig(),
        text_options or TextOptions(),
        model_options or ModelOptions(),
    )
    config, text_options, model_options = chosen
    layer = "last" if layer == -1 else layer
    names = _check(models, config, layer, metric)
    check_order(models, data, "data, then models")
    if any(isinstance(model, LanguageModel) for model in models):
        refuse_late(model_options, "models that were loaded before")
        if ray is not None:
            raise NtpscoreError("--ray needs models by their names: these are loaded here already")
    evidence = Evidence.load(calibration)
    start = time.perf_counter()
    with nullcontext() if out is None else hold_folder(out) as folder:
        text = read_text(
            data, text_options, seed=config.seed, clock=Clock(STAGES), progress=progress
        )
        settings = {
            **options_record(text_options, model_options, config),
            "layer": layer, "metric": metric, "all_metrics": all_metrics or metric != ACCURACY,
            "pooling": "mean",
        }  # fmt: skip
        one = _OneModel(text, config, model_options, settings, evidence, progress)
        ranked: dict[str, _Ranked] = {}
        errors: dict[str, str] = {}
        asked = [
            _Asked(one, name, model, None if folder is None else folder / _slug(name))
            for name, model in zip(names, models, strict=True)
        ]
        for name, found in map(_rank_one, asked) if ray is None else _rank_on_ray(asked, ray):
            if isinstance(found, _Ranked):
                ranked[name] = found
            else:
                errors[name] = found
        ranked = {name: ranked[name] for name in names if name in ranked}
        if not ranked:
            reasons = "\n".join(f"  {name}: {reason}" for name, reason in errors.items())
            raise NtpscoreError(f"no model could be ranked:\n{reasons}")
        first = next(iter(ranked.values())).result.record
        values = {name: found.values for name, found in ranked.items()}
        record = {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "data": {k: v for k, v in first["data"].items() if k not in _OF_TOKENS},
            "settings": settings,
            "standings": _standings(ranked, text),
            "models": [
                {"name": name, "error": errors.get(name)}
                | (
                    {**ranked[name].entry, "layer_at": ranked[name].layer_at}
                    if name in ranked
                    else {}
                )
                for name in names
            ],
            "metrics": [
                {field: getattr(each, field) for field in
                 ("name", "higher_is_better", "needs", "reference", "baseline")}
                for each in METRICS.values()
            ],
            "rows": [
                row for at in places_of(layer)
                for row in rank_values(at, values, CONSENSUS if metric == ACCURACY else metric)
            ] if settings["all_metrics"] else [],
            "seconds": time.perf_counter() - start,
            "peak_memory_bytes": max(r.result.record["peak_memory_bytes"] for r in ranked.values()),
            "versions": first["versions"],
            "command": first["command"],
        }  # fmt: skip
        result = RankResult(without_nan(record))
        if folder is not None:
            result.save(folder)
        return result


def _standings(ranked: dict[str, _Ranked], text: LabelledText) -> list[dict[str, Any]]:
    """A row per model, the best first; those that could not be judged last, without a rank."""
    rows: dict[str, dict[str, Any]] = {}
    for name, found in ranked.items():
        record = found.result.record
        accuracy, forecast = record["accuracy"], record.get("forecast") or {}
        frozen, best = accuracy["frozen"] or {}, accuracy["best"] or {}
        measure = accuracy.get("measure", ACCURACY)
        rows[name] = {
            "rank": None,
            "tied": False,
            "model": name,
            "measure": measure,
            **{f"{ACCURACY}{end}": frozen.get(f"{measure}{end}") for end in ("", "_low", "_high")},
            **dict.fromkeys(("behind", "behind_low", "behind_high")),
            "layer": best.get("layer"),
            "pooling": best.get("pooling"),
            **{f"lora_{key}": forecast.get(key) for key in ("accuracy", "low", "high")},
            "parameters": found.entry["n_parameters"],
            "seconds": record["seconds"]["total"],
            "reason": accuracy.get("reason"),
        }
    judged = {name: row[ACCURACY] for name, row in rows.items() if row[ACCURACY] is not None}
    lost = {name: ranked[name].result.held_out for name in judged}
    groups = text.fold_groups.tolist()
    ranks = rank_held_out(judged, lost, groups)
    first = max(judged, key=judged.__getitem__, default=None)
    for name, rank in ranks.items():
        rows[name] |= {"rank": rank, "tied": list(ranks.values()).count(rank) > 1}
        if name != first and first is not None:
            behind = compare_lost(lost[name], lost[first], groups) or [None] * 3
            rows[name] |= dict(zip(("behind", "behind_low", "behind_high"), behind, strict=True))
    return sorted(rows.values(), key=lambda row: -judged.get(row["model"], -float("inf")))


@dataclass(frozen=True)
class _OneModel:
    """Ranks one model after another, each alone in memory."""

    text: LabelledText
    config: ScoreConfig
    model_options: ModelOptions
    settings: dict[str, Any]
    evidence: Evidence
    progress: bool | None

    def rank(self, name: str, model: "str | Path | LanguageModel", folder: Path | None) -> _Ranked:
        """Everything a ranking says of a model; taken up from its folder, if it is done there."""
        run = self._run(model)
        if folder is not None:
            done = self._take_up(folder, run)
            if done is not None:
                return done
        clock = Clock(STAGES)
        with take_model(
            model, self.model_options, clock=clock, progress=self.progress
        ) as language_model:
            ranked = self._score(language_model, clock, folder)
        if folder is not None:
            record = {
                "schema_version": SCHEMA_VERSION, "kind": _RANKED_KIND, "name": name, "run": run,
                "of": checksum(ranked.result.record),
                "entry": ranked.entry, "layer_at": ranked.layer_at,
                "values": {
                    at: {
                        metric: {**asdict(value), "value": repr(value.value)}  # it may be inf
                        for metric, value in values.items()
                    }
                    for at, values in ranked.values.items()
                },
            }  # fmt: skip
            write_text(folder / RANKED, to_json(seal(without_nan(record))))
        return ranked

    def _score(self, language_model: LanguageModel, clock: Clock, folder: Path | None) -> _Ranked:
        layer = self.settings["layer"]
        last = language_model.n_layers
        wanted = [layer] if isinstance(layer, int) else [last] if layer == "last" else None
        layers = check_layers(wanted, language_model, "--layer")
        result = score_text(
            language_model, self.text, folder=folder, config=replace(self.config, layers=layers),
            clock=clock, evidence=self.evidence, options=self.settings, progress=self.progress,
            encoders=True,
        )  # fmt: skip
        start = time.perf_counter()
        values: dict[LayerRole, dict[str, Value]] = {}
        layer_at: dict[LayerRole, int | None] = {}
        if self.settings["all_metrics"]:
            values, layer_at = compute_values(
                language_model, result, self.text, layer, self.progress
            )
        entry = {
            **result.record["model"],
            "n_parameters": sum(p.numel() for p in language_model.model.parameters()),
            "n_tokens": result.record["data"]["n_tokens"],
            "truncated": result.record["data"]["truncated"],
            "warnings": result.record["warnings"],
            "seconds": {**result.record["seconds"], "metrics": time.perf_counter() - start},
        }
        # Moments and features go with the model.
        return _Ranked(
            entry, layer_at, values, ScoreResult(result.record, held_out=result.held_out)
        )

    def _run(self, model: "str | Path | LanguageModel") -> str:
        """Names what is asked of a model: the same for the same numbers."""
        if isinstance(model, LanguageModel):
            which: Any = model.identity
        else:
            files = [Path(model)] if Path(model).is_file() else sorted(Path(model).glob("*"))
            which = [str(model), [(file.name, file.stat().st_mtime_ns) for file in files]]
        asked = [which, self.text.source.content_hash, list(self.text.classes), self.settings]
        return hashlib.sha256(json.dumps(asked, default=str).encode()).hexdigest()

    def _take_up(self, folder: Path, run: str) -> _Ranked | None:
        try:
            found = read_sealed(folder / RANKED, _RANKED_KIND, SCHEMA_VERSION, "ranked model")
            result = load_result(folder)
        except OutputError:
            return None  # not finished; what there is, is gone on from
        if found["run"] != run or found["of"] != checksum(result.record):
            return None
        values = {
            at: {
                metric: Value(**{**one, "value": float(one["value"])})
                for metric, one in by_metric.items()
            }
            for at, by_metric in found["values"].items()
        }
        return _Ranked(found["entry"], found["layer_at"], values, result)


@dataclass(frozen=True)
class _Asked:
    """A model to be ranked, and where its results go."""

    one: _OneModel
    name: str
    model: "str | Path | LanguageModel"
    folder: Path | None


def _rank_one(asked: _Asked) -> tuple[str, "_Ranked | str"]:
    """A model's name, with what a ranking says of it or why it can't be ranked."""
    try:
        return asked.name, asked.one.rank(asked.name, asked.model, asked.folder)
    except FAILURES as error:
        return asked.name, explain_failure(error)
    finally:
        # Two models together may not fit; cycles among modules, and what the traceback of a
        # failure holds, keep the last one alive.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _rank_on_ray(asked: list[_Asked], address: str) -> Iterator[tuple[str, "_Ranked | str"]]:
    """As `_rank_one`, each in a process of a cluster."""
    tasks = [
        Task(each.name, each, needs_card=each.one.model_options.device != "cpu") for each in asked
    ]
    for task, found in run_tasks(_rank_one, tasks, address):
        lost = isinstance(found, Lost)
        yield (task.name, f"its process ended: {found.reason}") if lost else found


def _slug(name: str) -> str:
    """A name for a folder: of the model, and told from others that are spelt alike."""
    plain = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")
    told_apart = hashlib.sha256(os.fsencode(name)).hexdigest()[:6]
    return plain if plain == name else f"{plain[-60:]}-{told_apart}"


def _check(
    models: "Sequence[str | Path | LanguageModel]",
    config: ScoreConfig,
    layer: LayerChoice,
    metric: str,
) -> list[str]:
    """The models' names, if all options make sense.

    Raises:
        NtpscoreError: they don't.
    """
    names = [model.id if isinstance(model, LanguageModel) else str(model) for model in models]
    if not names:
        raise NtpscoreError("no model was given: give at least one")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise NtpscoreError(f"model {', '.join(twice)} is given more than once")
    if layer not in ("both", "last", "best") and (not isinstance(layer, int) or layer < 0):
        raise NtpscoreError(f"layer must be both, last, best or a number from 0 on, got {layer!r}")
    if config.layers is not None:
        raise NtpscoreError("config.layers can't be chosen for a ranking: say which with layer")
    if metric not in (ACCURACY, CONSENSUS, *RANKED_BY):
        raise NtpscoreError(
            f"there is no metric {metric!r}: choose from {ACCURACY}, {CONSENSUS}, "
            f"{', '.join(RANKED_BY)}"
        )
    return names
