"""The paper's own study file on tiny models of its architectures, from `run` to its tables."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ntpscore.study.paper.protocol import PROTOCOL_OUTCOMES
from ntpscore.study.run.cells import cell_path, read_cell
from ntpscore.study.run.plan import load_plan
from tests.support.cli_run import refusal, run_cli
from tests.support.labelled_texts import make_rows, write_rows
from tests.support.paper_models import LAYERS, QKV, save_paper_models
from tests.support.paths import ROOT
from tests.support.studies import run_cells_in_this_process

# As few as the paper's protocol is made of.
DATA = ("sst2", "emotion", "medical", "climate")
# What is in the file, and what makes it quick.
CHANGES = (
    (r"\ndata = \[.*?\]\n", f"\ndata = {json.dumps(DATA)}\n"),
    (r"steps = 5000\n", "steps = 3\n"),
    (r"steps = 10000\n", "steps = 3\n"),
    (r"\n\[model_options\]\n",
     "\n[options]\nshuffles = 2\nskip_sanity_check = true\nepochs = 2\n\n[model_options]\n"),
    (r"trust_remote_code = true \}", 'trust_remote_code = true, tokenizer = "llama-2" }'),
)  # fmt: skip
RANK = '\n[[runs]]\nmethods = ["rank"]\ndata = ["emotion"]\n'


def write_small_study(folder: Path) -> Path:
    """The paper's study file, with less of everything and a ranking besides."""
    text = (ROOT / "studies" / "paper.toml").read_text(encoding="utf-8")
    for pattern, replacement in CHANGES:
        text, n = re.subn(pattern, replacement, text, flags=re.DOTALL)
        assert n == (4 if "trust" in pattern else 1), pattern
    path = folder / "paper.toml"
    path.write_text(text + RANK, encoding="utf-8")
    return path


@pytest.mark.slow
def test_the_study_of_the_paper_runs_on_its_architectures(
    tiny_model_dir: Path, tmp_path: Path, code_cache: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    save_paper_models(tiny_model_dir, tmp_path)
    for seed, name in enumerate(DATA):
        write_rows(tmp_path / f"{name}.jsonl", make_rows(40 + 4 * seed, seed))
    path = write_small_study(tmp_path)
    plan = load_plan(path, data_folder=tmp_path)
    assert {cell.model for cell in plan.cells} == LAYERS.keys()

    run = ("study", "run", path.name, "--data", ".", "--results", "results", "--work", "work")
    assert "openelm-270m brings along" in refusal(capsys, *run)
    one = subprocess.run(
        [sys.executable, "-m", "ntpscore", *run, "--trust-remote-code",
         "--only", "openelm-450m--emotion/lora-0"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert one.returncode == 0, one.stderr
    run_cells_in_this_process(monkeypatch)
    assert run_cli(*run, "--trust-remote-code") == 0
    printed = capsys.readouterr()
    n_cells = len(plan.cells)
    assert n_cells == 8 * 4 * 4 + 6 * 4 + 8
    assert f"paper: {n_cells} of {n_cells} cells done" in printed.out
    assert f"[{n_cells - 1}/{n_cells - 1}]" in printed.err  # one was done before
    assert run_cli("study", "status", path.name, "--results", "results", "--json") == 0
    assert {row["state"] for row in json.loads(capsys.readouterr().out)} == {"done"}

    for cell in plan.cells:
        record = read_cell(cell_path(tmp_path / "results", cell))
        scored = [record] if cell.method == "score" else []
        if cell.method == "lora":
            (targets,) = (QKV[key] for key in QKV if cell.model.startswith(key))
            assert record["record"]["targets"] == targets
            assert len(record["losses"]["loss"]) == 3
            scored = [record["rescored"]]
        for one_score in scored:
            assert one_score["scores"]["layer"] == list(range(LAYERS[cell.model] + 1))
            assert {"algorithm1", "expected", "retained"} <= one_score["scores"].keys()
        assert ("published" in record.get("scores", ())) == (cell.method == "score")

    assert run_cli("study", "paper", "results", "--csv") == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert set(table["model"]) == LAYERS.keys()
    assert set(table["outcome"]) == set(PROTOCOL_OUTCOMES)
    assert {"algorithm1", "published"} <= set(table["score"])
    assert set(table["n"]) == {len(DATA)}
    for model, last in LAYERS.items():
        assert table[table["model"] == model]["layer"].between(0, last - 1).all()
    assert run_cli("study", "paper", "results") == 0
    assert "the paper" in capsys.readouterr().out
    tables = ("study", "tables", "results", "--permutations", 20, "--score", "algorithm1")
    assert run_cli(*tables) == 0
    assert "openelm-3b" in capsys.readouterr().out
