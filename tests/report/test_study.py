"""What is said of a study is what its cells have."""

from pathlib import Path

import pytest

from ntpscore.errors import StudyError
from ntpscore.report.blocks import Facts, Figure, Section, Table
from ntpscore.report.study import study_article
from ntpscore.study.run.cells import load_records
from ntpscore.study.statistics.tables import StudyTables
from tests.support.reports import SCRIPT, make_folders


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folders(tmp_path_factory.mktemp("results"))["study"]


@pytest.fixture(scope="module")
def sections(folder: Path) -> dict[str, Section]:
    return {one.title: one for one in study_article(folder, "here").shown}


def test_methods_correlations_and_cells_are_those_of_the_study(
    folder: Path, sections: dict[str, Section]
) -> None:
    tables = StudyTables.of(load_records(folder))
    told, figure, table = sections["The answer"].blocks
    gains = tables.outcomes[tables.outcomes["outcome"] == "lora_gain"]["value"]
    assert str(told).startswith(f"m: LoRA adds {100 * gains.mean():.1f} points")
    assert isinstance(figure, Figure)
    assert isinstance(table, Table)
    assert len(table.rows) == 4 * 3
    assert {row[1] for row in figure.table.rows} == {"probe", "lora", "majority"}
    summary = sections["Do scores tell it?"].blocks
    assert [type(one) for one in summary] == [Figure, Table] * 2
    facts, failed = sections["How it was made"].blocks
    assert isinstance(facts, Facts)
    assert isinstance(failed, Table)
    assert facts.texts["cells done"] == "16"
    assert failed.rows == [["m", "d0", "ols", 0, SCRIPT]]


def test_heat_maps_agree_with_the_summary_at_the_fixed_layer_and_k(
    sections: dict[str, Section],
) -> None:
    _, table, *_ = sections["Do scores tell it?"].blocks
    assert isinstance(table, Table)
    fixed = {row[1]: row[4] for row in table.rows}
    for figure in sections["Scores and probe_accuracy, by layer and k"].blocks:
        assert isinstance(figure, Figure)
        score = figure.title.removeprefix("m: ")
        place = figure.table.columns.index("0.50") - 1
        assert figure.data[0]["z"][-1][place] == pytest.approx(fixed[score])


def test_a_folder_of_failures_is_told(tmp_path: Path, folder: Path) -> None:
    cell = tmp_path / "m--d" / "ols-0.json"
    cell.parent.mkdir()
    cell.write_bytes((folder / "m--d0" / "ols-0.json").read_bytes())
    with pytest.raises(StudyError, match="no cell that is done"):
        study_article(tmp_path, "")
