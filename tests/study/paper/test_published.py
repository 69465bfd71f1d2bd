"""The published points give the published correlations."""

import pandas as pd
import pytest

from ntpscore.errors import DataError
from ntpscore.study.paper.published import (
    COLUMNS,
    correlate_published,
    load_published,
    plot_published,
)
from tests.support.drawn import assert_legible, names, panels
from tests.tolerances import PUBLISHED_R

# |r| of accuracy, mse and LoRA gain that the authors' points were said to have.
STATED = {
    "Qwen2-0.5B": (0.69, 0.70, 0.77),
    "Qwen2-1.5B": (0.64, 0.68, 0.67),
    "Qwen2-7B": (0.82, 0.68, 0.59),
    "OpenELM-270M": (0.57, 0.42, 0.87),
    "OpenELM-450M": (0.52, 0.46, 0.87),
    "OpenELM-1_1B": (0.73, 0.43, 0.90),
    "OpenELM-3B": (0.66, 0.73, 0.52),
    "Meta-Llama-3-8B": (0.72, 0.52, 0.40),
}


def test_there_are_96_points_of_eight_models_and_twelve_data_sets() -> None:
    points = load_published()
    assert len(points) == 96
    assert points.groupby("model")["data"].nunique().tolist() == [12] * 8
    assert ((points["lora"] - points["probe"]) == points["lora_gain"]).all()
    assert ((1 - points["probe"]) == points["probe_error"]).all()


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return correlate_published()


def test_published_correlations_are_reproduced(table: pd.DataFrame) -> None:
    assert tuple(table.columns) == COLUMNS
    everything = table[table["without"] == ""]
    for model, stated in STATED.items():
        rows = everything[everything["model"].str.endswith("/" + model)].set_index("outcome")
        for outcome, r, sign in zip(("accuracy", "mse", "lora_gain"), stated, (1, -1, -1),
                                    strict=True):  # fmt: skip
            if (model, outcome) != ("Meta-Llama-3-8B", "mse"):
                assert rows.loc[outcome, "r"] == pytest.approx(sign * r, abs=PUBLISHED_R)
        assert (rows["n"] == 12).all()
    # Stated as .52; the points give .54.
    llama = everything[everything["model"].str.contains("Llama")].set_index("outcome")
    assert llama.loc["mse", "r"] == pytest.approx(-0.54, abs=PUBLISHED_R)


def test_without_medical_probe_error_says_about_as_much_of_the_gain(table: pd.DataFrame) -> None:
    gains = table[(table["outcome"] == "lora_gain") & (table["without"] == "medical")]
    assert (gains["n"] == 11).all()
    assert gains["r_probe_error"].mean() == pytest.approx(0.61, abs=PUBLISHED_R)
    assert gains["r"].mean() == pytest.approx(-0.66, abs=PUBLISHED_R)
    others = table[table["outcome"] != "lora_gain"]
    assert others[["r_probe_error", "r_given_probe_error"]].isna().all(axis=None)


@pytest.mark.slow
def test_the_figure_has_every_point_by_name_and_r_with_its_interval(table: pd.DataFrame) -> None:
    figure = plot_published(table)
    assert_legible(figure)
    gains = load_published().groupby("model", sort=False)
    for ax, (model, part) in zip(panels(figure), gains, strict=True):
        every, rest = table[(table["model"] == model) & (table["outcome"] == "lora_gain")]["r"]
        assert f"r = {every:.2f} (" in ax.get_title()
        assert f"r = {rest:.2f} (" in ax.get_title()
        assert sorted(names(ax)) == sorted(name.rpartition("/")[2] for name in part["data"])
        full, hollow = (line for line in ax.lines if line.get_marker() == "o")
        assert (len(full.get_xdata()), len(hollow.get_xdata())) == (11, 1)
        gain = 100 * part.loc[part["data"].str.contains("medical"), "lora_gain"]
        assert hollow.get_ydata() == pytest.approx(gain.to_numpy())


@pytest.mark.parametrize(
    ("without", "message"), [("nothing", "no data set is called"), ("", "there are"),
                             ("i", "fewer than 4")]
)  # fmt: skip
def test_data_sets_that_cant_be_left_out_are_refused(without: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        correlate_published(without)
