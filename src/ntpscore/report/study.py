"""A study's folder of results as an article."""

from pathlib import Path
from typing import Any

import pandas as pd

from ntpscore.core.score_names import SCORES
from ntpscore.errors import DataError, StudyError
from ntpscore.plain_text import plain_record
from ntpscore.report.blocks import Article, Block, Facts, Section, Table
from ntpscore.report.common import heat_of_scores
from ntpscore.report.figures import Ends, Valued, draw_values
from ntpscore.study.run.cells import IDENTITY, read_cells
from ntpscore.study.statistics.methods import methods_table
from ntpscore.study.statistics.selection import correlations
from ntpscore.study.statistics.summary import SummaryConfig
from ntpscore.study.statistics.sweep import make_sweep
from ntpscore.study.statistics.tables import StudyTables

# Enough to be looked at; `ntpscore study tables` draws more.
_CONFIG = SummaryConfig(permutations=1000, left_out_permutations=100, resamples=500)
_OUTCOMES = ("probe_accuracy", "lora_gain")
_FITTED = ("probe", "lora")


def study_article(folder: Path, name: str) -> Article:
    """All of a study's results.

    Args:
        folder: of results.
        name: how it is called.
    """
    cells = [plain_record(cell) for cell in read_cells(folder)]
    done = [cell for cell in cells if cell["status"] == "done"]
    if not done:
        raise StudyError(f"{folder} holds no cell that is done: run `ntpscore study run` first")
    tables = StudyTables.of(done)
    sections = [
        Section("The answer", _answer(done, tables)),
        Section("Do scores tell it?", _summary(tables)),
        *(
            Section(f"Scores and {outcome}, by layer and k", _heats(tables, outcome))
            for outcome in _OUTCOMES
        ),
        Section("How it was made", _made(cells, done)),
    ]
    return Article(f"The study {plain_record(folder.resolve().name)}", "ntpscore study", name,
                   sections)  # fmt: skip


def _answer(done: list[dict[str, Any]], tables: StudyTables) -> list[Block]:
    """What every method reached on the test texts, by model and data set."""
    blocks: list[Block] = []
    gains = tables.outcomes[tables.outcomes["outcome"] == "lora_gain"].sort_values("value")
    for model, rows in gains.groupby("model"):
        points, data = 100 * rows["value"].to_numpy(), rows["data"].tolist()
        blocks.append(
            f"{model}: LoRA adds {points.mean():.1f} points over the frozen probe on average of "
            f"{len(data)} data sets, from {points[0]:.1f} ({data[0]}) to {points[-1]:.1f} "
            f"({data[-1]})."
        )
    try:
        methods = methods_table(done)
    except DataError:
        return [*blocks, "No method of `ntpscore adapt` was tested yet."]
    for model, rows in methods.groupby("model", sort=False):
        values = [
            Valued(row["data"], Ends(row["test_accuracy"], row["low"], row["high"]), row["method"])
            for row in rows.to_dict("records")
            if row["method"] in _FITTED
        ]
        majority = rows.drop_duplicates("data")[["data", "majority"]].to_dict("records")
        values += [Valued(r["data"], Ends(r["majority"]), "majority") for r in majority]
        blocks.append(draw_values(
            f"{model}: test accuracy, with 95 % intervals", "test accuracy", values, percent=True
        ))  # fmt: skip
    columns = {
        "model": "model", "data": "data", "method": "method", "test_accuracy": "test accuracy",
        "low": "low", "high": "high", "macro_f1": "macro-F1", "train_accuracy": "train accuracy",
        "majority": "majority", "seconds": "seconds", "seconds_per_score": "÷ score",
    }  # fmt: skip
    records = methods.to_dict("records")
    return [*blocks, Table.of("Every method, means over seeds", columns, records, names=3)]


def _summary(tables: StudyTables) -> list[Block]:
    """Correlations at the layer and k that were fixed in advance, and at the best."""
    present = set(tables.outcomes["outcome"])
    known = set(tables.scores["score"])
    scores = [name for name in (*SCORES, "r2") if name in known]
    blocks: list[Block] = []
    for outcome in filter(present.__contains__, _OUTCOMES):
        try:
            found = tables.summary(scores=scores, outcomes=[outcome], config=_CONFIG)
        except (DataError, StudyError):
            continue
        found = found[found["reason"].fillna("") == ""]
        if found.empty:
            continue
        values = [
            Valued(r["score"], Ends(r["r_fixed"], r["fixed_low"], r["fixed_high"]), r["model"])
            for r in found.to_dict("records")
            if pd.notna(r["r_fixed"])
        ]
        blocks.append(draw_values(
            f"Spearman's r with {outcome}: last layer, k/d = 0.5, with 95 % intervals over data "
            "sets", "Spearman's r", values,
        ))  # fmt: skip
        columns = {
            "model": "model", "score": "score", "n": "n", "expected": "expected sign",
            "r_fixed": "r fixed", "p_fixed": "p", "r_best": "r best", "best_layer": "layer",
            "best_k_fraction": "k/d", "p_best": "p, choice counted in", "r_left_out": "r left out",
        }  # fmt: skip
        records = found.to_dict("records")
        blocks.append(Table.of(f"Scores and {outcome}", columns, records, names=2))
    return blocks


def _heats(tables: StudyTables, outcome: str) -> list[Block]:
    """Correlations over data sets at every layer and k."""
    blocks: list[Block] = []
    for model in tables.scores["model"].unique():
        for score in SCORES:
            try:
                sweep = make_sweep(
                    tables.scores, tables.outcomes, score=score, outcome=outcome, models=[model]
                )
            except DataError:
                continue
            frame = pd.DataFrame({
                "layer": sweep.layers[:, 0], "k_fraction": sweep.k_fractions,
                "value": sweep.sign * correlations(sweep)[0],
            })  # fmt: skip
            blocks.append(heat_of_scores(
                f"{model}: {score}", "Spearman's r", frame, {}, limits=(-1, 1), diverging=True,
                alt=f"Spearman's r over {len(sweep.data)} data sets,",
            ))  # fmt: skip
    return blocks


def _made(cells: list[dict[str, Any]], done: list[dict[str, Any]]) -> list[Block]:
    facts = {
        **{f"{key}s": sorted({str(cell[key]) for cell in done})
           for key in IDENTITY},
        "cells done": len(done),
        "cells failed": len(cells) - len(done),
        "versions": sorted({
            f"{name} {version}"
            for cell in done
            for name, version in cell["record"].get("versions", {}).items()
        }),
    }  # fmt: skip
    failed = [cell for cell in cells if cell["status"] != "done"]
    columns = {key: key for key in ("model", "data", "method", "seed", "error")}
    table = Table.of("Cells that failed", columns, failed, names=3)
    return [Facts(facts), *([table] if failed else [])]
