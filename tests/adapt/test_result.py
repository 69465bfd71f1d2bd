"""The result folder of adapt."""

import json
from pathlib import Path

import numpy as np
import pytest

from ntpscore import LanguageModel, adapt
from ntpscore.adapt import AdaptResult, OlsConfig, fit_ols, load_adapt_result
from ntpscore.adapt.record import tabulate_predictions
from ntpscore.adapt.result import LOSS_COLUMNS
from ntpscore.errors import OutputError
from ntpscore.scoring.result import read_kind
from ntpscore.text import Splits


@pytest.fixture
def result(tiny: LanguageModel, splits: Splits) -> AdaptResult:
    return fit_ols(tiny, splits.train, splits.test, config=OlsConfig(layers=(3,)))


def test_record_says_how_it_was_made(result: AdaptResult, splits: Splits) -> None:
    record = result.record
    assert record["kind"] == "adapt"
    assert record["method"] == "ols"
    assert record["data"]["train"]["n_texts"] == 200
    assert record["data"]["test"]["split"] == "test"
    assert record["data"]["test"]["content_hash"] == splits.test.source.content_hash
    assert record["model"]["width"] == 32
    assert record["samples_seen"] == 200
    assert record["tokens"] == record["data"]["train"]["n_tokens"] > 200
    assert record["seconds"]["total"] >= record["seconds"]["forward"] > 0
    assert record["peak_memory_bytes"] > 10**7
    assert set(record["versions"]) == {"ntpscore", "python", "torch", "transformers"}
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert "ols" in repr(result)
    assert tuple(result.loss_curve.columns) == LOSS_COLUMNS


def test_folder_reads_back(result: AdaptResult, tmp_path: Path) -> None:
    result.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "result.json", "loss_curve.csv", "predictions.csv", "head.safetensors", "README.md",
    }  # fmt: skip
    loaded = load_adapt_result(tmp_path)
    assert loaded.record == result.record
    assert loaded.test == result.test
    assert loaded.predictions.equals(result.predictions)
    assert read_kind(tmp_path) == "adapt"
    # A later result without a test split leaves no predictions of the earlier one behind.
    AdaptResult({**result.record, "test": None}).save(tmp_path)
    assert load_adapt_result(tmp_path).predictions is None
    assert load_adapt_result(tmp_path).test is None


def test_a_class_called_na_stays_a_name(splits: Splits, tmp_path: Path) -> None:
    from dataclasses import replace

    text = replace(splits.test, classes=("NA", "food", "weather"))
    table = tabulate_predictions(np.eye(3)[text.labels], text)
    AdaptResult({"schema_version": 2, "kind": "adapt"}, predictions=table).save(tmp_path)
    assert load_adapt_result(tmp_path).predictions.equals(table)
    assert (table["label"] == "NA").any()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("result.json", None, "result.json is missing"),
        ("loss_curve.csv", None, "loss_curve.csv is missing"),
        ("result.json", "{half", "can't be read"),
        ("result.json", "[]", "no result of adapt"),
        ("result.json", '{"schema_version": 2}', "no result of adapt"),
        ("result.json", '{"kind": "adapt", "schema_version": 99}', "schema version 99"),
        ("result.json", '{"kind": "adapt", "schema_version": 1}', "schema version 1, .* make it"),
        ("loss_curve.csv", "a,b\n", "not the file that was written"),
    ],
)
def test_a_damaged_folder_is_refused(
    result: AdaptResult, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    result.save(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(OutputError, match=message):
        load_adapt_result(tmp_path)


@pytest.mark.parametrize("content", [None, "{half", "[]", "{}"])
def test_a_folder_without_kind_counts_as_scores(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    assert read_kind(tmp_path) == "score"


def test_cut_texts_are_warned_of(tiny: LanguageModel, splits: Splits) -> None:
    config = OlsConfig(layers=(3,), max_length=4)
    warnings = fit_ols(tiny, splits.train, splits.test, config=config).record["warnings"]
    assert any("texts of the train split were cut to 4 tokens" in warning for warning in warnings)
    assert any("texts of the test split were cut to 4 tokens" in warning for warning in warnings)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert "fit_ols" in dir(adapt)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = adapt.nonsense
