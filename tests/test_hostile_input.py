"""Input that means harm: it is shown as text, runs nothing, and leaves its folder nowhere."""

import bz2
import csv
import gzip
import io
import json
import lzma
import pickle
import shutil
import socket
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from rich.table import Table

from ntpscore import ScoreConfig, load_model, load_text, score
from ntpscore.adapt import load_adapt_result
from ntpscore.cli.main import escape_what_cant_be_encoded
from ntpscore.errors import DataError, ModelError, NtpscoreError, StudyError
from ntpscore.files import quote_formula, to_csv, unquote_formula
from ntpscore.plain_text import plain, plain_record
from ntpscore.progress import PlainConsole, Progress
from ntpscore.study.run.plan import load_plan
from ntpscore.text import files
from tests.support.cli_run import run_cli
from tests.support.labelled_texts import make_rows, write_rows

HOSTILE = [
    "[red]a[/red]", "b\x1b[31m\x1b]0;title\x07", "c\u202edne\u202c", "d\ne", "=HYPERLINK(1)"
]  # fmt: skip
UNSEEN = ("\x1b", "\x07", "\u202e", "\u202c", "\x9b")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows: list[dict[str, str]] = [
        {"text": f"{row['text']} {HOSTILE[i % 5]}", "label": HOSTILE[i % 5]}
        for i, row in enumerate(make_rows(80))
    ]
    return write_rows(tmp_path_factory.mktemp("hostile") / "[b]d\x1b[31m\u202e.jsonl", rows)


@pytest.mark.slow
def test_it_is_shown_as_text_by_every_command(
    tiny_model_dir: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copytree(tiny_model_dir, tmp_path / "[i]m\x1b]8;;x\x07")
    one, two, three = tmp_path / "one", tmp_path / "two", tmp_path / "three"
    shared = ("--skip-sanity-check", "--shuffles", 1)
    new = tmp_path / "new.csv"
    pd.DataFrame({"text": ["the cat", "rain"]}).to_csv(new, index=False)
    for command in (
        ("score", model, data, *shared, "--out", one, "--scores"),
        ("show", one, "--scores"),
        ("adapt", model, data, "--hold-out", 0.3, "--out", two),
        ("show", two),
        ("rank", data, model, *shared, "--out", three, "--all"),
        ("show", three),
        ("predict", two, new),
        ("score", model, data, "--label-column", "[b]\x1b[31mnone"),
        ("score", f"{model}x", data),
        ("score", model, f"{data}\u202e"),
    ):
        code = run_cli(*command)
        printed = capsys.readouterr()
        # What `predict` prints is for files: labels as they are in the data.
        told = printed.err + (printed.out if command[0] != "predict" else "")
        assert not [mark for mark in UNSEEN if mark in told], (command, told)
        assert code in (0, 2), told
        assert "bug" not in told
        if command[0] in ("score", "rank", "show") and code == 0:
            assert "[b]d" in told.replace("\n", "") or command[1] == two


def test_plain_text_is_what_it_was_but_for_what_cant_be_seen() -> None:
    assert plain("für 😀 👩‍👩‍👧 ελ עברית") == "für 😀 👩‍👩‍👧 ελ עברית"
    assert plain("a\nb\x1b\u202e\ud800") == "a\\nb\\x1b\\u202e\\ud800"
    assert plain("a\nb", keep="\n") == "a\nb"
    assert plain("0123456789" * 100, longest=100).startswith("01234567")
    assert len(plain("0123456789" * 100, longest=100)) == 100
    assert plain_record({"\x07": ["\x07", 1, None]}) == {"\\x07": ["\\x07", 1, None]}


def test_the_console_and_progress_show_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    file = io.StringIO()
    table = Table("[b]head[/b]")
    table.add_row("[red]x :smile:")
    PlainConsole(file=file, width=60).print(table, "[link=x]y\u202e")
    assert "[red]x :smile:" in file.getvalue()
    assert "[b]head[/b]" in file.getvalue()
    assert "[link=x]y\\u202e" in file.getvalue()
    with Progress(True) as bar:
        bar.say("[b]\x1b[2J\u202e")
    assert "[b]\\x1b[2J\\u202e" in capsys.readouterr().err


def test_formulas_are_text_in_csv_and_come_back(
    tiny_model_dir: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("adapt", tiny_model_dir, data, "--hold-out", 0.3, "--out", tmp_path / "a") == 0
    loaded = load_adapt_result(tmp_path / "a").predictions
    assert loaded is not None
    assert set(loaded["label"]) <= set(HOSTILE)
    assert "=HYPERLINK(1)" in set(loaded["label"])
    assert "'=HYPERLINK(1)" in (tmp_path / "a" / "predictions.csv").read_text()
    capsys.readouterr()
    texts = tmp_path / "new.csv"
    pd.DataFrame({"text": load_text(data).texts}).to_csv(texts, index=False)
    said: dict[str, list[str]] = {}
    for flags in ((), ("--raw",)):
        assert run_cli("predict", tmp_path / "a", texts, *flags) == 0
        rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))[1:]
        said[str(flags)] = [row[0] for row in rows]
    assert any(label.startswith("'=") for label in said["()"])
    assert set(said["('--raw',)"]) <= set(HOSTILE)


@pytest.mark.parametrize("cell", ["=1+1", "+a", "-a", "@a", "\ta", "\ra", "'a", "a", "", "-1.5"])
def test_a_quoted_cell_comes_back(cell: str) -> None:
    assert unquote_formula(quote_formula(cell)) == cell
    assert (quote_formula(cell) == cell) == (cell in {"a", "", "-1.5"})
    frame = pd.DataFrame({cell: [cell, "b"], "n": [-1.5, 2.0]})
    assert to_csv(frame).splitlines()[-1].endswith("b,2.0")
    assert "-1.5\n" in to_csv(frame)


# -- nothing runs --------------------------------------------------------------------------------


class _Canary:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (open, (str(self.path), "w"))


def _code(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()\n"


def _model_code(folder: Path, canary: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    names = ("AutoConfig", "AutoModel", "AutoModelForCausalLM")
    config |= {"model_type": "mine", "auto_map": dict.fromkeys(names, "mine.Mine")}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(_code(canary))


def _tokenizer_code(folder: Path, canary: Path) -> None:
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config |= {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Mine", None]}}
    path.write_text(json.dumps(config))
    (folder / "mine.py").write_text(_code(canary))


def _pickled_weights(folder: Path, canary: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Canary(canary)))


def _pickled_adapter(folder: Path, canary: Path) -> None:
    for path in folder.glob("*.safetensors"):
        path.unlink()
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(folder)})
    )
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(_Canary(canary)))
    torch.save({"a": _Canary(canary)}, folder / "adapter_model.pt")


@pytest.mark.parametrize("harm", [_model_code, _tokenizer_code, _pickled_weights, _pickled_adapter])
def test_code_of_a_model_does_not_run(
    tiny_model_dir: Path, tmp_path: Path, harm: Callable[[Path, Path], None]
) -> None:
    folder, canary = shutil.copytree(tiny_model_dir, tmp_path / "m"), tmp_path / "canary"
    harm(folder, canary)
    with pytest.raises(ModelError) as told:
        load_model(folder)
    is_pickled = harm in (_pickled_weights, _pickled_adapter)
    assert ("pickled" in str(told.value)) == is_pickled
    assert ("safetensors" in str(told.value)) == is_pickled
    assert not canary.exists()


def test_code_of_a_data_set_does_not_run(tmp_path: Path) -> None:
    canary, folder = tmp_path / "canary", tmp_path / "set"
    folder.mkdir()
    (folder / "set.py").write_text(_code(canary))
    (folder / "data.pkl").write_bytes(pickle.dumps(_Canary(canary)))
    (folder / "state.json").write_text("{}")
    for path in (folder, folder / "set.py", folder / "data.pkl"):
        with pytest.raises(DataError):
            load_text(path)
    assert not canary.exists()


def test_names_in_a_study_stay_in_its_folder(tmp_path: Path) -> None:
    write_rows(tmp_path / "secret.jsonl", make_rows(8))
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.toml"
    path.write_text(
        'models = ["../../m"]\ndata = ["../secret"]\ndata_folder = "."\n[[runs]]\n'
        'methods = ["score"]\n'
    )
    (cell,) = load_plan(path).cells
    assert cell.source == "../secret"  # as it is written, not as a file of the folder
    assert ".." not in Path(cell.name).parts
    assert (tmp_path / cell.name).resolve().is_relative_to(tmp_path)
    path.write_text(path.read_text().replace("../../m", "\x1b[31m\\u0000").replace("[31m", "]"))
    with pytest.raises(StudyError) as told:
        load_plan(path)
    assert "\x1b" not in str(told.value)


# -- nothing swells, nothing calls ---------------------------------------------------------------


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zst", "xlsx", "parquet"])
def test_a_file_that_expands_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    import pyarrow as pa

    frame = pd.DataFrame({"text": ["a" * 1000] * 3000, "label": ["x", "y"] * 1500})
    content = frame.to_csv(index=False).encode()
    path = tmp_path / (f"a.{ending}" if ending in {"xlsx", "parquet"} else f"a.csv.{ending}")
    if ending == "xlsx":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("xl/workbook.xml", b" " * 3_000_000)
    elif ending == "parquet":
        frame.to_parquet(path, use_dictionary=False)
    elif ending == "zst":
        path.write_bytes(pa.compress(content, codec="zstd", asbytes=True))
    else:
        packed = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[ending](content)
        path.write_bytes(packed)
    if ending != "xlsx":
        assert len(load_text(path)) == 3000
    monkeypatch.setattr(files, "_most_bytes", lambda: 2_000_000)
    with pytest.raises(DataError, match=r"expands to more than the 0\.0 GB"):
        load_text(path)


def test_nothing_that_is_local_touches_the_network(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    data = write_rows(tmp_path / "data.jsonl", make_rows(60))
    score(tiny_model_dir, data, ScoreConfig(shuffles=1, skip_sanity_check=True))
    for wrong in (tmp_path / "nothing.csv", "./nothing"):
        start = time.monotonic()
        with pytest.raises(NtpscoreError):
            load_text(wrong)
        with pytest.raises(NtpscoreError):
            load_model(str(wrong))
        assert time.monotonic() - start < 3


def test_csv_on_standard_output_quotes_formulas_unless_it_is_raw(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from ntpscore.cli.output import Output

    frame = pd.DataFrame({"model": ["=1+1", "@a", "-x", "plain"], "value": [-1.5, 2.0, 3.0, 4.0]})
    Output(csv=True).show(lambda _: None, rows=lambda: frame)
    assert capsys.readouterr().out == "model,value\n'=1+1,-1.5\n'@a,2.0\n'-x,3.0\nplain,4.0\n"
    Output(csv=True, raw=True).show(lambda _: None, rows=lambda: frame)
    assert capsys.readouterr().out == "model,value\n=1+1,-1.5\n@a,2.0\n-x,3.0\nplain,4.0\n"
    with pytest.raises(NtpscoreError, match="give --csv too"):
        Output(raw=True)
    assert frame["model"][0] == "=1+1"


def test_nothing_writes_csv_for_people_but_through_the_one_helper() -> None:
    source = Path(__file__).parents[1] / "src"
    writers = [path for path in source.rglob("*.py") if ".to_csv(" in path.read_text("utf-8")]
    assert [path.name for path in writers] == ["files.py"]


def test_signs_that_an_encoding_lacks_are_shown_as_escapes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding="ascii"))
    monkeypatch.setattr(sys, "stderr", None)
    escape_what_cant_be_encoded()
    sys.stdout.write("÷ –")
    sys.stdout.flush()
    assert content.getvalue() == b"\\xf7 \\u2013"


def test_a_record_that_is_nested_without_end_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "result.json").write_text("[" * 100_000)
    for command in ("show", "report"):
        assert run_cli(command, tmp_path) == 2
        assert "result.json can't be read" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="names there may be any bytes")
def test_a_model_whose_name_is_no_text_is_named(
    tiny_model_dir: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copytree(tiny_model_dir, tmp_path / "m\udcff")
    assert run_cli("rank", data, model, "--out", tmp_path / "out") in (1, 2)
    told = capsys.readouterr().err
    assert "bug" not in told
    assert "m\\udcff" in told.replace("\n", "")
