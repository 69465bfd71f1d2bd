"""Whatever a file holds, reading it ends in labelled text or in a `DataError` of bounded length."""

import json
import os

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ntpscore.errors import DataError
from ntpscore.text import describe_reading, load_text

LONGEST = 3000  # characters, the path included

quick = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _read_or_refuse(path) -> None:
    """Load the file; it may only be refused, in a message that can be shown."""
    try:
        text = load_text(path)
        told = "\n".join(describe_reading(text))
        assert len(text) == len(text.labels) > 1
    except DataError as error:
        told = str(error)
    assert len(told) < LONGEST
    assert "\x1b" not in told
    told.encode()  # no lone surrogates


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner,
                                                                max_size=3),
    max_leaves=6,
)  # fmt: skip


@quick
@given(
    rows=st.lists(st.fixed_dictionaries({"text": _JSON, "label": _JSON}), max_size=4),
    wrap=st.sampled_from([list, lambda rows: {"data": rows}, lambda rows: {"text": rows}]),
)
def test_json_of_any_values_is_read_or_refused(tmp_path, rows, wrap):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(wrap(rows)), encoding="utf-8")
    _read_or_refuse(path)
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    _read_or_refuse(path)


_CELL = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    [
        "nan",
        "1",
        "0.5",
        "4,5",
        "75%",
        "['a']",
        "a#b",
        "[1 0]",
        "x",
        "TRUE",
        "-",
        "1 000",
        '"',
        "a\tb",
    ]
)


@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
@quick
@given(rows=st.lists(st.tuples(_CELL, _CELL), max_size=6))
def test_tables_of_any_cells_are_read_or_refused(tmp_path, ending, delimiter, rows):
    path = tmp_path / f"a.{ending}"
    frame = pd.DataFrame(rows, columns=["text", "label"])
    frame.to_csv(path, index=False, sep=delimiter, encoding="utf-8")
    _read_or_refuse(path)


@quick
@given(texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1)
                      .filter(str.strip), min_size=2, max_size=6),
       delimiter=st.sampled_from(",;|"))  # fmt: skip
def test_quoted_csv_comes_back_as_it_was(tmp_path, texts, delimiter):
    labels = [f"c{i % 2}" for i in range(len(texts))]
    frame = pd.DataFrame({"text": texts, "label": labels})
    frame.to_csv(tmp_path / "a.csv", index=False, sep=delimiter, quoting=1, lineterminator="\n")
    assert load_text(tmp_path / "a.csv").texts == texts


_LINE = st.characters(codec="utf-8", exclude_categories=["Zl", "Zp", "Cc"])


@quick
@given(
    texts=st.lists(st.text(_LINE, min_size=1).filter(str.strip), min_size=2, max_size=6),
    label_first=st.booleans(),
)
def test_unquoted_tsv_loses_no_row(tmp_path, texts, label_first):
    rows = [(text, f"c{i % 2}") for i, text in enumerate(texts)]
    rows = [("text", "label"), *rows]
    lines = ["\t".join(row[::-1] if label_first else row) for row in rows]
    (tmp_path / "a.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    text = load_text(tmp_path / "a.tsv", skip_bad_rows=True)  # a cell of two quote marks is blank
    assert text.source.n_rows == len(texts)


@pytest.mark.parametrize(
    "row",
    [{"text": "a\ud800b", "label": "x"}, {"text": "b", "label": "\ud800"},
     {"text": "b", "label": ["x", "\udfff"]}],
)  # fmt: skip
def test_half_a_surrogate_pair_is_refused_or_counted_wherever_it_is(write_jsonl, row):
    others = [["x"], ["y", "x"]] if isinstance(row["label"], list) else ["x", "y"]
    rows = [{"text": f"t{i}", "label": label} for i, label in enumerate(others * 2)]
    path = write_jsonl([rows[0], row, *rows[1:]])
    with pytest.raises(DataError, match=r"line 2: column .* holds half a surrogate pair") as error:
        load_text(path)
    str(error.value).encode()
    text = load_text(path, skip_bad_rows=True)
    assert len(text) == 4
    assert sum(text.source.skipped.values()) == 1


def test_half_a_surrogate_pair_in_a_column_name_hurts_nobody(write_jsonl):
    rows = [{"text": "a", "label": "x", "\ud800": 1}, {"text": "b", "label": "y"}]
    assert load_text(write_jsonl(rows)).texts == ["a", "b"]
    with pytest.raises(DataError, match="no column 'z'") as error:
        load_text(write_jsonl(rows), label_column="z")
    str(error.value).encode()


def test_file_name_of_any_bytes_can_be_told(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.csv"
    with open(path, "wb") as file:  # noqa: PTH123  # a path of bytes
        file.write(b"text,label\na,x\nb,y\n")
    text = load_text(os.fsdecode(path))
    "\n".join(describe_reading(text)).encode()
    json.dumps(text.source.id, ensure_ascii=False).encode()


def test_bytes_that_are_no_utf8_in_parquet_are_refused(tmp_path):
    wrong = pa.StringArray.from_buffers(
        2, pa.py_buffer(np.array([0, 1, 2], np.int32).tobytes()), pa.py_buffer(b"a\xff")
    )
    for name in ("text", "label", "other"):
        columns = {"text": ["a", "b"], "label": ["x", "y"]} | {name: wrong}
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
        if name == "other":
            assert load_text(tmp_path / "a.parquet").texts == ["a", "b"]
        else:
            with pytest.raises(DataError, match=f"column '{name}', is damaged: .*UTF8"):
                load_text(tmp_path / "a.parquet")


def test_damaged_arrow_files_of_a_saved_folder_are_refused(tmp_path):
    """Offsets beyond the data end the process where nobody checks them."""
    data = datasets.Dataset.from_dict({"text": ["abc"] * 50, "label": ["x", "y"] * 25})
    data.save_to_disk(tmp_path)
    path = next(tmp_path.glob("*.arrow"))
    content = path.read_bytes()
    offsets = np.arange(0, 153, 3, dtype=np.int32).tobytes()
    place = content.index(offsets)
    damaged = bytearray(content)
    damaged[place + 100 : place + 104] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="column 'text', is damaged"):
        load_text(tmp_path)
    for cut in (10, len(content) // 2, len(content) - 20):
        path.write_bytes(content[:cut])
        with pytest.raises(DataError, match="damaged"):
            load_text(tmp_path)
