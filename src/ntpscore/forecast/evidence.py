"""Calibrations of the LoRA gain: from the cells of a study, kept in a file, used by `score`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from ntpscore.core.scores import GRID_STEPS, grid_of_k
from ntpscore.errors import DataError, StudyError
from ntpscore.files import read_record, to_json, write_text
from ntpscore.forecast.gain import POINT_COLUMNS, Basis, Calibration, calibrate_gain

SCHEMA_VERSION = 1
KIND = "calibration"
# From scores of every layer and k the last and the middle: what a study fixes in advance.
SCORE, K_FRACTION = "retained", 0.5
# A calibration speaks of studies of about its size.
_SIZE_FACTOR = 2.0
SAME = 1e-6


@dataclass(frozen=True)
class Evidence:
    """What a calibration rests on.

    Attributes:
        calibration: the predictor and its points.
        source: where the points are from, in words.
        n_texts: the fewest and the most texts that a point was trained on; None if not known.
    """

    calibration: Calibration
    source: str
    n_texts: tuple[int, int] | None

    def save(self, path: str | Path) -> None:
        """Write a calibration file.

        Raises:
            OutputError: it can't be written.
        """
        record = {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "source": self.source,
            "basis": self.calibration.basis,
            "coverage": self.calibration.coverage,
            "n_texts": self.n_texts,
            "points": self.calibration.points[list(POINT_COLUMNS)].to_dict(orient="records"),
        }
        write_text(Path(path), to_json(record))

    @classmethod
    def load(cls, path: str | Path | None = None) -> "Evidence":
        """Read a calibration file.

        Args:
            path: the file; None means that of ntpscore's own study.

        Raises:
            StudyError: it can't be read, or is no calibration of this version.
            DataError: its points can't be calibrated.
        """
        packaged = resources.files("ntpscore.forecast").joinpath("data/calibration.json")
        what = "calibration (`ntpscore study calibrate` makes one)"
        with resources.as_file(packaged) as own:
            read = Path(own if path is None else path)
            record = read_record(read, KIND, SCHEMA_VERSION, what, StudyError)
        if record.get("basis") not in get_args(Basis):
            raise StudyError(f"{path} has the basis {record.get('basis')!r}: probe or r2 is known")
        sizes = record["n_texts"]
        return cls(
            calibrate_gain(
                pd.DataFrame(record["points"]), coverage=record["coverage"], basis=record["basis"]
            ),
            str(record["source"]),
            None if sizes is None else (int(sizes[0]), int(sizes[1])),
        )


def forecast_gain(
    record: Mapping[str, Any], table: pd.DataFrame, evidence: Evidence
) -> dict[str, Any]:
    """What LoRA is likely to add on the texts of a result of `score`, where evidence reaches.

    Args:
        record: of a result of `score`.
        table: its scores, as `ScoreResult.table` gives them.
        evidence: whose basis is `r2`.

    Returns:
        `verdict` in words and `evidence`, with `gain`, `low`, `high`, `data_sets_near`, `headroom`,
        `coverage` and `predictor`; where nothing is forecast, numbers are None and the verdict says
        why.
    """
    calibration = evidence.calibration
    models = calibration.points["model"].unique()
    told = {
        "evidence": f"{evidence.source}: {calibration.points['data'].nunique()} data sets, "
        f"{', '.join(models)}; {calibration.coverage:.0%} interval by {calibration.predictor}",
        "predictor": calibration.predictor,
        "coverage": calibration.coverage,
    }
    nothing = dict.fromkeys(["gain", "low", "high", "data_sets_near", "headroom"])
    reason = _out_of_reach(record, evidence)
    if reason is None:
        headroom = 1 - float(record["layers"][-1]["r2_adjusted"])
        try:
            found = calibration.forecast(headroom, place=_place(record, table, calibration))
        except DataError as error:
            reason = str(error)
        else:
            return {**told, **asdict(found), "headroom": headroom, "verdict": found.verdict}
    return {**told, **nothing, "verdict": f"no forecast: {reason}"}


def _out_of_reach(record: Mapping[str, Any], evidence: Evidence) -> str | None:
    """Why the evidence says nothing of this result; None if it may."""
    models = evidence.calibration.points["model"].unique()
    data, model, top = record["data"], record["model"]["id"], record["layers"][-1]
    sizes = evidence.n_texts
    if evidence.calibration.basis != "r2":
        return "this calibration needs the probe's accuracy"
    if data["task"] != "classification":
        return f"the evidence is of classes, not of {data['task']}"
    if model not in models:
        return (
            f"the evidence is of {', '.join(models)}, not of {model} (`ntpscore study calibrate` "
            "makes one of your own)"
        )
    if sizes and not sizes[0] / _SIZE_FACTOR <= data["n_texts"] <= sizes[1] * _SIZE_FACTOR:
        return f"the evidence is of {sizes[0]} to {sizes[1]} texts, these are {data['n_texts']}"
    if top["layer"] != record["model"]["layers"] or top["r2_adjusted"] is None:
        return "it needs r2_adjusted of the last layer"
    return None


def _place(record: Mapping[str, Any], table: pd.DataFrame, calibration: Calibration) -> float:
    """Where the score stands among those of the same model on the calibration's data sets."""
    k = grid_of_k(record["model"]["width"])[round(K_FRACTION * GRID_STEPS) - 1]
    at = (table["score"] == SCORE) & (table["layer"] == table["layer"].max()) & (table["k"] == k)
    points = calibration.points
    others = points.loc[points["model"] == record["model"]["id"], "score"]
    score = float(table.loc[at, "value"].iloc[0])
    return float(((others < score) + 0.5 * (others == score)).mean())
