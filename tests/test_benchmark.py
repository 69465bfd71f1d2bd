"""The benchmark runs to its end and writes every row; how long things take is not looked at."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.labelled_texts import make_rows, write_rows
from tests.support.paths import ROOT


@pytest.mark.slow
@pytest.mark.realmodel
def test_benchmark_writes_a_ratio_in_every_row(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "texts.jsonl", make_rows(60))
    command = [
        sys.executable, "benchmarks/bench.py", "--data", str(data), "--repeats", "1",
        "--widths", "64", "--long", str(data), "--sizes", "40", "40", "60", "--until", str(data),
        "--out", str(tmp_path / "RESULTS.md"),
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    page = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    ratios = [
        line.split("|")[1:3] for line in page.splitlines() if " ÷ " in line and line[0] == "|"
    ]
    names = [name.strip() for name, _ in ratios]
    assert [name.split(",")[0] for name in names] == [
        "score ÷ bare forward pass",
        "score ÷ score without held-out accuracies",
        "score ÷ score without held-out accuracies",
        "literal Algorithm 1",
        "solve of one layer",
        "peak memory at 60 texts ÷ at 40",
        "tokens per second at 60 texts ÷ at 40",
        "data",
    ]
    assert all(float(ratio) > 0 for _, ratio in ratios[:-1])
    until = [line.split("|")[2].strip() for line in page.splitlines() if line[:8] == "| texts "]
    assert until == ["r2", "smallest_first"]
