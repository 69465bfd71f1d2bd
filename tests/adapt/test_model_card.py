"""The model card that adapt writes: whole, true, parsed again, and nobody's markup."""

import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from ntpscore import LanguageModel, load_predictor
from ntpscore.adapt import LoraConfig, fit_lora, fit_ols, fit_ridge, fit_scratch, load_adapt_result
from ntpscore.adapt.config import ScratchConfig
from ntpscore.adapt.model_card import make_card
from ntpscore.adapt.result import KIND, SCHEMA_VERSION
from ntpscore.result_folder import CARD, read_result
from ntpscore.text import Splits

HOSTILE = (
    "a|b](http://evil.example) <script>x</script>\n---\nlicense: mit\n# {{ no }} `c` www.x.org"
)


@pytest.fixture(scope="module")
def folder(tiny: LanguageModel, splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("card")
    fit_ridge(tiny, *splits, folder=out)
    return out


def card_of(folder: Path) -> Any:
    return ModelCard.load(folder / CARD)


def test_card_has_the_figures_of_the_result(folder: Path) -> None:
    result, card = load_adapt_result(folder), card_of(folder)
    found = {one.metric_type: one.metric_value for one in card.data.eval_results}
    test = result.test
    assert found == {
        "accuracy": test.accuracy, "f1": test.macro_f1, "r_squared": test.r2, "mse": test.mse,
    }  # fmt: skip
    assert {one.dataset_split for one in card.data.eval_results} == {"test"}
    assert card.data.tags == ["ntpscore", "ridge"]
    assert f"layer {result.record['layer']} of 3, {result.record['pooling']} token" in card.text
    assert f"{test.accuracy:.3f}" in card.text
    assert "animals, food, weather" in card.text


def test_card_tells_no_path(folder: Path, splits: Splits, tiny: LanguageModel) -> None:
    text = (folder / CARD).read_text(encoding="utf-8")
    assert str(Path(tiny.id).parent) not in text
    assert str(Path(splits.train.source.id).parent) not in text
    assert Path(tiny.id).name.replace("_", "\\_") in text
    assert card_of(folder).data.base_model is None


def test_what_is_from_the_hub_is_named_in_the_metadata(folder: Path) -> None:
    record = load_adapt_result(folder).record
    record["model"] |= {"id": "Qwen/Qwen2-0.5B", "revision": "abc", "content_hash": None}
    for split in record["data"].values():
        split |= {"id": "dair-ai/emotion", "revision": "def"}
    card: Any = ModelCard(make_card(record))
    assert card.data.base_model == "Qwen/Qwen2-0.5B"
    assert {one.dataset_type for one in card.data.eval_results} == {"dair-ai/emotion"}
    assert "load_predictor(folder)" in card.text


def test_strings_of_the_data_stay_text(folder: Path) -> None:
    record = load_adapt_result(folder).record
    record["model"]["id"] = HOSTILE
    for split in record["data"].values():
        split |= {"id": HOSTILE, "split": HOSTILE, "classes": [HOSTILE, "b"]}
    card: Any = ModelCard(make_card(record))
    assert "license" not in card.data.to_dict()
    assert card.data.to_dict().keys() == ModelCard.load(folder / CARD).data.to_dict().keys()
    for mark in ("](", "<script", "{{", "http:", "www."):
        assert not re.search(rf"(?<!\\){re.escape(mark)}", card.text), mark
    lines = card.text.splitlines()
    assert sum(line.startswith("# ") for line in lines) == 1
    assert "---" not in lines
    assert all(line.count("|") - line.count("\\|") in (0, 5) for line in lines)


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_card_of_other_tasks(
    kind: str, tiny: LanguageModel, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    result = fit_ols(tiny, *request.getfixturevalue(kind), folder=tmp_path)
    found = {one.metric_type: one.metric_value for one in card_of(tmp_path).data.eval_results}
    assert found["r_squared"] == result.test.r2
    assert ("accuracy" in found) == (kind == "multilabel")


def test_without_a_test_split_there_is_no_figure(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    fit_ols(tiny, splits.train, None, folder=tmp_path)
    card = card_of(tmp_path)
    assert card.data.eval_results is None
    assert "It was not tested" in card.text


def test_adapter_has_the_card_in_place_of_a_form(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    fit_lora(tiny, *splits, config=LoraConfig(steps=2, batch_size=4), folder=tmp_path)
    cards = [(tmp_path / one / CARD).read_text(encoding="utf-8") for one in ("", "adapter")]
    assert cards[0] == cards[1]
    assert "More Information Needed" not in cards[0]
    assert card_of(tmp_path / "adapter").data.tags == ["ntpscore", "lora", "peft"]


def test_card_belongs_to_the_result_and_may_be_edited(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    fit_ols(tiny, *splits, folder=tmp_path)
    files = read_result(tmp_path, KIND, SCHEMA_VERSION, "result").files
    assert files[CARD] == {}
    assert all(one for name, one in files.items() if name != CARD)
    with (tmp_path / CARD).open("a", encoding="utf-8") as file:
        file.write("\n## What I found out\n")
    assert load_predictor(tmp_path, model=tiny).predict(["the cat"]).shape == (1,)
    load_adapt_result(tmp_path).save(tmp_path)
    assert "What I found out" in (tmp_path / CARD).read_text(encoding="utf-8")
    fit_scratch(
        tiny, splits.train, None, config=ScratchConfig(steps=1, batch_size=2), folder=tmp_path
    )
    assert not (tmp_path / CARD).exists()


def test_a_readme_of_ones_own_is_left_alone(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    (tmp_path / CARD).write_text("mine", encoding="utf-8")
    for _ in range(2):
        fit_ols(tiny, *splits, folder=tmp_path)
        assert (tmp_path / CARD).read_text(encoding="utf-8") == "mine"
    assert CARD not in read_result(tmp_path, KIND, SCHEMA_VERSION, "result").files


def test_many_classes_are_counted(folder: Path) -> None:
    record = load_adapt_result(folder).record
    record["data"]["train"] |= {"classes": [f"class {i}" for i in range(60)]}
    assert "class 49 and 10 more." in make_card(record)
