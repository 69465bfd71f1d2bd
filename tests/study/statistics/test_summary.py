"""The row of a score: every figure in its place, with the sign it has."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ntpscore.errors import DataError
from ntpscore.study.statistics.correlation import (
    partial_spearman,
    regret_at_1,
    spearman,
    weighted_kendall,
)
from ntpscore.study.statistics.summary import (
    COLUMNS,
    SummaryConfig,
    fixed_configuration,
    summary_row,
    summary_table,
)
from tests.support.sweeps import random_sweep

QUICK = SummaryConfig(permutations=100, left_out_permutations=50, resamples=50)
DATA = [f"d{i}" for i in range(8)]


def study(rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two models, a score with layers and k that follows the outcomes, a rival with neither."""
    scores, outcomes = [], []
    for model, layers in (("small", 3), ("large", 4)):
        for i, data in enumerate(DATA):
            for outcome in ("ols_mse", "probe_accuracy", "lora_gain"):
                sign = -1 if outcome != "probe_accuracy" else 1
                outcomes.append((model, data, outcome, (sign * i + 1.5 * rng.normal()) / 10))
            for layer in range(layers):
                for k in (0.25, 0.5):
                    scores.append((model, data, layer, k, "subspace", i + rng.normal() * 3))  # noqa: PERF401
            scores.append((model, data, None, None, "rival", -i + rng.normal()))
    return (
        pd.DataFrame(scores, columns=["model", "data", "layer", "k_fraction", "score", "value"]),
        pd.DataFrame(outcomes, columns=["model", "data", "outcome", "value"]),
    )


def test_table_has_a_row_per_score_outcome_model_and_omission() -> None:
    scores, outcomes = study(np.random.default_rng(0))
    table = summary_table(scores, outcomes, without=["d3"], score_signs={"rival": -1}, config=QUICK)
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 2 * 3 * 2 * 3
    assert set(table["model"]) == {"small", "large", "all"}
    assert (table["n"] == table["without"].map({"": 8, "d3": 7})).all()
    signs = table.groupby(["score", "outcome"])["expected"].unique().map(list).to_dict()
    assert signs["subspace", "ols_mse"] == signs["rival", "probe_accuracy"] == [-1]
    assert signs["subspace", "probe_accuracy"] == signs["rival", "lora_gain"] == [1]
    assert (table["r_fixed"] * table["expected"] > 0).mean() > 0.9
    several = table["model"] == "all"
    assert table.loc[several, "r_left_out_model"].notna().all()
    assert table.loc[~several, "r_left_out_model"].isna().all()
    rival = table[table["score"] == "rival"]
    assert rival["fixed_layer"].isna().all()
    assert (rival["r_fixed"] == rival["r_best"]).all()
    assert (rival["configurations"] == 1).all()
    assert (table["p_family"] >= table["p_best"]).all()
    assert (table["best_low"] <= table["r_best"]).all()
    assert (table["best_high"] >= table["r_best"]).all()
    given = table.groupby("outcome")["r_best_given_probe_error"].count()
    assert given["probe_accuracy"] == 0
    assert given["lora_gain"] == given["ols_mse"] == 12


@pytest.mark.slow
def test_scores_are_set_against_r2_of_the_last_layer_too() -> None:
    scores, outcomes = study(np.random.default_rng(7))
    rng = np.random.default_rng(8)
    fits = pd.DataFrame(
        [
            (model, data, layer, np.nan, "r2", rng.random())
            for model, layers in (("small", 3), ("large", 4))
            for data in DATA
            for layer in range(layers)
        ],
        columns=scores.columns,
    )
    both = pd.concat([scores, fits])
    table = summary_table(both, outcomes, only=["subspace"], config=QUICK)
    assert set(table["score"]) == {"subspace"}
    rows = table[table["outcome"] == "lora_gain"].set_index("model")["r_fixed_given_r2"]
    found = {}
    for model, last in (("small", 2), ("large", 3)):
        at_last = both[(both["model"] == model) & (both["layer"] == last)]
        score = at_last[(at_last["score"] == "subspace") & (at_last["k_fraction"] == 0.5)]
        lists = [
            frame.set_index("data")["value"][DATA].to_numpy()
            for frame in (
                score,
                outcomes[(outcomes["model"] == model) & (outcomes["outcome"] == "lora_gain")],
                at_last[at_last["score"] == "r2"],
            )
        ]
        found[model] = partial_spearman(*lists)
    assert rows["small"] == pytest.approx(found["small"])
    assert rows["large"] == pytest.approx(found["large"])
    assert rows["all"] == pytest.approx(np.mean(list(found.values())))
    # It orders as itself.
    itself = summary_table(both, outcomes, only=["r2"], config=QUICK)
    assert itself["r_fixed_given_r2"].isna().all()
    without = summary_table(scores, outcomes, config=QUICK)
    assert without["r_fixed_given_r2"].isna().all()


def test_rows_of_models_are_over_all_their_data_sets_and_that_of_all_over_the_shared() -> None:
    scores, outcomes = study(np.random.default_rng(1))
    scores = scores[scores["score"] == "subspace"]
    lacking = outcomes[~((outcomes["model"] == "large") & (outcomes["data"] == "d7"))]
    table = summary_table(scores, lacking, config=QUICK).set_index(["model", "outcome"])
    assert table["n"].groupby("model").unique().map(list).to_dict() == {
        "small": [8], "large": [7], "all": [7],
    }  # fmt: skip
    # One permutation of the data sets can't serve both.
    assert table.loc[["small", "large"], "p_family"].isna().all()
    assert (table.loc["all", "p_family"] == table.loc["all", "p_best"]).all()
    alone = summary_table(scores[scores["model"] == "small"], lacking, config=QUICK)
    assert alone["model"].tolist() == ["small"] * 3
    for column in ("n", "r_fixed", "r_best", "p_best", "r_left_out"):
        assert alone[column].tolist() == table.loc["small", column].tolist()


def test_a_model_with_too_few_data_sets_does_not_take_the_others_along() -> None:
    scores, outcomes = study(np.random.default_rng(1))
    scores = scores[scores["score"] == "subspace"]
    few = outcomes[(outcomes["model"] == "small") | outcomes["data"].isin(["d0", "d1", "d2"])]
    table = summary_table(scores, few, config=QUICK).set_index("model")
    assert (table.loc["small", "n"] == 8).all()
    assert (table.loc["small", "reason"] == "").all()
    assert table.loc["large", "reason"].str.contains("under large").all()
    assert table.loc["all", "reason"].str.contains("under small, large").all()


def test_a_score_that_is_defined_nowhere_says_why_beside_the_others() -> None:
    scores, outcomes = study(np.random.default_rng(6))
    scores.loc[scores["score"] == "rival", "value"] = np.nan
    table = summary_table(scores, outcomes, config=QUICK)
    empty = table["score"] == "rival"
    assert table.loc[empty, "model"].tolist() == ["all"] * 3
    assert table.loc[empty, "reason"].str.startswith("0 data sets have both").all()
    assert table.loc[empty, "r_best"].isna().all()
    assert (table.loc[~empty, "reason"] == "").all()
    assert table.loc[~empty, "r_best"].notna().all()


@pytest.mark.parametrize("outcome", ["lora_gain", "ols_mse"])
def test_row_of_one_model(outcome: str) -> None:
    rng = np.random.default_rng(2)
    probe_error = rng.random((1, 12))
    sweep = replace(
        random_sweep(rng, sign=-1, configurations=9), outcome=outcome, probe_error=probe_error
    )
    row = summary_row(sweep, QUICK)
    x, y, z = sweep.values[0], sweep.outcomes[0], probe_error[0]
    r = [spearman(one, y) for one in x]
    assert row["r_fixed"] == pytest.approx(r[-1])
    assert row["r_best"] == pytest.approx(min(r))
    assert row["best_layer"] == int(np.argmin(r))
    assert row["share_expected"] == pytest.approx(np.mean(np.array(r) < 0))
    assert row["r_fixed_given_probe_error"] == pytest.approx(partial_spearman(x[-1], y, z))
    # The score falls where the gain, or the error, rises: a low score promises the largest gain,
    # a high one the smallest error.
    promise, good = (-x[-1], y) if outcome == "lora_gain" else (x[-1], -y)
    assert row["tau_fixed"] == pytest.approx(-weighted_kendall(promise, good))
    assert row["regret_fixed"] == pytest.approx(regret_at_1(promise, good))


def test_best_configuration_is_set_against_the_probe_error() -> None:
    sweep = random_sweep(np.random.default_rng(2), configurations=9)
    probe_error = np.random.default_rng(3).random((1, 12))
    row = summary_row(replace(sweep, probe_error=probe_error), QUICK)
    best = int(row["best_layer"])
    assert best not in (0, 8)
    expected = partial_spearman(sweep.values[0, best], sweep.outcomes[0], probe_error[0])
    assert row["r_best_given_probe_error"] == pytest.approx(expected)


def test_interval_of_the_fixed_configuration_is_that_of_its_own_r() -> None:
    sweep = random_sweep(np.random.default_rng(6), configurations=9)
    row = summary_row(sweep, QUICK)
    alone = replace(
        sweep, values=sweep.values[:, -1:], layers=sweep.layers[-1:], k_fractions=np.array([0.5])
    )
    one = summary_row(alone, QUICK)
    assert row["best_layer"] != row["fixed_layer"]
    for name in ("fixed_low", "fixed_high", "r_fixed"):
        assert row[name] == pytest.approx(one[name])


def test_share_of_the_expected_sign_is_of_models_too() -> None:
    sweep = random_sweep(np.random.default_rng(7), models=3, configurations=11, sign=-1)
    r = [[spearman(x, y) for x in own] for own, y in zip(sweep.values, sweep.outcomes, strict=True)]
    share = summary_row(sweep, QUICK)["share_expected"]
    assert share == pytest.approx(np.mean(np.array(r) < 0))
    assert share != pytest.approx(np.mean(np.mean(r, axis=0) < 0))


@pytest.mark.parametrize("sign", [1, -1])
def test_r_without_a_data_set_or_a_model_has_the_sign_it_has(sign: int) -> None:
    sweep = random_sweep(np.random.default_rng(5), models=3, sign=sign, signal=0.9)
    row = summary_row(sweep, QUICK)
    for name in ("r_fixed", "r_best", "r_left_out", "r_left_out_model"):
        assert sign * row[name] > 0.5


def test_an_r_of_zero_has_no_sign() -> None:
    # Orders of nine data sets that have nothing in common: their products of ranks add up to
    # nothing, but for the rounding.
    rng = np.random.default_rng(0)
    y = np.arange(9.0)
    permuted = (rng.permutation(9) for _ in range(5000))
    orders = [x for x in permuted if (x - 4) @ (y - 4) == 0][:40]
    sweep = random_sweep(rng, configurations=len(orders), data_sets=9)
    flat = replace(sweep, values=np.array([orders], dtype=float), outcomes=y[None])
    assert summary_row(flat, QUICK)["share_expected"] == 0
    assert summary_row(replace(flat, sign=-1), QUICK)["share_expected"] == 0


def test_row_of_several_models_takes_means_and_chooses_models() -> None:
    sweep = random_sweep(np.random.default_rng(3), models=3, configurations=5)
    row = summary_row(sweep, QUICK)
    pairs = list(zip(sweep.values[:, -1], sweep.outcomes, strict=True))
    assert row["model"] == "all"
    assert row["r_fixed"] == pytest.approx(np.mean([spearman(*pair) for pair in pairs]))
    regrets = [regret_at_1(sweep.values[:, -1, i], sweep.outcomes[:, i]) for i in range(12)]
    assert row["regret_fixed"] == pytest.approx(np.mean(regrets))


def test_fixed_configuration_is_the_last_layer_or_none() -> None:
    sweep = random_sweep(np.random.default_rng(4), configurations=4)
    assert fixed_configuration(sweep, 0.5) == 3
    assert fixed_configuration(sweep, 0.25) is None
    assert fixed_configuration(replace(sweep, last=np.array([4])), 0.5) is None
    row = summary_row(sweep, replace(QUICK, fixed_k_fraction=0.25))
    assert all(math.isnan(row[name]) for name in ("r_fixed", "p_fixed", "tau_fixed"))
    assert not math.isnan(row["r_best"])


def test_what_cant_be_summarised_is_refused() -> None:
    scores, outcomes = study(np.random.default_rng(5))
    with pytest.raises(DataError, match="scores lack the columns data"):
        summary_table(scores.drop(columns="data"), outcomes)
    with pytest.raises(DataError, match="hold none of ols_mse"):
        summary_table(scores, outcomes.replace("ols_mse", "loss").query("outcome == 'loss'"))
    with pytest.raises(DataError, match=r"score_signs holds \{'rival': 0\}"):
        summary_table(scores, outcomes, score_signs={"rival": 0})
    with pytest.raises(DataError, match="can't leave out d9"):
        summary_table(scores, outcomes, without=["d9"])
    with pytest.raises(DataError, match="fixed_k_fraction is 0"):
        SummaryConfig(fixed_k_fraction=0)
    with pytest.raises(DataError, match="resamples is 0"):
        SummaryConfig(resamples=0)
