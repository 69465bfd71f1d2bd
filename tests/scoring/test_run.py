"""The pass, its checkpoints and what stops it, on a tiny random model."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ntpscore import (
    LanguageModel,
    ScoreConfig,
    ScoreResult,
    load_model,
    load_result,
    load_text,
    score,
)
from ntpscore.clock import Clock
from ntpscore.core.folds import ESTIMATED
from ntpscore.core.moments import Moments
from ntpscore.core.score_names import SCORES
from ntpscore.errors import DataError, ModelError, MomentsError, NtpscoreError, OutputError
from ntpscore.progress import Progress
from ntpscore.reading import moments_pass, reader
from ntpscore.reading.features import FEATURES, Features
from ntpscore.reading.memory import How
from ntpscore.reading.moments_pass import MomentsPass
from ntpscore.reading.tokens import plan_batches, tokenize
from ntpscore.result_folder import UNFINISHED
from ntpscore.scoring import run
from tests.support.interrupts import interrupt_pass
from tests.support.labelled_texts import make_rows, write_rows
from tests.support.memory import plan_of

# Held-out accuracy takes longer than all the rest; it is left out where it is not asked about.
CONFIG = ScoreConfig(shuffles=3, batch_tokens=200, feature_texts=0)
WITH_FEATURES = replace(CONFIG, feature_texts=ScoreConfig().feature_texts)
STOPPING = replace(CONFIG, until=0.1)
# A float32 pass gives other last digits for other paddings; the moments carry them to the scores
# through condition numbers of about 1e4.
SAME_PASS = 1e-3


@pytest.fixture(scope="session")
def tiny(tiny_model_dir: Path) -> LanguageModel:
    return load_model(tiny_model_dir)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "data.jsonl", make_rows(120))


@pytest.fixture(scope="module")
def whole(tiny: LanguageModel, data: Path) -> ScoreResult:
    return score(tiny, data, config=CONFIG)


@pytest.fixture(scope="module")
def with_features(tiny: LanguageModel, data: Path) -> ScoreResult:
    return score(tiny, data, config=WITH_FEATURES)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 different texts to fit, so that each is a group of its own."""
    different = {row["text"]: row for row in make_rows(310) if row["split"] == "train"}
    rows = list(different.values())[:300]
    return write_rows(tmp_path_factory.mktemp("many") / "many.jsonl", rows)


@pytest.fixture(scope="module")
def stopped(tiny: LanguageModel, many: Path) -> ScoreResult:
    return score(tiny, many, config=STOPPING)


@pytest.fixture(scope="module")
def whole_many(tiny: LanguageModel, many: Path) -> ScoreResult:
    return score(tiny, many, config=WITH_FEATURES)


def steady(result: ScoreResult) -> pd.DataFrame:
    """All scores but those that hang on the last bit of a sum."""
    table = result.table(every_k=True)
    return table[(table["score"] != "algorithm1") | ~table["basis_dependent"]]


def values(result: ScoreResult) -> np.ndarray:
    return steady(result)["value"].to_numpy()


def test_score_gives_every_score_layer_and_grid_k(with_features: ScoreResult) -> None:
    result = with_features
    table = result.table()
    assert set(table["score"]) == {
        "algorithm1", "smallest_first", "expected", "supervised", "subspace", "retained",
    }  # fmt: skip
    assert sorted(table["layer"].unique()) == [0, 1, 2, 3]
    assert len(table) == 6 * 4 * 19
    assert table["k"].between(1, 31).all()
    assert ((table["value"] >= -1e-12) & (table["value"] <= 1 + 1e-12)).all()
    every = result.table(every_k=True)
    assert len(every) == 6 * 4 * 32
    record = result.record
    assert record["data"]["n_texts"] == 120
    assert record["data"]["class_counts"].keys() == {"animals", "food", "weather"}
    assert record["model"]["width"] == 32
    assert set(record["seconds"]) == set(run.STAGES)
    assert record["seconds"]["total"] >= record["seconds"]["forward"] > 0
    assert len(record["layers"]) == 4
    assert result.best["retained"]["layer"] in {0, 1, 2, 3}


def test_the_released_codes_score_is_there_if_asked_for(
    tiny: LanguageModel, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = replace(CONFIG, further_scores=("published",), batch_tokens=64, checkpoint_seconds=0.0)
    whole = score(tiny, data, config=config)
    found = whole.table().query("score == 'published'")
    assert len(found) == 4 * 19
    assert found["value"].notna().any()
    assert found["basis_dependent"].all()
    assert found["shuffled_mean"].isna().all()
    assert whole.best["published"]["p"] is None
    other = whole.table().query("score != 'published'")["value"].to_numpy()
    np.testing.assert_array_equal(
        other, score(tiny, data, config=replace(config, further_scores=())).table()["value"]
    )
    calls = interrupt_pass(monkeypatch, 9)
    with pytest.raises(KeyboardInterrupt):
        score(tiny, data, config=config, out=tmp_path / "out")
    calls[0] = 100
    again = score(tiny, data, config=config, out=tmp_path / "out")
    assert any("went on from a checkpoint" in line for line in again.record["warnings"])
    # Threads add to sums of their own, which a checkpoint joins: the last digits differ, and with
    # them what float32 makes of the score, but not the sums.
    for layer in range(4):
        one, two = (r.moments.layer(layer).published for r in (whole, again))
        assert one is not None and two is not None  # noqa: PT018
        torch.testing.assert_close(one.C0, two.C0, rtol=1e-5, atol=1e-5 * float(one.C0.abs().max()))


def test_sum_pooling_changes_scores_but_no_accuracy(
    tiny: LanguageModel, data: Path, with_features: ScoreResult
) -> None:
    one, other = with_features, score(tiny, data, config=replace(WITH_FEATURES, pooling="sum"))
    assert one.record["settings"]["pooling"] == "mean"
    assert not np.allclose(values(one), values(other), equal_nan=True)
    assert one.record["accuracy"] == other.record["accuracy"]
    assert other.record["settings"]["pooling"] == "sum"


def test_score_without_the_test_split(tiny: LanguageModel, tmp_path: Path) -> None:
    rows = make_rows(80)
    whole = write_rows(tmp_path / "both.jsonl", rows)
    train = write_rows(tmp_path / "train.jsonl", [row for row in rows if row["split"] == "train"])
    np.testing.assert_array_equal(
        values(score(tiny, whole, config=CONFIG)), values(score(tiny, train, config=CONFIG))
    )


def test_score_moments_equal_those_of_whole_hidden_states(tiny: LanguageModel, data: Path) -> None:
    result = score(tiny, data, config=replace(CONFIG, shuffles=0))
    text = load_text(data)
    moments = Moments(4, 32, 3)
    for i, one in enumerate(text.texts):
        ids = torch.tensor([tiny.tokenizer(one)["input_ids"]])
        with torch.inference_mode():
            out = tiny.model(input_ids=ids, output_hidden_states=True).hidden_states
        labels = torch.from_numpy(text.labels[i : i + 1])
        moments.update(torch.stack(out), torch.ones_like(ids), labels)
    assert result.moments.n_tokens == moments.n_tokens
    for name in ("sum_N", "sum_M", "sum_C0", "sum_C1", "sum_mean", "sum_next_power"):
        ours, whole = getattr(result.moments, name), getattr(moments, name)
        # Batched and single float32 passes differ in the last digits.
        assert float((ours - whole).abs().max() / whole.abs().max()) < 1e-5, name


@pytest.mark.parametrize("batch_tokens", [1, 37, 100_000])
def test_score_does_not_depend_on_batch_size(
    tiny: LanguageModel, data: Path, whole: ScoreResult, batch_tokens: int
) -> None:
    other = score(tiny, data, config=replace(CONFIG, batch_tokens=batch_tokens))
    np.testing.assert_allclose(values(whole), values(other), atol=SAME_PASS)


def test_score_does_not_depend_on_text_order(tiny: LanguageModel, tmp_path: Path) -> None:
    rows = [row for row in make_rows(100) if row["split"] == "train"]
    config = replace(CONFIG, shuffles=0)
    one = score(tiny, write_rows(tmp_path / "a.jsonl", rows), config=config)
    other = score(tiny, write_rows(tmp_path / "b.jsonl", rows[::-1]), config=config)
    np.testing.assert_allclose(values(one), values(other), atol=SAME_PASS)


def test_score_of_chosen_layers_equals_those_of_all(
    tiny: LanguageModel, data: Path, whole: ScoreResult
) -> None:
    everything = whole.table()
    some = score(tiny, data, config=replace(CONFIG, layers=(3, 1))).table()
    assert sorted(some["layer"].unique()) == [1, 3]
    expected = everything[everything["layer"].isin([1, 3])].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, expected)


class TestTasks:
    def test_regression(self, tiny: LanguageModel, tmp_path: Path) -> None:
        rows = [{"text": row["text"], "label": len(row["text"]) / 7} for row in make_rows(80)]
        result = score(tiny, write_rows(tmp_path / "r.jsonl", rows), config=CONFIG)
        assert result.record["data"]["task"] == "regression"
        assert result.record["layers"][1]["r2"] > 0.5
        assert result.record["data"]["target_sd"][0] > 0

    def test_multilabel(self, tiny: LanguageModel, tmp_path: Path) -> None:
        rows = [
            {"text": row["text"], "label": [row["label"]] + ["the"] * ("the" in row["text"])}
            for row in make_rows(80)
        ]
        result = score(tiny, write_rows(tmp_path / "m.jsonl", rows), config=CONFIG)
        assert result.record["data"]["task"] == "multilabel"
        assert result.record["data"]["classes"] == ["animals", "food", "the", "weather"]


class TestCheckpoints:
    def test_an_interrupted_run_goes_on_to_the_same_numbers(
        self, tiny: LanguageModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = replace(WITH_FEATURES, checkpoint_seconds=0.0)
        monkeypatch.setattr(moments_pass, "_CHECKPOINT_SHARE", math.inf)
        monkeypatch.setattr(run, "passes_at_once", lambda *_: 1)  # so that batches have an order
        whole = score(tiny, data, out=tmp_path / "whole", config=config)
        calls = interrupt_pass(monkeypatch, at=4)
        with pytest.raises(KeyboardInterrupt):
            score(tiny, data, out=tmp_path / "cut", config=config)
        assert (tmp_path / "cut" / UNFINISHED / moments_pass.CHECKPOINT).exists()
        assert not (tmp_path / "cut" / "result.json").exists()
        calls[0] = 100
        again = score(tiny, data, out=tmp_path / "cut", config=config)
        assert "went on from a checkpoint" in again.record["warnings"][-1]
        assert calls[0] == 100 + len(plan_batches(self._lengths(tiny, data), 200)) - 3
        np.testing.assert_allclose(values(again), values(whole), atol=1e-9)
        assert not (tmp_path / "cut" / UNFINISHED / moments_pass.CHECKPOINT).exists()

    @staticmethod
    def _lengths(tiny: LanguageModel, data: Path) -> list[int]:
        return [len(ids) for ids in tiny.tokenizer(load_text(data).texts)["input_ids"]]

    def test_another_run_does_not_go_on_from_it(
        self, tiny: LanguageModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = replace(CONFIG, checkpoint_seconds=0.0)
        monkeypatch.setattr(run, "score_moments", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            score(tiny, data, out=tmp_path, config=config)
        monkeypatch.undo()
        other = score(tiny, data, out=tmp_path, config=replace(config, seed=1))
        assert not any("checkpoint" in warning for warning in other.record["warnings"])
        assert other.moments.n_texts == 120

    def test_a_broken_checkpoint_is_passed_over(
        self, tiny: LanguageModel, data: Path, tmp_path: Path
    ) -> None:
        (tmp_path / UNFINISHED).mkdir()
        (tmp_path / UNFINISHED / moments_pass.CHECKPOINT).write_bytes(b"\x10\0\0\0\0\0\0\0{half")
        result = score(tiny, data, out=tmp_path, config=CONFIG)
        assert result.moments.n_texts == 120

    @pytest.mark.slow
    def test_a_killed_process_goes_on(self, tiny_model_dir: Path, tmp_path: Path) -> None:
        data = write_rows(tmp_path / "data.jsonl", make_rows(400))
        out = tmp_path / "out"
        command = [
            sys.executable, "-m", "ntpscore", "score", str(tiny_model_dir), str(data),
            "--out", str(out), "--batch-tokens", "16", "--checkpoint-seconds", "0",
            "--shuffles", "1", "--json",
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": "src"}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        checkpoint = out / UNFINISHED / moments_pass.CHECKPOINT
        deadline = time.monotonic() + 300
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert checkpoint.exists()
        assert not (out / "result.json").exists()
        done = Moments.load(checkpoint).n_texts
        assert 0 < done < 400
        result = score(
            tiny_model_dir, data, out=out, config=ScoreConfig(shuffles=1, batch_tokens=16)
        )
        assert f"after {done} of 400 texts" in result.record["warnings"][-1]
        whole = score(tiny_model_dir, data, config=ScoreConfig(shuffles=1, batch_tokens=16))
        np.testing.assert_allclose(values(result), values(whole), atol=1e-9)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


class TestFeatures:
    """What `reading.features` keeps while texts are read."""

    @staticmethod
    def assert_same(one: Features, other: Features) -> None:
        assert (one.places, one.texts, one.key) == (other.places, other.texts, other.key)
        for place in one.places:
            # Batches that differ in padding differ in the last digits.
            torch.testing.assert_close(one.get(*place), other.get(*place), rtol=1e-4, atol=1e-5)

    def test_they_are_those_of_single_texts(
        self, tiny: LanguageModel, data: Path, tmp_path: Path
    ) -> None:
        result = score(tiny, data, out=tmp_path, config=WITH_FEATURES)
        assert not (tmp_path / UNFINISHED).exists()
        features = load_result(tmp_path).features
        assert features.texts == list(range(120))
        assert features.layers == (0, 1, 2, 3)
        for i in (0, 7, 119):
            ids = torch.tensor([tiny.tokenizer(load_text(data).texts[i])["input_ids"]])
            with torch.inference_mode():
                states = tiny.model(input_ids=ids, output_hidden_states=True).hidden_states
            for layer, of_layer in enumerate(states):
                close = {"rtol": 1e-4, "atol": 1e-5}
                mean, last = features.get(layer)[i], features.get(layer, "last")[i]
                torch.testing.assert_close(mean, of_layer[0].mean(0), **close)
                torch.testing.assert_close(last, of_layer[0, -1], **close)
        self.assert_same(features, result.features)

    def test_a_sample_is_drawn_where_there_are_more(
        self, tiny: LanguageModel, data: Path, with_features: ScoreResult
    ) -> None:
        whole = with_features
        some = score(tiny, data, config=replace(CONFIG, feature_texts=30))
        chosen = some.features.texts
        assert len(chosen) == 30
        np.testing.assert_array_equal(values(some), values(whole))
        for place in whole.features.places:
            assert torch.equal(some.features.get(*place), whole.features.get(*place)[chosen])

    def test_none_are_kept_where_none_are_wanted(
        self, tiny: LanguageModel, data: Path, tmp_path: Path
    ) -> None:
        result = score(tiny, data, out=tmp_path, config=CONFIG)
        assert not (tmp_path / FEATURES).exists()
        with pytest.raises(OutputError, match="feature_texts was 0"):
            assert result.features
        with pytest.raises(OutputError, match="feature_texts was 0"):
            assert load_result(tmp_path).features

    def test_a_result_takes_them_to_another_folder(
        self, with_features: ScoreResult, tmp_path: Path
    ) -> None:
        with_features.save(tmp_path)
        self.assert_same(load_result(tmp_path).features, with_features.features)

    @pytest.mark.slow
    @pytest.mark.parametrize("until", [None, 0.1])
    @pytest.mark.parametrize("stop", ["pass", "solve", "write"])
    def test_those_from_before_a_kill_are_not_lost(
        self, tiny: LanguageModel, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        stop: str, until: float | None,
    ) -> None:  # fmt: skip
        config = replace(
            CONFIG, checkpoint_seconds=0.0, until=until, batch_tokens=400, feature_texts=250
        )
        monkeypatch.setattr(moments_pass, "_CHECKPOINT_SHARE", math.inf)
        whole = score(tiny, many, config=config)
        with monkeypatch.context() as patch:
            if stop == "pass":
                interrupt_pass(patch, at=5)
            elif stop == "solve":
                patch.setattr(run, "score_moments", _interrupt)
            else:
                patch.setattr(ScoreResult, "complete", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                score(tiny, many, out=tmp_path, config=config)
        calls = interrupt_pass(monkeypatch, at=10**9)
        again = score(tiny, many, out=tmp_path, config=config)
        assert "went on from a checkpoint" in again.record["warnings"][-1]
        assert stop == "pass" or calls[0] <= 2
        self.assert_same(again.features, whole.features)
        assert len(again.features.texts) == 250 or until is not None
        assert not (tmp_path / UNFINISHED).exists()

    @pytest.mark.slow
    def test_of_texts_that_were_not_read_there_are_none(
        self, tiny: LanguageModel, many: Path, whole_many: ScoreResult
    ) -> None:
        result = score(tiny, many, config=replace(WITH_FEATURES, until=0.1))
        n = result.record["until"]["n_texts"]
        assert n < 300
        order = np.random.default_rng(0).permutation(300)[:n]
        assert result.features.texts == sorted(order)
        self.assert_same_rows(result.features, whole_many.features)

    @staticmethod
    def assert_same_rows(some: Features, whole: Features) -> None:
        for place in whole.places:
            expected = whole.get(*place)[some.texts]
            torch.testing.assert_close(some.get(*place), expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.slow
    def test_a_lost_file_starts_the_run_anew(
        self, tiny: LanguageModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = replace(WITH_FEATURES, checkpoint_seconds=0.0)
        monkeypatch.setattr(moments_pass, "_CHECKPOINT_SHARE", math.inf)
        with monkeypatch.context() as patch:
            interrupt_pass(patch, at=4)
            with pytest.raises(KeyboardInterrupt):
                score(tiny, data, out=tmp_path, config=config)
        (tmp_path / UNFINISHED / f".{FEATURES}.part").unlink()
        result = score(tiny, data, out=tmp_path, config=config)
        assert not any("checkpoint" in warning for warning in result.record["warnings"])
        assert result.moments.n_texts == 120


class TestMemory:
    def test_batches_are_halved_when_memory_runs_out(
        self, tiny: LanguageModel, data: Path, with_features: ScoreResult,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(run, "passes_at_once", lambda *_: 1)  # so that sizes have an order
        whole = with_features
        real = reader.stream_hidden_states
        sizes = []

        def small_memory(model, input_ids, attention_mask, on_layer, layers):
            sizes.append(input_ids.numel())

            def on_layer_or_fail(layer: int, hidden_states: torch.Tensor) -> None:
                if layer == 2 and input_ids.numel() > 70:
                    message = "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate"
                    raise RuntimeError(message)
                on_layer(layer, hidden_states)

            real(model, input_ids, attention_mask, on_layer_or_fail, layers)

        monkeypatch.setattr(reader, "stream_hidden_states", small_memory)
        halved = score(tiny, data, config=WITH_FEATURES)
        np.testing.assert_allclose(values(halved), values(whole), atol=SAME_PASS)
        TestFeatures.assert_same(halved.features, whole.features)
        assert halved.moments.n_texts == whole.moments.n_texts
        assert halved.moments.n_tokens == whole.moments.n_tokens
        assert any("memory ran out" in warning for warning in halved.record["warnings"])
        assert max(sizes[4:]) <= 70, "batches stay small once memory ran out"

    def test_a_single_text_that_does_not_fit_is_an_error(
        self, tiny: LanguageModel, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_memory(*_: object) -> None:
            raise torch.OutOfMemoryError

        monkeypatch.setattr(reader, "stream_hidden_states", no_memory)
        with pytest.raises(ModelError, match=r"single text of \d+ tokens.*--max-length"):
            score(tiny, data, config=CONFIG)

    def test_another_runtime_error_is_not_taken_for_memory(
        self, tiny: LanguageModel, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            message = "shapes do not fit"
            raise RuntimeError(message)

        monkeypatch.setattr(reader, "stream_hidden_states", broken)
        with pytest.raises(RuntimeError, match="shapes do not fit"):
            score(tiny, data, config=CONFIG)


class TestUntil:
    """Width 32: rounds of 10 texts, intervals from 100 on."""

    def test_reading_stops_where_the_scores_are_known(
        self, tiny: LanguageModel, many: Path, whole_many: ScoreResult
    ) -> None:
        config = replace(CONFIG, until=0.12, until_scores=("r2", "retained"))
        result = score(tiny, many, config=config)
        until = result.record["until"]
        assert until["stopped"]
        assert 100 <= until["n_texts"] == result.moments.n_texts < 300
        assert until["n_texts"] % 10 == 0
        assert (until["of"], until["layer"], until["k"]) == (300, 3, 16)
        assert until["waited_for"] == ["r2", "retained"]
        assert until["scores"].keys() == set(ESTIMATED)
        # The same texts, read without --until.
        text = load_text(many)
        order = np.random.default_rng(0).permutation(300)[: until["n_texts"]]
        rows = pd.DataFrame({"text": text.texts, "label": [text.classes[i] for i in text.labels]})
        alone = score(tiny, load_text(rows.iloc[order]), config=replace(CONFIG, shuffles=0))
        found, expected = (
            steady(one).set_index(["score", "layer", "k"])["value"] for one in (result, alone)
        )
        np.testing.assert_allclose(found[expected.index], expected, atol=SAME_PASS)
        at = whole_many.table(every_k=True).set_index(["score", "layer", "k"])["value"]
        for name in until["waited_for"]:
            assert until["scores"][name]["high"] - until["scores"][name]["low"] <= 2 * 0.12
        of_all = {name: at[name, 3, 16] for name in SCORES}
        of_all |= {name: whole_many.record["layers"][3][name] for name in ("r2", "r2_adjusted")}
        for name, one in until["scores"].items():
            # Three times the reach of a 95 % interval: near six standard errors.
            assert abs(one["value"] - of_all[name]) <= 3 * (one["high"] - one["value"])

    @pytest.mark.slow
    def test_what_is_never_known_reads_all(
        self, tiny: LanguageModel, many: Path, whole_many: ScoreResult
    ) -> None:
        config = replace(CONFIG, until=1e-9, until_scores=("smallest_first",))
        result = score(tiny, many, config=config)
        until = result.record["until"]
        assert not until["stopped"]
        assert until["n_texts"] == until["of"] == 300
        assert until["scores"] == {}
        np.testing.assert_allclose(values(result), values(whole_many), atol=SAME_PASS)
        assert "until" not in whole_many.record

    def test_few_texts_are_all_read(self, tiny: LanguageModel, data: Path) -> None:
        few = load_text(data, max_texts=90)
        assert not score(tiny, few, config=replace(CONFIG, until=0.9)).record["until"]["stopped"]

    @pytest.mark.slow
    @pytest.mark.parametrize("stop_at", [3, 12])
    def test_an_interrupted_run_stops_where_the_whole_one_does(
        self, tiny: LanguageModel, many: Path, stopped: ScoreResult, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, stop_at: int,
    ) -> None:  # fmt: skip
        config = replace(STOPPING, checkpoint_seconds=0.0)
        monkeypatch.setattr(moments_pass, "_CHECKPOINT_SHARE", math.inf)
        whole = stopped
        calls = interrupt_pass(monkeypatch, at=stop_at)
        with pytest.raises(KeyboardInterrupt):
            score(tiny, many, out=tmp_path / "cut", config=config)
        assert len(list((tmp_path / "cut").glob("*/folds-*"))) == 1
        calls[0] = 1000
        again = score(tiny, many, out=tmp_path / "cut", config=config)
        assert "went on from a checkpoint" in again.record["warnings"][-1]
        assert again.record["until"]["n_texts"] == whole.record["until"]["n_texts"]
        for name, one in again.record["until"]["scores"].items():
            assert one == pytest.approx(whole.record["until"]["scores"][name], abs=1e-7)
        np.testing.assert_allclose(values(again), values(whole), atol=1e-9)
        assert not list((tmp_path / "cut").glob("*/folds-*"))

    @pytest.mark.slow
    def test_lost_folds_start_the_run_anew(
        self, tiny: LanguageModel, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = replace(STOPPING, checkpoint_seconds=0.0)
        monkeypatch.setattr(moments_pass, "_CHECKPOINT_SHARE", math.inf)
        monkeypatch.setattr(run, "score_moments", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            score(tiny, many, out=tmp_path, config=config)
        monkeypatch.undo()
        for path in (tmp_path / UNFINISHED).glob("folds-*/*"):
            path.unlink()
        result = score(tiny, many, out=tmp_path, config=config)
        assert not any("checkpoint" in warning for warning in result.record["warnings"])
        assert result.record["until"]["stopped"]

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"until": 0.0}, "until must be between 0 and 1"),
            ({"until": math.nan}, "until must be between 0 and 1"),
            ({"further_scores": ("fame",)}, "no further score 'fame': choose from published"),
            ({"further_scores": ("published",), "until": 0.1}, "until can't be combined"),
            (
                {"until_scores": ("retained", "fame")},
                "until_scores fame: choose from smallest_first",
            ),
            ({"until_scores": ()}, "until_scores names none"),
        ],
    )
    def test_senseless_settings_are_refused(self, changed: dict, message: str) -> None:
        with pytest.raises(NtpscoreError, match=message):
            replace(CONFIG, **changed)


class TestBadInput:
    def test_nan_in_a_hidden_state_names_layer_and_text(
        self, tiny_model_dir: Path, data: Path
    ) -> None:
        broken = load_model(tiny_model_dir)
        token = broken.tokenizer(" storm")["input_ids"][0]
        with torch.no_grad():
            broken.model.base_model.embed_tokens.weight[token] = float("nan")
        with pytest.raises(MomentsError, match=r"layer 0 has a NaN.*in the text '.*s.*'"):
            score(broken, data, config=replace(CONFIG, skip_sanity_check=True))

    def test_layers_out_of_range(self, tiny: LanguageModel, data: Path) -> None:
        with pytest.raises(ModelError, match=r"--layers 4, 9 out of range.*0 \(embedding\) to 3"):
            score(tiny, data, config=replace(CONFIG, layers=(1, 4, 9)))

    def test_folder_that_can_not_be_written(
        self, tiny: LanguageModel, data: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(OutputError, match=r"can't write to .*--out"):
            score(tiny, data, out=tmp_path / "file" / "out", config=CONFIG)

    def test_a_text_that_makes_no_token(self, tiny: LanguageModel) -> None:
        class Silent:
            def __call__(self, texts: list[str], **_: object) -> dict[str, list[list[int]]]:
                return {"input_ids": [[] if text == "x" else [5, 6] for text in texts]}

        silent = replace(tiny, tokenizer=Silent())
        with pytest.raises(DataError, match="makes no token of 'x'"):
            run.tokenize(["a b", "x"], silent, None)

    def test_all_texts_of_one_token(self, tiny: LanguageModel, tmp_path: Path) -> None:
        rows = [{"text": "abc"[i % 3], "label": i % 2} for i in range(20)]
        with pytest.raises(DataError, match="single token"):
            score(tiny, write_rows(tmp_path / "one.jsonl", rows), config=CONFIG)

    def test_a_text_of_one_token_among_others_counts(
        self, tiny: LanguageModel, tmp_path: Path
    ) -> None:
        rows = [*make_rows(60), {"text": "a", "label": "food", "split": "train"}]
        result = score(tiny, write_rows(tmp_path / "d.jsonl", rows), config=CONFIG)
        assert result.moments.n_texts == 61

    def test_a_text_beyond_the_context_is_cut_and_counted(
        self, tiny: LanguageModel, tmp_path: Path
    ) -> None:
        rows = make_rows(60)
        rows[0]["text"] = "the cat " * 200
        result = score(tiny, write_rows(tmp_path / "d.jsonl", rows), config=CONFIG)
        assert result.record["data"]["truncated"] == 1
        assert any("1 of 60 texts were cut to 128" in w for w in result.record["warnings"])

    def test_max_length_beyond_the_context(self, tiny: LanguageModel, data: Path) -> None:
        with pytest.raises(ModelError, match="beyond the context of 128"):
            score(tiny, data, config=replace(CONFIG, max_length=129))

    def test_of_fewer_texts_than_the_width_accuracy_is_told_and_what_is_not(
        self, tiny: LanguageModel, tmp_path: Path
    ) -> None:
        result = score(tiny, write_rows(tmp_path / "few.jsonl", make_rows(20)), WITH_FEATURES)
        assert "20 texts are no more than the width" in result.record["unsaid"][0]
        assert result.record["accuracy"]["frozen"]["accuracy"] > 0
        assert not result.advice.startswith("Nothing can be said")
        assert result.record["layers"][2]["rank_N"] < 32
        assert result.record["layers"][2]["dropped_N"] == 32 - result.record["layers"][2]["rank_N"]

    def test_a_model_that_predicts_badly_is_refused_unless_told_otherwise(
        self, tiny_model_dir: Path, data: Path
    ) -> None:
        bad = load_model(tiny_model_dir)
        with torch.no_grad():
            bad.model.lm_head.weight.mul_(50.0)
        with pytest.raises(ModelError, match="--skip-sanity-check"):
            score(bad, data, config=CONFIG)
        result = score(bad, data, config=replace(CONFIG, skip_sanity_check=True))
        assert result.record["model"]["next_token_loss"] > 6.5
        assert result.record["warnings"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("shuffles", -1),
            ("batch_tokens", 0),
            ("max_length", 1),
            ("layers", ()),
            ("seed", -1),
            ("layers", (-2,)),
            ("seed", 2**63),
            ("checkpoint_seconds", -1.0),
        ],
    )
    def test_config_rejects_nonsense(self, name: str, value: object) -> None:
        with pytest.raises(NtpscoreError, match=name.rstrip("s")):
            ScoreConfig(**{name: value})


def test_options_that_come_too_late_are_refused(tiny: LanguageModel, data: Path) -> None:
    with pytest.raises(NtpscoreError, match="max_texts, task can't be chosen for labelled text"):
        score(tiny, load_text(data), max_texts=10, task="classification", config=CONFIG)
    with pytest.raises(NtpscoreError, match="dtype can't be chosen for a model"):
        score(tiny, data, dtype="float32", config=CONFIG)


def test_a_changed_tokenizer_does_not_go_on_from_a_checkpoint(
    tiny: LanguageModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, checkpoint_seconds=0.0)
    monkeypatch.setattr(run, "score_moments", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        score(tiny, data, out=tmp_path, config=config)
    monkeypatch.undo()

    def with_bos(texts: str | list[str], **options: object) -> object:
        if isinstance(texts, str):  # the sanity check's page
            return tiny.tokenizer(texts, **options)
        return {"input_ids": [[0, *tiny.tokenizer(text)["input_ids"]] for text in texts]}

    result = score(replace(tiny, tokenizer=with_bos), data, out=tmp_path,
                   config=replace(config, skip_sanity_check=True))  # fmt: skip
    assert not any("checkpoint" in warning for warning in result.record["warnings"])
    assert result.moments.n_tokens == result.record["data"]["n_tokens"]


class TestPrecision:
    @pytest.mark.parametrize("precision", ["exact-int8", "float32-pairs", "float32"])
    def test_other_products_give_the_scores_of_float64(
        self, tiny: LanguageModel, data: Path, whole: ScoreResult, precision: str
    ) -> None:
        exact = whole
        other = score(tiny, data, replace(CONFIG, precision=precision))
        assert exact.record["settings"]["precision"] == "float64"
        assert other.record["settings"]["precision"] == precision
        assert not np.array_equal(values(other), values(exact))
        allowed = {"exact-int8": 1e-6, "float32-pairs": 1e-5, "float32": 1e-3}[precision]
        np.testing.assert_allclose(values(other), values(exact), atol=allowed)
        warned = [one for one in other.record["warnings"] if "float64" in one]
        assert len(warned) == precision.startswith("float32")

    def test_layers_that_few_directions_dominate_are_named(
        self, tiny: LanguageModel, data: Path, whole: ScoreResult, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        conditions = [layer["condition_C0"] for layer in whole.record["layers"]]
        safe = sum(sorted(conditions)[1:3]) / 2
        monkeypatch.setattr(run, "SAFE_CONDITION", safe)
        result = score(tiny, data, replace(CONFIG, precision="exact-int8"))
        (warning,) = [one for one in result.record["warnings"] if "exact-int8" in one]
        named = [i for i, one in enumerate(conditions) if one > safe]
        assert f"layers {', '.join(map(str, named))} by more than 1e-6" in warning

    def test_an_unknown_one_is_refused(self) -> None:
        with pytest.raises(NtpscoreError, match="there is no precision 'half'"):
            ScoreConfig(precision="half")


class TestSlowSums:
    @pytest.fixture(autouse=True)
    def no_kernel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(moments_pass, "LACKS_KERNEL", True)
        monkeypatch.setattr(moments_pass, "_said", set())

    def test_are_told_once(
        self, tiny: LanguageModel, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = [score(tiny, data, CONFIG, progress=True).record["warnings"] for _ in range(2)]
        slow = [[one for one in warnings if "C compiler" in one] for warnings in told]
        assert list(map(len, slow)) == [1, 0]
        assert " ".join(capsys.readouterr().err.split()).count(f"warning: {slow[0][0]}") == 1

    @pytest.mark.parametrize("change", ["exact-int8", "float32", "mps"])
    def test_are_not_told_where_the_kernel_has_no_part(
        self, tiny: LanguageModel, data: Path, change: str
    ) -> None:
        text = load_text(data)
        tokens = tokenize(text.texts, tiny, None)
        on_card = change == "mps"
        model = replace(tiny, device=torch.device("mps")) if on_card else tiny
        reading = MomentsPass(
            model, text, tokens, (0,), shuffles=0, seed=0, plan=plan_of(How(200), layers=1),
            precision="float64" if on_card else change, until=None, until_scores=(), folder=None,
            checkpoint_seconds=60.0, clock=Clock(run.STAGES), bar=Progress(False),
        )  # fmt: skip
        assert reading.warnings == []
