"""Tasks on a Ray cluster: each in a process of its own, run once more where that is killed."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntpscore.errors import NtpscoreError
from ntpscore.version import VERSION

# What kills a process twice is taken to be the task's own doing.
_RETRIES = 1
_REACH_SECONDS = 10


@dataclass(frozen=True)
class Task:
    """What one process is to do, and what it takes of a machine.

    Attributes:
        name: for messages, and in Ray's own tables.
        argument: of the function that all tasks share.
        memory: bytes of main memory; None where nothing is known of it.
        needs_card: whether it wants one of the machine's graphics cards, where there are any.
    """

    name: str
    argument: Any
    memory: int | None = None
    needs_card: bool = True


@dataclass(frozen=True)
class Lost:
    """A task that gave nothing: why, in words."""

    reason: str


def run_tasks(
    function: Callable[[Any], Any], tasks: Sequence[Task], address: str
) -> Iterator[tuple[Task, Any]]:
    """Run tasks on a cluster, as many at once as its machines have room for.

    A task gets a graphics card and its share of the machine's cores where the cluster has cards,
    else a core. Its process begins in this one's working directory.

    Args:
        function: of a module that every machine has; it raises nothing that a task can help.
        tasks: what to run it on.
        address: HOST:PORT, `auto` for the cluster that this machine is part of, `local` to start
            one of this machine alone, for as long as this takes.

    Yields:
        Each task when it is done, with what the function returned, or `Lost`.

    Raises:
        NtpscoreError: Ray is not installed or the cluster not there, or one of its machines lacks
            this version of the package or the working directory.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        from ray import exceptions
    except ImportError as error:
        raise NtpscoreError("--ray needs Ray: pip install 'ntpscore[ray]'") from error
    _connect(ray, address)
    try:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        remote = ray.remote(max_calls=1, max_retries=_RETRIES)(_run_there)
        running = {}
        for task in tasks:
            needs = _needs(task, machines)
            if isinstance(needs, Lost):
                yield task, needs
                continue
            reference = remote.options(name=task.name, **needs).remote(
                function, task.argument, str(Path.cwd()), VERSION
            )
            running[reference] = task
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            task = running.pop(done)
            try:
                result = ray.get(done)
            except exceptions.RayTaskError as error:
                cause = error.cause
                what = (
                    cause
                    if isinstance(cause, NtpscoreError)
                    else f"{type(cause).__name__}: {cause}"
                )
                raise NtpscoreError(f"{task.name} can't be run there: {what}") from error
            except exceptions.OutOfMemoryError:
                result = Lost("killed by Ray, for want of memory")
            except (exceptions.WorkerCrashedError, exceptions.NodeDiedError):
                result = Lost(f"killed, and so was its retry ({_RETRIES})")
            except exceptions.RayError as error:
                raise NtpscoreError(f"Ray can't run {task.name}: {error}") from error
            yield task, result
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    """Join the cluster, or start one."""
    local: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    host, _, port = address.rpartition(":")
    with_port = bool(host) and port.isdecimal()
    if address not in {"auto", "local"} and not with_port and "://" not in address:
        raise NtpscoreError(
            f"--ray {address!r} is no address: give HOST:PORT, auto for the cluster that this "
            "machine is part of (or nothing at all), local to start one here"
        )
    try:
        if with_port and "//" not in host:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=_REACH_SECONDS).close()
        ray.init(address, log_to_driver=False, logging_level="ERROR", **local)
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        if address == "local":
            raise NtpscoreError(f"Ray can't start a cluster here: {error}") from error
        # Ray's own words of a missing cluster name options of its own command.
        where, why = (
            ("that this machine is part of", "") if address == "auto"
            else (f"at {address!r}", f" ({error})")
        )  # fmt: skip
        raise NtpscoreError(
            f"there is no Ray cluster {where}: start one with `ray start --head`, or say --ray "
            f"local{why}"
        ) from error


def _needs(task: Task, machines: Sequence[dict[str, float]]) -> dict[str, Any] | Lost:
    """What to ask Ray for; lost is what no machine has room for, since Ray would wait for one."""
    with_card = [m for m in machines if m.get("GPU", 0) >= 1] if task.needs_card else []
    cores = min((int(m["CPU"] // m["GPU"]) for m in with_card), default=1)
    largest = max((m.get("memory", 0.0) for m in with_card or machines), default=0.0)
    if task.memory is not None and task.memory > largest:
        return Lost(
            f"needs {task.memory / 1e9:.1f} GB of main memory, and no machine of the cluster lends "
            f"more than {largest / 1e9:.1f} GB"
        )
    return {
        "num_cpus": max(1, cores), "num_gpus": int(bool(with_card)), "memory": task.memory,
    }  # fmt: skip


def _run_there(function: Callable[[Any], Any], argument: Any, folder: str, version: str) -> Any:
    """In the task's process."""
    here = socket.gethostname()
    if version != VERSION:
        raise NtpscoreError(f"{here} has ntpscore {VERSION}, not {version}: install the same")
    try:
        os.chdir(folder)
    except OSError as error:
        raise NtpscoreError(
            f"{here} lacks the folder {folder}: it must be the same on all machines"
        ) from error
    return function(argument)
