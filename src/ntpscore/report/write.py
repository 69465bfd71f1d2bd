"""Write the report of results."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ntpscore.adapt.result import AdaptResult, load_adapt_result
from ntpscore.errors import OutputError
from ntpscore.files import expand, make_folder, write_text
from ntpscore.plain_text import plain
from ntpscore.rank.result import RECORD as RANKING
from ntpscore.rank.result import RankResult, load_ranking
from ntpscore.report.adapt import adapt_article
from ntpscore.report.blocks import Article
from ntpscore.report.page import check_packages, render
from ntpscore.report.rank import rank_article
from ntpscore.report.score import score_article
from ntpscore.report.study import study_article
from ntpscore.result_folder import RECORD
from ntpscore.scoring.result import ScoreResult, load_result, read_kind
from ntpscore.study.run.cells import CELLS

FILE = "report.html"
Result = ScoreResult | RankResult | AdaptResult
_ARTICLES: dict[type, Callable[..., Article]] = {
    ScoreResult: score_article, RankResult: rank_article, AdaptResult: adapt_article,
}  # fmt: skip


def write_report(results: "Sequence[str | Path | Result]", path: str | Path = FILE) -> Path:
    """Write one HTML file of results, which opens without a network.

    Args:
        results: folders that `score`, `rank`, `adapt` or `study run` wrote, or results of the first
            three, in the order in which they are shown.
        path: of the file; one that is there is replaced.

    Returns:
        Where it is.

    Raises:
        OutputError: a folder has no such result, packages are missing, or the file can't be
            written.
    """
    check_packages()
    path = expand(path)
    page = render([_article(result) for result in results])
    make_folder(path.parent)
    write_text(path, page)
    return path


def _article(result: "str | Path | Result") -> Article:
    if isinstance(result, ScoreResult | RankResult | AdaptResult):
        return _ARTICLES[type(result)](result, "")
    folder = expand(result)
    name = plain(str(folder))
    if not folder.is_dir():
        raise OutputError(f"there is no folder {folder}: name one of a result or a study")
    if (folder / RANKING).is_file():
        return rank_article(load_ranking(folder), name)
    if not (folder / RECORD).is_file() and any(folder.glob(CELLS)):
        return study_article(folder, name)
    if read_kind(folder) == "adapt":
        return adapt_article(load_adapt_result(folder), name)
    return score_article(load_result(folder), name)
