"""How soon Ctrl-C ends `ntpscore score` where it works longest without looking up.

Random models and made-up texts; each run is interrupted at several moments, told in seconds of a
processor, so that it is at the same work on any machine. The table is written to
docs/reliability.md, between two marks; the exit code is 1 where one took longer than two seconds.

Usage: python -m scripts.interrupts [--only NAME] [--no-page]
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from scripts.limits import WORDS, make_model
from scripts.page import ROOT, write_between
from tests.support.labelled_texts import write_rows

from ntpscore.interrupt import INTERRUPTED

MARKS = "<!-- interrupts -->", "<!-- end of interrupts -->"
MOST_SECONDS = 2.0


@dataclass(frozen=True)
class Case:
    """A run that is long at one thing.

    Attributes:
        width: of the random model.
        texts: how many.
        words: of each text.
        options: of `score`.
        moments: seconds of a processor after which it is interrupted.
    """

    width: int
    texts: int
    words: int
    options: tuple[str, ...]
    moments: tuple[int, ...]


CASES = {
    "solve of width 2,048": Case(2048, 600, 6, ("--feature-texts", "0"), (15, 20, 25)),
    "readouts of 10,000 texts": Case(576, 10_000, 3, (), (15, 22, 30)),
    "words of long texts": Case(64, 300, 8_000, ("--max-length", "16"), (8, 11, 14)),
    "--until": Case(
        1024, 20_000, 3, ("--feature-texts", "0", "--until", "0.0001"), (15, 25, 40)
    ),
}  # fmt: skip


def write_texts(path: Path, case: Case) -> Path:
    """Texts of random words, of four classes."""
    rng = np.random.default_rng(0)
    rows = [
        {"text": f"{i} {' '.join(rng.choice(WORDS, case.words))}", "label": f"class {i % 4}"}
        for i in range(case.texts)
    ]
    return write_rows(path, rows)


def interrupt(command: list[str], moment: int, told: Path) -> tuple[float, int]:
    """Seconds from Ctrl-C, sent at a moment, to the end of a command; its exit code."""
    with told.open("w") as file:
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file)
        used = psutil.Process(running.pid)
        while running.poll() is None and sum(used.cpu_times()[:2]) < moment:
            time.sleep(0.02)
        start = time.monotonic()
        running.send_signal(signal.SIGINT)
        running.wait()
        return time.monotonic() - start, running.returncode


def row(name: str, case: Case, folder: Path) -> tuple[str, float]:
    """A row of the table, and the longest time."""
    model = make_model(folder / f"model-{case.width}", case.width, 1)
    data = write_texts(folder / "texts.jsonl", case)
    out, told = folder / "out", folder / "told.txt"
    command = [
        sys.executable, "-m", "ntpscore", "score", str(model), str(data), "--skip-sanity-check",
        "--out", str(out), "--checkpoint-seconds", "1", *case.options,
    ]  # fmt: skip
    took, resumable = [], 0
    for moment in case.moments:
        shutil.rmtree(out, ignore_errors=True)
        seconds, code = interrupt(command, moment, told)
        said = told.read_text(encoding="utf-8")
        if code != INTERRUPTED:
            sys.exit(f"interrupts: {name} ended with {code} before {moment} s: {said[-400:]}")
        took.append(seconds)
        resumable += "the same command goes on from" in said
    times = " | ".join(f"{seconds:.1f}" for seconds in took)
    moments = ", ".join(map(str, case.moments))
    return f"| {name} | {moments} | {times} | {resumable} of {len(took)} |", max(took)


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--no-page", action="store_true", help="print the table alone")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    lines = [
        "| interrupted in | after seconds of a processor | ended after | | | checkpoint named |",
        "|---|---|---|---|---|---|",
    ]
    longest = 0.0
    with tempfile.TemporaryDirectory() as name:
        for case, what in CASES.items():
            if options.only not in case:
                continue
            line, seconds = row(case, what, Path(name))
            longest = max(longest, seconds)
            print(line, flush=True)
            lines.append(line)
    if not options.no_page and not options.only:
        write_between(ROOT / "docs" / "reliability.md", MARKS, "\n".join(lines))
    if longest > MOST_SECONDS:
        sys.exit(f"interrupts: one took {longest:.1f} s")


if __name__ == "__main__":
    main()
