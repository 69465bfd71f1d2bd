"""What is said of a result of score is what its record has."""

import pytest

from ntpscore import ScoreResult
from ntpscore.report.blocks import Article, Command, Facts, Figure, Section, Table
from ntpscore.report.score import score_article
from tests.support.reports import LABELS, SCRIPT, hostile_score


@pytest.fixture(scope="module")
def result() -> ScoreResult:
    return hostile_score()


@pytest.fixture(scope="module")
def article(result: ScoreResult) -> Article:
    return score_article(result, "here")


def section(article: Article, title: str) -> Section:
    return next(one for one in article.shown if one.title == title)


def figures(article: Article, title: str) -> list[Figure]:
    return [one for one in section(article, title).blocks if isinstance(one, Figure)]


def test_the_answer_comes_first_with_intervals(article: Article, result: ScoreResult) -> None:
    blocks = article.shown[0].blocks
    assert blocks[0] == result.advice
    assert isinstance(blocks[1], Command)
    (figure,) = figures(article, "The answer")
    values = {str(row[0]): row[1:] for row in figure.table.rows}
    assert values["most frequent class"] == [1 / 3, None, None]
    assert values["words alone (TF-IDF)"] == [0.65, 0.57, 0.72]
    assert values["frozen, layer 1, mean token"] == [0.7, 0.62, 0.77]
    assert article.headline == ("accuracy, frozen, layer 1, mean token", 0.7, 0.62, 0.77)


def test_every_layer_has_its_band_beside_words_and_majority(article: Article) -> None:
    (figure,) = figures(article, "By layer")
    names = [trace["name"] for trace in figure.data if "name" in trace]
    assert names == ["mean token", "last token", "most frequent class", "words alone (TF-IDF)"]
    assert sum(trace.get("fill") == "toself" for trace in figure.data) == 2


def test_the_curve_goes_through_what_the_power_law_says(article: Article) -> None:
    (figure,) = figures(article, "More labels")
    by_name = {trace["name"]: trace for trace in figure.data if "name" in trace}
    law = by_name["power law"]
    a, b, c = 0.1, 1.0, 0.5  # of the made-up curve
    for x, y in zip(law["x"], law["y"], strict=True):
        assert y == pytest.approx(1 - a - b * x**-c, abs=1e-3)  # x is rounded to a tenth
    more = by_name["with more labels, 95 %"]
    assert more["x"] == [60, 1060]
    assert more["y"][1] - more["y"][0] == pytest.approx(0.018)


def test_scores_have_chance_and_shuffles_on_hover_and_in_the_table(
    article: Article, result: ScoreResult
) -> None:
    heats = figures(article, "Scores by layer and k")
    assert [figure.title for figure in heats] == [*result.table()["score"].unique()]
    frame = result.table()
    for figure in heats:
        rows = frame[frame["score"] == figure.title]
        (trace,) = figure.data
        assert [x for line in trace["z"] for x in line] == rows["value"].tolist()
        row = rows.iloc[0]
        told = [f"layer {row['layer']}, k/d 0.10", f"value {row['value']:.3f}",
                f"chance {row['chance']:.3f}", f"shuffled {row['shuffled_mean']:.3f}"]  # fmt: skip
        assert trace["customdata"][0][0][:4] == told
        assert f"{row['value']:.3f} ({row['chance']:.3f}; " in figure.table.cells[0][1]


def test_mistakes_and_the_data_card_are_of_the_record(article: Article) -> None:
    blocks = section(article, "Mistakes").blocks
    heat = blocks[1]
    assert isinstance(heat, Figure)
    assert heat.data[0]["z"][0] == [pytest.approx(1.0), 0, 0]
    assert heat.data[0]["z"][1] == [pytest.approx(0.3), pytest.approx(0.7), 0]
    table = blocks[-1]
    assert isinstance(table, Table)
    assert table.rows[0][0] == SCRIPT
    assert table.rows[0][1] == LABELS[0]
    assert table.rows[0][3] == 0.8
    facts = section(article, "The data").blocks[0]
    assert isinstance(facts, Facts)
    assert facts.texts["left out"] == f"{SCRIPT}: 12"
    assert facts.texts["not drawn into the sample"] == "18"
    assert facts.texts["repeat an earlier text"] == "3"
    assert facts.texts["tokens per text"] == "min: 1; median: 6; max: 9"


def test_both_theorems_are_drawn(article: Article, result: ScoreResult) -> None:
    first, second = figures(article, "Theory")
    rows = result.record["layers"]
    assert first.data[0]["y"] == [row["next_token_loss"] for row in rows]
    assert first.data[1]["y"] == [row["probe_loss"] for row in rows]
    keys = ("loss_k", "excess_loss_lower", "excess_loss", "excess_loss_upper")
    assert [row[1:] for row in second.table.rows] == [[row[key] for key in keys] for row in rows]


def test_an_encoder_has_neither_scores_nor_theory() -> None:
    result = hostile_score()
    result.record["model"]["reads_both_ways"] = True
    titles = [one.title for one in score_article(result, "").shown]
    assert not {"Theory", "Scores by layer and k"} & {*titles}
    assert "Controls" in titles


def test_where_nothing_could_be_judged_the_advice_stands_alone() -> None:
    result = hostile_score()
    nothing = {"frozen": None, "best": None, "readouts": [], "reason": "too few"}
    result.record |= {"accuracy": nothing, "learning_curve": None, "mistakes": None}
    article = score_article(result, "")
    assert article.headline is None
    assert article.shown[0].blocks == [result.advice]
    assert "By layer" not in [one.title for one in article.shown]
