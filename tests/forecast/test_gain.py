"""Forecasts of the gain: against loops, on planted laws, and refused where nothing is known."""

import numpy as np
import pandas as pd
import pytest

from ntpscore.errors import DataError
from ntpscore.forecast.gain import calibrate_gain
from ntpscore.study.paper.published import points_with_gain
from tests.reference import study as literal
from tests.support.lora_points import made_points
from tests.tolerances import CLOSED_FORM, SIGMAS


def test_forecast_and_interval_equal_loops() -> None:
    points = made_points(0, of_headroom=0.3).drop(index=[3, 17]).sample(frac=1, random_state=1)
    calibration = calibrate_gain(points)
    assert calibration.predictor == "headroom"
    lists = [points[name].tolist() for name in ("headroom", "lora_gain", "data")]
    for headroom in (0.3, 0.5, 0.7):
        found = calibration.forecast(headroom)
        slope, start = np.polyfit(lists[0], lists[1], 1)
        assert found.gain == pytest.approx(start + slope * headroom, abs=CLOSED_FORM)
        expected = literal.jackknife_plus(lists[0], lists[1], lists[2], headroom, 0.8)
        assert (found.low, found.high) == pytest.approx(expected, abs=CLOSED_FORM)
        near = {d for h, d in zip(lists[0], lists[2], strict=True) if abs(h - headroom) <= 0.1}
        assert found.data_sets_near == len(near)


def test_comparison_is_of_data_sets_left_out() -> None:
    points = made_points(1, of_headroom=0.3, of_place=0.1)
    table = calibrate_gain(points).comparison.set_index("predictor")
    off, held = [], []
    for data in points["data"].unique():
        rest, out = points[points["data"] != data], points[points["data"] == data]
        slope, start = np.polyfit(rest["headroom"], rest["lora_gain"], 1)
        off += (out["lora_gain"] - start - slope * out["headroom"]).tolist()
        lists = [rest[name].tolist() for name in ("headroom", "lora_gain", "data")]
        for row in out.itertuples():
            low, high = literal.jackknife_plus(lists[0], lists[1], lists[2], row.headroom, 0.8)
            held.append(low <= row.lora_gain <= high)
    assert table.loc["headroom", "mae"] == pytest.approx(np.mean(np.abs(off)), abs=CLOSED_FORM)
    assert table.loc["headroom", "rmse"] == pytest.approx(
        np.sqrt(np.mean(np.square(off))), abs=CLOSED_FORM
    )
    assert table.loc["headroom", "covered"] == np.mean(held)


def test_errors_weigh_data_sets_alike_however_many_models_they_were_run_with() -> None:
    points = made_points(2, of_headroom=0.3, noise=0.1)
    # Three data sets with three models, the others with one.
    unequal = points[(points["model"] == "m0") | points["data"].isin(["d0", "d1", "d2"])]
    table = calibrate_gain(unequal).comparison.set_index("predictor")
    by_data = []
    for data in unequal["data"].unique():
        rest, out = unequal[unequal["data"] != data], unequal[unequal["data"] == data]
        by_data.append((out["lora_gain"] - rest["lora_gain"].median()).to_numpy())
    assert table.loc["constant", "mae"] == pytest.approx(
        np.mean([np.abs(off).mean() for off in by_data]), abs=CLOSED_FORM
    )
    assert table.loc["constant", "rmse"] == pytest.approx(
        np.sqrt(np.mean([(off**2).mean() for off in by_data])), abs=CLOSED_FORM
    )


def test_intervals_weigh_data_sets_alike_however_many_models_they_were_run_with() -> None:
    # Whose many models make the interval narrow, whose few make it wide.
    points = made_points(4, data_sets=8, of_headroom=0.3, noise=0.0)
    noise = {f"d{i}": size for i, size in enumerate([0.0] * 4 + [0.1, -0.15, 0.2, -0.25])}
    points["lora_gain"] += points["data"].map(noise)
    unequal = points[(points["model"] == "m0") | points["data"].isin(["d0", "d1", "d2", "d3"])]
    calibration = calibrate_gain(unequal, coverage=0.5)
    assert calibration.predictor == "headroom"
    lists = [unequal[name].tolist() for name in ("headroom", "lora_gain", "data")]
    for headroom in np.linspace(*calibration.headroom_range, 9):
        found = calibration.forecast(headroom)
        expected = literal.jackknife_plus(lists[0], lists[1], lists[2], headroom, 0.5)
        assert (found.low, found.high) == pytest.approx(expected, abs=CLOSED_FORM)


def test_places_run_from_the_lowest_score_of_a_model_to_its_highest() -> None:
    points = made_points(0)
    few = points[(points["model"] == "m0") | (points["data"].isin(["d3", "d4"]))]
    few = few[(few["model"] != "m2") | (few["data"] == "d3")]
    places = calibrate_gain(few).points.groupby("model")["place"].agg(["min", "max"])
    assert places.loc["m0"].tolist() == places.loc["m1"].tolist() == [0, 1]
    assert places.loc["m2"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("law", "predictor"),
    [
        ({}, "constant"),
        ({"of_headroom": 0.4}, "headroom"),
        ({"of_headroom": 0.4, "of_place": -0.3}, "headroom_and_score"),
    ],
)
def test_the_law_that_was_planted_is_chosen(law: dict[str, float], predictor: str) -> None:
    chosen = [calibrate_gain(made_points(seed, **law)).predictor for seed in range(10)]
    assert chosen.count(predictor) >= 7


def test_intervals_hold_a_new_data_set_as_often_as_promised() -> None:
    trials, held = 80, 0
    for seed in range(trials):
        points = made_points(seed, data_sets=7, of_headroom=0.3, noise=0.01)
        new = points["data"] == "d0"
        calibration = calibrate_gain(points[~new], coverage=0.7)
        row = points[new].iloc[0]
        low, high = calibration.headroom_range
        place = float(np.mean(points[~new & (points["model"] == "m0")]["score"] < row["score"]))
        found = calibration.forecast(float(np.clip(row["headroom"], low, high)), place=place)
        off = 0.3 * (row["headroom"] - np.clip(row["headroom"], low, high))
        held += found.low <= row["lora_gain"] - off <= found.high
    assert held / trials >= 0.7 - SIGMAS * np.sqrt(0.7 * 0.3 / trials)


def test_gain_is_one_that_an_accuracy_can_have() -> None:
    points = made_points(3, of_headroom=2.0, noise=0.5)
    calibration = calibrate_gain(points)
    for headroom in np.linspace(*calibration.headroom_range, 9):
        found = calibration.forecast(headroom, place=0.5)
        assert headroom - 1 <= found.low <= found.high <= headroom
        assert headroom - 1 <= found.gain <= headroom


def test_choice_hangs_on_the_data_sets_without_which_it_is_another() -> None:
    found: list[str] = []
    for seed in range(4):
        points = made_points(seed, data_sets=7, of_headroom=0.05)
        calibration = calibrate_gain(points, coverage=0.5)
        expected = tuple(
            data
            for data in points["data"].unique()
            if calibrate_gain(points[points["data"] != data], coverage=0.5).predictor
            != calibration.predictor
        )
        assert calibration.hangs_on == expected
        found += expected
    assert found
    clear = calibrate_gain(made_points(5, of_headroom=0.6, of_place=-0.4))
    assert (clear.predictor, clear.hangs_on) == ("headroom_and_score", ())


def test_forecasts_outside_of_what_was_seen_are_refused() -> None:
    calibration = calibrate_gain(made_points(6, of_headroom=0.4, of_place=-0.3))
    assert calibration.predictor == "headroom_and_score"
    for headroom in (0.01, 0.99, float("nan")):
        with pytest.raises(DataError, match="no forecast is made there"):
            calibration.forecast(headroom, place=0.5)
    for place in (None, 1.2):
        with pytest.raises(DataError, match="needs the place"):
            calibration.forecast(0.5, place=place)
    low = calibration.forecast(0.5, place=0.0)
    assert low.gain - calibration.forecast(0.5, place=1.0).gain == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize(
    ("points", "coverage", "message"),
    [
        (made_points(0).drop(columns="score"), 0.8, "lack the columns score"),
        (made_points(0).assign(score=np.nan), 0.8, "missing values"),
        (pd.concat([made_points(0)] * 2), 0.8, "stand twice"),
        (made_points(0, data_sets=4), 0.5, "4 data sets are too few"),
        (made_points(0, data_sets=6), 0.9, "at most 0.833"),
        (made_points(0), 0.0, "can't promise"),
    ],
)
def test_points_that_are_wrong_are_refused(
    points: pd.DataFrame, coverage: float, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        calibrate_gain(points, coverage=coverage)


def test_published_points_speak_for_headroom_and_against_the_score() -> None:
    usual = calibrate_gain(points_with_gain())
    assert usual.predictor == "headroom"
    assert usual.hangs_on == ("common_sense",)
    everything = calibrate_gain(points_with_gain(""))
    assert everything.predictor == "constant"
    assert everything.hangs_on == ("medical",)
    for calibration in (usual, everything):
        mae = calibration.comparison.set_index("predictor")["mae"]
        assert mae["headroom_and_score"] > mae["headroom"]
        assert (calibration.comparison["covered"] >= 0.8).all()


def test_published_headrooms_have_the_gap_that_the_documentation_names() -> None:
    assert points_with_gain()["headroom"].between(0.37, 0.75).sum() == 1
