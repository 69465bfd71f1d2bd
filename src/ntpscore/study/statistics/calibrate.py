"""Calibrates the LoRA gain on a study's own cells."""

from pathlib import Path

import pandas as pd

from ntpscore.errors import StudyError
from ntpscore.forecast.evidence import K_FRACTION, SAME, SCORE, Evidence
from ntpscore.forecast.gain import POINT_COLUMNS, Basis, calibrate_gain
from ntpscore.study.run.cells import load_records
from ntpscore.study.statistics.sweep import at_last_layer
from ntpscore.study.statistics.tables import StudyTables


def calibrate_study(
    results: str | Path, *, basis: Basis = "r2", without: str = "", coverage: float = 0.8
) -> Evidence:
    """Calibrate the LoRA gain on a study's own cells.

    Args:
        results: the study's folder of results; its cells of score, probe and lora count.
        basis: headrooms from the probe's accuracy, or from `r2_adjusted` of the last layer, which
            `score` finds without any training.
        without: leave out data sets whose name holds this; empty for none.
        coverage: of the intervals.

    Raises:
        StudyError: there are no such cells.
        DataError: there are too few data sets with all of them.
    """
    records = load_records(results)
    points = _points(StudyTables.of(records), basis)
    if without:
        points = points[~points["data"].str.contains(without, case=False, regex=False)]
    sizes = [r["record"]["data"]["train"]["n_texts"] for r in records if r["method"] == "lora"]
    return Evidence(
        calibrate_gain(points, coverage=coverage, basis=basis),
        f"the study {Path(results).name}",
        (min(sizes), max(sizes)),
    )


def _points(tables: StudyTables, basis: Basis) -> pd.DataFrame:
    keys = ["model", "data"]
    wide = tables.outcomes.pivot_table(index=keys, columns="outcome", values="value")
    if not {"lora_gain", "probe_accuracy"} <= set(wide.columns):
        raise StudyError("the study holds no LoRA gain yet: it needs cells of probe and of lora")
    scores = tables.scores
    last = at_last_layer(scores)
    middle = (last["k_fraction"] - K_FRACTION).abs() < SAME
    for name, part in (
        ("score", last[(last["score"] == SCORE) & middle]),
        ("r2", last[last["score"] == "r2_adjusted"]),
    ):
        wide = wide.join(part.set_index(keys)["value"].rename(name))
    wide["headroom"] = 1 - wide["probe_accuracy" if basis == "probe" else "r2"]
    return wide.reset_index()[list(POINT_COLUMNS)].dropna()
