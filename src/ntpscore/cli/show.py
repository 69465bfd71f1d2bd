"""`ntpscore show DIR`."""

from pathlib import Path
from typing import Annotated

import typer


def show_command(
    folder: Annotated[Path, typer.Argument(help="A folder that `ntpscore score --out` wrote.")],
    json: Annotated[
        bool,
        typer.Option("--json", help="Print result.json, and nothing else, on standard output."),
    ] = False,
) -> None:
    """Show a result that was saved.

    [b]Example[/b]

      ntpscore show results/emotion
    """
    from ntpscore.result import load_result, to_json

    result = load_result(folder)
    if json:
        typer.echo(to_json(result.record), nl=False)
    else:
        from ntpscore.cli.tables import print_result

        print_result(result, folder)
