"""What is said of a ranking is what its record has."""

import pytest

from ntpscore.report.blocks import Article, Figure, Table
from ntpscore.report.rank import rank_article
from tests.support.reports import SCRIPT, hostile_ranking


@pytest.fixture(scope="module")
def article() -> Article:
    return rank_article(hostile_ranking(), "here")


def test_models_stand_by_accuracy_cost_and_in_pairs(article: Article) -> None:
    by_title = {one.title: one.blocks for one in article.shown}
    told, figure, table, *others = by_title["The answer"]
    assert isinstance(told, str)
    assert told.startswith("The best frozen readout is that of [b]m: accuracy 70.0 %.")
    assert isinstance(figure, Figure)
    assert figure.table.rows[0][:3] == ["[b]m", "frozen, 95 %", 0.7]
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["[b]m", SCRIPT, "other"]
    assert others == [f"Not ranked: broken: it is {SCRIPT}", "other: why."]
    seconds, parameters = by_title["Accuracy against cost"]
    assert isinstance(seconds, Figure)
    assert isinstance(parameters, Figure)
    assert [trace["x"] for trace in seconds.data] == [[12.0], [4.0]]
    assert [trace["x"] for trace in parameters.data] == [[2e9], [1e9]]
    _, pairs = by_title["Pairs"]
    assert isinstance(pairs, Figure)
    assert pairs.table.rows == [[SCRIPT, 0.1, 0.02, 0.18]]
    metrics = by_title["Metrics"][0]
    assert isinstance(metrics, Table)
    by_name = {row[0]: row[1:] for row in metrics.rows}
    assert by_name["leep"] == ["–", "it is not defined"]
    assert by_name["log_me"] == ["inf (1)", "it has no bound"]
    assert by_name["trans_rate"] == ["250.400 (1)", ""]
