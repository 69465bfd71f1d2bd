"""Rules that choose layer and k."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from ntpscore.errors import DataError
from ntpscore.study.statistics import rules, tables
from ntpscore.study.statistics.rules import (
    BEST,
    LEFT_OUT,
    SELECTION_RULES,
    chosen_scores,
    compare_rules,
)
from ntpscore.study.statistics.sweep import make_sweep
from tests.reference import study as literal
from tests.support.studies import made_up_records


def test_every_rule_reads_the_score_where_it_says() -> None:
    (record, *_) = made_up_records(1, layers=7)
    rows = record["record"]["layers"]
    k90 = [int(np.ceil(row["next_token_k90"] / 2 - 1e-9)) for row in rows]
    fit = max(range(7), key=lambda layer: rows[layer]["r2_adjusted"])
    chosen = chosen_scores([record])
    assert set(chosen["rule"]) == set(SELECTION_RULES)
    for score, found in chosen.groupby("score"):
        grid = record["scores"][score]
        z = np.array(grid["z"])
        peak = np.unravel_index(z.argmax(), z.shape)
        # The middle of the grid is its tenth step, index 9.
        expected = {
            "last layer, k/d 0.5": (6, 9), "last layer, k90": (6, k90[6] - 1),
            "depth 2/3, k/d 0.5": (4, 9), "depth 2/3, k90": (4, k90[4] - 1),
            "r2 layer, k/d 0.5": (fit, 9), "r2 layer, k90": (fit, k90[fit] - 1),
            "z peak": tuple(peak),
        }  # fmt: skip
        for _, row in found.iterrows():
            layer, j = expected[row["rule"]]
            j = min(max(j, 0), 18)
            assert row["layer"] == layer
            assert row["value"] == grid["value"][layer][j]


def test_two_thirds_of_ten_layers_is_the_sixth_and_k_stays_on_the_grid() -> None:
    (record, *_) = made_up_records(1, layers=10)
    for row, k90 in zip(record["record"]["layers"], [1, 40] * 5, strict=True):
        row["next_token_k90"] = k90  # of 40: beyond the grid, which ends at 38
    chosen = chosen_scores([record]).set_index(["score", "rule"])
    grid = record["scores"]["retained"]["value"]
    assert chosen.loc[("retained", "depth 2/3, k/d 0.5"), "layer"] == 6
    assert chosen.loc[("retained", "depth 2/3, k90"), "value"] == grid[6][0]
    assert chosen.loc[("retained", "last layer, k90"), "value"] == grid[9][18]


def test_a_peak_is_above_the_shuffles() -> None:
    (record, *_) = made_up_records(1)
    record["scores"]["subspace"]["z"][2][5] = -50.0
    record["scores"]["subspace"]["z"][1][7] = 9.0
    chosen = chosen_scores([record]).set_index(["score", "rule"])
    assert chosen.loc[("subspace", "z peak"), "layer"] == 1
    value = record["scores"]["subspace"]["value"][1][7]
    assert chosen.loc[("subspace", "z peak"), "value"] == value


def test_a_rule_without_anything_to_go_by_has_no_row() -> None:
    (record, *_) = made_up_records(1)
    record["scores"]["retained"]["z"] = [[None] * 19] * 4
    for row in record["record"]["layers"]:
        row["r2_adjusted"] = None
    chosen = chosen_scores([record])
    of_retained = set(chosen.loc[chosen["score"] == "retained", "rule"])
    assert of_retained == {rule for rule in SELECTION_RULES if "r2" not in rule and "z" not in rule}


@pytest.mark.slow
def test_r_of_a_rule_is_that_of_the_values_it_chose() -> None:
    records = made_up_records(7, seeds=2)
    table = compare_rules(records, outcomes=["lora_gain"], permutations=200)
    chosen = chosen_scores(records)
    outcomes = tables.outcomes_table(records)
    for rule in SELECTION_RULES:
        values = chosen[(chosen["rule"] == rule) & (chosen["score"] == "supervised")]
        x = values.groupby("data")["value"].mean()
        y = outcomes[outcomes["outcome"] == "lora_gain"].groupby("data")["value"].mean()
        row = table[(table["rule"] == rule) & (table["score"] == "supervised")]
        (found,) = row[row["outcome"] == "lora_gain"]["r"]
        assert found == pytest.approx(spearmanr(x, y[x.index]).statistic)
    best = table[(table["rule"] == BEST) & (table["outcome"] == "lora_gain")].set_index("score")
    # A gain is expected to fall as a score rises: the best r is the lowest.
    assert (best["r"] < 0).all()
    assert (best["p"] > 0.01).all()
    assert set(table["rule"]) == {*SELECTION_RULES, BEST, LEFT_OUT}
    left_out = table[(table["rule"] == LEFT_OUT) & (table["outcome"] == "lora_gain")]
    cells = tables.mean_over_seeds(tables.scores_table(records))
    gains = tables.mean_over_seeds(outcomes)
    sweep = make_sweep(cells, gains, score="supervised", outcome="lora_gain")
    r, _ = literal.left_out_data(sweep.values.tolist(), sweep.outcomes.tolist(), -1)
    assert left_out.set_index("score").loc["supervised", "r"] == pytest.approx(-r)


def test_too_little_to_compare_is_told() -> None:
    with pytest.raises(DataError, match="no cell of the method score"):
        compare_rules([])
    with pytest.raises(DataError, match=r"no score and ols_mse or .* are known of four data sets"):
        compare_rules(made_up_records(3))
    with pytest.raises(DataError, match="no outcome fame: choose from ols_mse, "):
        compare_rules(made_up_records(4), outcomes=["fame"])


@pytest.mark.slow
def test_chosen_outcomes_have_the_rows_that_they_have_among_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, "SCORES", ("algorithm1", "retained"))
    records = made_up_records(4)
    both = compare_rules(records, outcomes=["probe_accuracy", "lora_gain"], permutations=24)
    one = compare_rules(records, outcomes=["lora_gain"], permutations=24)
    expected = both[both["outcome"] == "lora_gain"].reset_index(drop=True)
    pd.testing.assert_frame_equal(one, expected)
