"""From folders to a file: every kind, and what can't be done."""

import sys
from pathlib import Path

import pytest

from ntpscore.adapt.result import load_adapt_result
from ntpscore.errors import NtpscoreError, OutputError
from ntpscore.rank.result import load_ranking
from ntpscore.report import write
from ntpscore.report.blocks import Article
from ntpscore.report.write import write_report
from ntpscore.scoring.result import load_result
from tests.support.cli_run import refusal, run_cli
from tests.support.labelled_texts import make_rows, write_rows
from tests.support.reports import hostile_score, make_folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_folders(tmp_path_factory.mktemp("results"))


@pytest.fixture
def articles(monkeypatch: pytest.MonkeyPatch) -> list[Article]:
    """What was to be rendered."""
    taken: list[Article] = []

    def render(given: list[Article]) -> str:
        taken.extend(given)
        return "page"

    monkeypatch.setattr(write, "render", render)
    return taken


def test_every_kind_of_folder_is_one_of_the_articles(
    folders: dict[str, Path], articles: list[Article], tmp_path: Path
) -> None:
    path = write_report(list(folders.values()), tmp_path / "deep" / "r.html")
    assert path.read_text(encoding="utf-8") == "page"
    kinds = ["score", "score", "rank", "adapt", "study"]
    assert [one.kind for one in articles] == [f"ntpscore {kind}" for kind in kinds]
    assert [one.folder for one in articles] == [str(folder) for folder in folders.values()]
    for article in articles:
        assert article.shown[0].title == "The answer"
        assert article.shown[-1].title == "How it was made"


def test_results_in_memory_say_the_same_as_their_folders(
    folders: dict[str, Path], articles: list[Article], tmp_path: Path
) -> None:
    names = ("score", "rank", "adapt")
    loaded = [
        load(folders[name])
        for load, name in zip((load_result, load_ranking, load_adapt_result), names, strict=True)
    ]
    write_report([folders[name] for name in names], tmp_path / "a.html")
    write_report(loaded, tmp_path / "b.html")
    for one, other in zip(articles[:3], articles[3:], strict=True):
        assert (one.title, one.headline) == (other.title, other.headline)
        assert one.shown == other.shown


def test_a_folder_without_a_result_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="has no complete result"):
        write_report([tmp_path], tmp_path / "r.html")
    with pytest.raises(OutputError, match="there is no folder"):
        write_report([tmp_path / "none"], tmp_path / "r.html")
    assert not list(tmp_path.iterdir())


def test_the_file_before_stands_where_the_new_one_fails(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.html"
    path.write_text("before", encoding="utf-8")

    def fail(*_: object) -> str:
        raise NtpscoreError("no")

    monkeypatch.setattr(write, "render", fail)
    with pytest.raises(NtpscoreError, match="no"):
        write_report([folders["rank"]], path)
    assert path.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_command_writes_and_says_where(
    folders: dict[str, Path],
    articles: list[Article],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_cli("report", folders["rank"], folders["score"]) == 0
    assert capsys.readouterr().out == "written to report.html\n"
    assert len(articles) == 2
    assert (tmp_path / "report.html").is_file()
    assert "there is no file or folder" in refusal(capsys, "report", tmp_path / "none")
    path = tmp_path / "report.html" / "inside.html"
    assert "can't write" in refusal(capsys, "report", folders["rank"], "-o", path)


def test_a_report_goes_with_its_result(tmp_path: Path) -> None:
    folder = hostile_score().save(tmp_path / "out")
    (folder / "report.html").write_text("of the result before", encoding="utf-8")
    hostile_score().save(folder)
    assert not (folder / "report.html").exists()


def test_score_writes_a_report_of_what_it_found_at_once(
    tiny_model_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    articles: list[Article],
) -> None:
    data, out = write_rows(tmp_path / "data.jsonl", make_rows(100)), tmp_path / "out"
    assert run_cli("score", tiny_model_dir, data, "--out", out, "--shuffles", 2, "--report") == 0
    assert (out / "report.html").read_text(encoding="utf-8") == "page"
    assert f"report: {out / 'report.html'}" in capsys.readouterr().err
    titles = [section.title for section in articles[0].shown]
    assert titles == [
        "The answer", "By layer", "More labels", "Mistakes", "The data", "Scores by layer and k",
        "Theory", "Controls", "How it was made",
    ]  # fmt: skip
    record = load_result(out).record
    lengths = record["data"]["lengths"]
    assert lengths["min"] <= lengths["median"] <= lengths["max"]
    counts = record["mistakes"]["confusion"]
    assert sum(n for row in counts.values() for n in row.values()) == 100


def test_a_missing_package_is_told_before_the_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setattr("ntpscore.scoring.run.score", lambda *_, **__: pytest.fail("it ran"))
    assert "ntpscore[report]" in refusal(capsys, "score", tmp_path, "helpdesk", "--report")
