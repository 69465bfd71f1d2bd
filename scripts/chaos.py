"""`make chaos`: runs are killed at file operations and by signals, doubled, and starved of disk.

Every command runs on a tiny model, in a child that was forked, once undisturbed and then once for
each of its file operations, at which it kills itself (an audit hook counts them). After each kill a
result that was there before must load, as it was or as the new one; the same command must then end
with the numbers of the undisturbed run, and leave no file that this one does not leave. Two runs in
one folder must end with the whole result of one of them; a full disk must leave the earlier result.
Signals come at random moments, to the process and those that it started, as from a terminal.

The counts are written to docs/reliability.md, each part's between two marks.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scripts.page import ROOT, write_between
from tests.conftest import tiny_model_dir
from tests.support.labelled_texts import make_rows, write_rows

from ntpscore.adapt.result import load_adapt_result
from ntpscore.cli.main import run
from ntpscore.errors import NtpscoreError
from ntpscore.interrupt import INTERRUPTED, watch_interrupts
from ntpscore.rank.result import load_ranking
from ntpscore.scoring.result import load_result
from ntpscore.study.run.cells import load_records
from ntpscore.study.run.job import Job
from ntpscore.study.run.plan import load_plan
from ntpscore.study.run.worker import run_job

torch.set_num_threads(1)
PAGE = ROOT / "docs" / "reliability.md"
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
OPERATIONS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link",
              "shutil.copyfile", "shutil.rmtree", "shutil.move"}  # fmt: skip
# Of a record: what two runs of the same must share.
SAME = ("accuracy", "learning_curve", "layers", "best", "train", "test", "candidates", "rows")
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL)
SIGNALLED = ("score", "adapt ridge", "adapt lora", "rank", "predict", "study run")
PAIRS = [("score", "score"), ("score", "adapt ridge"), ("adapt lora", "adapt lora"),
         ("adapt lora", "adapt ridge")]  # fmt: skip
# Columns of a ranking that tell a time.
TIMES = ["seconds"]
FAST = ("--skip-sanity-check", "--shuffles", "1", "--batch-tokens", "200")
NEAR = 1e-9


def fork(call: Callable[[], object], told: Path) -> int:
    """Start a call in a child whose output goes into a file; its process."""
    child = os.fork()
    if child:
        return child
    file = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    code = 1
    try:
        os.setpgid(0, 0)
        call()
        code = 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException as error:  # noqa: BLE001  # to be told
        sys.stderr.write(f"Traceback: {error!r}\n")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return child


def wait(child: int) -> int:
    """How a child ended; -9 where it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def count_operations(within: Path, kill_at: int, counted: Path) -> None:
    """Count file operations below a folder from now on; end at one of them (0 never does)."""
    total, busy = 0, False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal total, busy
        if busy or not (event in OPERATIONS or (event == "open" and arguments[2] & WRITING)):
            return
        paths = [one for one in arguments[:2] if isinstance(one, str | Path | bytes)]
        if not any(os.fsdecode(path).startswith(str(within)) for path in paths):
            return
        total += 1
        if total == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        busy = True
        counted.write_text(str(total))
        busy = False

    sys.addaudithook(hook)


class Case:
    """A command, where it writes, and what tells its results apart.

    Args:
        name: of the case.
        arguments: of `ntpscore`, given the folder that all is in; or what is to be called.
        load: reads the result from there.
    """

    def __init__(
        self, name: str, arguments: Callable[[Path], Any], load: Callable[[Path], object]
    ) -> None:
        self.name, self.arguments, self.load = name, arguments, load

    def start(self, folder: Path, told: Path, before: Callable[[], None] = lambda: None) -> int:
        """Start it in a child; its process."""

        def call() -> None:
            before()
            arguments = self.arguments(folder)
            arguments() if callable(arguments) else run(arguments)

        return fork(call, told)

    def loads(self, folder: Path) -> bool:
        """Whether there is a result."""
        try:
            self.load(folder)
        except NtpscoreError:
            return False
        return True


def cases(model: Path, data: Path) -> list[Case]:
    """All commands that write results."""

    def adapt(method: str, *more: str) -> Callable[[Path], list[str]]:
        return lambda folder: [
            "adapt", str(model), str(data), "--hold-out", "0.3", "--method", method,
            "--out", str(folder / "out"), *more,
        ]  # fmt: skip

    training = ("--steps", "3", "--batch-size", "4", "--checkpoint-seconds", "0")

    def adapted(folder: Path) -> object:
        return load_adapt_result(folder / "out")

    def scored(folder: Path) -> object:
        return load_result(folder / "out")

    def study_file(folder: Path) -> Path:
        path = folder / "a.toml"
        path.write_text(
            f"models = [{json.dumps(str(model))}]\ndata = ['a']\n[sources]\na = "
            f"{json.dumps(str(data))}\n[[runs]]\nmethods = ['probe']\nepochs = 2\nhold_out = 0.3\n"
        )
        return path

    def cell(folder: Path) -> Callable[[], None]:
        """What the process of a cell does: the runner only starts it."""
        (one,) = load_plan(study_file(folder)).cells
        job = Job(one, folder / "results", folder / "work", ("chaos",))
        return lambda: sys.exit(run_job(job))

    score = ["score", str(model), str(data), *FAST, "--checkpoint-seconds", "0", "--out"]
    return [
        Case("score", lambda f: [*score, str(f / "out"), "--keep-moments"], scored),
        Case("score --until", lambda f: [*score, str(f / "out"), "--until", "0.2"], scored),
        Case("adapt ridge", adapt("ridge"), adapted),
        Case("adapt logistic", adapt("logistic"), adapted),
        Case("adapt lora", adapt("lora", "--rank", "2", *training), adapted),
        Case("adapt lora --rescore", adapt("lora", "--rank", "2", "--rescore", *training), adapted),
        Case("adapt scratch", adapt("scratch", *training), adapted),
        Case(
            "rank",
            lambda f: ["rank", str(data), str(model), *FAST, "--out", str(f / "out")],
            lambda f: load_ranking(f / "out"),
        ),
        Case(
            "predict",
            lambda f: ["predict", str(data.parent / "fitted"), str(data), "--out",
                       str(f / "labels.csv")],
            lambda f: (f / "labels.csv").read_bytes() if (f / "labels.csv").exists() else fail(f),
        ),
        Case("cell of a study", cell, lambda f: load_records(f / "results")),
        Case(
            "study run",
            lambda f: ["study", "run", str(study_file(f)), "--results", str(f / "results"),
                       "--work", str(f / "work")],
            lambda f: load_records(f / "results"),
        ),
    ]  # fmt: skip


def fail(folder: Path) -> bytes:
    """Say that there is nothing."""
    raise NtpscoreError(f"nothing in {folder}")


# -- what a folder holds ---------------------------------------------------------------------------


def names(folder: Path) -> set[str]:
    """The files in a folder."""
    return {str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()}


def numbers(folder: Path) -> dict[str, Any]:
    """All that two runs of the same must share, by file."""
    from safetensors.torch import load_file

    found: dict[str, Any] = {}
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        name = str(path.relative_to(folder))
        if path.suffix == ".csv":
            frame = pd.read_csv(path)
            found[name] = frame.drop(columns=TIMES, errors="ignore").to_dict(orient="list")
        elif path.suffix == ".safetensors":
            found[name] = {key: value.double().numpy() for key, value in load_file(path).items()}
        elif path.suffix == ".json":
            record = json.loads(path.read_text())
            record = record.get("record", record) if isinstance(record, dict) else {}
            found[name] = {key: record[key] for key in SAME if key in record}
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two of `numbers` are the same, numbers to `NEAR`."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray) or (isinstance(one, int | float) and one is not None):
        return bool(np.allclose(one, other, rtol=NEAR, atol=NEAR, equal_nan=True))
    return bool(one == other)


# -- what is done to runs --------------------------------------------------------------------------


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for one try."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        yield Path(name)


class Chaos:
    """Does it, and counts what came of it."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self.say = folder, say
        self.told = folder / "told.txt"
        self.wrong: list[str] = []
        self.known: dict[str, tuple[int, dict[str, Any], set[str]]] = {}
        self.seconds: dict[str, float] = {}

    def check(self, holds: bool, what: str) -> int:
        """Count what holds; keep what does not."""
        if not holds:
            self.wrong.append(what)
            self.say(f"WRONG: {what}\n{self.told.read_text()[-600:]}")
        return int(holds)

    def undisturbed(self, case: Case) -> tuple[int, dict[str, Any], set[str]]:
        """File operations, numbers and files of a run that nobody disturbs."""
        if case.name not in self.known:
            counted, folder = self.folder / "counted.txt", self.kept(case)
            folder.mkdir()
            start = time.monotonic()
            code = wait(case.start(folder, self.told, lambda: count_operations(folder, 0, counted)))
            self.seconds[case.name] = time.monotonic() - start
            self.check(code == 0 and case.loads(folder), f"{case.name}: undisturbed, code {code}")
            self.known[case.name] = int(counted.read_text()), numbers(folder), names(folder)
        return self.known[case.name]

    def kept(self, case: Case) -> Path:
        """The folder of a run that nobody disturbed."""
        return self.folder / f"undisturbed {case.name}"

    def kills(self, case: Case, every: int) -> str:
        """A kill at each file operation, or at every so many of them; a row of the table."""
        total = self.undisturbed(case)[0]
        points = range(1, total + 1, every)
        held = np.zeros(3, int)
        for number, at in enumerate(points):
            has_earlier = number % 2 == 1
            with scratch() as folder:
                if has_earlier:
                    shutil.copytree(self.kept(case), folder, dirs_exist_ok=True)
                code = wait(
                    case.start(
                        folder, self.told,
                        partial(count_operations, folder, at, self.folder / "counted.txt"),
                    )
                )  # fmt: skip
                what = f"{case.name}, killed at {at} of {total}"
                # One that goes on from something has fewer operations, and may have ended.
                self.check(code in (-signal.SIGKILL, 0), f"{what}: ended with {code}")
                held += self._goes_on(case, folder, what, has_earlier=has_earlier)
        n = len(points)
        return f"| {case.name} | {total} | {n} | {held[0]} | {held[1]} | {held[2]} |"

    def signals(self, case: Case, rng: np.random.Generator, rounds: int) -> str:
        """A signal at a random moment, each so many times, then the same command; a row."""
        self.undisturbed(case)
        seconds = self.seconds[case.name]
        reached, held = 0, np.zeros(3, int)
        for number in range(rounds * len(SIGNALS)):
            sent, has_earlier = SIGNALS[number % len(SIGNALS)], number // len(SIGNALS) % 2 == 1
            with scratch() as folder:
                if has_earlier:
                    shutil.copytree(self.kept(case), folder, dirs_exist_ok=True)
                delay = seconds * rng.random()
                child = case.start(folder, self.told, watch_interrupts)
                time.sleep(delay)
                with suppress(ProcessLookupError):
                    os.killpg(child, sent)
                code = wait(child)
                what = f"{case.name}, {sent.name} after {delay:.2f} s"
                reached += code != 0
                self.check(code in (-sent, 0, INTERRUPTED), f"{what}: ended with {code}")
                held += self._goes_on(case, folder, what, has_earlier=has_earlier)
        n = rounds * len(SIGNALS)
        return f"| {case.name} | {n} | {reached} | {held[0]} | {held[1]} | {held[2]} |"

    def _goes_on(
        self, case: Case, folder: Path, what: str, *, has_earlier: bool
    ) -> tuple[int, int, int]:
        """Whether an earlier result stands, the command gives the same again, and nothing more."""
        _, expected, files = self.undisturbed(case)
        sound = self.check(
            case.loads(folder) or not has_earlier, f"{what}: the earlier result is gone"
        )
        code = wait(case.start(folder, self.told))
        again = self.check(
            code == 0 and same(numbers(folder), expected), f"{what}: other numbers, {code}"
        )
        left = names(folder) ^ files
        return sound, again, self.check(not left, f"{what}: {sorted(left)} more or fewer")

    def full_disk(self, case: Case) -> str:
        """Runs that may not write files beyond a size, where an earlier result is; a row."""
        _, expected, files = self.undisturbed(case)
        sizes = [0, 500, 2_000, 8_000, 32_000, 100_000]
        told = kept = again = 0
        for size in sizes:
            with scratch() as folder:
                shutil.copytree(self.kept(case), folder, dirs_exist_ok=True)

                def limit(size: int = size) -> None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

                code = wait(case.start(folder, Path("/dev/null"), limit))
                what = f"{case.name}, files of at most {size} bytes"
                told += self.check(code in (0, 2), f"{what}: ended with {code}")
                kept += self.check(
                    case.loads(folder) and same(_settled(numbers(folder)), expected),
                    f"{what}: the earlier result is gone",
                )
                code = wait(case.start(folder, self.told))
                again += self.check(
                    code == 0 and same(numbers(folder), expected) and names(folder) == files,
                    f"{what}: other numbers or files afterwards, {code}",
                )
        return f"| {case.name} | {len(sizes)} | {told} | {kept} | {again} |"

    def two_runs(self, one: Case, other: Case, tries: int = 8) -> str:
        """Two runs at once in one folder; a row."""
        expected = [self.undisturbed(case)[1:] for case in (one, other)]
        ends: Counter[str] = Counter()
        whole = 0
        for number in range(tries):
            with scratch() as folder:
                paths = [self.folder / f"told-{i}.txt" for i in range(2)]
                first = one.start(folder, paths[0])
                time.sleep(0.05 * number)
                second = other.start(folder, paths[1])
                codes = [wait(first), wait(second)]
                texts = [path.read_text() for path in paths]
                for code, text in zip(codes, texts, strict=True):
                    is_told = code == 2 and "is in use by process" in text
                    ends["done" if code == 0 else "told" if is_told else f"code {code}"] += 1
                self.told.write_text("\n".join(texts))
                self.check(
                    0 in codes and set(codes) <= {0, 2}, f"{one.name}, {other.name}: {codes}"
                )
                found = names(folder / "out"), numbers(folder / "out")
                whole += self.check(
                    any(
                        found[0] == {name.removeprefix("out/") for name in files}
                        and same(found[1], _below(values, "out"))
                        for values, files in expected
                    ),
                    f"{one.name} and {other.name} at once: {sorted(found[0])}",
                )
        return f"| {one.name}, {other.name} | {tries} | {ends['done']} | {ends['told']} | {whole} |"

    def shared_cache(self, case: Case, tries: int = 4) -> str:
        """Two runs at once that share a folder of features; a row."""
        expected = _below(self.undisturbed(case)[1], "out")
        expected = {name: value for name, value in expected.items() if "features" not in name}
        good = 0
        for _ in range(tries):
            with scratch() as folder:

                def call(name: str, folder: Path = folder) -> Callable[[], None]:
                    arguments = [*case.arguments(folder / name), "--cache", str(folder / "cache")]
                    return lambda: run(arguments)

                children = [fork(call(name), self.told) for name in ("a", "b")]
                codes = [wait(child) for child in children]
                good += self.check(
                    codes == [0, 0]
                    and all(same(numbers(folder / name / "out"), expected) for name in "ab")
                    and all("features-" in name for name in names(folder / "cache")),
                    f"two runs that share features: {codes}, {sorted(names(folder))}",
                )
        return f"| adapt ridge, one --cache | {tries} | {2 * tries} | 0 | {good} |"


def _below(found: dict[str, Any], folder: str) -> dict[str, Any]:
    """Those files of `numbers` that are in a folder, by their names there."""
    start = f"{folder}/"
    return {n.removeprefix(start): value for n, value in found.items() if n.startswith(start)}


def _settled(found: dict[str, Any]) -> dict[str, Any]:
    """`numbers` without those of what is not finished."""
    return {name: value for name, value in found.items() if "unfinished/" not in name}


def main() -> None:
    """Do it all, print and write the counts; exit code 1 if something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--every", type=int, default=2, help="kill at every so many operations")
    parser.add_argument("--rounds", type=int, default=2, help="of each signal to a command")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of signals")
    parser.add_argument("--part", help="kills, signals, pairs or disk alone")
    parser.add_argument("--no-page", action="store_true", help="print the counts alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)

        class Factory:
            def mktemp(self, name: str) -> Path:
                (folder / name).mkdir()
                return folder / name

        made: Any = tiny_model_dir
        model = made.__wrapped__(Factory())
        data = write_rows(folder / "data.jsonl", make_rows(60))
        all_cases = cases(model, data)
        chaos = Chaos(folder, lambda line: print(line, flush=True))
        fitted = ["adapt", *map(str, (model, data)), "--hold-out", "0.3", "--out"]
        fitted.append(str(folder / "fitted"))
        if code := wait(fork(lambda: run(fitted), chaos.told)):
            sys.exit(f"no classifier to predict with, {code}: {chaos.told.read_text()}")
        named = {case.name: case for case in all_cases if options.only in case.name}

        def few(*wanted: str) -> list[Case]:
            return [named[one] for one in wanted if one in named]

        rng = np.random.default_rng(options.seed)
        pairs = [few(*pair) for pair in PAIRS]
        parts: dict[str, tuple[str, Iterable[str]]] = {
            "kills": (
                ("killed | file operations | kills | earlier result whole | same numbers when run "
                "again | nothing left over"),
                (chaos.kills(one, options.every) for one in named.values()
                 if one.name != "study run"),
            ),
            "signals": (
                ("TERM, HUP, INT and KILL to | signals | before the end | earlier result whole | "
                "same numbers when run again | nothing left over"),
                (chaos.signals(one, rng, options.rounds) for one in few(*SIGNALLED)),
            ),
            "pairs": (
                "at once in one folder | tries | ended well | told of the other | folder whole",
                chain(
                    (chaos.two_runs(pair[0], pair[1]) for pair in pairs if len(pair) == 2),
                    (chaos.shared_cache(one) for one in few("adapt ridge")),
                ),
            ),
            "disk": (
                "full disk | sizes | ended well or told | earlier result whole | same afterwards",
                map(chaos.full_disk, few("score", "adapt ridge", "adapt lora", "rank")),
            ),
        }  # fmt: skip
        command = " ".join(["python -m scripts.chaos", *sys.argv[1:]])
        for part, (heading, made_rows) in parts.items():
            if options.part not in (None, part):
                continue
            start, used, wrong = time.monotonic(), processor_seconds(), len(chaos.wrong)
            lines = [f"| {heading} |", "|" + "---|" * (heading.count("|") + 1)]
            for row in made_rows:
                print(row, f"{time.monotonic() - start:.0f} s", flush=True)
                lines.append(row)
            lines.append(
                f"\n`{command}`: {time.monotonic() - start:.0f} seconds, "
                f"{processor_seconds() - used:.0f} of a processor; "
                f"{len(chaos.wrong) - wrong} did not hold."
            )
            print(*lines, sep="\n")
            if not options.no_page:
                marks = f"<!-- {part} -->", f"<!-- end of {part} -->"
                write_between(PAGE, marks, "\n".join(lines))
    if chaos.wrong:
        sys.exit("\n".join(chaos.wrong))


def processor_seconds() -> float:
    """Of this process and those that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
