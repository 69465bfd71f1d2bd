"""Runs one cell in a process of its own, so that what kills it kills nothing else.

`python -m ntpscore.study.run.worker` is started by `run_study`, with a job in JSON on
standard input.
"""

import json
import shutil
import sys
from pathlib import Path

from ntpscore.adapt.methods import METHODS
from ntpscore.adapt.rescore import rescore_adapter
from ntpscore.adapt.result import AdaptResult, load_adapt_result
from ntpscore.allocator import keep_freed_memory
from ntpscore.errors import NtpscoreError, OutputError
from ntpscore.files import make_folder, write_text
from ntpscore.interrupt import INTERRUPTED, tell_interrupted, watch_interrupts
from ntpscore.models import LanguageModel, load_model
from ntpscore.models.locate import check_short_name
from ntpscore.progress import Progress
from ntpscore.rank.result import CONSENSUS, RankResult
from ntpscore.rank.run import rank_models
from ntpscore.result_folder import InUseError, hold
from ntpscore.scoring.result import ScoreResult, load_result
from ntpscore.scoring.run import score_text
from ntpscore.study.run.cells import cell_path, describe_cell, write_cell, write_failure
from ntpscore.study.run.job import DONE, FAILED, LOCKED, Job, lock_path
from ntpscore.study.run.plan import Cell
from ntpscore.text import LabelledText, Splits, load_splits, load_text, split_rule

_CELL_FILE = "cell.json"


def run_alone(job: Job) -> int:
    """Run a cell in a process that does nothing else: as `run_job`."""
    keep_freed_memory()
    # Results tell the command that was typed.
    sys.argv = list(job.command)
    return run_job(job)


def run_job(job: Job) -> int:
    """Run a cell and write its file, as done or as failed.

    Returns:
        `DONE`, `FAILED`, or `LOCKED` if another process is running it.
    """
    cell = job.cell
    folder = make_folder(job.work / cell.name)
    try:
        with hold(lock_path(job.work, cell), cell.name, "wait for it"):
            return _run_held(job, folder)
    except InUseError:
        return LOCKED


def _run_held(job: Job, folder: Path) -> int:
    cell = job.cell
    if cell_path(job.results, cell).exists():
        _clear(job, folder)
        return DONE
    try:
        result, rescored = _run(cell, folder)
    except NtpscoreError as error:
        return _fail(job, str(error))
    except Exception as error:  # noqa: BLE001 - the other cells go on
        return _fail(job, f"this is a bug: {type(error).__name__}: {error}")
    write_cell(job.results, cell, result, rescored)
    _clear(job, folder)
    return DONE


def _clear(job: Job, folder: Path) -> None:
    if not job.keep_work:
        shutil.rmtree(folder)


def _fail(job: Job, error: str) -> int:
    write_failure(job.results, job.cell, error)
    return FAILED


def _run(
    cell: Cell, folder: Path
) -> tuple[ScoreResult | AdaptResult | RankResult, ScoreResult | None]:
    finished = _take_up(cell, folder)
    rescoring = cell.rescoring()
    if isinstance(finished, ScoreResult) or (finished is not None and rescoring is None):
        return finished, None
    options = cell.model_options()
    check_short_name(cell.model, trust_remote_code=options.trust_remote_code)
    splits = _load_text(cell)
    with Progress(True) as bar:
        bar.start(f"loading {cell.model}", None)
        model = load_model(cell.model, options)
    if cell.method == "score":
        result = score_text(
            model, splits.train, folder=folder, config=cell.config(), progress=True,
            options=dict(cell.options),
        )  # fmt: skip
        return result, None
    if cell.method == "rank":
        return rank_models(
            splits.train, [model], config=cell.config(), metric=CONSENSUS, progress=True
        ), None
    fitted = finished or _fit(cell, model, splits, folder)
    if rescoring is None:
        return fitted, None
    return fitted, rescore_adapter(model, splits.train, folder, rescoring)


def _load_text(cell: Cell) -> Splits:
    """Both splits; for methods that test nothing, the train split twice."""
    options = cell.data_options()
    _, hold_out = split_rule(cell.source, options.test_split, options.hold_out)
    if cell.method in {"score", "rank"} and hold_out is None:
        text: LabelledText = load_text(cell.source, options, seed=cell.seed)
        return Splits(text, text)
    return load_splits(cell.source, options, seed=cell.seed)


def _fit(cell: Cell, model: LanguageModel, splits: Splits, folder: Path) -> AdaptResult:
    method = METHODS[cell.method]
    # Every frozen method of a model, data set and seed reads the same features.
    cache = {"cache": folder.parent / f"features-{cell.seed}"} if method.is_frozen else {}
    return method.fit(
        model, splits.train, splits.test, config=cell.config(), folder=folder, progress=True,
        **cache,
    )  # fmt: skip


def _take_up(cell: Cell, folder: Path) -> ScoreResult | AdaptResult | None:
    """The result of this very cell, if it was finished but for its file.

    Leaves a note of what the folder is for; what was made with other options is cleared away.
    """
    note = json.dumps(describe_cell(cell), indent=2) + "\n"
    path = folder / _CELL_FILE
    if path.exists() and path.read_text(encoding="utf-8") == note:
        try:
            return load_result(folder) if cell.method == "score" else load_adapt_result(folder)
        except OutputError:
            # Not finished; what there is, is gone on from.
            return None
    shutil.rmtree(folder)
    write_text(make_folder(folder) / _CELL_FILE, note)
    return None


def main() -> None:
    """Read a job from standard input and run it."""
    job = Job.from_json(sys.stdin.read())
    try:
        code = run_alone(job)
    except NtpscoreError as error:
        sys.exit(f"ntpscore: error: {error}")
    except KeyboardInterrupt:
        tell_interrupted()
        sys.exit(INTERRUPTED)
    sys.exit(code)


if __name__ == "__main__":
    watch_interrupts()
    main()
