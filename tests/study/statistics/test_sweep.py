"""Tidy tables become a sweep: what is set side by side, left out and refused."""

import numpy as np
import pandas as pd
import pytest

from ntpscore.errors import DataError
from ntpscore.study.statistics.sweep import OUTCOMES, Sweep, make_sweep, tie_rounding

DATA = ["a", "b", "c", "d", "e"]


def score_table(
    layers: int = 3, model: str = "m", score: str = "s", ks: tuple[float, ...] = (0.25, 0.5)
) -> pd.DataFrame:
    """The value says where it stands: layer, k and data set."""
    rows = [
        (model, data, layer, k, score, layer + k + i / 1000)
        for layer in range(layers)
        for k in ks
        for i, data in enumerate(DATA)
    ]
    return pd.DataFrame(
        rows, columns=["model", "data", "layer", "k_fraction", "score", "value"]
    ).sample(frac=1, random_state=0)


def outcomes(model: str = "m", name: str = "lora_gain") -> pd.DataFrame:
    rows = [(model, data, name, i**2) for i, data in enumerate(DATA)]
    return pd.DataFrame(rows, columns=["model", "data", "outcome", "value"])


def sweep_of(of: pd.DataFrame, to: pd.DataFrame, outcome: str = "lora_gain") -> Sweep:
    return make_sweep(of, to, score="s", outcome=outcome)


def test_values_stand_where_they_belong() -> None:
    probe = outcomes(name="probe_accuracy").assign(value=lambda t: t["value"] / 100)
    sweep = sweep_of(score_table(), pd.concat([outcomes(), probe]))
    assert sweep.data == tuple(DATA)
    assert sweep.models == ("m",)
    assert sweep.values.shape == (1, 6, 5)
    for c in range(6):
        expected = sweep.layers[c, 0] + sweep.k_fractions[c] + np.arange(5) / 1000
        assert sweep.values[0, c] == pytest.approx(expected)
    assert sweep.layers[:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert sweep.last.tolist() == [2]
    assert sweep.outcomes.tolist() == [[0, 1, 4, 9, 16]]
    assert sweep.probe_error == pytest.approx(1 - np.arange(5)[None] ** 2 / 100)
    assert (sweep.sign, sweep.undefined, sweep.dropped) == (-1, 0, ())


def test_models_are_set_side_by_side_by_depth_and_shared_k() -> None:
    both = pd.concat([score_table(3), score_table(7, "big", ks=(0.5, 0.75))])
    sweep = sweep_of(both, pd.concat([outcomes(), outcomes("big")]))
    assert sweep.layers.tolist() == [[0, 0], [1, 3], [2, 6]]
    assert sweep.k_fractions.tolist() == [0.5] * 3
    assert sweep.values[1, :, 0] == pytest.approx([0.5, 3.5, 6.5])


def test_layers_of_a_deeper_model_are_the_nearest_in_depth() -> None:
    both = pd.concat([score_table(4), score_table(6, "big")])
    sweep = sweep_of(both, pd.concat([outcomes(), outcomes("big")]))
    assert sweep.layers[::2].tolist() == [[0, 0], [1, 2], [2, 3], [3, 5]]


def test_a_score_should_rise_with_accuracies_and_fall_with_errors_and_gains() -> None:
    assert OUTCOMES == {
        "ols_mse": -1, "logistic_accuracy": 1, "probe_accuracy": 1, "lora_accuracy": 1,
        "lora_gain": -1, "lora_gain_frozen": -1,
    }  # fmt: skip


def test_scores_without_layer_and_k_have_one_configuration() -> None:
    of = score_table(1, ks=(0.5,)).assign(layer=np.nan, k_fraction=np.nan)
    sweep = sweep_of(of, outcomes())
    assert sweep.values.shape == (1, 1, 5)
    assert sweep.layers.tolist() == [[-1]]
    assert np.isnan(sweep.k_fractions).all()
    with pytest.raises(DataError, match="with a layer and without"):
        sweep_of(pd.concat([of, score_table()]), outcomes())


def test_nothing_is_imputed() -> None:
    of = score_table()
    hole = (of["layer"] == 1) & (of["k_fraction"] == 0.5) & (of["data"] == "c")
    of.loc[hole, "value"] = np.nan
    flat = (of["layer"] == 0) & (of["k_fraction"] == 0.25)
    of.loc[flat, "value"] = 1.0
    sweep = sweep_of(of, outcomes().query("data != 'b'"))
    assert sweep.data == ("a", "c", "d", "e")
    assert sweep.dropped == ("b",)
    assert sweep.undefined == 2
    assert sweep.layers[:, 0].tolist() == [0, 1, 2, 2]
    empty = of["data"] == "c"
    assert "c" in sweep_of(of.assign(value=of["value"].mask(empty)), outcomes()).dropped


def test_what_rounding_leaves_apart_is_equal() -> None:
    row = np.array([0.3, 0.1 + 0.2, 0.5, 0.5 * (1 + 0.9e-6), 0.5 * (1 + 2.5e-6), -0.1, np.nan])
    found = tie_rounding(row)
    assert found[0] == found[1] == pytest.approx(0.3)
    assert found[2] == found[3] == 0.5
    assert found[4] == row[4]
    assert found[5] == -0.1
    assert np.isnan(found[6])
    # A difference of nothing is nothing beside the others.
    assert tie_rounding(np.array([[1e-17, 0.0, 0.7], [-1e-17, 1e-9, 0.7]])).tolist() == [
        [0.0, 0.0, 0.7], [-1e-17, 1e-9, 0.7],
    ]  # fmt: skip
    endless = np.array([np.inf, 2.0, np.inf, -np.inf, 2.0 + 1e-9, 3.0])
    assert tie_rounding(endless).tolist() == [np.inf, 2.0, np.inf, -np.inf, 2.0, 3.0]


def test_rounding_is_no_order_of_scores_or_outcomes() -> None:
    of = score_table(1, ks=(0.25, 0.5))
    # As r2 with fewer texts than features.
    saturated = of["k_fraction"] == 0.25
    noise = np.random.default_rng(0).random(len(of)) * 1e-13
    of["value"] = of["value"].mask(saturated, 1 - noise)
    to = outcomes()
    to["value"] = [0.3, 0.1 + 0.2, 0.5, 0.7, 0.9]
    sweep = sweep_of(of, to)
    assert sweep.undefined == 1
    assert sweep.k_fractions.tolist() == [0.5]
    assert sweep.outcomes[0, 0] == sweep.outcomes[0, 1]
    with pytest.raises(DataError, match="no configuration of 's' is defined on, and differs over"):
        sweep_of(of[saturated], to)


def test_the_last_layer_stays_the_last_where_it_is_undefined() -> None:
    of = score_table()
    of.loc[of["layer"] == 2, "value"] = np.nan
    sweep = sweep_of(of, outcomes())
    assert sweep.last.tolist() == [2]
    assert sweep.layers.max() == 1


@pytest.mark.parametrize(
    ("of", "to", "message"),
    [
        (score_table().drop(columns="layer"), outcomes(), "scores lack the columns layer"),
        (score_table(), outcomes().drop(columns="data"), "outcomes lack the columns data"),
        (pd.concat([score_table(), score_table()]), outcomes(), "two values for model m, data"),
        (score_table(), pd.concat([outcomes(), outcomes()]), "two values for model m"),
        (score_table(score="t"), outcomes(), "no score 's'"),
        (score_table(), outcomes().head(3), "3 data sets have both"),
        (score_table(), outcomes("other"), "0 data sets"),
        (score_table(), outcomes().assign(value=0.5), "lora_gain of m is 0.5 on every data set"),
        (score_table().assign(value=1.0), outcomes(), "no configuration of 's'"),
        (
            pd.concat([score_table(), score_table(2, "n", ks=(0.1,))]),
            pd.concat([outcomes(), outcomes("n")]),
            "share no k_fraction",
        ),
    ],
)
def test_tables_that_are_wrong_are_refused(
    of: pd.DataFrame, to: pd.DataFrame, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        sweep_of(of, to)


def test_names_and_signs_that_are_wrong_are_refused() -> None:
    with pytest.raises(DataError, match="no outcome 'loss'"):
        sweep_of(score_table(), outcomes(), "loss")
    with pytest.raises(DataError, match="no score 's' of x"):
        make_sweep(score_table(), outcomes(), score="s", outcome="lora_gain", models=["m", "x"])
    with pytest.raises(DataError, match="score_sign is 2"):
        make_sweep(score_table(), outcomes(), score="s", outcome="lora_gain", score_sign=2)
    assert (
        make_sweep(score_table(), outcomes(), score="s", outcome="lora_gain", score_sign=-1).sign
        == 1
    )
