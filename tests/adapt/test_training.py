"""Steps, schedule, batches and checkpoints of the training that LoRA and scratch share."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import get_cosine_schedule_with_warmup

from ntpscore import LanguageModel
from ntpscore.adapt import LoraConfig, ScratchConfig, fit_lora, fit_scratch
from ntpscore.adapt.config import TrainingConfig
from ntpscore.adapt.head import MeanTokenClassifier, loss_of
from ntpscore.adapt.training import (
    CHECKPOINT,
    epoch_batches,
    learning_rate_at,
    make_optimiser,
    seeded_chance,
)
from ntpscore.errors import NtpscoreError, OutputError, TrainingError
from ntpscore.reading.tokens import pad_batch
from ntpscore.result_folder import UNFINISHED
from ntpscore.text import Splits
from tests.reference.adafactor import adafactor_steps
from tests.tolerances import ADAFACTOR

SHORT = LoraConfig(steps=6, batch_size=4, rank=4, learning_rate=1e-3)


@pytest.mark.parametrize("shape", [(5, 7), (6,)])
def test_ten_steps_equal_the_reference(shape: tuple[int, ...]) -> None:
    config = TrainingConfig(steps=10, learning_rate=0.01, warmup_share=0.2, weight_decay=0.1)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=generator)
    gradients = [torch.randn(shape, generator=generator) * 10.0 ** (i % 3) for i in range(10)]
    parameter = nn.Parameter(start.clone())
    optimiser = make_optimiser([parameter], config)
    rates = [learning_rate_at(step, config) for step in range(10)]
    for gradient, rate in zip(gradients, rates, strict=True):
        parameter.grad = gradient.clone()
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
    expected = adafactor_steps(
        start.numpy(), [gradient.numpy() for gradient in gradients], rates, weight_decay=0.1
    )
    np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=0, atol=ADAFACTOR)
    assert not np.allclose(expected, start.numpy(), atol=1e-3)


def test_ten_steps_of_a_tiny_model_equal_the_reference(tiny: LanguageModel, splits: Splits) -> None:
    """The whole step: batches, mean token, loss, gradient, schedule and update of the head."""
    from ntpscore.adapt import training

    config = replace(SHORT, steps=10, weight_decay=0.1)
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    class Watched(training.Training):
        """Keeps the head's values and gradients, as the optimiser sees them."""

        def _step(self, step: int) -> None:
            weight = self._classifier.head.weight
            before = weight.detach().numpy().copy()
            handle = weight.register_hook(lambda g: seen.append((before, g.numpy().copy())))
            super()._step(step)
            handle.remove()
            self.last = weight.detach().numpy().copy()

    runs: list[Watched] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            training, "Training", lambda *a, **k: runs.append(Watched(*a, **k)) or runs[-1]
        )
        fit_lora(tiny, splits.train, config=config)
    assert len(seen) == 10
    expected = adafactor_steps(
        seen[0][0],
        [gradient for _, gradient in seen],
        [learning_rate_at(step, config) for step in range(10)],
        weight_decay=0.1,
    )
    np.testing.assert_allclose(runs[0].last, expected, rtol=0, atol=ADAFACTOR)


@pytest.mark.parametrize(("steps", "share"), [(20, 0.05), (100, 0.05), (7, 0.5), (5, 0.0)])
def test_learning_rates_are_those_of_transformers(steps: int, share: float) -> None:
    config = TrainingConfig(steps=steps, warmup_share=share, learning_rate=0.3)
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=0.3)
    schedule = get_cosine_schedule_with_warmup(optimiser, math.ceil(share * steps), steps)
    for step in range(steps):
        assert learning_rate_at(step, config) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimiser.step()
        schedule.step()


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=90),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 3),
)
def test_an_epoch_has_every_text_once(lengths: list[int], batch_size: int, seed: int) -> None:
    batches = epoch_batches(lengths, batch_size, seed, 1)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert max(map(len, batches)) <= batch_size
    assert batches == epoch_batches(lengths, batch_size, seed, 1)


def test_batches_are_of_like_lengths_and_every_epoch_differs() -> None:
    lengths = np.random.default_rng(0).integers(2, 100, 800).tolist()
    batches = epoch_batches(lengths, 8, 0, 0)
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    assert padded < 1.1 * sum(lengths)
    assert batches != epoch_batches(lengths, 8, 0, 1)
    assert batches != epoch_batches(lengths, 8, 1, 0)


def test_padding_does_not_change_outputs(tiny: LanguageModel) -> None:
    ids = [[5, 9, 7], [4, 8, 6, 11, 30, 2]]
    with seeded_chance(tiny.device, 0):
        classifier = MeanTokenClassifier(tiny.model.base_model, tiny.width, 3).eval()
    with torch.inference_mode():
        together = classifier(*pad_batch(ids, [0, 1], tiny.device))
        for i in (0, 1):
            alone = classifier(*pad_batch(ids, [i], tiny.device))
            torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)
        hidden = tiny.model.base_model(input_ids=torch.tensor(ids[:1])).last_hidden_state
        mean = sum(hidden[0, t] for t in range(3)) / 3
        torch.testing.assert_close(alone := classifier.head(mean), together[0], rtol=0, atol=1e-5)
    assert alone.dtype == torch.float32


def test_losses_are_those_of_their_tasks() -> None:
    outputs = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    logs = [math.log(1 + math.exp(-3.0)), math.log(1 + math.exp(2.5))]
    assert float(loss_of(outputs, torch.tensor([0, 0]), "classification")) == pytest.approx(
        sum(logs) / 2, rel=1e-6
    )
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    each = [math.log(1 + math.exp(-z)) for z in (1.0, 2.0, -0.5, 3.0)]
    assert float(loss_of(outputs, rows, "multilabel")) == pytest.approx(sum(each) / 4, rel=1e-6)
    squares = (0.0**2, 2.0**2, 0.5**2, 2.0**2)
    assert float(loss_of(outputs, rows, "regression")) == pytest.approx(sum(squares) / 4, rel=1e-6)


def test_accumulated_batches_are_one_step(tiny: LanguageModel, splits: Splits) -> None:
    config = replace(SHORT, steps=1, dropout=0.0, batch_size=200, warmup_share=0.0)
    whole = fit_lora(tiny, splits.train, config=config)
    parts = fit_lora(
        tiny, splits.train, config=replace(config, batch_size=50, gradient_accumulation=4)
    )
    assert whole.record["samples_seen"] == parts.record["samples_seen"] == 200
    assert whole.record["tokens"] == parts.record["tokens"]
    assert parts.loss_curve["loss"][0] == pytest.approx(whole.loss_curve["loss"][0], rel=1e-5)
    assert parts.train.loss == pytest.approx(whole.train.loss, rel=1e-4)


def test_the_same_seed_gives_the_same_run(tiny: LanguageModel, splits: Splits) -> None:
    state = torch.get_rng_state()
    one, two = (fit_lora(tiny, splits.train, splits.test, config=SHORT) for _ in range(2))
    assert one.loss_curve.equals(two.loss_curve)
    assert one.predictions.equals(two.predictions)
    assert one.train == two.train
    other = fit_lora(tiny, splits.train, config=replace(SHORT, seed=1))
    assert not one.loss_curve["loss"].equals(other.loss_curve["loss"])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("method", ["lora", "scratch"])
def test_an_interrupted_run_goes_on_to_the_same_result(
    method: str, tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    from ntpscore.adapt import training

    fit = fit_lora if method == "lora" else fit_scratch
    config = SHORT if method == "lora" else ScratchConfig(steps=6, batch_size=4)
    config = replace(config, checkpoint_seconds=0.0)
    whole = fit(tiny, splits.train, splits.test, config=config)
    original = training.Training._step

    def stop_at_four(self: training.Training, step: int) -> None:
        if step == 4:
            raise KeyboardInterrupt
        original(self, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Training, "_step", stop_at_four)
        # After each step a checkpoint, whatever it costs.
        patch.setattr(training, "_CHECKPOINT_SHARE", 1e9)
        with pytest.raises(KeyboardInterrupt):
            fit(tiny, splits.train, splits.test, config=config, folder=tmp_path)
    assert (tmp_path / UNFINISHED / CHECKPOINT).exists()
    resumed = fit(tiny, splits.train, splits.test, config=config, folder=tmp_path)
    assert resumed.record["warnings"] == ["went on from a checkpoint after 4 of 6 steps"]
    assert resumed.loss_curve.equals(whole.loss_curve)
    assert resumed.predictions.equals(whole.predictions)
    assert resumed.test == whole.test
    assert not (tmp_path / UNFINISHED / CHECKPOINT).exists()


@pytest.mark.slow
def test_a_killed_run_goes_on(tiny_model_dir: Path, tmp_path: Path) -> None:
    from tests.support.labelled_texts import make_rows, write_rows

    data = write_rows(tmp_path / "data.jsonl", make_rows(60))
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "ntpscore", "adapt", str(tiny_model_dir), str(data), "--method",
        "lora", "--steps", "150", "--batch-size", "2", "--checkpoint-seconds", "0", "--out",
        str(out),
    ]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (out / UNFINISHED / CHECKPOINT).exists():
        assert run.poll() is None, "ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (out / "result.json").exists()
    subprocess.run(command, env=env, check=True, capture_output=True)
    record = json.loads((out / "result.json").read_text())
    assert any("went on from a checkpoint" in text for text in record["warnings"])
    assert record["steps"] == 150


def test_a_checkpoint_of_another_run_is_refused(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    from ntpscore.adapt import training

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "predict", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fit_lora(
                tiny,
                splits.train,
                config=replace(SHORT, checkpoint_seconds=0.0),
                folder=tmp_path,
            )
    with pytest.raises(OutputError, match="checkpoint of another run"):
        fit_lora(tiny, splits.train, config=replace(SHORT, seed=3), folder=tmp_path)
    content = (tmp_path / UNFINISHED / CHECKPOINT).read_bytes()
    (tmp_path / UNFINISHED / CHECKPOINT).write_bytes(content[: len(content) // 2])
    with pytest.raises(OutputError, match="cut short"):
        fit_lora(tiny, splits.train, config=SHORT, folder=tmp_path)


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    from ntpscore.adapt import training

    def diverge(outputs: torch.Tensor, labels: torch.Tensor, task: str) -> torch.Tensor:
        calls.append(0)
        return outputs.sum() * (math.nan if len(calls) == 4 else 1.0)

    for folder in (None, tmp_path):
        calls: list[int] = []
        kept = (
            f"checkpoint is {tmp_path / UNFINISHED / CHECKPOINT}"
            if folder
            else "No checkpoint is kept"
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "loss_of", diverge)
            patch.setattr(training, "_CHECKPOINT_SHARE", 1e9)
            with pytest.raises(TrainingError, match="nan at step 4 of 6") as caught:
                fit_lora(
                    tiny,
                    splits.train,
                    config=replace(SHORT, checkpoint_seconds=0.0),
                    folder=folder,
                )
        assert kept in str(caught.value)
    assert (tmp_path / UNFINISHED / CHECKPOINT).exists()
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch_size", 0),
        ("gradient_accumulation", 0),
        ("seed", -1),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("warmup_share", 1.5),
        ("weight_decay", -1.0),
        ("max_length", 0),
        ("checkpoint_seconds", math.nan),
        ("rank", 0),
        ("alpha", 0),
        ("dropout", 1.0),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, value: float) -> None:
    with pytest.raises(NtpscoreError, match=name):
        LoraConfig(**{name: value})


@pytest.mark.parametrize("task", [pytest.param("regression", marks=pytest.mark.slow), "multilabel"])
def test_targets_and_labels_are_fitted_too(
    task: str, tiny: LanguageModel, request: pytest.FixtureRequest
) -> None:
    splits: Splits = request.getfixturevalue(task)
    config = replace(SHORT, steps=60, batch_size=16, learning_rate=1e-2)
    result = fit_lora(tiny, splits.train, splits.test, config=config)
    if task == "regression":
        assert result.test.r2 > 0.5
        assert result.test.accuracy is None
    else:
        assert result.test.accuracy > result.test.majority_accuracy
    assert result.loss_curve["loss"].tail(10).mean() < result.loss_curve["loss"].head(10).mean()
