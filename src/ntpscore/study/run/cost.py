"""What a study would cost on a graphics card: hours and memory of each cell, by a stated model."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ntpscore.study.run.estimate import memory_of, shape_of
from ntpscore.study.run.plan import Cell
from ntpscore.text.registry import DATA_SETS

TFLOPS = 306.0
"""Of a bare pass: qwen2-0.5b, batches of 15,283 tokens, 310,000 tokens/s (benchmarks/GPU.md)."""
BLOCK_SECONDS = 0.87e-3
"""The least that a block takes, however few tokens: qwen2-0.5b, 1,929 tokens, 21 ms a pass."""
BATCH_TOKENS = 16_384
# A score's pass ÷ the bare pass, by width, as measured in float64; the same source.
_RATIOS = ([896, 4096], [1.57, 2.27])
# Mean tokens of a text, of SmolLM2's tokenizer: results/smollm2, cut to 128, but for imdb:
# 1,347 characters at 4.5 a token.
_TOKENS = {
    "intent": 11, "clickbait": 13, "sst2": 12, "bias": 15, "banking77": 14, "emotion": 20,
    "sms_spam": 24, "medical": 51, "rotten_tomatoes": 25, "commonsense_qa": 34, "climate": 85,
    "imdb": 300,
}  # fmt: skip
OTHER_TOKENS = 100
"""Mean tokens of a text of any other data set."""
# A pass forwards, and backwards two as long.
_PASSES = 3


@dataclass(frozen=True)
class Cost:
    """What a cell is estimated to take.

    Attributes:
        name: of the cell.
        model: its model.
        data: its data set.
        method: its method.
        hours: of one card; None where model or number of texts is unknown.
        memory_bytes: at the peak, but for activations in training; None where the model is unknown.
    """

    name: str
    model: str
    data: str
    method: str
    hours: float | None
    memory_bytes: int | None

    def record(self) -> dict[str, Any]:
        """The row of CSV, the object of JSON."""
        return asdict(self)


def cost_of(cell: Cell, tflops: float = TFLOPS) -> Cost:
    """Estimate one cell; nothing is loaded or downloaded.

    A pass takes 2 FLOPs per weight and token at the given rate, but no less than `BLOCK_SECONDS` a
    block. Not counted: loading, tokenizing, solving, fitting heads.

    Args:
        cell: what is to be run.
        tflops: the rate of a bare forward pass, in 10^12 FLOP/s.
    """
    shape, texts = shape_of(cell.model), _texts(cell)
    memory = memory_of(cell)
    if shape is None or texts is None:
        return Cost(cell.name, cell.model, cell.data, cell.method, None, memory)
    train, test = texts
    length = min(_TOKENS.get(cell.data, OTHER_TOKENS), cell.options.get("max_length") or np.inf)

    def seconds(n_texts: float, n_passes: float) -> float:
        products = 2 * shape.parameters * n_texts * length / (tflops * 1e12)
        return float(max(products, n_passes * shape.layers * BLOCK_SECONDS))

    def read(n_texts: float) -> float:
        return seconds(n_texts, np.ceil(n_texts * length / BATCH_TOKENS))

    scoring = read(train) * float(np.interp(shape.width, *_RATIOS))
    if cell.method in {"score", "rank"}:
        total = scoring
    elif cell.method in {"lora", "scratch"}:
        config = cell.config()
        n_passes = config.steps * config.gradient_accumulation
        total = _PASSES * seconds(n_passes * config.batch_size, n_passes)
        total += read(train + test)  # to evaluate on both
        total += scoring if cell.options.get("rescore") else 0
    else:
        total = read(train + test)
    return Cost(cell.name, cell.model, cell.data, cell.method, total / 3600, memory)


def _texts(cell: Cell) -> tuple[float, float] | None:
    """How many texts train and test; None where neither registry nor options tell."""
    entry, most = DATA_SETS.get(cell.data), cell.options.get("max_texts")
    rows = entry.train_texts if entry else most
    if rows is None:
        return None
    share = cell.options.get("hold_out") or (entry.hold_out if entry else None) or 0
    test = entry.test_texts if entry and entry.test_texts else rows * share
    train = rows * (1 - share)
    limit = cell.options.get("max_test_texts")
    return min(train, most or np.inf), min(test, limit or np.inf)
