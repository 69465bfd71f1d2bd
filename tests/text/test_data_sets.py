from decimal import Decimal

import datasets
import huggingface_hub
import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from huggingface_hub.utils import httpx

from ntpscore.errors import DataError
from ntpscore.text import load_text
from tests.support.text_rows import ROWS

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXTS = [row["text"] for row in ROWS]


@pytest.fixture(autouse=True)
def _no_progress_bars():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture
def split_data():
    return DatasetDict(train=Dataset.from_list(ROWS), test=Dataset.from_list(ROWS[:2]))


class _Hub:
    """Stands for `HfApi`: tells the full name and a commit, or fails."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = None

    def __call__(self):
        return self

    def dataset_info(self, hub_id, *, revision, timeout):
        self.asked = (hub_id, revision)
        if isinstance(self.answer, Exception):
            raise self.answer
        return huggingface_hub.hf_api.DatasetInfo(
            id=hub_id.replace("short", "owner/short"), sha=self.answer,
            author=None, private=False, disabled=False, downloads=0,
            likes=0, tags=[],
        )  # fmt: skip


def _fake_loading(monkeypatch, answer, loaded):
    hub, calls = _Hub(answer), []

    def load_dataset(*args, **options):
        calls.append((args, options))
        if isinstance(loaded, Exception):
            raise loaded
        return loaded

    monkeypatch.setattr(huggingface_hub, "HfApi", hub)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return hub, calls


def test_hub_data_set_is_loaded_with_its_commit(monkeypatch, split_data):
    hub, calls = _fake_loading(monkeypatch, COMMIT, split_data)
    text = load_text("owner/name", data_configuration="small", data_revision="v1", split="test")
    assert text.texts == TEXTS[:2]
    assert hub.asked == ("owner/name", "v1")
    assert calls == [(("owner/name", "small"), {"revision": "v1"})]
    assert text.source.id == "owner/name"
    assert text.source.revision == COMMIT
    assert (text.source.configuration, text.source.split) == ("small", "test")


def test_hub_commit_is_that_of_the_files_where_they_tell(monkeypatch):
    data = Dataset.from_list(ROWS)
    data.info.download_checksums = {
        "README.md": None,
        f"hf://datasets/owner/name@{COMMIT}/train.parquet": None,
    }
    _fake_loading(monkeypatch, "f" * 40, DatasetDict(train=data))
    assert load_text("owner/name").source.revision == COMMIT


@pytest.mark.parametrize("answer", [None, huggingface_hub.errors.OfflineModeIsEnabled()])
def test_hub_data_set_without_a_commit_is_still_loaded(monkeypatch, split_data, answer):
    _fake_loading(monkeypatch, answer, split_data)
    text = load_text("owner/name")
    assert text.texts == TEXTS
    assert text.source.revision is None


def test_hub_data_set_without_its_owner_is_loaded_by_its_full_name(monkeypatch, split_data):
    _, calls = _fake_loading(monkeypatch, COMMIT, split_data)
    assert load_text("short").source.id == "short"
    assert calls == [(("owner/short", None), {"revision": None})]


@pytest.mark.parametrize("answer", ["f" * 40, huggingface_hub.errors.OfflineModeIsEnabled()])
def test_file_format_is_not_taken_for_the_files_of_the_folder(monkeypatch, split_data, answer):
    _, calls = _fake_loading(monkeypatch, answer, split_data)
    with pytest.raises(DataError, match="no data set of that name: give its owner"):
        load_text("csv")
    assert calls == []


def test_hub_failure_says_what_was_tried_and_what_to_do(monkeypatch):
    problem = ValueError("Config name is missing. Pick one among 'a', 'b'")
    _fake_loading(monkeypatch, COMMIT, problem)
    with pytest.raises(DataError, match="Config name is missing") as error:
        load_text("owner/name", data_revision="v1")
    for part in (
        "'owner/name', revision 'v1'",
        "--data-configuration",
        "network",
        "HF_HUB_OFFLINE=1",
    ):
        assert part in str(error.value)


def test_hub_out_of_reach_is_told_without_loading(monkeypatch, split_data):
    _, calls = _fake_loading(monkeypatch, httpx.ConnectError("name not known"), split_data)
    with pytest.raises(DataError, match=r"can't be asked .*name not known.*HF_HUB_OFFLINE=1"):
        load_text("owner/name")
    assert calls == []


def test_hub_data_set_not_in_the_cache_is_refused_offline(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"loading it from the hub .* failed: .*[Oo]ffline"):
        load_text("nobody-of-this-name/nothing-of-this-name")


def test_data_set_dict_without_the_split_lists_those_it_has(split_data):
    with pytest.raises(DataError, match="no split 'dev': it has 'train', 'test'"):
        load_text(split_data, split="dev")


def test_empty_split_is_refused(split_data):
    split_data["test"] = split_data["test"].select([])
    with pytest.raises(DataError, match="has no rows in split 'test'"):
        load_text(split_data, split="test")


def test_row_of_a_data_set_dict_is_placed_in_its_split():
    data = DatasetDict(dev=Dataset.from_list([*ROWS, {"text": " ", "label": "bad"}]))
    with pytest.raises(DataError, match="in-memory DatasetDict, row 4 of split 'dev': no text"):
        load_text(data, split="dev")


@pytest.mark.parametrize("with_splits", [False, True])
def test_saved_folder_is_read(tmp_path, split_data, with_splits):
    data = split_data if with_splits else split_data["train"]
    data.save_to_disk(tmp_path / "saved")
    text = load_text(tmp_path / "saved")
    assert text.texts == TEXTS
    assert text.source.id == str(tmp_path / "saved")


def test_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(DataError, match="is a folder, but not one that `save_to_disk`"):
        load_text(tmp_path)


@pytest.mark.parametrize("content", ["{}", "no JSON", "[]"])
def test_damaged_folder_is_refused(tmp_path, content):
    for name in ("state.json", "dataset_info.json"):
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="is damaged"):
        load_text(tmp_path)


def test_data_set_in_memory_is_read_through_its_indices_and_format():
    data = Dataset.from_list(ROWS).select([2, 1]).with_format("numpy")
    text = load_text(data)
    assert text.texts == [TEXTS[2], TEXTS[1]]
    assert text.source.id == "in-memory Dataset"


def test_data_set_that_knows_its_split_is_of_that_split():
    data = Dataset.from_list(ROWS, split="test")
    assert load_text(data, split="test").texts == TEXTS
    with pytest.raises(DataError, match="no split 'dev'"):
        load_text(data, split="dev")


def test_split_column_is_obeyed_within_a_split():
    rows = [row | {"split": "test" if i == 0 else "train"} for i, row in enumerate(ROWS)]
    assert load_text(DatasetDict(train=Dataset.from_list(rows))).texts == TEXTS[1:]


def test_split_column_about_other_splits_is_ignored_within_a_split():
    rows = [row | {"split": "fold 1"} for row in ROWS]
    assert load_text(DatasetDict(train=Dataset.from_list(rows))).texts == TEXTS


def test_class_labels_keep_their_order_and_lose_absent_names():
    features = Features({"text": Value("string"), "label": ClassLabel(names=["z", "none", "a"])})
    data = Dataset.from_dict({"text": ["one", "two"], "label": [2, 0]}, features=features)
    text = load_text(data)
    assert text.classes == ("z", "a")
    assert text.labels.tolist() == [1, 0]


def test_hidden_class_labels_are_missing():
    features = Features({"text": Value("string"), "label": ClassLabel(names=["a", "b"])})
    data = Dataset.from_dict({"text": ["one", "two"], "label": [0, -1]}, features=features)
    with pytest.raises(DataError, match="row 2: no label in column 'label'"):
        load_text(data)


def test_lists_of_class_labels_are_multilabel():
    features = Features(
        {"text": Value("string"), "labels": datasets.List(ClassLabel(names=["z", "a", "none"]))}
    )
    data = {"text": ["one", "two", "three"], "labels": [[1, 0], [], [0]]}
    text = load_text(Dataset.from_dict(data, features=features))
    assert text.task == "multilabel"
    assert text.classes == ("z", "a")
    assert text.labels.tolist() == [[1, 1], [0, 0], [1, 0]]


def test_frame_is_read_whatever_its_index():
    frame = pd.DataFrame(ROWS, index=[7, 7, 9])
    text = load_text(frame)
    assert text.texts == TEXTS
    assert text.source.id == "in-memory DataFrame"


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_frame_with_a_missing_text_is_refused(missing):
    frame = pd.DataFrame({"text": ["a", missing, "b"], "label": [0, 1, 0]}, dtype=object)
    with pytest.raises(DataError, match="in-memory DataFrame, row 2: no text"):
        load_text(frame)


def test_frame_integers_with_a_missing_one_stay_integers():
    frame = pd.DataFrame({"text": ["a", "b", "c"], "label": [10, 2, None]})
    text = load_text(frame, skip_bad_rows=True)
    assert text.task == "classification"
    assert text.classes == ("2", "10")
    assert text.source.skipped == {"without label": 1}


def test_frame_columns_of_categories_arrays_and_numpy_numbers_are_read():
    texts = pd.Series(["a", "b"])
    categories = pd.Categorical(["y", "x"], categories=["y", "x"])
    assert load_text(pd.DataFrame({"text": texts, "label": categories})).classes == ("x", "y")
    numbers = pd.Series([np.int64(3), np.int64(1)], dtype=object)
    assert load_text(pd.DataFrame({"text": texts, "label": numbers})).classes == ("1", "3")
    for lists in ([np.array(["x", "y"]), np.array(["y"])], [("x", "y"), ("y",)]):
        assert load_text(pd.DataFrame({"text": texts, "label": lists})).task == "multilabel"


def test_frame_with_a_column_twice_is_refused():
    frame = pd.DataFrame([["a", 1, 1]], columns=["text", "label", "label"])
    with pytest.raises(DataError, match="two columns are called 'label'"):
        load_text(frame)


@pytest.mark.parametrize("data", [3, None, [("a", 1)]])
def test_data_of_another_type_is_refused(data):
    with pytest.raises(DataError, match="can't be read from a builtins"):
        load_text(data)


def test_labels_of_decimals_are_numbers():
    frame = pd.DataFrame({"text": list("abcd"), "label": map(Decimal, ["0.5", "1.5", "2", "1"])})
    text = load_text(frame)
    assert text.task == "regression"
    assert text.target_mean == (1.25,)
