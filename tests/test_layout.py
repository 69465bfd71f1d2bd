"""The tests mirror the source, and share through tests/support alone."""

import ast
from pathlib import Path

import pytest

from tests.support.paths import ROOT

TESTS, SOURCE = ROOT / "tests", ROOT / "src" / "ntpscore"
# Where every module has a test file of its name.
MIRRORED = ("forecast", "study", "cli/study")
ROOMS = sorted(path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists())
# What several modules of a room do together.
TOGETHER = {
    "metrics/metrics", "models/architectures", "models/faulty_models", "models/multimodal",
    "models/quantized", "report/browser",
    "reading/unusual_models", "scoring/left_alone", "text/damaged_files",
}  # fmt: skip


def modules(folder: Path) -> set[Path]:
    return {
        path.relative_to(folder).with_suffix("")
        for path in folder.rglob("*.py")
        if path.name not in {"__init__.py", "conftest.py"}
    }


def named_by_tests(room: str) -> set[Path]:
    return {p.with_name(p.name.removeprefix("test_")) for p in modules(TESTS / room)}


@pytest.mark.parametrize("room", MIRRORED)
def test_every_module_has_a_test_file_and_every_test_file_a_module(room: str) -> None:
    assert named_by_tests(room) == modules(SOURCE / room)


@pytest.mark.parametrize("room", ROOMS)
def test_every_test_file_of_a_room_has_a_module_of_its_name(room: str) -> None:
    alone = {f"{room}/{path}" for path in named_by_tests(room) - modules(SOURCE / room)}
    assert named_by_tests(room)
    assert alone == {path for path in TOGETHER if path.startswith(f"{room}/")}


def test_no_test_imports_another() -> None:
    imports = {
        (str(path.relative_to(TESTS)), node.module)
        for path in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tests.")
    }
    assert imports
    shared = ("tests.support.", "tests.reference.", "tests.tolerances.", "tests.conftest.",
              "tests.fuzz.mutants.", "tests.fuzz.readers.", "tests.fuzz.worker.")  # fmt: skip
    assert [found for found in imports if not f"{found[1]}.".startswith(shared)] == []
