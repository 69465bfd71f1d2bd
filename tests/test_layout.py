"""The tests mirror the source, and share through tests/support alone."""

import ast
from pathlib import Path

import pytest

from tests.support.paths import ROOT

TESTS, SOURCE = ROOT / "tests", ROOT / "src" / "ntpscore"
# Where every module has a test file of its name, and every test file a module.
MIRRORED = ("forecast", "study", "cli/study")


def modules(folder: Path) -> set[Path]:
    return {
        path.relative_to(folder).with_suffix("")
        for path in folder.rglob("*.py")
        if path.name not in {"__init__.py", "conftest.py"}
    }


@pytest.mark.parametrize("room", MIRRORED)
def test_every_module_has_a_test_file_and_every_test_file_a_module(room: str) -> None:
    tested = {p.with_name(p.name.removeprefix("test_")) for p in modules(TESTS / room)}
    assert tested == modules(SOURCE / room)


def test_no_test_imports_another() -> None:
    imports = {
        (str(path.relative_to(TESTS)), node.module)
        for path in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tests.")
    }
    assert imports
    shared = ("tests.support.", "tests.reference.", "tests.tolerances.", "tests.conftest.")
    assert [found for found in imports if not f"{found[1]}.".startswith(shared)] == []
