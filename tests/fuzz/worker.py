"""A process in which mutants are read that might end it: a reader and a path a line."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.fuzz.readers import read_or_refuse, readers

_ROOT = Path(__file__).parents[2]


class Worker:
    """Reads mutants elsewhere; a process that ended is started anew."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def read_or_refuse(self, reader: str, path: Path) -> str:
        """As the function of that name; a process that ended is what is wrong."""
        if self._process is None:
            paths = os.pathsep.join([str(_ROOT / "src"), str(_ROOT)])
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": paths},
            )  # fmt: skip
        process: Any = self._process
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps([reader, str(path)]) + "\n")
            process.stdin.flush()
        if answer := process.stdout.readline():
            return str(json.loads(answer))
        self._process = None
        return f"the process ended: {process.wait()}"

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()


def main() -> None:
    """Answer every line by what is wrong."""
    known = readers(Path())
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        name, path = json.loads(line)
        print(json.dumps(read_or_refuse(known[name], Path(path))), file=answers, flush=True)


if __name__ == "__main__":
    main()
