"""Forecasts of LoRA compared on data sets they have not seen, against loops."""

from itertools import product

import numpy as np
import pytest

from ntpscore.errors import DataError, StudyError
from ntpscore.forecast.rules import RULES
from ntpscore.study.statistics.forecasts import (
    COLUMNS,
    PREDICTORS,
    compare_forecasts,
    forecast_points,
    make_evidence,
)
from tests.support.forecasts import study_records
from tests.tolerances import CLOSED_FORM


def test_points_hold_what_each_predictor_reads() -> None:
    points = forecast_points(study_records(8, seeds=2))
    assert len(points) == 16
    row = points[(points["data"] == "d4") & (points["seed"] == 1)].iloc[0]
    best = 0.3 + 0.6 * 4 / 8 + 0.01
    assert row["mean_token"] == row["last_token"] == pytest.approx(best)
    assert row["kernels"] == pytest.approx(best + 0.01)
    assert row["ridge_last"] == row["frozen"] == pytest.approx(best)
    assert row["lda"] == pytest.approx(best - 0.1)
    assert row["unexplained"] == pytest.approx(1 - best)
    assert row["probe_error"] == pytest.approx(1 - row["probe"])
    assert (row["n_texts"], row["classes"], row["width"]) == (1500, 6, 576)


def test_a_seed_without_readings_of_its_own_takes_the_mean_of_the_others() -> None:
    records = study_records(8, seeds=3)
    few = [r for r in records if not (r["seed"] == 2 and r["method"] in ("score", "probe"))]
    points = forecast_points(few).set_index(["data", "seed"])
    whole = forecast_points(records).set_index(["data", "seed"])
    for name in ("mean_token", "probe", "unexplained"):
        mean = (whole.loc[("d3", 0), name] + whole.loc[("d3", 1), name]) / 2
        assert points.loc[("d3", 2), name] == pytest.approx(mean)
    assert points.loc[("d3", 2), "lora_accuracy"] == whole.loc[("d3", 2), "lora_accuracy"]


def test_every_data_set_is_forecast_from_the_others() -> None:
    points = forecast_points(study_records(10))
    table = compare_forecasts(points).set_index("predictor")
    assert tuple(table.index) == PREDICTORS
    rows = points.to_dict(orient="records")
    wrong: dict[str, list[float]] = {name: [] for name in ("constant", "unexplained", "mean_token")}
    told = []
    for row in rows:
        rest = [other for other in rows if other["data"] != row["data"]]
        gains = [other["lora_accuracy"] - other["probe"] for other in rest]
        shift = np.mean([other["lora_accuracy"] - other["mean_token"] for other in rest])
        line = np.polyfit([other["unexplained"] for other in rest], gains, 1)
        for name, forecast in (
            ("constant", row["probe"] + np.median(gains)),
            ("unexplained", row["probe"] + np.polyval(line, row["unexplained"])),
            ("mean_token", row["mean_token"] + shift),
        ):
            wrong[name].append(abs(row["lora_accuracy"] - forecast))
        is_gain = row["lora_accuracy"] - row["frozen"] >= 0.05
        told.append((row["mean_token"] + shift - row["frozen"] >= 0.05) == is_gain)
    for name, errors in wrong.items():
        assert table.loc[name, "mean_error"] == pytest.approx(np.mean(errors), abs=CLOSED_FORM)
    assert table.loc["mean_token", "gain_told"] == np.mean(told)
    assert table.loc["mean_token", "mean_error"] < table.loc["constant", "mean_error"]
    assert table["held"].notna().tolist() == [name in RULES for name in PREDICTORS]


@pytest.mark.slow
def test_new_cells_are_forecast_from_known_ones_alone() -> None:
    points = forecast_points(study_records(8, seeds=2, models=2))
    known = ["m0--*/lora-0"]
    table = compare_forecasts(points, known)
    assert tuple(table.columns) == COLUMNS
    assert list(dict.fromkeys(table["cells"])) == ["known", "m0", "m1"]
    counts = table.set_index(["cells", "predictor"])["n"]
    for kind, name in product(("known", "m0", "m1"), PREDICTORS):
        assert counts[kind, name] == {"known": 8, "m0": 8, "m1": 16}[kind]
    # What LoRA reached on new cells does not move their forecasts.
    moved = points.copy()
    new = ~((points["model"] == "m0") & (points["seed"] == 0))
    moved.loc[new, "lora_accuracy"] += 0.3
    again = compare_forecasts(moved, known).set_index(["cells", "predictor"])
    before = table.set_index(["cells", "predictor"])
    assert again.loc["known"].equals(before.loc["known"])
    change = again.loc[("m1", "mean_token"), "mean_error"]
    assert change > before.loc[("m1", "mean_token"), "mean_error"] + 0.2


def test_evidence_is_of_means_over_seeds() -> None:
    points = forecast_points(study_records(8, seeds=2, models=2))
    evidence = make_evidence(points, "the study mine", rule="last_token")
    assert len(evidence.points) == 16
    row = evidence.points.set_index(["model", "data"]).loc[("m1", "d5")]
    mine = points[(points["model"] == "m1") & (points["data"] == "d5")]
    assert row["estimate"] == pytest.approx(mine["last_token"].mean())
    assert row["lora_accuracy"] == pytest.approx(mine["lora_accuracy"].mean())
    assert (evidence.samples_seen, evidence.rule) == (5000, "last_token")


def test_too_little_to_compare_is_told() -> None:
    records = study_records(8)
    with pytest.raises(StudyError, match="no accuracy of LoRA yet"):
        forecast_points([r for r in records if r["method"] != "lora"])
    with pytest.raises(StudyError, match="held-out accuracies beside it"):
        forecast_points([r for r in records if r["method"] != "score"])
    points = forecast_points(records)
    with pytest.raises(DataError, match="fewer than three data sets"):
        compare_forecasts(points, ["m0--d1/*", "m0--d2/*"])
    with pytest.raises(DataError, match="4 data sets are too few"):
        make_evidence(forecast_points(study_records(4)), "")
    # Seven data sets can promise three in four.
    assert make_evidence(forecast_points(study_records(7)), "").coverage == 0.75
