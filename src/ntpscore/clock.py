"""Seconds by stage."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Clock:
    """Seconds by stage.

    Args:
        stages: their names; one is called `total`.
    """

    def __init__(self, stages: Sequence[str]) -> None:
        self._start = time.perf_counter()
        self._lock = threading.Lock()
        self._spent = dict.fromkeys(stages, 0.0)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start)

    def add(self, stage: str, seconds: float) -> None:
        """Add seconds to a stage; a run that goes on adds those of its earlier parts."""
        with self._lock:
            self._spent[stage] += seconds

    def seconds(self) -> dict[str, float]:
        """Seconds of each stage, and the total since the clock was made and from earlier parts."""
        total = self._spent["total"] + time.perf_counter() - self._start
        return {**self._spent, "total": total}
