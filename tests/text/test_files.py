import bz2
import csv
import gzip
import json
import lzma
import re
import sys
from pathlib import Path

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ntpscore.errors import DataError
from ntpscore.text import load_text
from tests.support.text_rows import ROWS

TEXTS = [row["text"] for row in ROWS]


def test_jsonl_is_read(write_jsonl):
    text = load_text(write_jsonl(ROWS))
    assert text.texts == TEXTS
    assert text.classes == ("bad", "good")
    assert text.labels.tolist() == [0, 1, 0]
    assert text.labels.dtype.name == "int64"


def test_formats_of_the_same_rows_have_one_content_hash(write_jsonl, write_file, tmp_path):
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "rows.parquet")
    paths = [
        write_jsonl(ROWS),
        write_file("rows.json", json.dumps(ROWS)),
        write_file("rows.csv", "text,label\n" + "".join(f"{t},{x['label']}\n" for t, x in _rows())),
        write_file(
            "rows.tsv", "text\tlabel\r\n" + "".join(f"{t}\t{x['label']}\r\n" for t, x in _rows())
        ),
        str(tmp_path / "rows.parquet"),
    ]
    texts = [load_text(path) for path in paths]
    assert all(text.texts == TEXTS for text in texts)
    assert len({text.source.content_hash for text in texts}) == 1


def _rows():
    return [(row["text"], row) for row in ROWS]


def test_content_hash_depends_on_order_text_and_label(write_jsonl):
    changed = [{"text": "changed", "label": "bad"}, *ROWS[1:]]
    relabelled = [*ROWS[:2], {"text": ROWS[2]["text"], "label": "good"}]
    hashes = {
        load_text(write_jsonl(rows)).source.content_hash
        for rows in (ROWS, ROWS[::-1], changed, relabelled)
    }
    assert len(hashes) == 4


def test_path_objects_and_home_folders_are_paths(write_jsonl, tmp_path, monkeypatch):
    path = write_jsonl(ROWS)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_text(Path(path)).texts == load_text("~/rows.jsonl").texts == TEXTS


@pytest.mark.parametrize(
    "name", ["none.jsonl", "./none", "~/none", "/none", "none.csv", Path("no")]
)
def test_missing_file_is_refused(name):
    with pytest.raises(DataError, match=r"no such file: .*no"):
        load_text(name)


def test_home_of_nobody_is_no_such_file():
    with pytest.raises(DataError, match="no such file"):
        load_text("~nobody-of-this-name/rows.jsonl")


@pytest.mark.parametrize("name", ["a b", "a/b/c", "what a long text " * 100])
def test_what_is_neither_path_nor_hub_id_is_refused(name):
    with pytest.raises(DataError, match="no id on the hub"):
        load_text(name)


def test_unknown_ending_is_refused_with_the_known_ones(write_file):
    with pytest.raises(DataError, match=r"\.jsonl, \.json, \.csv, \.tsv, \.parquet, not in '.txt'"):
        load_text(write_file("rows.txt", "a"))


def test_file_that_cannot_be_read_is_refused(write_jsonl, monkeypatch):
    path = write_jsonl(ROWS)

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match="can't be read: Permission denied"):
        load_text(path)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet"])
def test_empty_file_is_refused(write_file, content, ending):
    with pytest.raises(DataError, match="is empty"):
        load_text(write_file(f"rows.{ending}", content))


@pytest.mark.parametrize(("name", "content"), [("a.csv", "text,label\n"), ("a.json", "[]")])
def test_file_without_rows_is_refused(write_file, name, content):
    with pytest.raises(DataError, match="has no rows"):
        load_text(write_file(name, content))


@pytest.mark.parametrize(
    ("name", "head"), [("a.jsonl", '{"text": "a", "label": "'), ("a.csv", "text,label\n\na,")]
)
def test_invalid_utf8_is_refused_with_line_and_byte(write_file, name, head):
    for bom in (b"", b"\xef\xbb\xbf"):
        before = bom + b"\n" + head.encode()
        with pytest.raises(
            DataError, match=rf"{name}, line \d: byte {len(before)} .*0xff"
        ) as error:
            load_text(write_file(name, before + b"\xff\n"))
        line = before.count(b"\n") + 1
        assert f"line {line}:" in str(error.value)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv"])
def test_byte_order_mark_is_accepted(write_file, name):
    content = {
        "rows.jsonl": '{"text": "a", "label": 1}\n{"text": "b", "label": 0}',
        "rows.json": '[{"text": "a", "label": 1}, {"text": "b", "label": 0}]',
        "rows.csv": "text,label\na,1\nb,0\n",
    }[name]
    text = load_text(write_file(name, b"\xef\xbb\xbf" + content.encode()))
    assert text.texts == ["a", "b"]
    assert text.classes == ("0", "1")


def test_malformed_json_line_is_refused_with_its_number(write_file):
    path = write_file("a.jsonl", '{"text": "a", "label": 1}\n\n{"text": "b" "label": 1}\n')
    with pytest.raises(
        DataError, match=r"a.jsonl, line 3: malformed JSON: Expecting ',' delimiter"
    ):
        load_text(path)


@pytest.mark.parametrize("value", ["[" * 100_000, '{"label": ' + "1" * 5000 + "}"])
def test_json_beyond_the_parsers_limits_is_refused(write_file, value):
    for ending in ("jsonl", "json"):
        with pytest.raises(DataError, match="malformed JSON"):
            load_text(write_file(f"a.{ending}", value))


@pytest.mark.parametrize("line", ["[1, 2]", '"text"', "3", "null"])
def test_json_line_that_is_no_object_is_refused(write_file, line):
    with pytest.raises(DataError, match="line 2: an object is expected"):
        load_text(write_file("a.jsonl", '{"text": "a", "label": 1}\n' + line))


def test_repeated_key_is_refused(write_file):
    line = '{"text": "a", "label": 1, "text": "b"}'
    with pytest.raises(DataError, match="line 1: an object has the key 'text' twice"):
        load_text(write_file("a.jsonl", line))


def test_line_separator_inside_a_text_does_not_end_the_line(write_file):
    lines = ['{"text": "a\u2028b\x85c", "label": 1}', '{"text": "d", "label": 0}']
    assert load_text(write_file("a.jsonl", "\r\n".join(lines))).texts == ["a\u2028b\x85c", "d"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a"},\n{"text" "b"}]', r"line 2: malformed JSON: .* \.jsonl"),
        ('{"text": "a", "label": 1}', "a list of objects is expected, not one object"),
        ("true", "not one truth value"),
        ("null", "not one null"),
        ('[{"text": "a"}, 3]', "row 2: an object is expected, not a number"),
    ],
)
def test_json_that_is_no_list_of_objects_is_refused(write_file, content, message):
    with pytest.raises(DataError, match=message):
        load_text(write_file("a.json", content))


def test_csv_with_quotes_and_line_breaks_is_read(tmp_path):
    texts = ['he said "no, never"', "two\nlines", "NA", "null", "None", "nan"]
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows(
            [["text", " label"], *[[text, "xy"[i % 2]] for i, text in enumerate(texts)]]
        )
    assert load_text(tmp_path / "a.csv").texts == texts


def test_csv_cell_may_be_long_and_the_limit_is_put_back(write_file):
    before, long = csv.field_size_limit(), "a" * 200_000
    assert load_text(write_file("a.csv", f"text,label\n{long},1\nb,0\n")).texts == [long, "b"]
    assert csv.field_size_limit() == before


def test_ragged_csv_is_refused_with_the_line_its_row_starts_on(write_file):
    content = 'text,label\n"two\nlines",1\n\n"three\nlines\n",1,1\n'
    with pytest.raises(DataError, match="line 5: 3 cells, but the header has 2"):
        load_text(write_file("a.csv", content))


@pytest.mark.parametrize(
    ("content", "line"),
    [('text,label\na,1\n"open,1\nb,1\n', 3), ('text,label\n"Yes," he said,1\n', 2)],
)
def test_wrong_quotes_are_refused(write_file, content, line):
    with pytest.raises(DataError, match=f"line {line}: .*must be doubled"):
        load_text(write_file("a.csv", content))


def test_repeated_column_is_refused(write_file):
    with pytest.raises(DataError, match="two columns are called 'text'"):
        load_text(write_file("a.csv", "text,label,text\na,1,b\n"))


def test_repeated_parquet_column_is_refused(tmp_path):
    table = pa.Table.from_arrays([["a"], ["b"], [1]], names=["text", "text", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="two columns are called 'text'"):
        load_text(tmp_path / "a.parquet")


def test_damaged_parquet_is_refused(write_file):
    with pytest.raises(DataError, match="can't be read as Parquet"):
        load_text(write_file("a.parquet", "PAR1 but no more"))


def test_parquet_keeps_class_names_and_row_numbers(tmp_path):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["z", "a"])}
    )
    data = {"text": ["a", "b", "c"], "label": [0, 1, 0]}
    datasets.Dataset.from_dict(data, features=features).to_parquet(str(tmp_path / "a.parquet"))
    assert load_text(tmp_path / "a.parquet").classes == ("z", "a")
    pq.write_table(pa.table({"text": ["a", None], "label": [0, 1]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b.parquet, row 2: no text in column 'text'"):
        load_text(tmp_path / "b.parquet")


def test_parquet_inside_a_folder_named_like_a_partition_has_its_own_columns(tmp_path):
    folder = tmp_path / "label=other"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "a.parquet")
    assert load_text(folder / "a.parquet").classes == ("bad", "good")


def test_helpdesk_is_built_in():
    text = load_text("helpdesk")
    assert text.source.id == "helpdesk"
    assert text.task == "classification"
    assert len(text) == text.source.n_rows > len(text.classes) > 1


@pytest.mark.parametrize("option", ["configuration", "revision"])
def test_hub_options_are_refused_elsewhere(write_jsonl, option):
    for data in (write_jsonl(ROWS), "helpdesk", object()):
        with pytest.raises(DataError, match=f"--data-{option} is for data sets on the hub"):
            load_text(data, **{f"data_{option}": "x"})


LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
@pytest.mark.parametrize("ending", [".gz", ".zst", ".bz2", ".xz"])
def test_compressed_files_are_read(tmp_path, name, ending):
    content = {"a.jsonl": LINES, "a.csv": pd.DataFrame(ROWS).to_csv(index=False)}[name].encode()
    compress = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
                ".zst": _compress_zstd}[ending]  # fmt: skip
    path = tmp_path / (name + ending)
    path.write_bytes(compress(content))
    assert load_text(path).texts == TEXTS
    for damaged in (compress(content)[:-6], b"no such thing", compress(b"")):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"can't be decompressed|is empty"):
            load_text(path)


def _compress_zstd(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1",
                                      "cp1252"])  # fmt: skip
@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_another_encoding_is_named_and_the_hint_helps(tmp_path, encoding, ending):
    texts = ["déjà vu", "naïve" if encoding != "cp1252" else "“naïve” – 5 €", "größer"]
    frame = pd.DataFrame({"text": texts, "label": list("aba")})
    if ending == "jsonl":
        content = frame.to_json(orient="records", lines=True, force_ascii=False)
    else:
        content = frame.to_csv(index=False, sep={"csv": ",", "tsv": "\t"}[ending])
    path = tmp_path / f"a.{ending}"
    path.write_bytes(content.encode(encoding))
    with pytest.raises(DataError, match="--encoding") as error:
        load_text(path)
    hint = re.search(r"--encoding ([\w-]+)", str(error.value))[1]
    assert load_text(path, encoding=hint).texts == texts


def test_encodings_that_are_none_or_do_not_fit_are_refused(write_file):
    path = write_file("a.csv", "text,label\nà,x\nb,y\n".encode("latin-1"))
    for encoding in ("no-such", "hex", "base64"):
        with pytest.raises(DataError, match=r"there is no encoding|is not in the encoding"):
            load_text(path, encoding=encoding)
    with pytest.raises(DataError, match="is not in the encoding ascii"):
        load_text(path, encoding="ascii")
    for data in ("helpdesk", pd.DataFrame(ROWS)):
        with pytest.raises(DataError, match="--encoding is for files of text"):
            load_text(data, encoding="latin-1")


def test_encoding_is_refused_for_files_that_are_no_text(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="--encoding is for files of text"):
        load_text(tmp_path / "a.parquet", encoding="latin-1")


def test_excel_is_read_and_other_sheets_are_named(tmp_path):
    path = tmp_path / "a.xlsx"
    with pd.ExcelWriter(path) as book:
        pd.DataFrame(ROWS).to_excel(book, sheet_name="first", index=False, startrow=1)
        pd.DataFrame({"x": [1]}).to_excel(book, sheet_name="second", index=False)
    text = load_text(path)
    assert text.texts == TEXTS
    assert "the sheet 'first' is read, not 'second'" in text.source.reading.guesses[0]
    pd.DataFrame([*ROWS, {"text": None, "label": "bad"}]).to_excel(path, index=False)
    with pytest.raises(DataError, match=r"a.xlsx, line 5: no text"):
        load_text(path)


@pytest.mark.parametrize("content", [b"no workbook", b"PK\x03\x04 nor is this"])
def test_damaged_or_empty_excel_is_refused(tmp_path, content):
    path = tmp_path / "a.xlsx"
    path.write_bytes(content)
    with pytest.raises(DataError, match="can't be read as an Excel workbook"):
        load_text(path)
    pd.DataFrame().to_excel(path)
    with pytest.raises(DataError, match="is empty"):
        load_text(path)


def test_excel_without_openpyxl_says_how_to_get_it(tmp_path, monkeypatch):
    pd.DataFrame(ROWS).to_excel(tmp_path / "a.xlsx", index=False)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DataError, match=r"pip install 'ntpscore\[excel\]'"):
        load_text(tmp_path / "a.xlsx")


def test_columns_of_any_type_that_nobody_uses_refuse_nothing(tmp_path):
    table = pa.table({
        "text": ["a", "b"], "label": ["x", "y"], "text.raw": pa.array([b"\xff", b"\xfe"]),
        "far": pa.array([2**62, 1], pa.timestamp("us")),
        "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")
    assert load_text(tmp_path / "a.parquet").texts == ["a", "b"]
    with pytest.raises(DataError, match=r"column 'far',? can't be read"):
        load_text(tmp_path / "a.parquet", label_column="far")


@pytest.mark.parametrize(
    "note",
    [b"no JSON", b"[]", b"{}", b'{"info": 3}', b'{"info": {"features": []}}',
     b'{"info": {"features": {"label": null}}}', b'{"info": {"features": {"label": 3}}}',
     b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": 3}}}}',
     b'{"info": {"features": {"label": {"_type": "Mystery"}}}}', b"\xff\xfe",
     b'{"info": {"features": {"text": {"_type": "ClassLabel", "names": ["x"]}}}}'],
)  # fmt: skip
def test_broken_note_of_datasets_is_passed_over(tmp_path, note):
    table = pa.table({"text": ["a", "b"], "label": [0, 1]})
    pq.write_table(table.replace_schema_metadata({b"huggingface": note}), tmp_path / "a.parquet")
    text = load_text(tmp_path / "a.parquet")
    assert text.texts == ["a", "b"]
    assert text.classes == ("0", "1")


@pytest.mark.parametrize("name", ["", " ", "a\0b", "a\0.csv", "~\0/a.csv", "x," * 3000, "[" * 1500])
def test_name_that_no_file_can_have_is_refused_in_few_words(name):
    with pytest.raises(DataError, match=r"no such file|no file of labelled text") as error:
        load_text(name)
    assert len(str(error.value)) < 1000
    assert "\0" not in str(error.value)
