"""Runs what is missing of a study, one process a cell, and tells how far it is."""

import fnmatch
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ntpscore.errors import StudyError
from ntpscore.ray_tasks import Lost, Task, run_tasks
from ntpscore.result_folder import InUseError, hold
from ntpscore.study.run.cells import (
    IDENTITY,
    cell_path,
    describe_cell,
    read_cell,
    write_failure,
)
from ntpscore.study.run.job import DONE, FAILED, LOCKED, Job, lock_path
from ntpscore.study.run.plan import Cell, Plan

State = Literal["done", "running", "failed", "missing"]
STATES: tuple[State, ...] = ("done", "running", "failed", "missing")


@dataclass(frozen=True)
class Folders:
    """Where a study keeps what.

    Attributes:
        results: one small file per cell, to be kept.
        work: checkpoints, cached features and locks; can be deleted when nothing is running.
    """

    results: Path
    work: Path


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is.

    Attributes:
        cells: a row per cell: name, model, data, method, seed, state, seconds, error.
        seconds_left: of the cells that are not done or failed, one after the other, at the median
            of those done with the same method and model, or else the same method.
        unknown: how many cells of those no such guess can be made for.
    """

    cells: pd.DataFrame
    seconds_left: float
    unknown: int

    def count(self, state: State) -> int:
        """How many cells are in a state."""
        return int((self.cells["state"] == state).sum())


def study_status(plan: Plan, folders: Folders) -> StudyStatus:
    """Look at every cell of a study."""
    rows = []
    for cell in plan.cells:
        record = _read(folders.results, cell)
        state: State = "missing"
        if record is not None:
            state = "done" if record["status"] == "done" else "failed"
        elif _is_locked(folders.work, cell):
            state = "running"
        rows.append(
            {
                "name": cell.name,
                **{key: getattr(cell, key) for key in IDENTITY},
                "state": state,
                "seconds": float("nan") if record is None else _seconds(record),
                "error": None if record is None else record.get("error"),
            }
        )
    cells = pd.DataFrame(rows)
    done = cells[cells["state"] == "done"]
    left, unknown = 0.0, 0
    for _, row in cells[cells["state"].isin(["missing", "running"])].iterrows():
        same = done[done["method"] == row["method"]]
        alike = same[same["model"] == row["model"]]
        if len(same):
            left += statistics.median((alike if len(alike) else same)["seconds"])
        else:
            unknown += 1
    return StudyStatus(cells, left, unknown)


def run_study(
    plan: Plan,
    folders: Folders,
    *,
    only: str = "*",
    retry: bool = False,
    redo: bool = False,
    keep_work: bool = False,
    trust_remote_code: bool = False,
    command: Sequence[str] | None = None,
    ray: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> StudyStatus:
    """Run the cells that are missing.

    Every cell runs in a process of its own: one that fails, or is killed, is recorded as failed
    and the next one is run. A study that was killed itself goes on from its cells' checkpoints. The
    same study may be run from several terminals at once: each takes cells that no other is at.

    Args:
        plan: what to run.
        folders: where results and checkpoints are.
        only: run only the cells whose name matches this pattern, such as `*--emotion/lora-*`.
        retry: run cells that failed before once more.
        redo: run cells that were made with other options anew, instead of stopping.
        keep_work: leave the checkpoints and tables of cells that are done.
        trust_remote_code: run code that models bring along, where the study file asks for it: who
            runs a file need not be who wrote it.
        command: the command line, for the results; this process's own if None.
        ray: the address of a Ray cluster to run the cells on, see `run_tasks`; None runs them here,
            one after the other.
        say: is told what goes on, a line at a time.

    Returns:
        How far the study is afterwards.
    """
    chosen = [cell for cell in plan.cells if fnmatch.fnmatchcase(cell.name, only)]
    if not chosen:
        raise StudyError(f"no cell of {plan.path} matches {only!r}: see `ntpscore study status`")
    for cell in chosen:
        if cell.options.get("trust_remote_code") and not trust_remote_code:
            raise StudyError(
                f"{plan.path} wants to run code that {cell.model} brings along: read that code, "
                "and say --trust-remote-code if you trust it"
            )
    if redo:
        _clear(cell_path(folders.results, cell) for cell in chosen if _is_other(folders, cell))
    status = study_status(plan, folders).cells.set_index("name")["state"]
    if retry:
        failed = [cell for cell in chosen if status[cell.name] == "failed"]
        _clear(cell_path(folders.results, cell) for cell in failed)
        status.loc[[cell.name for cell in failed]] = "missing"
    missing = [cell for cell in chosen if status[cell.name] in {"missing", "running"}]
    argv = tuple(sys.argv if command is None else command)
    jobs = [Job(cell, folders.results, folders.work, argv, keep_work) for cell in missing]
    run = _run_here(jobs, say) if ray is None else _run_on_ray(jobs, ray)
    for number, (job, outcome) in enumerate(run, 1):
        say(f"[{number}/{len(jobs)}] {job.cell.name}: {outcome}")
    return study_status(plan, folders)


def _run_here(jobs: Sequence[Job], say: Callable[[str], None]) -> Iterator[tuple[Job, str]]:
    """Run cells one after the other, each in a process of its own; what came of it, in words."""
    # A module of this package, found where this one was: no other program can take its name.
    run = [sys.executable, "-m", "ntpscore.study.run.worker"]
    for job in jobs:
        say(f"{job.cell.name} begins")
        start = time.perf_counter()
        code = subprocess.run(run, input=job.to_json(), text=True, check=False).returncode  # noqa: S603
        how = (
            f"killed by signal {-code}" + (", perhaps for want of memory" if code == -9 else "")
            if code < 0
            else f"exit code {code}"
        )
        yield job, f"{_outcome(job, code, how)} after {time.perf_counter() - start:.0f} s"


def _run_on_ray(jobs: Sequence[Job], address: str) -> Iterator[tuple[Job, str]]:
    """Run cells on a cluster, as `_run_here`."""
    from ntpscore.study.run.estimate import memory_of
    from ntpscore.study.run.worker import run_alone

    tasks = [
        Task(job.cell.name, job, memory_of(job.cell), job.cell.model_options().device != "cpu")
        for job in jobs
    ]
    for task, code in run_tasks(run_alone, tasks, address):
        reason = code.reason if isinstance(code, Lost) else ""
        yield task.argument, _outcome(task.argument, code, reason)


def _outcome(job: Job, code: int | Lost, how: str) -> str:
    """What came of a cell whose process ended; written down where the process did not itself."""
    if code == LOCKED:
        return "being run by another process, left to it"
    path = cell_path(job.results, job.cell)
    if code not in (DONE, FAILED) and not path.exists():
        write_failure(job.results, job.cell, f"its process ended: {how}")
    record = read_cell(path)
    return "done" if record["status"] == "done" else f"failed: {record['error']}"


def _read(results: Path, cell: Cell) -> dict[str, Any] | None:
    path = cell_path(results, cell)
    if not path.exists():
        return None
    record = read_cell(path)
    for key, value in describe_cell(cell).items():
        if record.get(key) != value:
            raise StudyError(
                f"{path} was made with the {key} {record.get(key)!r}, the study file says "
                f"{value!r}: put the file right, or run it anew with --redo"
            )
    return record


def _is_other(folders: Folders, cell: Cell) -> bool:
    try:
        _read(folders.results, cell)
    except StudyError:
        return True
    return False


def _clear(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink()


def _is_locked(work: Path, cell: Cell) -> bool:
    path = lock_path(work, cell)
    if not path.exists():
        return False
    try:
        with hold(path, cell.name, "wait for it"):
            return False
    except InUseError:
        return True


def _seconds(record: dict[str, Any]) -> float:
    """What the method took; NaN for a cell that failed."""
    seconds = record.get("record", {}).get("seconds", float("nan"))
    return float(seconds["total"] if isinstance(seconds, dict) else seconds)
