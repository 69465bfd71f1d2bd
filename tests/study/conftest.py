"""Fixtures of studies."""

from pathlib import Path

import pytest

from ntpscore.study.run.runner import Folders


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "results", tmp_path / "work")
