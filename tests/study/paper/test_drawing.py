"""The figures and tables of a study as files."""

from pathlib import Path

import pandas as pd
import pytest

from ntpscore.errors import StudyError
from ntpscore.study.paper.drawing import draw_study
from ntpscore.study.paper.loss_plot import plot_training_losses
from ntpscore.study.paper.scatter import (
    plot_accuracy_against_score,
    plot_gain_against_score,
)
from ntpscore.study.statistics.tables import StudyTables, losses_table, outcomes_table, scores_table
from tests.support import studies
from tests.support.drawn import assert_legible, names, panels
from tests.support.paths import ROOT
from tests.support.studies import patch_records


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> StudyTables:
    patch_records(monkeypatch)
    return StudyTables.load("anywhere")


@pytest.mark.slow
def test_what_there_is_is_drawn_and_what_is_missing_is_said(
    tables: StudyTables, tmp_path: Path
) -> None:
    drawn, missing = draw_study(tables, tmp_path, score="retained", choice="fixed")
    names = {path.name for path in drawn}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert names >= {
        "figure_3_retained.png", "figure_s1.png", "sweep_retained_lora_gain_m.png", "table_1.csv",
        "table_2_retained.csv",
    }  # fmt: skip
    # There is no logistic regression among the made-up cells.
    assert "sweep_retained_logistic_accuracy_m" in missing
    table = pd.read_csv(tmp_path / "table_2_retained.csv", index_col=0)
    assert (table["m before"] == table["m after"]).all()


def test_an_unknown_score_is_named(tables: StudyTables, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no score 'vibes'"):
        draw_study(tables, tmp_path, score="vibes")


def test_scores_before_lora_are_those_of_the_seeds_that_were_scored_again() -> None:
    records = studies.made_up_records(2, seeds=2)
    kept = [r for r in records if r["method"] != "lora" or r["seed"] == 1]
    for record in kept:
        if record["method"] == "lora":
            record["rescored"] = {"record": records[0]["record"], "scores": records[0]["scores"]}
    scores, after = scores_table(kept), scores_table(kept, rescored=True)
    assert set(after["seed"]) == {1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ntpscore.study.statistics.tables.load_records", lambda _: kept)
        tables = StudyTables.load("anywhere")
    of_one = scores[(scores["seed"] == 1) & (scores["score"] == "retained")]["value"].tolist()
    before = tables.before_lora
    assert before[before["score"] == "retained"]["value"].tolist() == pytest.approx(of_one)
    assert losses_table(kept).empty
    assert set(outcomes_table(kept)["seed"]) == {0, 1}


@pytest.mark.slow
def test_figures_of_our_own_study_can_be_read() -> None:
    tables = StudyTables.load(ROOT / "results" / "smollm2")
    for plot in (plot_accuracy_against_score, plot_gain_against_score):
        figure = plot(tables.scores, tables.outcomes, score="published")
        assert_legible(figure)
        assert len(panels(figure)) == 4
        assert all(len(names(ax)) == 12 for ax in panels(figure))
    losses = plot_training_losses(tables.losses)
    assert_legible(losses)
    assert len(panels(losses)) == 12
