"""`ntpscore report DIR…`."""

from pathlib import Path
from typing import Annotated

import typer

from ntpscore.cli.options import check_path


def _check_folders(folders: list[Path]) -> list[Path]:
    return [check_path(folder) for folder in folders]


def report_command(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Folders that `ntpscore score`, `rank`, `adapt` or `study run` wrote.",
            callback=_check_folders,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path(
        "report.html"
    ),
) -> None:
    """Write one HTML file to look at results in; it opens without a network.

    [b]Examples[/b]

      ntpscore report results/emotion

      ntpscore report results/emotion results/lora -o emotion.html
    """
    from ntpscore.report.write import write_report

    typer.echo(f"written to {write_report(folders, output)}")
