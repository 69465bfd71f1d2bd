"""What a cell is estimated to cost."""

from pathlib import Path
from typing import Any

import pytest

from ntpscore.study.run.cost import BLOCK_SECONDS, TFLOPS, cost_of
from ntpscore.study.run.plan import Cell, load_plan

ROOT = Path(__file__).parents[3]
WEIGHTS, BLOCKS = 494_032_768, 24


def hours(method: str, data: str = "imdb", tflops: float = TFLOPS, **options: Any) -> float:
    found = cost_of(Cell("qwen2-0.5b", data, method, 0, options, data), tflops).hours
    assert found is not None
    return found


def test_a_pass_is_two_flops_per_weight_and_token() -> None:
    expected = 2 * WEIGHTS * 50_000 * 300 / (TFLOPS * 1e12) / 3600
    assert hours("probe") == pytest.approx(expected)
    # A score reads only train, and takes 1.57 bare passes at that width.
    assert hours("score") == pytest.approx(1.57 * expected / 2)
    assert hours("score", tflops=TFLOPS / 2) == pytest.approx(2 * hours("score"))
    assert hours("probe", max_length=150) == pytest.approx(expected / 2)
    few = hours("probe", max_texts=5000, max_test_texts=5000)
    assert few == pytest.approx(expected / 5)


def test_small_steps_take_what_launching_takes() -> None:
    read = 2 * WEIGHTS * 50_000 * 300 / (TFLOPS * 1e12)
    steps = 3 * 5000 * BLOCKS * BLOCK_SECONDS
    lora = hours("lora", steps=5000, batch_size=1)
    assert lora == pytest.approx((steps + read) / 3600)
    rescored = hours("lora", steps=5000, batch_size=1, rescore=True)
    assert rescored == pytest.approx(lora + hours("score"))
    assert hours("scratch") == pytest.approx((2 * steps + read) / 3600)


def test_a_held_out_share_is_not_scored() -> None:
    by_flops = 2 * WEIGHTS * 32_000 * 13 / (TFLOPS * 1e12) / 3600
    assert hours("score", "clickbait") == pytest.approx(1.57 * 0.7 * by_flops, rel=1e-3)
    assert hours("probe", "clickbait") == pytest.approx(by_flops, rel=1e-3)


def test_of_what_is_unknown_no_hours_are_claimed() -> None:
    unknown = cost_of(Cell("someone/model", "imdb", "score", 0, {}, "imdb"))
    assert (unknown.hours, unknown.memory_bytes) == (None, None)
    assert cost_of(Cell("qwen2-0.5b", "own", "score", 0, {}, "own")).hours is None
    assert cost_of(Cell("qwen2-0.5b", "own", "score", 0, {"max_texts": 9}, "own")).hours


def test_the_study_of_the_paper_has_its_models_data_and_steps() -> None:
    cells = load_plan(ROOT / "studies/paper.toml").cells
    by_method = {m: [c for c in cells if c.method == m] for m in {c.method for c in cells}}
    counts = {method: len(found) for method, found in by_method.items()}
    assert counts == {"score": 96, "probe": 96, "logistic": 96, "lora": 96, "scratch": 72}
    for method, steps in (("lora", 5000), ("scratch", 10_000)):
        configs = [cell.config() for cell in by_method[method]]
        assert {(c.steps, c.batch_size, c.learning_rate) for c in configs} == {(steps, 1, 1e-4)}
    assert all(cell.options["rescore"] for cell in by_method["lora"])
    assert {c.config().epochs for c in by_method["probe"]} == {50}
    assert {c.config().layers for c in by_method["score"]} == {None}
