"""Results as tables, files and pictures."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ntpscore import Moments, ScoreResult, load_result
from ntpscore.core.controls import shuffled_labels
from ntpscore.core.grid import grid_of_k
from ntpscore.core.score_names import SCORES
from ntpscore.core.scores import ScoreTable, score_moments
from ntpscore.errors import OutputError
from ntpscore.scoring.best import find_best
from ntpscore.scoring.tables import COLUMNS, scores_frame
from tests.support.drawn import assert_legible
from tests.support.score_results import SHUFFLES, TEXTS, WIDTH, make_moments, make_result

ROUNDING = 1e-12  # numpy and torch sum in different orders


@pytest.fixture(scope="module")
def table() -> ScoreTable:
    return score_moments(make_moments())


@pytest.fixture
def result() -> ScoreResult:
    return make_result(make_moments())


@pytest.mark.parametrize(
    ("width", "grid"),
    [
        (20, list(range(1, 20))),
        (576, [step * 576 // 20 for step in range(1, 20)]),
        (4, [1, 2, 3]),
        (1, [1]),
    ],
)
def test_grid_of_k_is_the_papers(width: int, grid: list[int]) -> None:
    assert grid_of_k(width) == grid


def test_scores_frame_has_the_values_of_the_table(table: ScoreTable) -> None:
    frame = scores_frame(table, every_k=True)
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == len(SCORES) * 2 * WIDTH
    for name in SCORES:
        for i, layer in enumerate(table.layers):
            rows = frame[(frame["score"] == name) & (frame["layer"] == layer)]
            scores = table.by_layer[i]
            np.testing.assert_array_equal(rows["value"], scores.values[name])
            np.testing.assert_array_equal(rows["chance"], scores.chance[name])
            np.testing.assert_allclose(
                rows["shuffled_mean"], scores.shuffled[name].mean(0), atol=ROUNDING
            )
            np.testing.assert_allclose(
                rows["shuffled_sd"], scores.shuffled[name].std(0), atol=ROUNDING
            )
            np.testing.assert_array_equal(rows["basis_dependent"], scores.basis_dependent[name])
            np.testing.assert_allclose(rows["k_fraction"], np.arange(1, WIDTH + 1) / WIDTH)


def test_best_is_where_the_labels_add_most(table: ScoreTable) -> None:
    best = find_best(table, "retained")
    frame = scores_frame(table)
    rows = frame[frame["score"] == "retained"]
    excess = rows["value"] - rows["shuffled_mean"]
    top = rows.loc[excess.idxmax()]
    assert best is not None
    assert (best.layer, best.k) == (top["layer"], top["k"])
    assert best.value == top["value"]
    assert best.z == pytest.approx(
        (top["value"] - top["shuffled_mean"]) / top["shuffled_sd"], rel=1e-9
    )
    assert best.p in {i / (SHUFFLES + 1) for i in range(1, SHUFFLES + 2)}


def test_best_without_shuffles_compares_with_chance() -> None:
    table = score_moments(make_moments(shuffles=0))
    best = find_best(table, "supervised")
    frame = scores_frame(table)
    rows = frame[frame["score"] == "supervised"]
    top = rows.loc[(rows["value"] - rows["chance"]).idxmax()]
    assert best is not None
    assert (best.layer, best.k) == (top["layer"], top["k"])
    assert math.isnan(best.z)
    assert math.isnan(best.p)


@pytest.mark.slow
def test_p_of_labels_that_mean_nothing_is_uniform() -> None:
    """Over random labels p ≤ a as often as a, with the choice of layer and k counted in."""
    generator = torch.Generator().manual_seed(1)
    hidden_states = torch.randn(2, 40, 4, 6, generator=generator)
    small = 0
    runs, shuffles = 30, 9
    for seed in range(runs):
        labels = torch.randint(0, 2, (40,), generator=generator)
        moments = Moments(2, 6, 2, shuffles)
        shuffled = labels[shuffled_labels(40, shuffles, seed)]
        moments.update(hidden_states, torch.ones(40, 4), labels, shuffled)
        best = find_best(score_moments(moments), "retained")
        assert best is not None
        small += best.p <= 0.2
    # Binomial(30, 0.2): none at all in one of 800, more than 14 in one of 5,000.
    assert 0 < small <= 14


def test_saved_result_loads_the_same(result: ScoreResult, tmp_path: Path) -> None:
    folder = result.save(tmp_path / "out", keep_moments=True)
    assert sorted(path.name for path in folder.iterdir()) == [
        "held_out.csv",
        "moments.safetensors",
        "result.json",
        "scores.csv",
    ]
    again = load_result(folder)
    assert again.record == result.record
    pd.testing.assert_frame_equal(again.table(), result.table(), rtol=1e-12)
    pd.testing.assert_frame_equal(again.table(every_k=True), result.table(every_k=True))
    assert again.best == result.best
    assert again.advice == result.advice
    assert again.held_out == result.held_out
    assert str(again) == str(result)
    pd.testing.assert_frame_equal(again.accuracy, result.accuracy)
    pd.testing.assert_frame_equal(again.layers, result.layers)
    assert again.moments.n_texts == TEXTS


def test_every_k_can_be_written_and_the_grid_is_still_shown(
    result: ScoreResult, tmp_path: Path
) -> None:
    folder = result.save(tmp_path, every_k=True)
    frame = pd.read_csv(folder / "scores.csv")
    assert tuple(frame.columns) == COLUMNS
    assert sorted(frame["k"].unique()) == list(range(1, WIDTH + 1))
    pd.testing.assert_frame_equal(load_result(folder).table(), result.table(), rtol=1e-12)


def test_a_loaded_result_can_be_saved_elsewhere(result: ScoreResult, tmp_path: Path) -> None:
    loaded = load_result(result.save(tmp_path / "one", keep_moments=True))
    two = loaded.save(tmp_path / "two", keep_moments=True)
    assert load_result(two).moments.n_texts == TEXTS
    three = load_result(loaded.save(tmp_path / "three"))
    with pytest.raises(OutputError, match="only --keep-moments"):
        three.table(every_k=True)
    assert (two / "scores.csv").read_bytes() == (tmp_path / "one" / "scores.csv").read_bytes()


def test_result_json_is_strict(tmp_path: Path) -> None:
    folder = make_result(make_moments(shuffles=0)).save(tmp_path)
    text = (folder / "result.json").read_text()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    record = json.loads(text, parse_constant=refuse)
    assert record["best"]["retained"]["z"] is None


def test_plot_draws_layer_by_k(result: ScoreResult) -> None:
    import matplotlib.pyplot as plt

    ax = result.plot("expected")
    frame = result.table()
    rows = frame[frame["score"] == "expected"]
    drawn = ax.images[0].get_array()
    assert drawn.shape == (2, len(grid_of_k(WIDTH)))
    values = rows.pivot_table(index="layer", columns="k", values="value").to_numpy()
    # Rounding alone: both take a mean of two.
    np.testing.assert_allclose(drawn, values - values.mean(axis=0), atol=1e-15)
    low, high = ax.images[0].get_clim()
    assert -low == high == np.abs(drawn).max()
    assert_legible(ax.figure)
    ax.figure.savefig("/dev/null", format="png")
    plt.close("all")
    with pytest.raises(OutputError, match="no score 'nonsense'"):
        result.plot("nonsense")


def test_accuracy_is_drawn_by_layer_with_its_intervals_beside_words_and_majority(
    result: ScoreResult,
) -> None:
    import matplotlib.pyplot as plt

    ax = result.plot()
    assert_legible(ax.figure)
    assert ax.get_ylabel() == "accuracy on texts left aside (%)"
    assert ax.get_title().startswith("a $model$ on some_data")
    drawn = {str(line.get_label()): line.get_xydata() for line in ax.lines}
    of_layers = [name for name in drawn if name.startswith("frozen, ")]
    assert {*drawn} - {*of_layers} == {"words alone (TF-IDF)", "most frequent class"}
    assert drawn["words alone (TF-IDF)"][:, 1] == pytest.approx([65, 65])
    bands = [patch.get_paths()[0].get_extents() for patch in ax.collections]
    assert len(of_layers) == len(bands) > 0
    for name, band in zip(of_layers, bands, strict=True):
        rows = result.accuracy
        rows = rows[rows["pooling"] == name.removeprefix("frozen, ").removesuffix(" token")]
        assert drawn[name][:, 1] == pytest.approx(100 * rows["accuracy"])
        assert band.y0 == pytest.approx(100 * rows["accuracy_low"].min())
        assert band.y1 == pytest.approx(100 * rows["accuracy_high"].max())
    (words,) = ax.patches
    assert (words.get_y(), words.get_height()) == pytest.approx((57, 15))
    plt.close("all")


def test_save_plot_writes_a_picture(result: ScoreResult, tmp_path: Path) -> None:
    result.save_plot(tmp_path / "heat.png", "subspace")
    result.save_plot(tmp_path / "heat.png")
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OutputError, match=r"can't draw into .*heat\.docx"):
        result.save_plot(tmp_path / "heat.docx")
    with pytest.raises(OutputError, match="can't draw into"):
        result.save_plot(tmp_path / "nowhere" / "heat.png")
    assert [path.name for path in tmp_path.iterdir()] == ["heat.png"]


@pytest.mark.parametrize("lost", ["result.json", "scores.csv"])
def test_load_result_says_what_is_missing(result: ScoreResult, tmp_path: Path, lost: str) -> None:
    folder = result.save(tmp_path)
    (folder / lost).unlink()
    with pytest.raises(OutputError, match=f"{lost} is missing"):
        load_result(folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("result.json", "{", "can't be read"),
        ("result.json", "[1, 2]", "is no result of score"),
        ("result.json", '{"schema_version": 99}', "schema version 99"),
        ("scores.csv", "a,b\n1,2\n", "not the file that was written"),
        ("result.json", '{"schema_version": 3, "kind": "score"}', "no checksum"),
    ],
)
def test_load_result_says_what_is_wrong(
    result: ScoreResult, tmp_path: Path, name: str, text: str, message: str
) -> None:
    folder = result.save(tmp_path)
    (folder / name).write_text(text)
    with pytest.raises(OutputError, match=message):
        load_result(folder)


def test_result_without_moments_or_scores_says_so() -> None:
    empty = ScoreResult({"model": {"width": 4}})
    with pytest.raises(OutputError, match="no moments"):
        _ = empty.moments
    with pytest.raises(OutputError, match="no scores"):
        empty.table()
