"""Ranking models, in Python, on tiny random models."""

import json
import math
import shutil
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig

from ntpscore import (
    LanguageModel,
    ScoreConfig,
    ScoreResult,
    load_model,
    load_text,
    rank_models,
    score,
)
from ntpscore.core.moments import Moments
from ntpscore.errors import NtpscoreError
from ntpscore.metrics import METRICS
from ntpscore.metrics.inputs import deal_out
from ntpscore.rank.order import rank_with_ties
from ntpscore.rank.result import COLUMNS, CONSENSUS, SCHEMA_VERSION, RankResult, load_ranking
from ntpscore.rank.values import RANKED_BY
from ntpscore.scoring.run import score_text
from tests.reference import metrics as reference
from tests.support.labelled_texts import make_rows, write_rows
from tests.support.rankings import scoring_once
from tests.support.tiny_models import save_random_model

CONFIG = ScoreConfig(shuffles=2, batch_tokens=300, skip_sanity_check=True)
# Features go through a float32 pass, with other paddings here and there.
SAME_PASS = 1e-3


@pytest.fixture(scope="module")
def scored() -> Callable[..., ScoreResult]:
    return scoring_once()


@pytest.fixture(autouse=True)
def each_model_is_scored_once(
    scored: Callable[..., ScoreResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is tested here is what a ranking makes of the scores."""
    monkeypatch.setattr("ntpscore.rank.run.score_text", scored)


@pytest.fixture(scope="module")
def models(
    tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[LanguageModel, LanguageModel]:
    """The random Llama of width 32, and one of width 16 with 2 blocks."""
    config = LlamaConfig.from_pretrained(tiny_model_dir)
    config.hidden_size, config.num_hidden_layers, config.head_dim = 16, 2, 4
    folder = tmp_path_factory.mktemp("narrow")
    return load_model(tiny_model_dir), load_model(save_random_model(config, tiny_model_dir, folder))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "data.jsonl", make_rows(100))


@pytest.fixture(scope="module")
def ranking(
    models: tuple[LanguageModel, LanguageModel], data: Path, scored: Callable[..., ScoreResult]
) -> RankResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ntpscore.rank.run.score_text", scored)
        return rank_models(data, models, config=CONFIG, metric=CONSENSUS)


@pytest.fixture(scope="module")
def scores(models: tuple[LanguageModel, LanguageModel], data: Path) -> dict[str, ScoreResult]:
    """What `score` finds by itself."""
    return {model.id: score(model, data, config=CONFIG) for model in models}


def rows_of(result: RankResult, at: str, model: LanguageModel) -> pd.DataFrame:
    table = result.table()
    return table[(table["at"] == at) & (table["model"] == model.id)].set_index("metric")


def plain_features(
    model: LanguageModel, texts: list[str], layer: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean tokens of a layer and next-token probabilities, text by text by transformers alone."""
    means, probabilities = [], []
    for text in texts:
        ids = torch.tensor([model.tokenizer(text)["input_ids"]])
        with torch.inference_mode():
            output = model.model(input_ids=ids, output_hidden_states=True)
        means.append(output.hidden_states[layer][0].double().mean(0).numpy())
        probabilities.append(torch.softmax(output.logits[0, -1].double(), 0).numpy())
    return np.array(means), np.array(probabilities)


def test_every_model_has_every_metric_at_both_places(
    models: tuple[LanguageModel, LanguageModel], ranking: RankResult
) -> None:
    table = ranking.table()
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 2 * 2 * (len(RANKED_BY) + 1)
    for at in ("last", "best"):
        for model in models:
            rows = rows_of(ranking, at, model)
            assert set(rows.index) == {CONSENSUS, *RANKED_BY}
            assert rows["value"].notna().all()
            assert rows["reason"].isna().all()
            assert rows["rank"].between(1, 2).all()
    ranks = ranking.ranks("last")
    assert ranks.index[0] == ranks[CONSENSUS].idxmin()
    assert ranking.ranks().equals(ranks)
    assert "2 models" in repr(ranking)


@pytest.mark.slow
def test_values_are_those_of_the_literal_metrics_on_plain_features(
    models: tuple[LanguageModel, LanguageModel], data: Path, ranking: RankResult
) -> None:
    text = load_text(data)
    y, Y = text.labels, np.eye(3)[text.labels]
    for model in models:
        for at in ("last", "best"):
            rows = rows_of(ranking, at, model)
            layer = int(rows.loc["r2", "layer"])
            X, probabilities = plain_features(model, text.texts, layer)
            expected = {
                "r2": reference.r2(X, Y),
                "h_score": reference.h_score(X, y),
                "h_score_shrunk": reference.h_score_shrunk(X, y),
                "trans_rate": reference.trans_rate(X, y),
                "gbc": reference.gbc(X, y),
                "rank_me": reference.rank_me(X),
                "alpha_req": reference.alpha_req(X),
                "leep": reference.leep(probabilities, y),
                "model_size": sum(p.numel() for p in model.model.parameters()),
                "n_classes": 3,
                "majority_share": np.bincount(y).max() / 100,
            }
            for name, value in expected.items():
                assert rows.loc[name, "value"] == pytest.approx(value, rel=SAME_PASS), name
            # One text of a hundred may change sides by rounding.
            assert rows.loc["nearest_neighbours", "value"] == pytest.approx(
                reference.nearest_neighbours(X, y, deal_out(y)), abs=0.011
            )


def test_scores_are_those_of_score(
    models: tuple[LanguageModel, LanguageModel], scores: dict[str, ScoreResult],
    ranking: RankResult,
) -> None:  # fmt: skip
    best = scores[models[1].id].best
    for at in ("last", "best"):
        rows = rows_of(ranking, at, models[1])
        for name, found in best.items():
            assert rows.loc[name, "value"] == found["value"]
            assert rows.loc[name, "layer"] == found["layer"]
            assert rows.loc[name, "k"] == found["k"]


def test_places_are_the_last_layer_and_that_of_the_largest_adjusted_r2(
    models: tuple[LanguageModel, LanguageModel], scores: dict[str, ScoreResult],
    ranking: RankResult,
) -> None:  # fmt: skip
    for model, entry in zip(models, ranking.record["models"], strict=True):
        layers = scores[model.id].layers
        best = int(layers.loc[layers["r2_adjusted"].idxmax(), "layer"])
        assert entry["layer_at"] == {"last": model.n_layers, "best": best}
        assert rows_of(ranking, "best", model).loc["r2_adjusted", "value"] == pytest.approx(
            layers["r2_adjusted"].max(), rel=1e-9
        )
        assert set(rows_of(ranking, "last", model).loc[list(METRICS), "layer"].dropna()) == {
            model.n_layers
        }


def test_a_last_layer_that_is_best_has_the_same_values_at_both_places(
    models: tuple[LanguageModel, LanguageModel], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ntpscore.rank.values._layer_at", lambda *_: models[1].n_layers)
    ranking = rank_models(data, models[1:], config=CONFIG, metric=CONSENSUS)
    last, best = (rows_of(ranking, at, models[1]).drop(columns="at") for at in ("last", "best"))
    pd.testing.assert_frame_equal(last, best)


def test_consensus_is_the_mean_rank_without_baselines_and_scores(
    models: tuple[LanguageModel, LanguageModel], ranking: RankResult
) -> None:
    counted = [name for name, metric in METRICS.items() if not metric.baseline]
    for model in models:
        rows = rows_of(ranking, "last", model)
        mean = rows.loc[counted, "rank"].astype(float).mean()
        assert rows.loc[CONSENSUS, "value"] == pytest.approx(mean)


@pytest.mark.slow
def test_two_copies_of_a_model_tie_everywhere(
    tiny_model_dir: Path, data: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_model_dir, tmp_path / "copy")
    table = rank_models(data, [tiny_model_dir, copy], config=CONFIG, metric=CONSENSUS).table()
    assert (table["rank"] == 1).all()
    assert table["tied"].all()


@pytest.mark.parametrize(
    "metric", ["leep", pytest.param("model_size", marks=pytest.mark.slow), "retained"]
)
def test_models_are_sorted_by_the_metric_asked_for(
    models: tuple[LanguageModel, LanguageModel], data: Path, metric: str
) -> None:
    ranking = rank_models(data, models, config=CONFIG, layer="last", metric=metric)
    ranks = ranking.ranks()[metric]
    assert list(ranks) == sorted(ranks)
    assert set(ranks) == {1, 2}


def test_a_chosen_layer_is_read_alone(
    models: tuple[LanguageModel, LanguageModel], data: Path
) -> None:
    ranking = rank_models(data, models, config=CONFIG, metric=CONSENSUS, layer=1)
    assert set(ranking.table()["at"]) == {"chosen"}
    for model in models:
        rows = rows_of(ranking, "chosen", model)
        assert rows.loc["r2", "layer"] == rows.loc["retained", "layer"] == 1
        assert math.isnan(rows.loc["leep", "value"])
        assert "last layer, which was not read" in rows.loc["leep", "reason"]
        assert rows.loc[CONSENSUS, "value"] >= 1
    beyond = rank_models(data, models, config=CONFIG, metric=CONSENSUS, layer=3)
    assert list(beyond.failures) == [models[1].id]
    assert "--layer 3 out of range" in beyond.failures[models[1].id]


def test_with_few_texts_there_is_no_best_layer(
    models: tuple[LanguageModel, LanguageModel], data: Path
) -> None:
    ranking = rank_models(data, models[:1], config=CONFIG, metric=CONSENSUS, max_texts=20)
    rows = rows_of(ranking, "best", models[0])
    assert rows.loc["lda", "reason"].startswith("no layer has an r2_adjusted")
    assert rows.loc["leep", "rank"] == 1
    last = rows_of(ranking, "last", models[0])
    assert "more texts than features" in last.loc["r2_adjusted", "reason"]
    assert last.loc["log_me", "rank"] == 1
    assert ranking.record["models"][0]["layer_at"] == {"last": 3, "best": None}


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_metrics_of_classes_have_a_reason_for_other_tasks(
    models: tuple[LanguageModel, LanguageModel], tmp_path: Path, task: str
) -> None:
    rows = [
        {
            "text": row["text"],
            "label": len(row["text"]) + 0.5
            if task == "regression"
            else [row["label"], ["long", "short"][len(row["text"]) % 2]],
        }
        for row in make_rows(80)
    ]
    data = write_rows(tmp_path / "data.jsonl", rows)  # type: ignore[arg-type]
    ranking = rank_models(
        data, models[1:], config=CONFIG, metric=CONSENSUS, layer="last", task=task
    )  # type: ignore[arg-type]
    found = rows_of(ranking, "last", models[1])
    for name in ("leep", "n_leep", "h_score", "gbc", "lda", "n_classes"):
        assert "needs one class per text" in found.loc[name, "reason"]
    for name in ("r2", "ridge_cv", "log_me", "rank_me", "alpha_req", "model_size"):
        assert math.isfinite(found.loc[name, "value"])
    assert found.loc[CONSENSUS, "value"] == 1


def test_a_model_that_cannot_be_loaded_is_told_and_the_others_are_ranked(
    tiny_model_dir: Path, data: Path, tmp_path: Path
) -> None:
    ranking = rank_models(
        data, [tmp_path / "none", tiny_model_dir], config=CONFIG, metric=CONSENSUS, layer="last"
    )
    assert list(ranking.failures) == [str(tmp_path / "none")]
    assert "there is no file or folder" in ranking.failures[str(tmp_path / "none")]
    assert set(ranking.table()["model"]) == {str(tiny_model_dir)}
    with pytest.raises(NtpscoreError, match=r"no model could be ranked:\n.*nowhere"):
        rank_models(data, [tmp_path / "nowhere"], config=CONFIG, metric=CONSENSUS)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        pytest.param(MemoryError(), "memory ran out", marks=pytest.mark.slow),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory ran out"),
        pytest.param(
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate"),
            "memory ran out",
            marks=pytest.mark.slow,
        ),
        (torch.linalg.LinAlgError("eigh did not converge"), "linear algebra failed: eigh did"),
        pytest.param(
            np.linalg.LinAlgError("SVD did not converge"),
            "linear algebra failed: SVD did",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_model_that_fails_is_freed_and_the_next_one_is_ranked(
    tiny_model_dir: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    scored: Callable[..., ScoreResult], failure: Exception, reason: str,
) -> None:  # fmt: skip
    failing = shutil.copytree(tiny_model_dir, tmp_path / "failing")
    loaded: list[weakref.ref[LanguageModel]] = []
    alive: list[int] = []

    def load(*arguments, **options) -> LanguageModel:
        alive.append(sum(one() is not None for one in loaded))
        model = load_model(*arguments, **options)
        loaded.append(weakref.ref(model))
        return model

    def fail_once(*arguments, **options):
        if len(loaded) == 1:
            # One that the parameters keep alive would keep its traceback, and that the model.
            raise type(failure)(*failure.args)
        return scored(*arguments, **options)

    monkeypatch.setattr("ntpscore.scoring.arguments.load_model", load)
    monkeypatch.setattr("ntpscore.rank.run.score_text", fail_once)
    ranking = rank_models(
        data, [failing, tiny_model_dir], config=CONFIG, metric=CONSENSUS, layer="last"
    )
    assert alive == [0, 0]
    assert list(ranking.failures) == [str(failing)]
    assert ranking.failures[str(failing)].startswith(reason)
    assert set(ranking.table()["model"]) == {str(tiny_model_dir)}


def test_an_error_that_no_model_is_to_blame_for_is_raised(
    models: tuple[LanguageModel, LanguageModel], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr("ntpscore.rank.run.score_text", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        rank_models(data, models, config=CONFIG, metric=CONSENSUS)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (np.linalg.LinAlgError("Singular matrix"), "linear algebra failed: Singular matrix"),
        pytest.param(
            torch.linalg.LinAlgError("not converged"),
            "linear algebra failed: not converged",
            marks=pytest.mark.slow,
        ),
        pytest.param(MemoryError(), "memory ran out", marks=pytest.mark.slow),
    ],
)
def test_a_metric_that_fails_on_a_model_has_a_reason_and_the_others_stand(
    models: tuple[LanguageModel, LanguageModel], data: Path, monkeypatch: pytest.MonkeyPatch,
    failure: Exception, reason: str,
) -> None:  # fmt: skip
    lda = METRICS["lda"].function

    def fail_when_narrow(features, labels, groups) -> float:
        if features.shape[1] == models[1].width:
            raise failure
        return lda(features, labels, groups)

    monkeypatch.setattr("ntpscore.metrics.lda.lda", fail_when_narrow)
    ranking = rank_models(data, models, config=CONFIG, metric=CONSENSUS, layer="last")
    assert not ranking.failures
    wide, narrow = (rows_of(ranking, "last", model) for model in models)
    assert narrow.loc["lda", "reason"].startswith(reason)
    assert pd.isna(narrow.loc["lda", "value"])
    assert pd.isna(narrow.loc["lda", "rank"])
    assert wide.loc["lda", "rank"] == 1
    assert narrow.loc["gbc", "rank"] in (1, 2)
    # A consensus is of metrics that all models have.
    counted = [name for name, one in METRICS.items() if not one.baseline and name != "lda"]
    assert wide.loc[CONSENSUS, "value"] == pytest.approx(wide.loc[counted, "rank"].mean())


def test_an_infinite_evidence_ranks_first_with_its_reason(
    models: tuple[LanguageModel, LanguageModel], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ntpscore.metrics.log_me.log_me", lambda _: math.inf)
    ranking = rank_models(data, models[1:], config=CONFIG, metric=CONSENSUS, layer="last")
    row = rows_of(ranking, "last", models[1]).loc["log_me"]
    assert row["rank"] == 1
    assert pd.isna(row["value"])
    assert "no bound" in row["reason"]


def test_the_folder_holds_the_record_and_the_table(
    models: tuple[LanguageModel, LanguageModel], data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ranking = rank_models(
        data, models, config=CONFIG, metric=CONSENSUS, layer="last", out=out, max_texts=90
    )
    assert {path.name for path in out.iterdir() if path.is_file()} == {
        "rank.json", "rank.csv", "metrics.csv",
    }  # fmt: skip
    record = json.loads((out / "rank.json").read_text())
    assert load_ranking(out).record == ranking.record
    assert record["schema_version"] == SCHEMA_VERSION
    assert record["data"]["n_texts"] == 90
    assert record["data"]["content_hash"]
    assert record["settings"]["max_texts"] == 90
    assert record["settings"]["layer"] == "last"
    assert record["settings"]["seed"] == 0
    assert {"ntpscore", "torch", "python"} <= record["versions"].keys()
    assert [model["width"] for model in record["models"]] == [32, 16]
    assert record["models"][0]["seconds"]["metrics"] > 0
    frame = pd.read_csv(out / "metrics.csv")
    assert tuple(frame.columns) == COLUMNS
    assert frame["value"].to_numpy() == pytest.approx(ranking.table()["value"].to_numpy())


@pytest.mark.slow
def test_features_survive_memory_that_runs_out(
    models: tuple[LanguageModel, LanguageModel],
    data: Path,
    ranking: RankResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare_layer = Moments.prepare_layer
    seen = []

    def short_of_memory(self, layer, hidden_states, *arguments):
        if layer == 1 and len(hidden_states) > 5:
            seen.append(len(hidden_states))
            raise torch.OutOfMemoryError
        return prepare_layer(self, layer, hidden_states, *arguments)

    monkeypatch.setattr(Moments, "prepare_layer", short_of_memory)
    monkeypatch.setattr("ntpscore.rank.run.score_text", score_text)
    halved = rank_models(data, models[1:], config=CONFIG, metric=CONSENSUS, layer="last")
    assert not seen  # layer 1 is not read
    halved = rank_models(data, models[1:], config=CONFIG, metric=CONSENSUS)
    assert seen
    expected = rows_of(ranking, "last", models[1])
    got = rows_of(halved, "last", models[1])
    for name in ("r2", "trans_rate", "gbc", "leep", "log_me", "ridge_cv"):
        assert got.loc[name, "value"] == pytest.approx(expected.loc[name, "value"], rel=SAME_PASS)


@pytest.mark.slow
def test_features_of_a_sample_are_ranked_with_its_labels(
    models: tuple[LanguageModel, LanguageModel], data: Path
) -> None:
    config = replace(CONFIG, feature_texts=60)
    row = rows_of(
        rank_models(data, models[1:], config=config, metric=CONSENSUS, layer="last"),
        "last",
        models[1],
    )
    result = score(models[1], data, config=config)
    labels = load_text(data).labels[result.features.texts]
    expected = METRICS["lda"].function(result.features.get(2).numpy(), labels)
    assert row.loc["lda", "value"] == pytest.approx(expected, rel=SAME_PASS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": []}, "no model was given"),
        ({"models": ["a", "b", "a"]}, "model a is given more than once"),
        (
            {"metric": "beauty"},
            "there is no metric 'beauty': choose from accuracy, consensus, algorithm1",
        ),
        ({"layer": -2}, "layer must be"),
        ({"layer": "middle"}, "layer must be"),
        ({"config": ScoreConfig(layers=(1,))}, "say which with layer"),
    ],
)
def test_bad_options_are_told_before_anything_runs(changes: dict, message: str) -> None:
    with pytest.raises(NtpscoreError, match=message):
        rank_models(**{"data": "helpdesk", "models": ["a"], **changes})


def test_options_that_come_too_late_are_refused(
    models: tuple[LanguageModel, LanguageModel], data: Path
) -> None:
    with pytest.raises(NtpscoreError, match="max_texts can't be chosen for labelled text"):
        rank_models(load_text(data), ["a"], max_texts=9)
    with pytest.raises(NtpscoreError, match="dtype can't be chosen for models"):
        rank_models(data, ["a", models[0]], dtype="float16")


def test_ranks_of_a_place_that_was_not_asked_for_are_refused(ranking: RankResult) -> None:
    with pytest.raises(NtpscoreError, match="choose from last, best"):
        ranking.ranks("chosen")


def test_ties_share_a_rank_and_the_next_skips() -> None:
    merits = {"a": 1.0, "b": 3.0, "c": 3.0 + 1e-10, "d": 2.0, "e": math.nan, "f": math.inf}
    assert rank_with_ties(merits) == {"f": 1, "c": 2, "b": 2, "d": 4, "a": 5}
    assert rank_with_ties({"a": math.inf, "b": math.inf}) == {"a": 1, "b": 1}
    assert rank_with_ties({"a": math.nan}) == {}


def test_what_rounding_leaves_apart_is_a_tie() -> None:
    assert rank_with_ties({"a": 3.0, "b": 3.0 * (1 + 0.9e-6)}) == {"a": 1, "b": 1}
    assert rank_with_ties({"a": 3.0, "b": 3.0 * (1 + 1.1e-6)}) == {"b": 1, "a": 2}
    # The rounding of a value near 1 is large beside its distance from 1.
    sizes = {"a": 1.0001, "b": 1.0001 + 1e-7}
    merits = {name: -abs(size - 1) for name, size in sizes.items()}
    assert rank_with_ties(merits) == {"a": 1, "b": 2}
    assert rank_with_ties(merits, sizes) == {"a": 1, "b": 1}


def test_values_that_differ_by_rounding_are_shown_as_ties(
    models: tuple[LanguageModel, LanguageModel], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("alpha_req", 1.0001), ("rank_me", 7.0)):
        found = iter((value, value * (1 + 1e-7)))
        function = lambda _, found=found: next(found)  # noqa: E731
        monkeypatch.setattr(f"ntpscore.metrics.{name}.{name}", function)
    ranking = rank_models(data, models, config=CONFIG, metric=CONSENSUS, layer="last")
    for model in models:
        rows = rows_of(ranking, "last", model)
        assert rows.loc[["alpha_req", "rank_me"], "rank"].tolist() == [1, 1]
        assert rows.loc[["alpha_req", "rank_me"], "tied"].all()


@given(st.dictionaries(st.text("abcd", max_size=3), st.integers(-5, 5).map(float), max_size=8))
def test_a_rank_is_one_more_than_how_many_are_better(merits: dict[str, float]) -> None:
    assert rank_with_ties(merits) == {
        name: 1 + sum(other > merit for other in merits.values()) for name, merit in merits.items()
    }


def test_standings_are_by_held_out_accuracy(
    models: tuple[LanguageModel, LanguageModel], data: Path, scores: dict[str, ScoreResult]
) -> None:
    ranking = rank_models(data, models, config=CONFIG)
    rows = ranking.standings.set_index("model")
    for model in models:
        accuracy = scores[model.id].record["accuracy"]
        row = rows.loc[model.id]
        assert row["accuracy"] == accuracy["frozen"]["accuracy"]
        assert row["layer"] == accuracy["best"]["layer"]
        assert row["parameters"] == sum(p.numel() for p in model.model.parameters())
    assert rows["accuracy"].is_monotonic_decreasing
    # What the second loses more is the difference of the two, and 0 is in its interval if tied.
    first, second = rows.iloc[0], rows.iloc[1]
    assert pd.isna(first["behind"])
    assert second["behind"] == pytest.approx(first["accuracy"] - second["accuracy"])
    assert second["behind_low"] < second["behind"] < second["behind_high"]
    assert (second["behind_low"] <= 0 <= second["behind_high"]) == second["tied"]
    assert rows["rank"].iloc[0] == 1
    assert ranking.record["rows"] == []
    with pytest.raises(NtpscoreError, match="no metric was computed"):
        ranking.ranks()


def test_few_texts_rank_models_but_not_by_metrics_that_say_nothing_then(
    models: tuple[LanguageModel, LanguageModel], data: Path
) -> None:
    ranking = rank_models(data, models[:1], config=CONFIG, max_texts=24, all_metrics=True)
    rows = rows_of(ranking, "last", models[0])
    for name in ("r2", "h_score", "retained", "expected"):
        assert rows.loc[name, "reason"].startswith("no more texts than features")
        assert pd.isna(rows.loc[name, "rank"])
    assert rows.loc["supervised", "rank"] == 1
    assert ranking.standings["accuracy"].notna().all()


@pytest.mark.slow
def test_an_interrupted_ranking_goes_on_at_the_next_model(
    tiny_model_dir: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(tiny_model_dir, tmp_path / "copy")
    scored: list[str] = []

    def interrupt(model: LanguageModel, *arguments, **options):
        scored.append(model.id)
        if len(scored) == 2:
            raise KeyboardInterrupt
        return score_text(model, *arguments, **options)

    monkeypatch.setattr("ntpscore.rank.run.score_text", interrupt)
    arguments = {"config": CONFIG, "layer": "last", "all_metrics": True, "out": tmp_path / "out"}
    with pytest.raises(KeyboardInterrupt):
        rank_models(data, [tiny_model_dir, copy], **arguments)
    ranking = rank_models(data, [tiny_model_dir, copy], **arguments)
    assert scored == [str(tiny_model_dir), str(copy), str(copy)]
    assert ranking.standings["rank"].tolist() == [1, 1]
    whole = rank_models(data, [tiny_model_dir, copy], **{**arguments, "out": None})
    pd.testing.assert_frame_equal(ranking.table(), whole.table())
    assert load_ranking(tmp_path / "out").record == ranking.record
    # Other options are another run.
    rank_models(data, [tiny_model_dir], **{**arguments, "layer": 1})
    assert len(scored) == 6
