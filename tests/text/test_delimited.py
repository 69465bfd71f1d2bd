"""CSV and TSV as people have them: delimiters, quote marks, headers, rows of odd length."""

import re

import pandas as pd
import pytest

from ntpscore.errors import DataError
from ntpscore.text import describe_reading, load_text

ROWS = [("it came late, and broke; sadly", "bad"), ("good: works", "good"), ("no | one", "bad")]


def _lines(delimiter, rows=ROWS, header=("text", "label"), quote=""):
    cells = [header, *rows]
    return "".join(delimiter.join(f"{quote}{cell}{quote}" for cell in row) + "\n" for row in cells)


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_recognised(write_file, name, delimiter, bom):
    path = write_file(name, bom + _lines(delimiter, quote='"').encode())
    text = load_text(path)
    assert text.texts == [row[0] for row in ROWS]
    assert text.classes == ("bad", "good")
    usual = {"a.csv": ",", "a.tsv": "\t"}[name]
    told = [line for line in describe_reading(text) if "is delimited by" in line]
    assert len(told) == (delimiter != usual)


def test_semicolons_are_recognised_though_each_text_has_a_comma(write_file):
    rows = [(f"good, order {i}.", "ab"[i % 2]) for i in range(6)]
    text = load_text(write_file("a.csv", _lines(";", rows)))
    assert text.texts == [row[0] for row in rows]
    assert "is delimited by semicolons" in describe_reading(text)[2]


@pytest.mark.parametrize("line", ["sep=;\n", "sep=;\r\n", '"sep=;"\n', "SEP=;\n"])
def test_separator_line_is_obeyed(write_file, line):
    rows = [("a, b", "x"), ("c, d", "y")]
    for bom in ("", "\ufeff"):
        text = load_text(write_file("a.csv", bom + line + _lines(";", rows)))
        assert text.texts == ["a, b", "c, d"]
    with pytest.raises(DataError, match="line 4: no text"):
        load_text(write_file("a.csv", line + "text;label\na;x\n;y\n"))


def test_ragged_row_of_another_delimiter_names_it(write_file):
    with pytest.raises(DataError, match="line 3: 3 cells, but the header has 2, with semicolons"):
        load_text(write_file("a.csv", "text;label\na;x\nb;y;z\n"))


def test_file_of_one_column_says_what_is_missing(write_file):
    with pytest.raises(DataError, match="one column only: save it with commas, semicolons, tabs"):
        load_text(write_file("a.csv", "text label\na x\nb y\n"))


def test_file_without_header_says_so_and_the_hint_helps(write_file):
    content = "ham\tGo until jurong point\nspam\tFree entry\n"
    with pytest.raises(DataError, match="no header, add one as the first line") as error:
        load_text(write_file("a.tsv", content), text_column="text")
    example = re.search(r"such as '(.*)'", str(error.value))[1].encode().decode("unicode_escape")
    header = "\t".join(reversed(example.split("\t")))
    assert load_text(write_file("a.tsv", f"{header}\n{content}")).classes == ("ham", "spam")


def test_ragged_rows_are_left_out_and_counted_if_asked_for(write_file):
    path = write_file("a.csv", "text,label\na,x\nb,c,y\nd\ne,y\n")
    with pytest.raises(DataError, match="--skip-bad-rows leaves such rows out"):
        load_text(path)
    text = load_text(path, skip_bad_rows=True)
    assert text.texts == ["a", "e"]
    assert text.source.skipped == {"ragged row": 2}


@pytest.mark.parametrize(
    "content",
    [
        "v1,v2,,,\nham,one,,,\nspam,two,,,\n",
        "v1,v2,,,\nham,one\nspam,two\n",
        "v1,v2\nham,one,,,\nspam,two,\n",
        ",v2,v1\n0,one,ham\n1,two,spam\n",
        "v1,x,v2,x\nham,1,one,2\nspam,3,two,4\n",
    ],
)
def test_columns_that_nobody_uses_refuse_nothing(write_file, content):
    text = load_text(write_file("a.csv", content), text_column="v2", label_column="v1")
    assert text.texts == ["one", "two"]
    assert text.classes == ("ham", "spam")


def test_nameless_column_is_called_by_its_number(write_file):
    text = load_text(write_file("a.csv", ",label\none,x\ntwo,y\n"), text_column="column 1")
    assert text.texts == ["one", "two"]


def test_names_of_rows_without_a_header_as_r_writes_them(write_file):
    content = '"text" "label"\n"1" "one" "x"\n"2" "two" "y"\n'.replace(" ", "\t")
    assert load_text(write_file("a.tsv", content)).texts == ["one", "two"]


@pytest.mark.parametrize("label_first", [False, True])
def test_quote_marks_in_tsv_are_data_unless_both_ends_have_them(write_file, label_first):
    texts = [
        "plain", '"Never again, said my aunt.', '"Best purchase of the year', 'a bargain"',
        '5" nails', '"she said ""no"""', '"', '""', '"a" and "b"',
    ]  # fmt: skip
    rows = [(text, "xy"[i % 2]) for i, text in enumerate(texts)]
    header = ("text", "label")
    if label_first:
        rows, header = [row[::-1] for row in rows], header[::-1]
    read = load_text(write_file("a.tsv", _lines("\t", rows, header)), skip_bad_rows=True)
    expected = [*texts[:5], 'she said "no"', '"', '"a" and "b"']
    assert read.texts == expected
    assert read.source.skipped == {"without text": 1}
    assert read.source.n_rows == len(texts)


@pytest.mark.parametrize("label_first", [False, True])
def test_quoted_tabs_and_line_breaks_in_tsv_are_read(tmp_path, label_first):
    texts = ["two\nlines", "a\ttab", "three\n\nlines", 'with "quotes"\nand lines', "plain"]
    frame = pd.DataFrame({"text": texts, "label": list("xyxyx")})
    frame = frame[["label", "text"]] if label_first else frame
    frame.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    assert load_text(tmp_path / "a.tsv").texts == texts


def test_tsv_row_of_too_few_cells_swallows_no_other(write_file):
    path = write_file("a.tsv", 'text\tlabel\n"open\na\tx\nb\ty\nbargain"\tx\n')
    with pytest.raises(DataError, match="line 2: 1 cells, but the header has 2"):
        load_text(path)
    assert load_text(path, skip_bad_rows=True).texts == ["a", "b", 'bargain"']


def test_csv_cell_that_swallows_rows_is_warned_of(write_file):
    swallowed = 'text,label\na,x\n"Never again,y\nb,x\nc,y\na bargain",x\nd,y\n'
    warnings = load_text(write_file("a.csv", swallowed)).source.reading.warnings
    assert "lines 3 to 6 are one row" in warnings[0]
    letters = 'text,label\n"Dear X\nno news\nyours",x\n"Hello,\n\nbye",y\n'
    assert load_text(write_file("a.csv", letters)).source.reading.warnings == ()


def test_blanks_behind_delimiters_are_no_part_of_cells(write_file):
    path = write_file("a.csv", '"text", "label"\n"a, b", "x"\n"c", "y"\n')
    text = load_text(path)
    assert (text.texts, text.classes) == (["a, b", "c"], ("x", "y"))
    path = write_file("a.csv", "label,text\nx, a\ny, b\n")
    assert load_text(path).texts == [" a", " b"]


def test_old_line_ends_are_read(write_file):
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        content = _lines(delimiter, [("a", "x"), ("b", "y")]).replace("\n", "\r")
        assert load_text(write_file(name, content)).texts == ["a", "b"]
