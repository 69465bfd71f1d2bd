"""Progress bars on standard error, and a console that shows what others wrote as text."""

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import rich.progress
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from ntpscore.plain_text import plain


class PlainConsole(Console):
    """A console for which no text is markup, and what can't be seen is written as an escape.

    Args:
        keywords: as for `rich.console.Console`.
    """

    def __init__(self, **keywords: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **keywords)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments of a renderable, their text plain."""
        for segment in super().render(renderable, options):
            is_plain = segment.control or segment.text.isalnum()
            yield segment if is_plain else segment._replace(text=plain(segment.text, keep="\n"))


class _Speed(rich.progress.ProgressColumn):
    """Units per second."""

    def render(self, task: rich.progress.Task) -> str:
        """The speed of one bar, empty before the first step."""
        if task.speed is None or task.total is None:
            return ""
        return f"{task.speed:.1f} {task.fields['unit']}/s"


class Progress:
    """Shows one bar at a time, with speed and time left, where standard error is a terminal.

    Args:
        show: whether to show anything; None means only on a terminal. True prints lines elsewhere
            too, but no bars, which would fill a log file.
    """

    def __init__(self, show: bool | None = None) -> None:
        console = PlainConsole(stderr=True)
        self._show = console.is_terminal if show is None else show
        self._bars = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}", markup=False),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            _Speed(),
            rich.progress.TimeRemainingColumn(),
            console=console,
            disable=not (self._show and console.is_terminal),
            transient=True,
        )
        self._task: rich.progress.TaskID | None = None

    def __enter__(self) -> Self:
        """Start showing."""
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the bars away."""
        self._bars.stop()

    def start(self, what: str, total: int | None, unit: str = "", done: int = 0) -> None:
        """Begin a new bar, in place of the one before.

        Args:
            what: what is going on.
            total: how many units there are; None if unknown.
            unit: their name.
            done: how many are done already.
        """
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(what, total=total, unit=unit, completed=done)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self._show:
            self._bars.console.print(line, style="dim")

    def advance(self, units: int) -> None:
        """Count units as done."""
        if self._task is not None:
            self._bars.advance(self._task, units)
