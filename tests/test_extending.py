"""The examples of docs/extend.md: one file and one test each, run as they stand on the page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.labelled_texts import make_rows, write_rows
from tests.support.paths import ROOT

FILES = dict(
    re.findall(
        r'^```python title="(\w+\.py)"\n(.*?)^```',
        (ROOT / "docs" / "extend.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
)
TESTS = [name for name in FILES if name.startswith("test_")]


def test_every_example_has_its_test() -> None:
    assert len(TESTS) == 3
    assert {name.removeprefix("test_") for name in TESTS} == FILES.keys() - set(TESTS)


# What the page says that each of the first two does once it is imported.
PROMISED = """
import sys
import class_distance, last_layer
import ntpscore
from ntpscore.study.statistics.forecasts import compare_forecasts, forecast_points
from tests.support.forecasts import study_records

ranking = ntpscore.rank_models(
    sys.argv[2], [sys.argv[1]], all_metrics=True, shuffles=1, skip_sanity_check=True, progress=False
)
found = ranking.table().set_index("metric").loc[["class_distance"], "value"]
assert len(found) and (found > 0).all(), found
table = compare_forecasts(forecast_points(study_records(8)), ("*",)).set_index("predictor")
assert table.loc["last_layer", "n"] == 8, table
"""


def run_python(tmp_path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python beside the examples, in a process of its own: what registers stays there."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    paths = [tmp_path, ROOT / "src", ROOT]
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", TESTS)
def test_example_passes_its_test(name: str, tmp_path: Path) -> None:
    ended = run_python(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", name)
    assert ended.returncode == 0, ended.stdout
    assert re.search(r"\d passed", ended.stdout)


@pytest.mark.slow
def test_a_metric_is_ranked_by_and_a_forecast_judged_once_imported(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    data = write_rows(tmp_path / "data.jsonl", make_rows(60))
    ended = run_python(tmp_path, "-c", PROMISED, tiny_model_dir, data)
    assert ended.returncode == 0, ended.stderr
