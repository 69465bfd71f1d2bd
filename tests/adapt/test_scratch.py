"""Training from scratch: a fresh model of the same kind."""

from pathlib import Path

import pytest
import torch

import ntpscore.adapt.scratch as scratch_module
from ntpscore import LanguageModel, load_model
from ntpscore.adapt import ScratchConfig, fit_scratch
from ntpscore.text import Splits

SHORT = ScratchConfig(steps=5, batch_size=4)


@pytest.mark.slow
def test_scratch_learns_what_words_say_and_leaves_the_model_alone(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    before = {key: value.clone() for key, value in tiny.model.state_dict().items()}
    config = ScratchConfig(steps=150, batch_size=16, learning_rate=1e-2)
    result = fit_scratch(tiny, splits.train, splits.test, config=config, folder=tmp_path)
    assert result.test.accuracy > result.test.majority_accuracy + 0.2
    after = tiny.model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    base = sum(parameter.numel() for parameter in tiny.model.base_model.parameters())
    assert result.record["trainable_parameters"] == result.record["total_parameters"]
    assert result.record["total_parameters"] == base + (tiny.width + 1) * 3
    assert result.record["samples_seen"] > 150 * 15
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "loss_curve.csv", "predictions.csv", "result.json"
    ]  # fmt: skip


def test_weights_are_random_and_float32_whatever_the_model_computes_in(
    tiny_model_dir: Path, splits: Splits, monkeypatch
) -> None:
    model = load_model(tiny_model_dir, dtype="bfloat16")
    seen = []

    def keep(method, classifier, *args, **kwargs):
        seen.append({name: value.clone() for name, value in classifier.named_parameters()})
        return original(method, classifier, *args, **kwargs)

    original = scratch_module.fit_classifier
    monkeypatch.setattr(scratch_module, "fit_classifier", keep)
    for seed in (0, 0, 1):
        fit_scratch(model, splits.train, config=ScratchConfig(steps=1, seed=seed))
    assert all(value.dtype == torch.float32 for value in seen[0].values())
    name = next(name for name in seen[0] if name.endswith("q_proj.weight"))
    pretrained = model.model.base_model.get_parameter(name.removeprefix("base."))
    assert torch.equal(seen[0][name], seen[1][name])
    assert not torch.equal(seen[0][name], seen[2][name])
    assert not torch.allclose(seen[0][name], pretrained.float())
