"""`ntpscore study run` and `status`: cells, and how far they are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ntpscore.cli import options
from ntpscore.cli.study.layout import print_blocks
from ntpscore.cli.tables import text_table

if TYPE_CHECKING:
    from ntpscore.study.run.plan import Plan
    from ntpscore.study.run.runner import Folders, StudyStatus

StudyFile = Annotated[
    Path,
    typer.Argument(
        help="A study file, in TOML.", metavar="STUDY.toml", callback=options.check_path
    ),
]
Results = Annotated[
    Path | None, typer.Option(help="Folder of results; default results/NAME of NAME.toml.")
]
Work = Annotated[
    Path | None,
    typer.Option(help="Folder of checkpoints and cached features; default build/study/NAME."),
]
DataFolder = Annotated[
    Path | None,
    typer.Option("--data", help="Read data set NAME from NAME.jsonl (or .csv, …) in this folder."),
]
# What a script can tell from bad input: the study is there, some of its cells failed.
_SOME_FAILED = 1
_MOST_FAILURES = 10


def run_command(
    study: StudyFile,
    results: Results = None,
    work: Work = None,
    data: DataFolder = None,
    only: Annotated[
        str, typer.Option(help="Run only cells whose name matches, such as '*--emotion/lora-*'.")
    ] = "*",
    retry: Annotated[
        bool, typer.Option("--retry", help="Run cells that failed before once more.")
    ] = False,
    redo: Annotated[
        bool, typer.Option("--redo", help="Run cells that were made with other options anew.")
    ] = False,
    keep_work: Annotated[
        bool, typer.Option("--keep-work", help="Keep checkpoints, adapters and tables in --work.")
    ] = False,
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code", help="Run models' own code where the study file asks for it."
        ),
    ] = False,
    ray: options.RayCluster = None,
) -> None:
    """Run what is missing of a study: models × data sets × methods × seeds.

    Each cell runs in a process of its own and leaves one small file in --results. A cell that fails
    is recorded as failed, and the others go on; a study that was stopped, even killed, goes on
    where it was. Run it in several terminals to use more processors: each takes what no other has
    begun. Exits with 1 if a cell failed.

    [b]Examples[/b]

      ntpscore study run studies/demo.toml

      ntpscore study run studies/smollm2.toml --data ~/data --only '*/score-*'

      ntpscore study run studies/smollm2.toml --retry

      ntpscore study run studies/smollm2.toml --ray auto
    """
    from ntpscore.study.run.runner import run_study

    plan, folders = _open(study, results, work, data)

    def say(line: str) -> None:
        typer.echo(line, err=True)

    status = run_study(
        plan, folders, only=only, retry=retry, redo=redo, keep_work=keep_work,
        trust_remote_code=trust_remote_code, ray=ray, say=say,
    )  # fmt: skip
    print_status(plan, status)
    if status.count("failed"):
        raise typer.Exit(_SOME_FAILED)


def status_command(
    study: StudyFile,
    results: Results = None,
    work: Work = None,
    json: Annotated[bool, typer.Option("--json", help="Print a list of cells as JSON.")] = False,
) -> None:
    """Tell what of a study is done, running, failed and missing, and the time left.

    [b]Examples[/b]

      ntpscore study status studies/demo.toml

      ntpscore study status studies/smollm2.toml --json
    """
    from ntpscore.study.run.runner import study_status

    plan, folders = _open(study, results, work, None)
    status = study_status(plan, folders)
    if json:
        from ntpscore.files import to_json, without_nan

        typer.echo(to_json(without_nan(status.cells.to_dict(orient="records"))), nl=False)
    else:
        print_status(plan, status)


def _open(
    study: Path, results: Path | None, work: Path | None, data: Path | None
) -> "tuple[Plan, Folders]":
    from ntpscore.study.run.plan import load_plan
    from ntpscore.study.run.runner import Folders

    plan = load_plan(study, data_folder=data)
    return plan, Folders(
        results=results or Path("results", plan.name),
        work=work or Path("build", "study", plan.name),
    )


def print_status(plan: "Plan", status: "StudyStatus") -> None:
    """Print how many cells of each model and method are in which state, what runs, what failed."""
    from ntpscore.study.run.runner import STATES

    rows = []
    for (model, method), part in status.cells.groupby(["model", "method"], sort=False):
        counts = part["state"].value_counts()
        rows.append([str(model), str(method), *(str(counts.get(s, 0) or "–") for s in STATES)])
    lines = [f"running: {name}" for name in status.cells.query("state == 'running'")["name"]]
    failed = status.cells[status.cells["state"] == "failed"]
    lines += [
        f"failed: {r['name']}: {r['error']}" for _, r in failed.head(_MOST_FAILURES).iterrows()
    ]
    if len(failed) > _MOST_FAILURES:
        lines.append(f"… and {len(failed) - _MOST_FAILURES} more failed")
    left = status.count("missing") + status.count("running")
    lines.append(
        f"{plan.name}: {status.count('done')} of {len(status.cells)} cells done"
        + (f"; about {_duration(status.seconds_left)} left" if left > status.unknown else "")
        + (f"; {status.unknown} cells of a method that none is done of" if status.unknown else "")
    )
    table = text_table(["model", "method", *STATES], rows, names=2)
    print_blocks([table, "\n".join(lines)])


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
