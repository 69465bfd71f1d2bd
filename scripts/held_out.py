"""Held-out accuracies of frozen features and words, for the cells of a study that have none.

Usage: python scripts/held_out.py STUDY.toml DATA_FOLDER PATTERN, where PATTERN is one of the names
of the study's `score` cells, such as '*/score-0'. Leaves a file held_out-SEED.json beside the
cell's own: majority, words, every layer's mean and last token, and one regression on all three at
the best layer.
"""

import fnmatch
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ntpscore.core.cross_validation import (
    HeldOut,
    held_out_kernel_ridge,
    held_out_ridge,
    stratified_folds,
)
from ntpscore.models import LanguageModel, load_model, stream_hidden_states
from ntpscore.reading.pooling import last_tokens, mean_tokens
from ntpscore.reading.tokens import pad_batch, plan_batches, tokenize
from ntpscore.scoring.accuracy import words_kernel
from ntpscore.study.run import cells, worker
from ntpscore.study.run.plan import Cell, load_plan
from ntpscore.text import LabelledText


def pool(
    pooled: torch.Tensor, rows: torch.Tensor, mask: torch.Tensor, layer: int, states: torch.Tensor
) -> None:
    """Put mean and last tokens of a layer and batch into their rows."""
    for of_pooling, pooling in zip(pooled, (mean_tokens, last_tokens), strict=True):
        of_pooling[layer, rows] = pooling(states, mask).float()


def collect(model: LanguageModel, text: LabelledText, max_length: int | None) -> torch.Tensor:
    """(2, L + 1, n, d) mean and last tokens of every layer."""
    tokens = tokenize(text.texts, model, max_length)
    pooled = torch.empty(2, model.n_layers + 1, len(text), model.width)
    for rows in plan_batches([len(ids) for ids in tokens.ids], 4096):
        ids, mask = pad_batch(tokens.ids, rows, model.device)
        keep = partial(pool, pooled, torch.tensor(rows), mask)
        stream_hidden_states(model, ids, mask, keep, range(model.n_layers + 1))
    return pooled


def kernel_of_words(text: LabelledText) -> torch.Tensor:
    """Inner products of TF-IDF, of texts that have words."""
    kernel = words_kernel(text.texts)
    if kernel is None:
        sys.exit("held_out: no text has a word")
    return kernel


def scaled_kernel(features: torch.Tensor) -> torch.Tensor:
    """Inner products of standardised features, of mean squared norm 1."""
    X = features.double()
    X = X - X.mean(0)
    X = X / X.square().mean(0).sqrt().clamp(min=1e-12)
    kernel = X @ X.T
    return kernel / kernel.diagonal().mean()


def rate(held_out: HeldOut, Y: torch.Tensor, folds: torch.Tensor) -> dict[str, float]:
    """R², and accuracy with the mean of all labels as intercept."""
    scores = held_out.predictions.clone()
    for fold in folds.unique():
        rows = folds == fold
        scores[rows] += Y.mean(0) - Y[~rows].mean(0)
    right = scores.argmax(1) == Y.argmax(1)
    return {
        "penalty": held_out.penalty,
        "r2": held_out.r2,
        "accuracy": float(right.double().mean()),
    }


def judge(cell: Cell, text: LabelledText, words: torch.Tensor) -> dict[str, object]:
    """What is read off the features of a cell: the model, `readouts`, `best`, `sum_of_kernels`."""
    model = load_model(cell.model, cell.model_options())
    pooled = collect(model, text, cell.options.get("max_length"))
    Y, folds, _ = deal_out(text, cell.seed)
    readouts: list[dict[str, Any]] = []
    for which, pooling in enumerate(("mean", "last")):
        for layer in range(model.n_layers + 1):
            features = pooled[which, layer]
            if torch.equal(features, features[:1].expand_as(features)):
                continue
            held_out = held_out_ridge(features, Y, folds)
            readouts.append({"layer": layer, "pooling": pooling, **rate(held_out, Y, folds)})
    best = max((row for row in readouts if row["pooling"] == "mean"), key=lambda row: row["r2"])
    centred = words - words.mean(1, keepdim=True) - words.mean(0) + words.mean()
    kernels = [scaled_kernel(pooled[which, best["layer"]]) for which in (0, 1)]
    total = kernels[0] + kernels[1] + centred / centred.diagonal().mean()
    return {
        "best": {"layer": best["layer"], "pooling": "mean"},
        "readouts": readouts,
        "sum_of_kernels": rate(held_out_kernel_ridge(total, Y, folds), Y, folds),
    }


def deal_out(text: LabelledText, seed: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    """One-hot labels, folds that keep equal texts together, and how many texts differ."""
    labels = torch.from_numpy(text.labels.astype(np.int64))
    numbers: dict[str, int] = {}
    groups = [numbers.setdefault(content.strip(), len(numbers)) for content in text.texts]
    folds = stratified_folds(labels, torch.tensor(groups), seed=seed)
    return torch.eye(len(text.classes), dtype=torch.float64)[labels], folds, len(numbers)


def record_of(results: Path, cell: Cell) -> dict[str, object]:
    """The record of a cell."""
    text = worker._load_text(cell).train  # noqa: SLF001
    Y, folds, n_groups = deal_out(text, cell.seed)
    words = kernel_of_words(text)
    scored = Cell(cell.model, cell.data, "score", cell.seed, cell.options, cell.source)
    start = time.perf_counter()
    return {
        "data": {"n_texts": len(text), "classes": list(text.classes), "task": text.task},
        "model": cells.read_cell(cells.cell_path(results, scored))["record"]["model"],
        "accuracy": {
            "measure": "accuracy",
            "n_texts": len(text),
            "n_groups": n_groups,
            "folds": int(folds.max()) + 1,
            "majority": {"accuracy": float(Y.mean(0).max())},
            "words": rate(held_out_kernel_ridge(words, Y, folds), Y, folds),
            **judge(cell, text, words),
        },
        "seconds": {"total": time.perf_counter() - start},
    }


def main() -> None:
    """Judge the cells that match and have no such file yet."""
    plan = load_plan(sys.argv[1], data_folder=sys.argv[2])
    results = Path("results", plan.name)
    for cell in plan.cells:
        if cell.method != "score" or not fnmatch.fnmatchcase(cell.name, sys.argv[3]):
            continue
        held_out = Cell(cell.model, cell.data, "held_out", cell.seed, cell.options, cell.source)
        path = cells.cell_path(results, held_out)
        if not path.exists():
            record = record_of(results, cell)
            cells._write(results, held_out, {"status": "done", "record": record})  # noqa: SLF001
            print(held_out.name, flush=True)


if __name__ == "__main__":
    main()
