"""Files of cells."""

import shutil
from pathlib import Path

import pytest

from ntpscore.errors import StudyError
from ntpscore.study.run.cells import load_records, nominal_k_fraction, read_cell, select_records
from tests.support.studies import made_up_records, write_records


@pytest.mark.parametrize("width", [8, 20, 32, 576, 640, 2048])
def test_nominal_k_fractions_are_the_steps_that_k_came_from(width: int) -> None:
    for step in range(1, 20):
        k = step * width // 20
        if k and (width >= 20 or k > (step - 1) * width // 20):
            assert nominal_k_fraction(k, width) == pytest.approx(step / 20)


def test_a_file_that_is_no_cell_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    for text, message in (
        ("{", "can't be read"), ("[]", "is no cell"), ('{"kind": "score"}', "is no cell"),
        ('{"kind": "study cell", "schema_version": 99}', "schema version 99"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(StudyError, match=message):
            read_cell(path)


def test_a_seed_that_the_model_does_not_have_is_named() -> None:
    records = [{"model": "a", "seed": 0}, {"model": "b", "seed": 1}]
    with pytest.raises(StudyError, match="no cell of seed 1"):
        select_records(records, models=["a"], seeds=[1])


def test_two_files_of_one_cell_are_refused(tmp_path: Path) -> None:
    write_records(tmp_path, made_up_records(1))
    (path, *_) = sorted(tmp_path.rglob("*.json"))
    shutil.copyfile(path, path.with_name("other.json"))
    with pytest.raises(StudyError, match="are of the same cell: keep one"):
        load_records(tmp_path)


def test_folders_are_read_together(tmp_path: Path) -> None:
    records = made_up_records(2)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, part in zip(folders, (records[::2], records[1::2]), strict=True):
        write_records(folder, part)
    found = load_records(*folders)
    assert len(found) == sum(record["status"] == "done" for record in records)
    write_records(folders[1], records[:1])
    with pytest.raises(StudyError, match=r"two.* and .*one.* are of the same cell"):
        load_records(*folders)
    with pytest.raises(StudyError, match=r"three, .*four holds no cell"):
        load_records(tmp_path / "three", tmp_path / "four")
