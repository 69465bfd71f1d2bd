"""Ctrl-C ends a command soon, whatever it is at."""

import os
import signal
import sys
import threading
import time

from ntpscore.files import TemporaryFolder
from ntpscore.result_folder import checkpoints, held_folders

# What a shell calls a process that Ctrl-C ended.
INTERRUPTED = 130
# For all that wants to end by itself. A solver or a batch that is under way does not look up; to
# leave it is safe, since nothing is written that would not stand a kill.
_GRACE_SECONDS = 0.8


def watch_interrupts() -> None:
    """End this process a moment after Ctrl-C, if it has not ended by itself.

    For processes that are ours, never for a library call: the process ends there and then.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # Python's own handlers wait for the main thread, which may be within a library.
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(reading,), daemon=True).start()


def _wait(reading: int) -> None:
    while signal.SIGINT not in os.read(reading, 1):
        pass
    time.sleep(_GRACE_SECONDS)
    tell_interrupted()
    sys.stdout.flush()
    TemporaryFolder.remove_all()
    os._exit(INTERRUPTED)


def tell_interrupted() -> None:
    """Say on standard error what the same command would go on from."""
    paths = [str(path) for folder in held_folders() for path in checkpoints(folder)]
    where = (
        f"the same command goes on from {', '.join(paths)}"
        if paths
        else "there is no checkpoint to go on from"
        + ("" if held_folders() else ": they are kept with --out")
    )
    sys.stderr.write(f"ntpscore: interrupted; {where}\n")
    sys.stderr.flush()
