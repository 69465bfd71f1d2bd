"""The notebooks of the documentation run from top to bottom."""

import warnings
from pathlib import Path

import nbformat
import pytest
from scripts.notebooks import NOTEBOOKS, run_notebook


def outputs(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """Of every cell of code the kinds of its outputs."""
    return [
        [output.output_type for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.slow
@pytest.mark.realmodel
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_gives_outputs_of_the_kinds_that_it_shows(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the kernel's machinery
        ran = outputs(run_notebook(path))
    assert any(ran)
    assert ran == outputs(nbformat.read(path, as_version=4))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_kept_notebook_shows_results_and_no_path_of_a_machine(path: Path) -> None:
    assert any(outputs(nbformat.read(path, as_version=4)))
    text = path.read_text(encoding="utf-8")
    assert not [part for part in ("/home/", "/work/", "site-packages") if part in text]


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} == {"own-data", "checkpoints"}
