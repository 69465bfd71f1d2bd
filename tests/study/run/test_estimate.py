"""What a cell takes, before anything is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from ntpscore.reading.memory import How, Room, Sizes, plan_memory
from ntpscore.study.run.estimate import Shape, memory_of, shape_of
from ntpscore.study.run.plan import Cell


def cell(method: str, model: str = "qwen2-0.5b", **options: Any) -> Cell:
    return Cell(model, "emotion", method, 0, options, "emotion")


def test_the_shape_of_a_folder_is_that_of_its_model(tiny_model_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    n_parameters = sum(weight.numel() for weight in model.parameters())
    config = model.config
    expected = Shape(
        config.hidden_size, config.num_hidden_layers, n_parameters, config.intermediate_size
    )
    assert shape_of(str(tiny_model_dir)) == expected


@pytest.mark.parametrize("content", [{}, {"model_type": "no such type"}, {"auto_map": {}}])
def test_of_what_is_unknown_nothing_is_claimed(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert shape_of(str(tmp_path)) is None
    assert memory_of(cell("score", str(tmp_path))) is None
    assert memory_of(cell("score", "someone/some-model")) is None


def test_memory_is_weights_and_for_scores_sums() -> None:
    weights, d, layers = 494_032_768, 896, 25
    assert memory_of(cell("probe")) == 2 * weights
    assert memory_of(cell("probe", dtype="float32")) == 4 * weights
    assert memory_of(cell("scratch")) == 8 * weights
    # N, C0 and C1; a batch of 16,384 tokens in the pass and as sums, with 4 d of inner width.
    sums = 3 * d**2 * 8 * layers
    batch = 16384 * d * (2 * (8 + 3 * 4) + 18) + 16 * d**2
    assert memory_of(cell("score")) == pytest.approx(2 * weights + sums + batch, rel=0.02)
    # The plan of the run itself, but for what its configuration says of the inner width.
    sizes = Sizes(layers=layers, width=d, inner=4 * d, outputs=6, shuffles=20)
    plan = plan_memory(sizes, Room((2 * weights,), (10**12,)), How(16384))
    assert memory_of(cell("score")) == plan.peak
    few = memory_of(cell("score", batch_tokens=1024))
    assert few == plan_memory(sizes, plan.room, How(1024)).peak < plan.peak
    assert memory_of(cell("lora", rescore=True)) == memory_of(cell("score"))
