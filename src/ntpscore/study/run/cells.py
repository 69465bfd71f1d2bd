"""A cell's file: what one model, data set, method and seed gave, with how it was made."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ntpscore.adapt.result import AdaptResult
from ntpscore.core.grid import GRID_STEPS
from ntpscore.core.score_names import SCORES
from ntpscore.errors import StudyError
from ntpscore.files import make_folder, read_record, without_nan, write_text
from ntpscore.rank.result import RankResult
from ntpscore.scoring.result import ScoreResult
from ntpscore.study.run.cell_shape import misfit
from ntpscore.study.run.plan import Cell

SCHEMA_VERSION = 2
KIND = "study cell"
# Where cells are in a folder of results.
CELLS = "*--*/*.json"
IDENTITY = ("model", "data", "method", "seed")
_MOST_LOSSES = 100
# Beyond these decimals there is nothing to compare, and a file of every layer and k stays small.
_DECIMALS = {"value": 6, "chance": 4, "z": 2}


def cell_path(results: Path, cell: Cell) -> Path:
    """Where a cell's file is, below the folder of results."""
    return results / f"{cell.name}.json"


def describe_cell(cell: Cell) -> dict[str, Any]:
    """What tells one cell from another: the same for the same numbers."""
    return {**{key: getattr(cell, key) for key in IDENTITY}, "options": dict(cell.options)}


def write_cell(
    results: Path,
    cell: Cell,
    result: ScoreResult | AdaptResult | RankResult,
    rescored: ScoreResult | None = None,
) -> None:
    """Write the file of a cell that is done, `rescored` being the scores after LoRA."""
    content: dict[str, Any] = {"status": "done", "record": result.record}
    if isinstance(result, ScoreResult):
        content["scores"] = _score_grid(result)
    if isinstance(result, AdaptResult) and len(result.loss_curve):
        content["losses"] = _thin(result.loss_curve)
    if rescored is not None:
        content["rescored"] = {"record": rescored.record, "scores": _score_grid(rescored)}
    _write(results, cell, content)


def write_failure(results: Path, cell: Cell, error: str) -> None:
    """Write the file of a cell that failed."""
    _write(results, cell, {"status": "failed", "error": error})


def _write(results: Path, cell: Cell, content: dict[str, Any]) -> None:
    path = cell_path(results, cell)
    make_folder(path.parent)
    head = {"schema_version": SCHEMA_VERSION, "kind": KIND, **describe_cell(cell)}
    record = without_nan({**head, **content})
    # A line for each key: small, and still something to read and to compare.
    lines = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in record.items()]
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def read_cell(path: Path) -> dict[str, Any]:
    """Read a cell's file."""
    record = read_record(path, KIND, SCHEMA_VERSION, "cell of a study", StudyError)
    if wrong := misfit(record):
        raise StudyError(f"{path} is damaged: {wrong}. Delete it, and run its study again")
    return record


def read_cells(*results: str | Path) -> list[dict[str, Any]]:
    """The cells of folders of results, those that failed too, each once."""
    found: dict[tuple[Any, ...], Path] = {}
    cells = []
    for path in (path for folder in results for path in sorted(Path(folder).glob(CELLS))):
        cell = read_cell(path)
        name = tuple(cell[key] for key in IDENTITY)
        other = found.setdefault(name, path)
        if other != path:
            raise StudyError(f"{path} and {other} are of the same cell: keep one")
        cells.append(cell)
    return cells


def load_records(*results: str | Path) -> list[dict[str, Any]]:
    """The cells of folders of results that are done."""
    done = [record for record in read_cells(*results) if record["status"] == "done"]
    if not done:
        names = ", ".join(map(str, results))
        raise StudyError(f"{names} holds no cell that is done: run `ntpscore study run` first")
    return done


def select_records(
    records: Sequence[dict[str, Any]],
    *,
    models: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """Those of `load_records` that are of these models and seeds; of all if None."""
    selected = list(records)
    for column, wanted in (("model", models), ("seed", seeds)):
        if wanted is None:
            continue
        known = {record[column] for record in selected}
        unknown = [value for value in wanted if value not in known]
        if unknown:
            there = ", ".join(str(value) for value in sorted(known))
            raise StudyError(f"no cell of {column} {unknown[0]!r}: there are cells of {there}")
        selected = [record for record in selected if record[column] in wanted]
    return selected


def _score_grid(result: ScoreResult) -> dict[str, Any]:
    """Per score a table, layers by k, of value and z, on the paper's grid of k.

    `retained` has its chance too; that of every other score is k/d.
    """
    frame = result.table()
    first = frame[frame["score"] == SCORES[0]]
    layers, k = first["layer"].unique(), first["k"].unique()
    width = result.record["model"]["width"]
    grid: dict[str, Any] = {
        "layer": [int(layer) for layer in layers],
        "k": [int(number) for number in k],
        "k_fraction": [nominal_k_fraction(int(number), width) for number in k],
    }
    for score in frame["score"].unique():
        rows = frame[frame["score"] == score]
        grid[score] = {
            column: np.round(
                rows[column].to_numpy(dtype=np.float64).reshape(len(layers), len(k)), decimals
            ).tolist()
            for column, decimals in _DECIMALS.items()
            if column != "chance" or score == "retained"
        }
    return grid


def nominal_k_fraction(k: float, width: int) -> float:
    """The step of the paper's grid 0.05, 0.10, … that k, which is rounded down, stands for."""
    return math.ceil(GRID_STEPS * k / width - 1e-9) / GRID_STEPS


def _thin(losses: pd.DataFrame) -> dict[str, list[Any]]:
    """Step and loss, in at most so many bins: their last step and mean loss."""
    bins = np.array_split(np.arange(len(losses)), min(len(losses), _MOST_LOSSES))
    loss = losses["loss"].to_numpy(dtype=np.float64)
    return {
        "step": [int(losses["step"].iloc[rows[-1]]) for rows in bins],
        "loss": [round(float(loss[rows].mean()), 4) for rows in bins],
    }
