"""What is said of a result of adapt is what its record and tables have."""

from dataclasses import asdict

import pandas as pd

from ntpscore.adapt import Evaluation
from ntpscore.report.adapt import adapt_article
from ntpscore.report.blocks import Figure, Section, Table
from tests.support.reports import LABELS, hostile_adapt


def sections(**changed: object) -> dict[str, Section]:
    result = hostile_adapt()
    result.record |= {key: one for key, one in changed.items() if key != "predictions"}
    if "predictions" in changed:
        result.predictions = changed["predictions"]
    return {one.title: one for one in adapt_article(result, "here").shown}


def test_test_texts_come_before_train_texts() -> None:
    told = sections()["The answer"].blocks[0]
    assert told == "Accuracy on the test texts: 80.0 % by probe, layer 3, mean token."
    assert "see it as a fit" in str(sections(test=None)["The answer"].blocks[0])


def test_train_and_test_data_are_not_mixed_up() -> None:
    found = sections()
    assert found["The data: train"].blocks[0].items["texts"] == 40
    assert found["The data: test"].blocks[0].items["texts"] == 3


def test_predictions_are_counted() -> None:
    (heat,) = sections()["Mistakes"].blocks
    assert isinstance(heat, Figure)
    rows = {row[0]: row[2:] for row in heat.table.rows}
    assert rows[LABELS[0]] == [1, 1, 1.0, 1 / 3]
    (loss,) = sections()["Training loss"].blocks
    assert loss.data[0]["y"] == [2.0, 1.5]
    (layers,) = sections()["By layer"].blocks
    assert layers.data[0]["y"] == [0, 0.25, 0.5, 0.75]


def test_targets_and_labels_have_their_own_forms() -> None:
    frame = pd.DataFrame({"label a": [1.0, 2.0], "predicted a": [1.5, 2.5]})
    fit = asdict(Evaluation("test", 2, r2=0.3, r2_interval=(0.1, 0.4), mse=0.7))
    found = sections(predictions=frame, test=fit, train=None)
    (points,) = found["Mistakes"].blocks
    assert (points.data[0]["x"], points.data[0]["y"]) == ([1, 2], [1.5, 2.5])
    assert str(found["The answer"].blocks[0]).startswith("Share of variance (R²) on the test texts")
    result = hostile_adapt()
    result.predictions = pd.DataFrame({"label a": [1, 0, 1], "predicted a": [1, 1, 0]})
    result.record["data"]["train"]["task"] = "multilabel"
    shown = {one.title: one for one in adapt_article(result, "").shown}
    (table,) = shown["Mistakes"].blocks
    assert isinstance(table, Table)
    assert table.rows == [["a", 2, 2, 1, 0.5, 0.5]]
