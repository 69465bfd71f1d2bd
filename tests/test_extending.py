"""The examples of docs/extend.md: one file and one test each, run as they stand on the page."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert len(TESTS) == 2
    assert {name.removeprefix("test_") for name in TESTS} == FILES.keys() - set(TESTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", TESTS)
def test_example_passes_its_test(name: str, tmp_path: Path) -> None:
    # In a process of its own: what it registers is there for good.
    for each in (name, name.removeprefix("test_")):
        (tmp_path / each).write_text(FILES[each], encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", name],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout
    assert re.search(r"\d passed", ended.stdout)
