"""What the methods reached and cost, from cells."""

import pytest

from ntpscore.errors import DataError
from ntpscore.study.statistics.methods import COLUMNS, methods_table
from tests.support.studies import adapted_record


def test_methods_stand_in_order_with_intervals_and_the_price_in_scores() -> None:
    seconds = {"load_data": 1.0, "load_model": 3.0, "sanity_check": 1.0, "total": 25.0}
    keys = {"model": "m", "data": "moods", "seed": 0}
    records = [
        {**keys, "method": "lora", "record": adapted_record(0.75, 400.0)},
        {**keys, "method": "logistic", "record": adapted_record(0.5, 30.0, converged=0.4)},
        {**keys, "method": "score", "record": {"seconds": seconds}},
        {**keys, "method": "rank", "record": {}},
    ]
    table = methods_table(records)
    assert table["method"].tolist() == ["logistic", "logistic, converged", "lora"]
    assert tuple(table.columns) == ("model", "data", "method", *COLUMNS)
    assert table["test_accuracy"].tolist() == [0.5, 0.4, 0.75]
    assert table["low"].tolist() == pytest.approx([0.4, 0.3, 0.65])
    assert table["high"].tolist() == pytest.approx([0.6, 0.5, 0.85])
    assert table["macro_f1"].tolist() == [0.25, 0.2, 0.375]
    assert table["train_accuracy"].tolist() == [0.9, 1.0, 0.9]
    assert table["majority"].tolist() == [0.25] * 3
    assert table["seconds"].tolist() == [30, 30, 400]
    assert table["seconds_per_score"].tolist() == [1.5, 1.5, 20.0]


def test_seeds_are_averaged_and_a_price_without_a_score_is_not_known() -> None:
    records = [
        {"model": "m", "data": "moods", "seed": seed, "method": "probe",
         "record": adapted_record(accuracy, 10.0)}
        for seed, accuracy in enumerate((0.5, 0.7))
    ]  # fmt: skip
    (row,) = methods_table(records).to_dict(orient="records")
    assert row["test_accuracy"] == pytest.approx(0.6)
    assert row["seconds_per_score"] != row["seconds_per_score"]


def test_nothing_tested_is_refused() -> None:
    untested = {"model": "m", "data": "d", "seed": 0, "method": "ols", "record": {"test": None}}
    regression = {**untested, "record": {"test": {"accuracy": None, "accuracy_interval": None}}}
    for records in ([], [untested], [regression]):
        with pytest.raises(DataError, match="no method of `ntpscore adapt` was tested on classes"):
            methods_table(records)
