"""Progress bars on a terminal, lines elsewhere, nothing where nothing is wanted."""

import io

import pytest
from rich.console import Console

from ntpscore import progress as module
from ntpscore.progress import PlainConsole, Progress


class Terminal:
    """Stands in for rich's console class and keeps what is printed."""

    def __init__(self, is_terminal: bool) -> None:
        self.printed = io.StringIO()
        self.is_terminal = is_terminal

    def __call__(self, stderr: bool) -> Console:
        assert stderr, "bars must not go to standard output"
        return PlainConsole(file=self.printed, force_terminal=self.is_terminal, width=100)


def run(monkeypatch: pytest.MonkeyPatch, show: bool | None, is_terminal: bool) -> str:
    terminal = Terminal(is_terminal)
    monkeypatch.setattr(module, "PlainConsole", terminal)
    with Progress(show) as shown:
        shown.advance(1)  # before the first bar: nothing to count
        shown.say("a line [that] stays")
        shown.start("reading", 10, "texts", done=2)
        shown.advance(8)
        shown.start("waiting", None)
    return terminal.printed.getvalue()


def test_progress_shows_bars_and_lines_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for show in (None, True):
        printed = run(monkeypatch, show, is_terminal=True)
        assert "a line [that] stays" in printed
        assert "waiting" in printed


def test_progress_prints_only_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, show=True, is_terminal=False).strip() == "a line [that] stays"


@pytest.mark.parametrize(("show", "is_terminal"), [(False, True), (None, False), (False, False)])
def test_progress_shows_nothing_where_nothing_is_wanted(
    monkeypatch: pytest.MonkeyPatch, show: bool | None, is_terminal: bool
) -> None:
    assert run(monkeypatch, show, is_terminal).strip() == ""
