"""What every metric and score says of one model."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ntpscore.core.score_names import SCORES
from ntpscore.errors import MetricError, NtpscoreError
from ntpscore.metrics import METRICS, Metric
from ntpscore.models import LanguageModel, NextTokenDistributions
from ntpscore.models.failures import is_out_of_memory
from ntpscore.progress import Progress
from ntpscore.scoring.result import ScoreResult
from ntpscore.text import LabelledText

if TYPE_CHECKING:
    import numpy.typing as npt

# The next-token scores first, as in score's tables; then the rivals, and the trivial baselines.
RANKED_BY = (*SCORES, *METRICS)
LayerRole = Literal["last", "best", "chosen"]
LayerChoice = Literal["both", "last", "best"] | int
# What `explain_failure` may find to be no bug.
FAILURES = (NtpscoreError, RuntimeError, MemoryError, np.linalg.LinAlgError)
# With no more texts than features each of them is what its definition makes of any labels.
_MEANINGLESS = {"r2", "h_score", "retained", "algorithm1", "smallest_first", "expected"}
_BOTH_WAYS = "not defined: reads both ways"
_TOO_FEW = "no more texts than features: it is the same whatever the labels are"


@dataclass(frozen=True)
class Value:
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


def compute_values(
    language_model: LanguageModel,
    result: ScoreResult,
    text: LabelledText,
    layer: LayerChoice,
    progress: bool | None,
) -> tuple[dict[LayerRole, dict[str, Value]], dict[LayerRole, int | None]]:
    """Every metric and score of one model, by place; and the layer of each place.

    Args:
        language_model: the model.
        result: of `score` on it.
        text: that it was scored on.
        layer: see `rank_models`.
        progress: show a bar.
    """
    last = language_model.n_layers
    labels = text.labels[result.features.texts]
    groups = text.fold_groups[result.features.texts]
    layer_of = {at: _layer_at(at, layer, last, result) for at in places_of(layer)}
    # What no layer changes.
    whole: dict[str, Value] = {name: _score(result, name) for name in SCORES}
    for metric in METRICS.values():
        if metric.needs == "labels":
            whole[metric.name] = _value_of(metric, None, partial(metric.function, text.labels))
        elif metric.needs == "model":
            compute = partial(metric.function, language_model.model)
            whole[metric.name] = _value_of(metric, None, compute)
        elif metric.needs == "next_token":
            compute = partial(_from_next_token, metric, language_model, result, labels)
            whole[metric.name] = _value_of(metric, last, compute)
    values: dict[LayerRole, dict[str, Value]] = {}
    with Progress(progress) as bar:
        on_layers = [m for m in METRICS.values() if m.needs in {"moments", "features"}]
        distinct = {index for index in layer_of.values() if index is not None}
        bar.start("metrics", len(on_layers) * len(distinct), "metrics")
        by_layer: dict[int | None, dict[str, Value]] = {}
        for at, index in layer_of.items():
            if index not in by_layer:
                by_layer[index] = {
                    metric.name: _on_layer(metric, index, result, labels, groups, bar)
                    for metric in on_layers
                }
            values[at] = {name: (whole | by_layer[index])[name] for name in RANKED_BY}
    return values, layer_of


def _score(result: ScoreResult, name: str) -> Value:
    best = result.best.get(name)
    if result.record["model"]["reads_both_ways"]:
        return Value(math.nan, reason=_BOTH_WAYS)
    if best is None:
        return Value(math.nan, reason="not defined at any layer and k")
    if name in _MEANINGLESS and result.record["unsaid"]:
        return Value(math.nan, reason=_TOO_FEW)
    return Value(best["value"], best["layer"], best["k"])


def _layer_at(
    at: LayerRole,
    layer: LayerChoice,
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
    groups: "npt.NDArray[Any]",
    bar: Progress,
) -> Value:
    if layer is None:
        return Value(
            math.nan,
            reason="no layer has an r2_adjusted, as there are too few texts: rank on the last one",
        )

    (row,) = (row for row in result.record["layers"] if row["layer"] == layer)

    def compute() -> float:
        if metric.name in _MEANINGLESS and result.record["unsaid"]:
            raise MetricError(_TOO_FEW)
        # Least squares was solved for the scores.
        if row.get(metric.name) is not None:
            return float(row[metric.name])
        if metric.needs == "moments":
            return metric.function(result.moments.layer(layer))
        keywords = {"groups": groups} if metric.in_folds else {}
        return metric.function(result.features.get(layer).float().numpy(), labels, **keywords)

    value = _value_of(metric, layer, compute)
    bar.advance(1)
    return value


def _from_next_token(
    metric: Metric, language_model: LanguageModel, result: ScoreResult, labels: "npt.NDArray[Any]"
) -> float:
    last = language_model.n_layers
    if language_model.reads_both_ways:
        raise MetricError(_BOTH_WAYS)
    if last not in result.features.layers:
        raise MetricError(f"{metric.name} is a metric of the last layer, which was not read")
    last_tokens = result.features.get(last, "last")
    return metric.function(NextTokenDistributions(language_model, last_tokens), labels)


def _value_of(metric: Metric, layer: int | None, compute: Callable[[], float]) -> Value:
    try:
        value = compute()
    except FAILURES as error:
        return Value(math.nan, layer, reason=explain_failure(error))
    if math.isinf(value):
        return Value(value, layer, reason=f"{metric.name} has no bound: least squares fits all")
    return Value(value, layer)


def explain_failure(error: Exception) -> str:
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


def places_of(layer: LayerChoice) -> tuple[LayerRole, ...]:
    """Where metrics are computed."""
    if layer == "both":
        return ("last", "best")
    if layer in ("last", "best"):
        return ("last",) if layer == "last" else ("best",)
    return ("chosen",)
