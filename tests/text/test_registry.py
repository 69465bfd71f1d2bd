"""Tests of `ntpscore.text.registry`, and of data sets read by a short name."""

import json
import math
from dataclasses import replace
from pathlib import Path

import datasets
import huggingface_hub
import pytest
from datasets import Dataset, DatasetDict

from ntpscore.errors import DataError
from ntpscore.study.paper.published import load_published
from ntpscore.text import DATA_SETS, find_data, load_splits, load_text, registry, split_rule
from ntpscore.text.rows import write_choices

# Under which names the paper's authors published their figures.
PUBLISHED = {
    "intent": "Bhuvaneshwari/intent_classification",
    "clickbait": "marksverdhei/clickbait_title_classification",
    "sst2": "sst2",
    "banking77": "legacy-datasets/banking77",
    "bias": "PriyaPatel/Bias_identification",
    "emotion": "emotion",
    "sms_spam": "ucirvine/sms_spam",
    "medical": "medical",
    "rotten_tomatoes": "rotten_tomatoes",
    "commonsense_qa": "common_sense",
    "climate": "climatebert/climate_sentiment",
    "imdb": "imdb",
}


def test_every_data_set_is_registered_once_and_completely() -> None:
    assert len(DATA_SETS) == len(registry._ALL)
    assert set(DATA_SETS) == {*PUBLISHED, "medical_single", "helpdesk"}
    for name, data in DATA_SETS.items():
        assert name == data.name
        assert (data.hub_id is None) != (data.file is None)
        assert (data.test_split is None) != (data.hold_out is None)
        assert (data.test_texts is None) == (data.test_split is None)
        assert (data.text_column is None) != (data.template is None)
        assert data.licence
        assert data.citation
        assert data.classes > 1


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_make_whole_texts_of_the_published_accuracies(name: str) -> None:
    """An accuracy is a number of texts over n; published with six decimals, it tells n."""
    entry, points = DATA_SETS[name], load_published()
    points = points[points["data"] == PUBLISHED[name]]
    assert len(points) == 8
    if name == "intent":  # the authors tested on its test split, which is as large as train
        train, test = entry.train_texts, entry.train_texts
    elif entry.hold_out is not None:
        test = math.ceil(entry.hold_out * entry.train_texts)
        train = entry.train_texts - test
    else:
        assert entry.test_texts is not None
        train, test = entry.train_texts, entry.test_texts
    for column, n in (("accuracy", train), ("probe", test), ("lora", test)):
        texts = points[column] * n
        # Half a unit of the last decimal, and the rounding of a product of doubles.
        assert ((texts - texts.round()).abs() <= 0.5e-6 * n + 1e-9).all()


def test_helpdesk_is_as_registered() -> None:
    entry = DATA_SETS["helpdesk"]
    train, test = load_splits("helpdesk")
    assert (len(train), len(test)) == (entry.train_texts, entry.test_texts)
    assert len(train.classes) == entry.classes
    assert train.source.columns == {"text": "text", "label": "label", "split": "split"}


ROWS = [
    {"question_1": f"is it {i}?", "question_2": f"is it {i % 2}?", "label": i % 2}
    for i in range(20)
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What the hub is asked for: id, configuration, revision. It has the rows above, all train."""
    seen: list[tuple[object, ...]] = []

    class Hub:
        def dataset_info(self, *_: object, **__: object) -> None:
            raise huggingface_hub.errors.OfflineModeIsEnabled

    def load_dataset(hub_id: str, configuration: str | None, *, revision: str | None) -> object:
        seen.append((hub_id, configuration, revision))
        return DatasetDict(train=Dataset.from_list(ROWS))

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return seen


def test_short_name_stands_for_hub_id_and_columns(asked: list[tuple[object, ...]]) -> None:
    text = load_text("medical")
    assert asked == [("curaihealth/medical_questions_pairs", None, None)]
    assert text.texts[3] == "is it 3?\nis it 1?"
    assert text.source.id == "curaihealth/medical_questions_pairs"
    assert text.source.columns == {"text": "question_1", "pair": "question_2", "label": "label"}


def test_medical_single_leaves_the_second_question_out(asked: list[tuple[object, ...]]) -> None:
    text = load_text("medical_single")
    assert text.texts[3] == "is it 3?"
    assert text.source.columns == {"text": "question_1", "label": "label"}


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"text_column": "question_2"}, "is it 0?"),
        ({"text_column": "question_2", "pair_column": "question_1"}, "is it 0?\nis it 0?"),
        ({"template": "{question_2} or {question_1}"}, "is it 0? or is it 0?"),
    ],
)
def test_options_come_before_registered_columns(
    asked: list[tuple[object, ...]], options: dict[str, str], first: str
) -> None:
    assert load_text("medical", **options).texts[0] == first


def test_label_column_that_is_given_is_taken(asked: list[tuple[object, ...]]) -> None:
    text = load_text("medical_single", label_column="question_2")
    assert text.classes == ("is it 0?", "is it 1?")


def test_configuration_and_revision_are_registered_and_can_be_given(
    asked: list[tuple[object, ...]],
) -> None:
    columns = {"text_column": "question_1"}
    climate = DATA_SETS["climate"]
    load_text("climate", **columns)
    load_text("climate", data_revision="v2", **columns)
    assert load_text("emotion", **columns).source.configuration == "split"
    load_text("emotion", data_configuration="unsplit", **columns)
    assert [ask[1:] for ask in asked] == [
        (None, climate.revision), (None, "v2"), ("split", None), ("unsplit", None),
    ]  # fmt: skip


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A data set of twenty rows whose hub id is a file; half of it is registered to be held out."""
    path = tmp_path / "hub.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    entry = replace(DATA_SETS["medical"], name="made_up", hub_id=str(path), hold_out=0.5)
    monkeypatch.setitem(DATA_SETS, "made_up", entry)
    return "made_up"


def test_registered_share_is_held_out_unless_another_is_given(made_up: str) -> None:
    sizes = [
        [len(part) for part in load_splits(made_up, **options)]
        for options in ({}, {"hold_out": 0.2}, {"max_test_texts": 4})
    ]
    assert sizes == [[10, 10], [16, 4], [10, 4]]


def test_sample_of_what_is_held_out_keeps_shares_and_coding(made_up: str) -> None:
    train, test = load_splits(made_up, max_test_texts=4)
    assert test.classes == train.classes
    assert test.class_counts() == {"0": 2, "1": 2}
    held_out = load_splits(made_up).test
    assert set(test.texts) < set(held_out.texts)


def test_sample_of_what_is_held_out_for_other_tasks(tmp_path: Path) -> None:
    path = tmp_path / "targets.jsonl"
    rows = [{"text": f"text {i}", "label": i / 7} for i in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert len(load_splits(path, hold_out=0.5, max_test_texts=3).test) == 3


def test_test_split_that_is_given_comes_before_the_registered_share(made_up: str) -> None:
    with pytest.raises(DataError, match="no test split 'dev'"):
        load_splits(made_up, test_split="dev")


def test_split_rule_is_the_users_choice_else_the_registered_one() -> None:
    assert split_rule("medical", None, None) == (None, 0.3)
    assert split_rule("sst2", None, None) == ("validation", None)
    assert split_rule("sst2", None, 0.1) == (None, 0.1)
    assert split_rule("medical", "dev", None) == ("dev", None)
    assert split_rule("owner/name", None, None) == (None, None)
    assert split_rule(3, None, None) == (None, None)


def test_a_local_file_or_folder_comes_before_a_short_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_data("emotion") is DATA_SETS["emotion"]
    Dataset.from_list([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]).save_to_disk(
        tmp_path / "emotion"
    )
    assert find_data("emotion") is None
    assert load_text("emotion").texts == ["a", "b"]


def test_folder_of_something_else_that_hides_a_short_name_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "helpdesk").mkdir()
    with pytest.raises(DataError, match="no folder hides that short name"):
        load_text("helpdesk")


def test_choices_stand_in_the_text_of_commonsense_qa(
    asked: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {
        "question": "Where is money?",
        "choices": {"label": ["A", "B"], "text": ["bank", "mall"]},
        "answerKey": "A",
    }
    rows = [row, row | {"answerKey": "B"}]
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *_, **__: DatasetDict(train=Dataset.from_list(rows))
    )
    text = load_text("commonsense_qa")
    assert text.texts[0] == "Where is money? A. bank B. mall"
    assert text.classes == ("A", "B")
    assert text.source.template == "{question} {choices}"


@pytest.mark.parametrize(
    "value",
    [
        "text",
        {"text": ["bank"]},
        {"label": ["A"], "text": ["bank", "mall"]},
        {"label": "A", "text": "bank"},
    ],
)
def test_what_is_no_choices_is_left_as_it_is(value: object) -> None:
    assert write_choices(value) == value
