"""What arrives in the real trackers is what the result says."""

import json
import sys
from pathlib import Path

import pytest

from ntpscore import ScoreResult, log_to
from ntpscore.errors import MissingPackageError, NtpscoreError
from tests.support.adapt_results import make_adapt_result
from tests.support.cli_run import run_cli
from tests.support.labelled_texts import make_rows, write_rows
from tests.support.score_results import make_moments, make_result


@pytest.fixture
def result() -> ScoreResult:
    made = make_result(make_moments())
    rows = [
        {"layer": row["layer"], "pooling": pooling, "accuracy": 0.5 + row["layer"] / 10}
        for row in made.record["layers"]
        for pooling in ("mean", "last")
    ]
    made.record["accuracy"] = {
        "measure": "accuracy", "majority": {"accuracy": 0.3}, "words": {"accuracy": 0.4},
        "frozen": {"accuracy": 0.6}, "best": {"layer": 1, "pooling": "mean"}, "readouts": rows,
    }  # fmt: skip
    return made


def layers_of(result: ScoreResult) -> dict[int, float]:
    return {row["layer"]: 0.5 + row["layer"] / 10 for row in result.record["layers"]}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of mlflow's own
def test_mlflow_has_the_figures(
    result: ScoreResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    import mlflow

    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    log_to("mlflow", result, name="first")
    with mlflow.start_run(run_name="mine") as mine:
        log_to("mlflow", make_adapt_result())
    client = mlflow.MlflowClient()
    runs = {run.info.run_name: run for run in client.search_runs(["0"])}
    assert runs.keys() == {"first", "mine"}
    metrics = runs["first"].data.metrics
    assert [metrics[f"{w}.accuracy"] for w in ("majority", "words", "frozen")] == [0.3, 0.4, 0.6]
    assert metrics["retained.best"] == pytest.approx(result.best["retained"]["value"])
    curve = client.get_metric_history(runs["first"].info.run_id, "by_layer.mean.accuracy")
    assert {one.step: one.value for one in curve} == layers_of(result)
    assert runs["first"].data.params["ntpscore.model"] == result.record["model"]["id"]
    assert client.get_run(mine.info.run_id).data.metrics["test.accuracy"] == 0.8


def test_tensorboard_has_the_figures(result: ScoreResult, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log_to("tensorboard", result, name="a/b", folder=tmp_path)
    board = EventAccumulator(str(tmp_path / "a-b")).Reload()
    assert board.Scalars("frozen/accuracy")[0].value == pytest.approx(0.6)
    curve = {one.step: one.value for one in board.Scalars("by_layer/last/accuracy")}
    assert curve == pytest.approx(layers_of(result))
    log_to("tensorboard", make_adapt_result(), folder=tmp_path)
    board = EventAccumulator(str(tmp_path / "tiny on small")).Reload()
    assert board.Scalars("test/accuracy")[0].value == pytest.approx(0.8)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of wandb's own
def test_wandb_has_the_figures(
    result: ScoreResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="not among the packages for development: large")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    run = wandb.init(project="test")
    log_to("wandb", result)
    assert run.summary["frozen.accuracy"] == 0.6
    assert run.config["ntpscore"]["model"] == result.record["model"]["id"]
    run.finish()
    log_to("wandb", result)
    assert wandb.run is None
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2


def test_the_command_line_logs_what_it_found(
    tiny_model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.chdir(tmp_path)
    data = write_rows(tmp_path / "data.jsonl", make_rows(40))
    flags = ("--log-to", "tensorboard", "--json")
    assert run_cli("score", tiny_model_dir, data, "--skip-sanity-check", *flags) == 0
    record = json.loads(capsys.readouterr().out)
    (run,) = (tmp_path / "runs").iterdir()
    board = EventAccumulator(str(run)).Reload()
    expected = record["accuracy"]["frozen"]["accuracy"]
    assert board.Scalars("frozen/accuracy")[0].value == pytest.approx(expected)
    assert run_cli("adapt", tiny_model_dir, data, "--layer", "1", *flags) == 0
    assert run_cli("score", tiny_model_dir, data, "--log-to", "comet") == 2


def test_what_there_is_not_is_told(result: ScoreResult, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NtpscoreError, match="choose from mlflow, wandb, tensorboard"):
        log_to("comet", result)
    for name, line in {"mlflow": "mlflow-skinny", "wandb": "wandb"}.items():
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingPackageError, match=f"pip install {line}$"):
            log_to(name, result)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingPackageError, match=r"pip install tensorboard$"):
        log_to("tensorboard", result)
