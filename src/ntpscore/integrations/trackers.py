"""Results in the trackers of experiments: MLflow, Weights & Biases, TensorBoard."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ntpscore.adapt.result import AdaptResult
from ntpscore.errors import NtpscoreError
from ntpscore.extras import needing
from ntpscore.scoring.result import ScoreResult

TRACKERS = ("mlflow", "wandb", "tensorboard")
_FIGURES = ("accuracy", "macro_f1", "r2", "mse", "loss")
# MLflow refuses longer values.
_LONGEST = 500


def check_tracker(tracker: str) -> None:
    """Refuse what is no tracker, or is not installed, before anything long begins.

    Raises:
        NtpscoreError: there is no such tracker.
        MissingPackageError: it is not installed; the message says how to.
    """
    if tracker not in TRACKERS:
        raise NtpscoreError(f"there is no tracker {tracker!r}: choose from {', '.join(TRACKERS)}")
    if tracker == "mlflow":
        with needing("mlflow-skinny", "logging to MLflow"):
            import mlflow  # noqa: F401
    elif tracker == "wandb":
        with needing("wandb", "logging to Weights & Biases"):
            import wandb  # noqa: F401
    else:
        with needing("tensorboard", "logging to TensorBoard"):
            import torch.utils.tensorboard  # noqa: F401


def log_to(
    tracker: str,
    result: ScoreResult | AdaptResult,
    *,
    name: str | None = None,
    folder: str | Path = "runs",
) -> None:
    """Log what `score` or `adapt` found to a tracker of experiments.

    Goes into the tracker's active run, if there is one, else into one of its own, where the
    tracker's settings say (`MLFLOW_TRACKING_URI`, `WANDB_PROJECT`, …). Held-out figures come as
    metrics, those of layers with the layer as step; model, data and seed as parameters.

    Args:
        tracker: "mlflow", "wandb" or "tensorboard".
        result: the result.
        name: of a run of its own; None means model and data.
        folder: for TensorBoard, where runs go.

    Raises:
        NtpscoreError: there is no such tracker, or it is not installed.
    """
    check_tracker(tracker)
    metrics, by_layer, parameters = (
        _of_score(result) if isinstance(result, ScoreResult) else _of_adapt(result)
    )
    name = name or f"{Path(parameters['model']).name} on {Path(parameters['data']).name}"
    write = {"mlflow": _to_mlflow, "wandb": _to_wandb, "tensorboard": _to_tensorboard}[tracker]
    write(metrics, by_layer, parameters, name, Path(folder))


Metrics = dict[str, float]
ByLayer = list[tuple[int, Metrics]]
Parameters = dict[str, str]


def _of_score(result: ScoreResult) -> tuple[Metrics, ByLayer, Parameters]:
    record = result.record
    accuracy = record["accuracy"]
    parameters = _parameters(record, record["data"], record["settings"].get("seed"))
    metrics: dict[str, float | None] = {
        f"{score}.best": best["value"] for score, best in result.best.items()
    }
    rows: dict[int, Metrics] = {row["layer"]: {"train_r2": row["r2"]} for row in record["layers"]}
    if accuracy["frozen"] is not None:
        measure = accuracy["measure"]
        for what in ("majority", "words", "frozen"):
            metrics[f"{what}.{measure}"] = accuracy[what].get(measure)
        metrics["best.layer"] = accuracy["best"]["layer"]
        parameters["pooling"] = accuracy["best"]["pooling"]
        for row in accuracy["readouts"]:
            rows[row["layer"]][f"{row['pooling']}.{measure}"] = row[measure]
    metrics["lora_forecast.accuracy"] = (record.get("forecast") or {}).get("accuracy")
    by_layer = [(layer, _known(values)) for layer, values in sorted(rows.items())]
    return _known(metrics), by_layer, parameters


def _of_adapt(result: AdaptResult) -> tuple[Metrics, ByLayer, Parameters]:
    record = result.record
    parameters = _parameters(record, record["data"]["train"], record.get("config", {}).get("seed"))
    parameters |= {key: str(record[key]) for key in ("method", "layer", "pooling") if key in record}
    metrics = {
        f"{split}.{figure}": record[split][figure]
        for split in ("train", "test")
        if record[split] is not None
        for figure in (*_FIGURES, "majority_accuracy")
    }
    return _known(metrics), [], parameters


def _parameters(record: dict[str, Any], data: dict[str, Any], seed: int | None) -> Parameters:
    values = {
        "model": record["model"]["id"],
        "revision": record["model"].get("revision"),
        "data": data["id"],
        "n_texts": data["n_texts"],
        "seed": seed,
        "ntpscore": record.get("versions", {}).get("ntpscore"),
    }
    return {key: str(value)[:_LONGEST] for key, value in values.items() if value is not None}


def _known(values: Mapping[str, float | None]) -> Metrics:
    return {key: float(value) for key, value in values.items() if value is not None}


def _to_mlflow(
    metrics: Metrics, by_layer: ByLayer, parameters: Parameters, name: str, _: Path
) -> None:
    import mlflow

    with nullcontext() if mlflow.active_run() else mlflow.start_run(run_name=name):
        mlflow.log_params({f"ntpscore.{key}": value for key, value in parameters.items()})
        mlflow.log_metrics(metrics)
        for layer, values in by_layer:
            mlflow.log_metrics({f"by_layer.{key}": v for key, v in values.items()}, step=layer)


def _to_wandb(
    metrics: Metrics, by_layer: ByLayer, parameters: Parameters, name: str, _: Path
) -> None:
    import wandb

    is_own = wandb.run is None
    run = wandb.run or wandb.init(name=name)
    run.config.update({"ntpscore": parameters}, allow_val_change=True)
    run.define_metric("by_layer.*", step_metric="layer")
    for layer, values in by_layer:
        run.log({"layer": layer, **{f"by_layer.{key}": v for key, v in values.items()}})
    run.summary.update(metrics)
    if is_own:
        run.finish()


def _to_tensorboard(
    metrics: Metrics, by_layer: ByLayer, parameters: Parameters, name: str, folder: Path
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / name.replace("/", "-"))) as writer:
        for key, value in metrics.items():
            writer.add_scalar(key.replace(".", "/"), value)
        for layer, values in by_layer:
            for key, value in values.items():
                writer.add_scalar(f"by_layer/{key.replace('.', '/')}", value, layer)
        writer.add_text("ntpscore", "\n".join(f"    {k}: {v}" for k, v in parameters.items()))
