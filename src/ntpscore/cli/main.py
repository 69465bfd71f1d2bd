"""The `ntpscore` command."""

import errno
import io
import logging
import os
import sys
import traceback
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import typer

import ntpscore
from ntpscore.allocator import keep_freed_memory
from ntpscore.cli.adapt import adapt_command
from ntpscore.cli.datasets import datasets_command
from ntpscore.cli.models import models_command
from ntpscore.cli.options import with_ray_address
from ntpscore.cli.predict import predict_command
from ntpscore.cli.rank import rank_command
from ntpscore.cli.report import report_command
from ntpscore.cli.score import score_command
from ntpscore.cli.show import show_command
from ntpscore.cli.study import app as study_app
from ntpscore.errors import NtpscoreError
from ntpscore.interrupt import INTERRUPTED, tell_interrupted, watch_interrupts
from ntpscore.plain_text import plain
from ntpscore.reading.ranks import Ranks, started_together

# What no program can mend: full disks, missing permissions, limits.
_REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM,
            errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}  # fmt: skip

app = typer.Typer(
    name="ntpscore",
    help="What a causal language model knows about your labels, before any training.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
)
app.command("score")(score_command)
app.command("adapt")(adapt_command)
app.command("predict")(predict_command)
app.command("rank")(rank_command)
app.command("show")(show_command)
app.command("report")(report_command)
app.command("models")(models_command)
app.command("datasets")(datasets_command)
app.add_typer(study_app, name="study")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ntpscore {ntpscore.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """What a causal language model knows about your labels, before any training."""


def _as_one(arguments: list[str]) -> AbstractContextManager[None]:
    """Processes that a launcher started together tell an error once."""
    if not started_together():
        return nullcontext()
    if arguments[:1] == ["score"]:
        return Ranks.of_environment().as_one()
    if os.environ.get("RANK", "0") != "0":
        sys.exit(2)
    raise NtpscoreError(
        "this is one of several processes, as torchrun or accelerate start them: only `score` "
        "shares its work out to them; start the other commands as one process"
    )


def escape_what_cant_be_encoded() -> None:
    """Show a sign that the encoding of a terminal or file lacks as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it is closed
            stream.reconfigure(errors="backslashreplace")


def run(arguments: list[str] | None = None) -> None:
    """Run the command line, or these arguments; bad input ends with one message and exit code 2."""
    if arguments is None:
        keep_freed_memory()
        watch_interrupts()
        escape_what_cant_be_encoded()
        for noisy in ("torchao", "torch.utils._pytree"):  # transformers imports whatever is there
            logging.getLogger(noisy).setLevel(logging.ERROR)
        arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        with _as_one(arguments):
            app(with_ray_address([one for one in arguments if one != "--debug"]))
    except NtpscoreError as error:
        if debug:
            traceback.print_exc()
        typer.echo(f"ntpscore: error: {error}", err=True)
        sys.exit(2)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            tell_interrupted()
        raise
    except Exception as error:
        if debug:
            raise
        if isinstance(error, MemoryError) or getattr(error, "errno", None) in _REFUSED:
            what = (
                "memory ran out"
                if isinstance(error, MemoryError)
                else f"the system refuses: {error}"
            )
            typer.echo(f"ntpscore: error: {plain(what)}", err=True)
            sys.exit(2)
        typer.echo(
            f"ntpscore: this is a bug: {type(error).__name__}: {plain(str(error), keep=chr(10))}\n"
            "Run it again with --debug for the traceback, and report it.",
            err=True,
        )
        sys.exit(1)
