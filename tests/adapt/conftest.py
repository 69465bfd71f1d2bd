"""A tiny model and small splits for the tests of adapt."""

from pathlib import Path

import pytest

from ntpscore import LanguageModel, load_model
from ntpscore.text import Splits, load_splits
from tests.support.labelled_texts import make_rows, write_rows


@pytest.fixture(scope="session")
def tiny(tiny_model_dir: Path) -> LanguageModel:
    return load_model(tiny_model_dir)


@pytest.fixture(scope="session")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    """200 texts of three classes to fit, 50 to test."""
    path = write_rows(tmp_path_factory.mktemp("data") / "data.jsonl", make_rows(200))
    return load_splits(path)


@pytest.fixture(scope="session")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    """The same texts with their length as target."""
    rows = [{**row, "label": len(row["text"]) / 7} for row in make_rows(200)]
    return load_splits(write_rows(tmp_path_factory.mktemp("data") / "r.jsonl", rows))


@pytest.fixture(scope="session")
def multilabel(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    """The same texts with their class and whether they hold "the"."""
    rows = [
        {**row, "label": [row["label"]] + ["the"] * ("the" in row["text"])}
        for row in make_rows(200)
    ]
    return load_splits(write_rows(tmp_path_factory.mktemp("data") / "m.jsonl", rows))
