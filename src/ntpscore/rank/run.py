"""Rank models for one data set by every metric: one forward pass per model, then closed forms."""

import dataclasses
import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ntpscore.clock import Clock
from ntpscore.core.scores import SCORES
from ntpscore.errors import MetricError, NtpscoreError
from ntpscore.files import make_folder, to_json, without_nan, write_text
from ntpscore.metrics import METRICS, Metric
from ntpscore.models import LanguageModel, NextTokenDistributions
from ntpscore.models.failures import is_out_of_memory
from ntpscore.models.options import ModelOptions
from ntpscore.options import refuse_late, with_keywords
from ntpscore.progress import Progress
from ntpscore.reading.reader import check_layers
from ntpscore.scoring.arguments import check_order, options_record, read_text, take_model
from ntpscore.scoring.config import ScoreConfig
from ntpscore.scoring.result import ScoreResult
from ntpscore.scoring.run import STAGES, score_text
from ntpscore.text import LabelledText
from ntpscore.text.options import TextOptions

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

SCHEMA_VERSION = 1
CONSENSUS = "consensus"
# The next-token scores first, as in score's tables; then the rivals, and the dull baselines.
RANKED_BY = (*SCORES, *METRICS)
COLUMNS = ("at", "model", "metric", "layer", "k", "value", "rank", "tied", "reason")
Place = Literal["last", "best", "chosen"]
# Values closer than this, relative to the larger, are one value: what the rounding of a pass in
# float32 leaves apart.
_TIE = 1e-6
# What `_reason` may find to be no bug.
_FAILURES = (NtpscoreError, RuntimeError, MemoryError, np.linalg.LinAlgError)


@dataclass(frozen=True)
class _Value:
    """What one metric says of one model.

    Attributes:
        value: NaN where it is not defined.
        layer: the hidden-state index it speaks of; None for all or none.
        k: of a score, the number of columns of V.
        reason: why there is no value, or no finite one.
    """

    value: float
    layer: int | None = None
    k: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class _Judged:
    """What stays of a model when the next one is loaded: its sums would fill the memory.

    Attributes:
        values: by place and metric.
        entry: what the ranking's record says of the model.
        record: that of `score`.
    """

    values: dict[Place, dict[str, _Value]]
    entry: dict[str, Any]
    record: dict[str, Any]


class RankResult:
    """The outcome of `rank_models`.

    Attributes:
        record: the content of `rank.json`: data, settings, models, metrics, rows.
    """

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record

    def __repr__(self) -> str:
        models = self.record["models"]
        return f"RankResult({len(models)} models on {self.record['data']['id']!r})"

    @property
    def failures(self) -> dict[str, str]:
        """The models that could not be ranked, and why."""
        return {m["name"]: m["error"] for m in self.record["models"] if m["error"] is not None}

    def table(self) -> "pd.DataFrame":
        """One row per place, model and metric; the columns of `rank.csv`."""
        import pandas as pd

        frame = pd.DataFrame(self.record["rows"], columns=list(COLUMNS))
        return frame.astype({"layer": "Int64", "k": "Int64", "rank": "Int64"})

    def ranks(self, at: str | None = None) -> "pd.DataFrame":
        """The ranks, rows = models in order, columns = metrics; missing where there is none.

        Args:
            at: `last`, `best` or `chosen`; the first place there is if None.

        Raises:
            NtpscoreError: nothing was ranked there.
        """
        places = list(dict.fromkeys(row["at"] for row in self.record["rows"]))
        at = places[0] if at is None else at
        if at not in places:
            raise NtpscoreError(f"nothing was ranked at {at!r}: choose from {', '.join(places)}")
        frame = self.table()
        frame = frame[frame["at"] == at]
        wide = frame.pivot_table(index="model", columns="metric", values="rank", dropna=False)
        return wide.loc[frame["model"].unique(), frame["metric"].unique()]

    def save(self, folder: str | Path) -> Path:
        """Write `rank.csv` and `rank.json` into a folder.

        Args:
            folder: made if it is missing; files of an earlier ranking are replaced.

        Raises:
            OutputError: the folder can't be written.
        """
        folder = make_folder(folder)
        # An earlier record must not stand beside a table of another run.
        (folder / "rank.json").unlink(missing_ok=True)
        write_text(folder / "rank.csv", self.to_csv())
        write_text(folder / "rank.json", to_json(self.record))
        return folder

    def to_csv(self) -> str:
        """The content of `rank.csv`."""
        text: str = self.table().to_csv(index=False, lineterminator="\n")
        return text


def rank_models(
    data: "str | Path | LabelledText | pd.DataFrame | Any",
    models: "Sequence[str | Path | LanguageModel]",
    config: ScoreConfig | None = None,
    *,
    text_options: TextOptions | None = None,
    model_options: ModelOptions | None = None,
    out: str | Path | None = None,
    layer: Literal["both", "last", "best"] | int = "both",
    metric: str = CONSENSUS,
    progress: bool | None = None,
    **keywords: Any,
) -> RankResult:
    """Rank causal language models for labelled text by every metric and score, without training.

    Metrics are computed on the last layer, and again on the layer whose `r2_adjusted` is largest;
    the six scores stand at the layer and k where `score` finds that they say most. Values equal
    within 1e-6 (relative) share a rank. The consensus is the mean rank over the metrics that are
    defined for every model and are no baseline; the six scores take no part in it.

    A model that can't be loaded or read, or runs out of memory, does not stop the others: see
    `RankResult.failures`. Nor does a metric that fails on one model: its row says why.

    Args:
        data: as in `score`.
        models: folders, `.gguf` files, short names, hub ids or loaded models, each once.
        config: shuffles, seed, length limit, batch size; its layers must be None.
        text_options: how to read the data.
        model_options: how to load each model.
        out: a folder for `rank.json` and `rank.csv`.
        layer: `both`, `last`, `best` or a hidden-state index (-1 is the last), read alone: then the
            six scores are of that layer too, and `leep` is defined on the last layer only.
        metric: what to sort by, the name of a metric, a score or `consensus`.
        progress: show progress bars on standard error; None means if it is a terminal.
        keywords: any option of `ScoreConfig`, `TextOptions` or `ModelOptions` by its name.

    Returns:
        The ranking; saved already if `out` was given.

    Raises:
        NtpscoreError: bad input, or no model could be ranked; the message says what and where.

    Example:
        >>> ranking = rank_models("dair-ai/emotion", ["gpt2", "gpt2-medium"])  # doctest: +SKIP
        >>> ranking.ranks("best")["log_me"]  # doctest: +SKIP
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
    start = time.perf_counter()
    folder = make_folder(out) if out is not None else None
    text = read_text(data, text_options, seed=config.seed, clock=Clock(STAGES))
    judged: dict[str, _Judged] = {}
    errors: dict[str, str] = {}
    for name, model in zip(names, models, strict=True):
        try:
            judged[name] = _load_and_judge(model, text, config, layer, progress, model_options)
        except _FAILURES as error:
            errors[name] = _reason(error)
        # Two models together may not fit; cycles among modules, and what the traceback of a failure
        # holds, keep the last one alive.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    if not judged:
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in errors.items())
        raise NtpscoreError(f"no model could be ranked:\n{reasons}")
    rows = [row for at in _places(layer) for row in _rows(at, judged, metric)]
    first = next(iter(judged.values())).record
    record = {
        "schema_version": SCHEMA_VERSION,
        "kind": "rank",
        "data": {k: v for k, v in first["data"].items() if k not in {"n_tokens", "truncated"}},
        "settings": {
            **options_record(text_options, model_options, config),
            "layer": layer, "metric": metric, "pooling": "mean",
        },
        "models": [
            {"name": name, "error": errors.get(name)}
            | (judged[name].entry if name in judged else {})
            for name in names
        ],
        "metrics": [
            {field: getattr(one, field) for field in
             ("name", "higher_is_better", "needs", "reference", "baseline")}
            for one in METRICS.values()
        ],
        "rows": rows,
        "seconds": time.perf_counter() - start,
        "peak_memory_bytes": max(j.record["peak_memory_bytes"] for j in judged.values()),
        "versions": first["versions"],
        "command": first["command"],
    }  # fmt: skip
    result = RankResult(without_nan(record))
    if folder is not None:
        result.save(folder)
    return result


def _load_and_judge(
    model: "str | Path | LanguageModel",
    text: LabelledText,
    config: ScoreConfig,
    layer: Literal["both", "last", "best"] | int,
    progress: bool | None,
    model_options: ModelOptions,
) -> _Judged:
    """Every metric of one model, of which nothing else stays: it is loaded in here alone."""
    clock = Clock(STAGES)
    loaded = take_model(model, model_options, clock=clock, progress=progress)
    return _judge(loaded, text, config, layer, clock, progress)


def _reason(error: Exception) -> str:
    """Why a model or a metric has no value.

    Raises:
        Exception: the error itself, where it is a bug and nothing that a model is to blame for.
    """
    if isinstance(error, NtpscoreError):
        return str(error)
    if is_out_of_memory(error):
        return "memory ran out: use --max-texts, --max-length or --layer last"
    # That of torch is a RuntimeError, public though its stubs say otherwise.
    if isinstance(error, np.linalg.LinAlgError | torch.linalg.LinAlgError):  # type: ignore[attr-defined]
        return f"linear algebra failed: {error}"
    raise error


def _check(
    models: "Sequence[str | Path | LanguageModel]",
    config: ScoreConfig,
    layer: Literal["both", "last", "best"] | int,
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
    if metric not in (CONSENSUS, *RANKED_BY):
        raise NtpscoreError(
            f"there is no metric {metric!r}: choose from {CONSENSUS}, {', '.join(RANKED_BY)}"
        )
    return names


def _places(layer: Literal["both", "last", "best"] | int) -> tuple[Place, ...]:
    if layer == "both":
        return ("last", "best")
    if layer in ("last", "best"):
        return ("last",) if layer == "last" else ("best",)
    return ("chosen",)


# -- one model ------------------------------------------------------------------------------------


def _judge(
    language_model: LanguageModel,
    text: LabelledText,
    config: ScoreConfig,
    layer: Literal["both", "last", "best"] | int,
    clock: Clock,
    progress: bool | None,
) -> _Judged:
    """Every metric of one model."""
    last = language_model.n_layers
    wanted = [layer] if isinstance(layer, int) else [last] if layer == "last" else None
    layers = check_layers(wanted, language_model, "--layer")
    result = score_text(
        language_model, text, config=dataclasses.replace(config, layers=layers), clock=clock,
        progress=progress,
    )  # fmt: skip
    labels = text.labels[result.features.texts]
    start = time.perf_counter()
    layer_of = {at: _layer_at(at, layer, last, result) for at in _places(layer)}
    whole: dict[str, _Value] = {}  # what no layer changes
    for name in SCORES:
        best = result.best.get(name)
        whole[name] = (
            _Value(math.nan, reason="not defined at any layer and k")
            if best is None
            else _Value(best["value"], best["layer"], best["k"])
        )
    n_parameters = sum(p.numel() for p in language_model.model.parameters())
    for metric in METRICS.values():
        if metric.needs == "labels":
            whole[metric.name] = _value_of(metric, None, partial(metric.function, text.labels))
        elif metric.needs == "model":
            compute = partial(metric.function, language_model.model)
            whole[metric.name] = _value_of(metric, None, compute)
        elif metric.needs == "next_token":
            compute = partial(_from_next_token, metric, language_model, result, labels)
            whole[metric.name] = _value_of(metric, last, compute)
    values: dict[Place, dict[str, _Value]] = {}
    with Progress(progress) as bar:
        on_layers = [m for m in METRICS.values() if m.needs in {"moments", "features"}]
        distinct = {index for index in layer_of.values() if index is not None}
        bar.start("metrics", len(on_layers) * len(distinct), "metrics")
        by_layer: dict[int | None, dict[str, _Value]] = {}
        for at, index in layer_of.items():
            if index not in by_layer:
                by_layer[index] = {
                    metric.name: _on_layer(metric, index, result, labels, bar)
                    for metric in on_layers
                }
            values[at] = {name: (whole | by_layer[index])[name] for name in RANKED_BY}
    model = result.record["model"]
    entry = {
        **model,
        "n_parameters": n_parameters,
        "n_tokens": result.record["data"]["n_tokens"],
        "truncated": result.record["data"]["truncated"],
        "layer_at": layer_of,
        "warnings": result.record["warnings"],
        "seconds": {**result.record["seconds"], "metrics": time.perf_counter() - start},
    }
    return _Judged(values, entry, result.record)


def _layer_at(
    at: Place,
    layer: Literal["both", "last", "best"] | int,
    last: int,
    result: ScoreResult,
) -> int | None:
    """The hidden-state index of a place; None if no layer is best."""
    if at == "last":
        return last
    if isinstance(layer, int):
        return layer
    adjusted = {
        row["layer"]: row["r2_adjusted"]
        for row in result.record["layers"]
        if row["r2_adjusted"] is not None
    }
    return max(adjusted, key=lambda index: adjusted[index]) if adjusted else None


def _on_layer(
    metric: Metric,
    layer: int | None,
    result: ScoreResult,
    labels: "npt.NDArray[Any]",
    bar: Progress,
) -> _Value:
    if layer is None:
        return _Value(
            math.nan,
            reason="no layer has an r2_adjusted, as there are too few texts: rank on the last one",
        )

    def compute() -> float:
        if metric.needs == "moments":
            return metric.function(result.moments.layer(layer))
        return metric.function(result.features.get(layer).float().numpy(), labels)

    value = _value_of(metric, layer, compute)
    bar.advance(1)
    return value


def _from_next_token(
    metric: Metric, language_model: LanguageModel, result: ScoreResult, labels: "npt.NDArray[Any]"
) -> float:
    last = language_model.n_layers
    if last not in result.features.layers:
        raise MetricError(f"{metric.name} is a metric of the last layer, which was not read")
    last_tokens = result.features.get(last, "last")
    return metric.function(NextTokenDistributions(language_model, last_tokens), labels)


def _value_of(metric: Metric, layer: int | None, compute: Callable[[], float]) -> _Value:
    try:
        value = compute()
    except _FAILURES as error:
        return _Value(math.nan, layer, reason=_reason(error))
    if math.isinf(value):
        return _Value(value, layer, reason=f"{metric.name} has no bound: least squares fits all")
    return _Value(value, layer)


# -- ranks ----------------------------------------------------------------------------------------


def _rows(at: Place, judged: dict[str, _Judged], sort_by: str) -> list[dict[str, Any]]:
    """The rows of one place, models in order of their rank by `sort_by`."""
    table = {name: dict(j.values[at]) for name, j in judged.items()}
    merits = {
        metric: {
            name: METRICS[metric].merit(values[metric].value)
            if metric in METRICS
            else values[metric].value
            for name, values in table.items()
        }
        for metric in RANKED_BY
    }
    ranks = {
        metric: rank_with_ties(
            merits[metric], {name: abs(values[metric].value) for name, values in table.items()}
        )
        for metric in RANKED_BY
    }
    counted = [
        name
        for name, metric in METRICS.items()
        if not metric.baseline and len(ranks[name]) == len(table)
    ]
    consensus = {
        name: sum(ranks[metric][name] for metric in counted) / len(counted) if counted else math.nan
        for name in table
    }
    for name, mean_rank in consensus.items():
        reason = None if counted else "no metric is defined for every model"
        table[name] = {CONSENSUS: _Value(mean_rank, reason=reason), **table[name]}
    ranks[CONSENSUS] = rank_with_ties({name: -mean for name, mean in consensus.items()})
    nowhere = len(table) + 1
    order = sorted(table, key=lambda name: ranks[sort_by].get(name, nowhere))
    return [
        {
            "at": at,
            "model": name,
            "metric": metric,
            "layer": value.layer,
            "k": value.k,
            "value": value.value,
            "rank": ranks[metric].get(name),
            "tied": list(ranks[metric].values()).count(ranks[metric].get(name, 0)) > 1,
            "reason": value.reason,
        }
        for name in order
        for metric, value in table[name].items()
    ]


def rank_with_ties(
    merits: dict[str, float], sizes: dict[str, float] | None = None
) -> dict[str, int]:
    """Ranks from 1, the highest merit first; equal merits share a rank, and the next ones skip.

    Merits within 1e-6 of the first of their group, relative to the larger, are equal.

    Args:
        merits: by name; NaN is left out.
        sizes: what the differences are relative to; of the merits themselves if None. A merit may
            be the small distance of a value from 1, in which the value's rounding is large.
    """
    known = {name: merit for name, merit in merits.items() if not math.isnan(merit)}
    sizes = sizes or {name: abs(merit) for name, merit in known.items()}
    ranks: dict[str, int] = {}
    best: str | None = None
    for position, name in enumerate(sorted(known, key=lambda one: -known[one]), start=1):
        if best is None or not _equal(known[best], known[name], max(sizes[best], sizes[name])):
            best, rank = name, position
        ranks[name] = rank
    return ranks


def _equal(one: float, other: float, size: float) -> bool:
    # Infinite ones have no difference; an infinite size would make all others equal.
    return one == other or (math.isfinite(size) and abs(one - other) <= _TIE * size)
