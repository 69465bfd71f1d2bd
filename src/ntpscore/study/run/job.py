"""What a study's runner hands to the process of a cell, and what it hears of it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ntpscore.study.run.plan import Cell

# Exit codes of the process.
DONE, FAILED, LOCKED = 0, 3, 4


@dataclass(frozen=True)
class Job:
    """What a worker is to do.

    Attributes:
        cell: which.
        results: the study's folder of results.
        work: the study's folder of checkpoints and cached features.
        command: the command line that asked for it.
        keep_work: leave the cell's own checkpoints and tables when it is done.
    """

    cell: Cell
    results: Path
    work: Path
    command: tuple[str, ...]
    keep_work: bool = False

    def to_json(self) -> str:
        """For the worker's standard input."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """What `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        return cls(
            cell=Cell(**fields["cell"]),
            results=Path(fields["results"]),
            work=Path(fields["work"]),
            command=tuple(fields["command"]),
            keep_work=fields["keep_work"],
        )


def lock_path(work: Path, cell: Cell) -> Path:
    """The file that the process which runs a cell holds locked."""
    return work / f"{cell.name}.lock"
