"""Splits in files, folders and patterns."""

import json
from pathlib import Path

import datasets
import pytest

from ntpscore.errors import DataError
from ntpscore.text import describe_reading, load_splits, load_text

TRAIN = [{"text": f"train {i}", "label": "ab"[i % 2]} for i in range(6)]
TEST = [{"text": f"test {i}", "label": "ab"[i % 2]} for i in range(4)]


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = datasets.Dataset.from_list(rows)
    if path.suffix == ".parquet":
        data.to_parquet(str(path))
    elif path.suffix == ".csv":
        data.to_csv(str(path))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


LAYOUTS = [
    ("train.csv", "test.csv"),
    ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
    ("train.jsonl", "test.jsonl"),
    ("reviews_train.csv", "reviews_test.csv"),
    ("Train.csv", "Test.csv"),
    ("plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"),
    ("train/part-0.jsonl", "test/part-0.jsonl"),
    ("training.tsv.jsonl", "evaluation.jsonl"),
]


@pytest.mark.parametrize(("train", "test"), LAYOUTS)
def test_folder_of_files_is_read_as_splits(tmp_path: Path, train: str, test: str) -> None:
    _write(tmp_path / train, TRAIN)
    _write(tmp_path / test, TEST)
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    (tmp_path / "dataset_infos.json").write_text("{}", encoding="utf-8")
    splits = load_splits(tmp_path)
    assert splits.train.texts == [row["text"] for row in TRAIN]
    assert splits.test.texts == [row["text"] for row in TEST]
    assert splits.test.source.split == "test"
    assert load_text(tmp_path).texts == splits.train.texts
    assert load_text(str(tmp_path), split="test").texts == splits.test.texts
    assert any(f"is read from {Path(train).name!r}" in line
               for line in describe_reading(splits.train))  # fmt: skip


@pytest.mark.parametrize(("train", "test"), LAYOUTS[:5])
def test_file_of_another_split_is_found_beside_the_one_given(
    tmp_path: Path, train: str, test: str
) -> None:
    _write(tmp_path / train, TRAIN)
    _write(tmp_path / test, TEST)
    splits = load_splits(tmp_path / train)
    assert [len(text) for text in splits] == [6, 4]
    assert load_text(tmp_path / test).texts == [row["text"] for row in TEST]


def test_parts_of_a_split_are_read_together_and_places_name_the_file(tmp_path: Path) -> None:
    _write(tmp_path / "train-00000-of-00002.jsonl", TRAIN[:2])
    _write(tmp_path / "train-00001-of-00002.jsonl", [*TRAIN[2:], {"text": "", "label": "a"}])
    _write(tmp_path / "validation-00000-of-00001.jsonl", TEST)
    with pytest.raises(DataError, match=r"train-00001-of-00002.jsonl, line 5: no text"):
        load_text(tmp_path)
    assert len(load_text(tmp_path, skip_bad_rows=True)) == 6
    for name in ("validation", "dev", "val"):
        assert len(load_text(tmp_path, split=name)) == 4
    with pytest.raises(DataError, match=r"no test split 'test'.*it has 'train', 'validation'"):
        load_splits(tmp_path, skip_bad_rows=True)
    splits = load_splits(tmp_path, skip_bad_rows=True, test_split="validation")
    assert [len(text) for text in splits] == [6, 4]


def test_patterns_lists_and_commas_read_several_files(tmp_path: Path) -> None:
    _write(tmp_path / "a.jsonl", TRAIN[:3])
    _write(tmp_path / "b.jsonl", TRAIN[3:])
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for data in (str(tmp_path / "*.jsonl"), paths, ",".join(map(str, paths))):
        text = load_text(data)
        assert text.texts == [row["text"] for row in TRAIN]
        assert any("2 files are read together" in line for line in describe_reading(text))
    with pytest.raises(DataError, match="no file of labelled text matches"):
        load_text(str(tmp_path / "*.csv"))
    with pytest.raises(DataError, match=r"no such file: .*c\.jsonl"):
        load_text([*paths, tmp_path / "c.jsonl"])


def test_pattern_over_splits_reads_one(tmp_path: Path) -> None:
    _write(tmp_path / "train.jsonl", TRAIN)
    _write(tmp_path / "test.jsonl", TEST)
    splits = load_splits(str(tmp_path / "*.jsonl"))
    assert [len(text) for text in splits] == [6, 4]


def test_folder_of_files_without_splits_says_how_to_read_them_and_the_hint_helps(
    tmp_path: Path,
) -> None:
    _write(tmp_path / "a.jsonl", TRAIN[:3])
    assert len(load_text(tmp_path)) == 3
    _write(tmp_path / "b.jsonl", TRAIN[3:])
    with pytest.raises(DataError, match=r"holds 2 files whose names tell no split") as error:
        load_text(tmp_path)
    pattern = str(error.value).rsplit("'", 2)[1]
    assert len(load_text(str(tmp_path / Path(pattern).name))) == 6


def test_files_of_other_columns_are_refused_only_if_these_are_used(tmp_path: Path) -> None:
    _write(tmp_path / "a.jsonl", [row | {"extra": 1} for row in TRAIN])
    _write(tmp_path / "b.jsonl", TEST)
    pattern = str(tmp_path / "*.jsonl")
    assert len(load_text(pattern)) == 10
    with pytest.raises(DataError, match=r"b.jsonl has no column 'extra'"):
        load_text(pattern, label_column="extra")


def test_several_data_sets_or_formats_in_a_folder_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        _write(tmp_path / "sets" / name / "train.jsonl", TRAIN)
    with pytest.raises(DataError, match="several data sets, in 'one', 'two'"):
        load_text(tmp_path / "sets")
    assert len(load_text(tmp_path / "sets" / "one")) == 6
    _write(tmp_path / "mix" / "train.jsonl", TRAIN)
    _write(tmp_path / "mix" / "train.csv", TRAIN)
    with pytest.raises(DataError, match=r"'train.csv', 'train.jsonl' could each be meant"):
        load_text(tmp_path / "mix")


@pytest.mark.parametrize("with_splits", [False, True])
def test_class_folders_of_texts(tmp_path: Path, with_splits: bool) -> None:
    for split, n in (("train", 3), ("test", 2)) if with_splits else (("", 3),):
        for name in ("pos", "neg"):
            for i in range(n):
                path = tmp_path / split / name / f"{i}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{split} {name} {i}", encoding="utf-8")
    text = load_text(tmp_path)
    assert text.class_counts() == {"neg": 3, "pos": 3}
    assert any("are taken for classes: 'neg', 'pos'" in line for line in describe_reading(text))
    if with_splits:
        assert len(load_splits(tmp_path).test) == 4
    else:
        with pytest.raises(DataError, match=r"no test split.*--hold-out 0\.2"):
            load_splits(tmp_path)
        assert len(load_splits(tmp_path, hold_out=0.34).test) == 2
    (path.parent / "blank.txt").write_text(" ", encoding="utf-8")
    with pytest.raises(DataError, match=r"blank\.txt: no text"):
        load_text(tmp_path, split="test" if with_splits else "train")


def test_data_to_test_may_be_anywhere(tmp_path: Path) -> None:
    _write(tmp_path / "a.jsonl", TRAIN)
    _write(tmp_path / "sub" / "b.csv", TEST)
    splits = load_splits(tmp_path / "a.jsonl", test_data=tmp_path / "sub" / "b.csv")
    assert splits.test.texts == [row["text"] for row in TEST]
    assert splits.test.source.split == "test"
    _write(tmp_path / "c.jsonl", [row | {"split": s} for row in TEST for s in ("dev", "test")])
    for options in ({}, {"test_split": "dev"}):
        splits = load_splits(tmp_path / "a.jsonl", test_data=tmp_path / "c.jsonl", **options)
        assert len(splits.test) == 4
    with pytest.raises(DataError, match="no split 'x'"):
        load_splits(tmp_path / "a.jsonl", test_data=tmp_path / "c.jsonl", test_split="x")
    with pytest.raises(DataError, match="give --test-data or --hold-out"):
        load_splits(tmp_path / "a.jsonl", test_data=tmp_path / "c.jsonl", hold_out=0.2)


def test_the_split_to_test_has_the_columns_of_the_one_to_fit(tmp_path: Path) -> None:
    train = [{"title": "short", "review": "a much longer text", "label": i % 2} for i in range(4)]
    test = [{"title": "a title that is long", "review": "short", "label": i % 2} for i in range(4)]
    _write(tmp_path / "train.jsonl", train)
    _write(tmp_path / "test.jsonl", test)
    assert load_splits(tmp_path).test.texts == ["short"] * 4


def test_hidden_labels_are_told_with_the_splits_that_have_some(tmp_path: Path) -> None:
    hidden = [row | {"label": -1} for row in TEST]
    shown = [row | {"label": i % 2} for i, row in enumerate(TRAIN)]
    for name, rows in (("train", shown), ("validation", shown), ("test", hidden)):
        _write(tmp_path / "files" / f"{name}.jsonl", rows)
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["n", "p"])}
    )
    memory = datasets.DatasetDict(
        {name: datasets.Dataset.from_list(rows, features=features)
         for name, rows in (("train", shown), ("validation", shown), ("test", hidden))}
    )  # fmt: skip
    column = [row | {"split": name} for name, rows in (("train", shown), ("dev", shown),
              ("test", hidden)) for row in rows]  # fmt: skip
    _write(tmp_path / "column.jsonl", column)
    for data, other in ((tmp_path / "files", "validation"), (memory, "validation"),
                        (tmp_path / "column.jsonl", "dev")):  # fmt: skip
        with pytest.raises(DataError, match=f"labels of split 'test' .* hidden.*'{other}'"):
            load_splits(data)
        assert len(load_splits(data, test_split=other).test) == 6
    _write(tmp_path / "alone" / "train.jsonl", shown)
    _write(tmp_path / "alone" / "test.jsonl", hidden)
    with pytest.raises(DataError, match="hidden"):
        load_splits(tmp_path / "alone")
    assert len(load_splits(tmp_path / "alone", hold_out=0.2).test) == 2


def test_test_split_without_labels_is_told_and_the_hint_helps(tmp_path: Path) -> None:
    _write(tmp_path / "train.csv", TRAIN)
    _write(tmp_path / "test.csv", [{"text": row["text"]} for row in TEST])
    with pytest.raises(DataError, match=r"split 'test' lacks .*labels are hidden.*--hold-out 0.2"):
        load_splits(tmp_path)
    assert len(load_splits(tmp_path, hold_out=0.34).test) == 2


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither files of labelled text nor class folders"):
        load_text(tmp_path)
