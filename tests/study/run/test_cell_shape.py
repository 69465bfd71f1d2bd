"""What the file of a cell holds, and what it is said to have wrong."""

import copy
from pathlib import Path
from typing import Any

import pytest

from ntpscore.errors import StudyError
from ntpscore.study.run.cells import load_records
from tests.support.studies import made_up_records, with_more_of_lora, write_records


def test_what_a_damaged_cell_has_wrong_is_named(tmp_path: Path) -> None:
    records = with_more_of_lora(made_up_records(1, layers=2))
    write_records(tmp_path, records)
    assert len(load_records(tmp_path)) == 4
    scored, _, adapted, _ = records
    for cell, keys, value, message in (
        (scored, ("record", "layers", 1, "r2"), "x", r"record\.layers\[1\]\.r2 is 'x'"),
        (scored, ("record", "layers", 1, "layer"), 0, r"\[0, 0\], not layers in their order"),
        (scored, ("record", "model", "width"), 0, r"record\.model\.width is 0"),
        (scored, ("record", "accuracy", "readouts", 0, "accuracy"), None, "accuracy is None"),
        (scored, ("scores", "retained", "z", 1), [0.5], "scores.retained.z is no table"),
        (scored, ("scores", "retained", "value", 1, 0), 10**400, "value is no table"),
        (scored, ("seed",), True, "seed is True"),
        (scored, ("record", "seconds", "total"), float("nan"), r"seconds\.total is nan"),
        (adapted, ("record", "test", "accuracy_interval"), [1], r"accuracy_interval is \[1\]"),
        (adapted, ("record", "train"), ..., "record.train is missing"),
        (adapted, ("record", "samples_seen"), ..., "record.samples_seen is missing"),
        (adapted, ("losses", "loss"), [1.0], r"losses\.loss is \[1\.0\]"),
        (adapted, ("rescored", "scores"), [], r"rescored\.scores is \[\]"),
        (adapted, ("status",), "failed", "error is missing"),
    ):  # fmt: skip
        changed = copy.deepcopy(cell)
        inner: Any = changed
        for key in keys[:-1]:
            inner = inner[key]
        if value is ...:
            del inner[keys[-1]]
        else:
            inner[keys[-1]] = value
        write_records(tmp_path, [changed])
        with pytest.raises(StudyError, match=rf"m--d0/{cell['method']}-.*damaged: .*{message}"):
            load_records(tmp_path)
        write_records(tmp_path, records)
