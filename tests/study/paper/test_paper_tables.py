"""The paper's tables against loops over the rows."""

import numpy as np
import pandas as pd
import pytest

from ntpscore.errors import DataError
from ntpscore.study.paper.paper_tables import (
    changes_after_lora,
    probe_against_scratch,
    score_after_lora,
)
from tests.support.made_up_studies import DATA, MODELS, make_study

# Means of two numbers of order one, in per cent.
SAME = 1e-11


def mean_value(table: pd.DataFrame, **at: object) -> float:
    found = [
        row["value"]
        for row in table.to_dict("records")
        if all(row[key] == value for key, value in at.items())
    ]
    assert len(found) == 2
    return sum(found) / 2


def test_probe_against_scratch_is_the_mean_accuracy_in_per_cent() -> None:
    _, outcomes = make_study()
    missing = (outcomes["outcome"] == "scratch_accuracy") & (outcomes["model"] == MODELS[1])
    missing &= outcomes["data"] == "imdb"
    table = probe_against_scratch(outcomes[~missing])
    assert list(table.index) == list(DATA)
    columns = [(model, which) for model in MODELS for which in ("probe", "scratch")]
    assert [*table.columns] == [*columns]
    for data in DATA:
        for model, which in columns:
            found = table.loc[data, (model, which)]
            if (data, model, which) == ("imdb", MODELS[1], "scratch"):
                assert np.isnan(found)
                continue
            at = {"model": model, "data": data, "outcome": f"{which}_accuracy"}
            assert found == pytest.approx(100 * mean_value(outcomes, **at), abs=SAME)


def test_probe_against_scratch_wants_one_of_them() -> None:
    _, outcomes = make_study()
    only = outcomes[outcomes["outcome"] == "ols_mse"]
    with pytest.raises(DataError, match="hold none of probe_accuracy, scratch_accuracy"):
        probe_against_scratch(only)
    with pytest.raises(DataError, match="lack the columns outcome"):
        probe_against_scratch(outcomes.drop(columns="outcome"))
    table = probe_against_scratch(outcomes[outcomes["outcome"] == "probe_accuracy"])
    assert table.xs("scratch", axis=1, level=1).isna().all(axis=None)


def test_score_after_lora_compares_at_the_last_layer() -> None:
    scores, _ = make_study(0)
    rescored, _ = make_study(1)
    rescored = rescored[rescored["data"] != "imdb"]
    table = score_after_lora(scores, rescored, score="retained")
    assert list(table.index) == [data for data in DATA if data != "imdb"]
    for model in MODELS:
        for data in table.index:
            at = {"model": model, "data": data, "score": "retained", "layer": 2, "k_fraction": 0.5}
            before, after = mean_value(scores, **at), mean_value(rescored, **at)
            change = 100 * (after - before) / before
            np.testing.assert_allclose(
                table.loc[data, model].to_numpy(), [before, after, change], atol=SAME
            )


def test_a_score_below_zero_has_no_relative_change() -> None:
    scores, _ = make_study()
    scores = scores[scores["score"] == "r2"].assign(value=-0.1)
    after = score_after_lora(scores, scores.assign(value=0.1), score="r2")
    assert after.xs("change", axis=1, level=1).isna().all(axis=None)
    np.testing.assert_array_equal(after.xs("before", axis=1, level=1), -0.1)
    np.testing.assert_array_equal(after.xs("after", axis=1, level=1), 0.1)


def test_score_after_lora_without_anything_to_compare_is_refused() -> None:
    scores, _ = make_study()
    with pytest.raises(DataError, match="the rescored hold no value"):
        score_after_lora(scores, scores[:0], score="retained")
    with pytest.raises(DataError, match="no model and data set has 'retained' before and after"):
        score_after_lora(scores, scores, score="retained", k_fraction=0.3)


def test_changes_after_lora_count_data_sets() -> None:
    before, after = make_study(0)[0], make_study(1)[0]
    table = changes_after_lora(before, after)
    wide = score_after_lora(before, after, score="retained")
    changes = np.concatenate([wide[model, "change"] for model in MODELS])
    assert table.loc["retained", "rises"] == (changes > 0).sum()
    assert table.loc["retained", "falls"] == (changes < 0).sum()
    assert table.loc["retained", "rises"] + table.loc["retained", "falls"] == changes.size
    assert table.loc["retained", "change"] == pytest.approx(changes.mean())
    assert list(table.index) == list(before["score"].unique())
    with pytest.raises(DataError, match="before and after LoRA"):
        changes_after_lora(before, after[after["score"] == "r2"].assign(score="other"))
