"""The table of what adapting costs and brings."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

SCRIPT = ROOT / "scripts" / "adapt_table.py"


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, folder], capture_output=True, text=True, check=False
    )


def write(path: Path, record: dict) -> None:
    path.mkdir(parents=True)
    (path / "result.json").write_text(json.dumps(record))


def evaluation(accuracy: float) -> dict:
    return {
        "accuracy": accuracy, "accuracy_interval": [accuracy - 0.1, accuracy + 0.1],
        "macro_f1": accuracy / 2, "majority_accuracy": 0.25,
    }  # fmt: skip


def test_table_has_methods_intervals_and_the_price_in_scores(tmp_path: Path) -> None:
    seconds = {"load_data": 1.0, "load_model": 3.0, "sanity_check": 1.0, "total": 25.0}
    write(tmp_path / "moods" / "score", {"seconds": seconds})
    for method, accuracy, total in (("logistic", 0.5, 30.0), ("lora", 0.75, 400.0)):
        record = {
            "train": evaluation(0.9), "test": evaluation(accuracy), "seconds": {"total": total},
        }  # fmt: skip
        if method == "logistic":
            record["converged"] = {"train": evaluation(1.0), "test": evaluation(0.4)}
        write(tmp_path / "moods" / method, record)
    ended = run(tmp_path)
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[2:] == [
        "| moods | (majority) | 0.250 |  |  |  |  |  |",
        "|  | logistic | 0.500 | 0.400–0.600 | 0.250 | 0.900 | 30 | 1.5 |",
        "|  | logistic, converged | 0.400 | 0.300–0.500 | 0.200 | 1.000 | 30 | 1.5 |",
        "|  | lora | 0.750 | 0.650–0.850 | 0.375 | 0.900 | 400 | 20.0 |",
    ]


def test_a_folder_without_results_says_what_to_run(tmp_path: Path) -> None:
    ended = run(tmp_path)
    assert ended.returncode == 1
    assert "make adapt-runs" in ended.stderr


def test_results_in_the_repository_make_a_table() -> None:
    ended = run(ROOT / "results" / "adapt")
    assert ended.returncode == 0
    assert "| emotion | (majority) |" in ended.stdout
    documented = (ROOT / "docs" / "adapt.md").read_text(encoding="utf-8")
    for line in ended.stdout.splitlines():
        assert line in documented
