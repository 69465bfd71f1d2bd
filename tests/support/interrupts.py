"""Runs that are cut short."""

import pytest

from ntpscore.reading import reader


def interrupt_pass(monkeypatch: pytest.MonkeyPatch, at: int) -> list[int]:
    """Interrupt the forward pass of that batch; returns how many passes began, to be set too."""
    calls = [0]
    real = reader.stream_hidden_states

    def interrupted(*args: object) -> None:
        calls[0] += 1
        if calls[0] == at:
            raise KeyboardInterrupt
        real(*args)

    monkeypatch.setattr(reader, "stream_hidden_states", interrupted)
    return calls
