"""The probe: its steps against a literal AdamW, its seeds, and what stops it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ntpscore import LanguageModel
from ntpscore.adapt import ProbeConfig, fit_probe, load_adapt_result
from ntpscore.adapt.probe import train_probe
from ntpscore.errors import NtpscoreError, TrainingError
from ntpscore.text import Splits
from tests.reference.adapt import literal
from tests.tolerances import FLOAT32_STEPS


def test_ten_steps_equal_literal_adamw() -> None:
    rng = np.random.default_rng(0)
    n, d, c = 20, 6, 3
    X, y = rng.normal(size=(n, d)).astype(np.float32), rng.integers(c, size=n)
    config = ProbeConfig(dropout=0.0, batch_size=n, epochs=10, learning_rate=0.01, seed=4)
    linear, curve = train_probe(
        torch.from_numpy(X), torch.from_numpy(y), c, "classification", config
    )
    generator = torch.Generator().manual_seed(4)
    W = torch.empty(c, d).uniform_(-(d**-0.5), d**-0.5, generator=generator)
    b = torch.empty(c).uniform_(-(d**-0.5), d**-0.5, generator=generator)
    start = np.column_stack([W.numpy(), b.numpy()]).astype(np.float64)

    def gradient(Wb: np.ndarray) -> np.ndarray:
        total = np.zeros_like(Wb)
        for x, label in zip(X.astype(np.float64), y, strict=True):
            x1 = np.append(x, 1.0)
            z = np.exp(Wb @ x1)
            total += np.outer(z / z.sum() - np.eye(c)[label], x1) / n
        return total

    end = literal.adamw_steps(start, [gradient] * 10, 0.01, config.weight_decay)
    found = np.column_stack([linear.weight.detach().numpy(), linear.bias.detach().numpy()])
    np.testing.assert_allclose(found, end, atol=FLOAT32_STEPS)
    losses = [
        literal.cross_entropy(start @ np.append(x, 1.0), k) for x, k in zip(X, y, strict=True)
    ]
    assert curve["loss"].iloc[0] == pytest.approx(np.mean(losses), rel=1e-5)
    assert curve["step"].tolist() == list(range(1, 11))
    assert curve["samples"].tolist() == [20 * i for i in range(1, 11)]


def test_dropout_zeroes_its_share_and_keeps_the_mean() -> None:
    # One feature of 1, a squared loss against 0: the loss of a step is (w·kept/(1−p) + b)².
    config = ProbeConfig(dropout=0.4, batch_size=4000, epochs=1, seed=1)
    _, curve = train_probe(torch.ones(4000, 1), torch.zeros(4000, 1), 1, "regression", config)
    generator = torch.Generator().manual_seed(1)
    w, b = (torch.empty(1).uniform_(-1, 1, generator=generator).item() for _ in range(2))
    expected = 0.6 * (w / 0.6 + b) ** 2 + 0.4 * b**2
    # 4000 draws: the share that is kept has a standard error of 0.008.
    slack = 4 * 0.0078 * abs((w / 0.6 + b) ** 2 - b**2)
    assert curve["loss"].iloc[0] == pytest.approx(expected, abs=slack)


def test_fit_probe_learns_and_is_its_seeds(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    config = ProbeConfig(learning_rate=0.01, epochs=30)
    state = torch.get_rng_state()
    one = fit_probe(tiny, splits.train, splits.test, config=config, folder=tmp_path)
    # Features from the cache this time.
    other = fit_probe(tiny, splits.train, splits.test, config=config, cache=tmp_path)
    assert torch.equal(state, torch.get_rng_state())
    assert one.test == other.test
    assert one.loss_curve.equals(other.loss_curve)
    assert one.predictions.equals(other.predictions)
    third = fit_probe(tiny, splits.train, splits.test, config=replace(config, seed=1))
    assert not third.loss_curve.equals(one.loss_curve)
    assert one.train.accuracy > one.train.majority_accuracy + 0.1
    assert one.loss_curve["loss"].iloc[-1] < one.loss_curve["loss"].iloc[0]
    record = one.record
    assert record["steps"] == 30 * 4
    assert record["samples_seen"] == 30 * 200
    assert record["trainable_parameters"] == 33 * 3
    assert record["total_parameters"] == tiny.model.num_parameters() + 99
    loaded = load_adapt_result(tmp_path)
    assert loaded.record == record
    assert loaded.test == one.test
    assert loaded.loss_curve["loss"].tolist() == pytest.approx(one.loss_curve["loss"].tolist())
    assert loaded.predictions.equals(one.predictions)


def test_other_tasks_and_layers(
    tiny: LanguageModel, regression: Splits, multilabel: Splits
) -> None:
    config = ProbeConfig(layer=1, learning_rate=0.01, epochs=20)
    result = fit_probe(tiny, regression.train, regression.test, config=config)
    assert result.test.r2 > 0.1
    assert result.record["layers"] == [1]
    result = fit_probe(tiny, multilabel.train, None, config=config)
    assert result.train.accuracy > 0.5
    assert result.test is None


def test_divergence_stops_and_says_where() -> None:
    config = ProbeConfig(learning_rate=1e30, epochs=20, dropout=0.0)
    with pytest.raises(TrainingError, match=r"diverged: the loss at step [2-9].*--learning-rate"):
        train_probe(1e8 * torch.eye(4), torch.ones(4, 1), 1, "regression", config)


@pytest.mark.parametrize(
    "nonsense",
    [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"dropout": 1.0},
     {"weight_decay": -1.0}, {"seed": -1}, {"learning_rate": float("nan")}],
)  # fmt: skip
def test_config_rejects_nonsense(nonsense: dict[str, float]) -> None:
    with pytest.raises(NtpscoreError, match=next(iter(nonsense))):
        ProbeConfig(**nonsense)
