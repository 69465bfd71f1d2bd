"""`ntpscore show DIR`."""

from pathlib import Path
from typing import Annotated

import typer

from ntpscore.errors import NtpscoreError


def show_command(
    folder: Annotated[
        Path, typer.Argument(help="A folder that `ntpscore score` or `adapt` wrote.")
    ],
    json: Annotated[
        bool,
        typer.Option("--json", help="Print result.json, and nothing else, on standard output."),
    ] = False,
    csv: Annotated[
        bool,
        typer.Option(
            "--csv", help="Print the scores, or the loss curve, as CSV, and nothing else."
        ),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw a heat map, layer by k, into this picture file.")
    ] = None,
    score: Annotated[str, typer.Option(help="The score that --plot draws.")] = "retained",
) -> None:
    """Show a result that was saved.

    [b]Examples[/b]

      ntpscore show results/emotion

      ntpscore show results/emotion --plot retained.png

      ntpscore show results/emotion --csv | grep supervised
    """
    from ntpscore.files import to_json
    from ntpscore.scoring.result import load_result, read_kind

    if read_kind(folder) == "adapt":
        _show_adapt(folder, json=json, csv=csv, plot=plot)
        return
    result = load_result(folder)
    if plot is not None:
        result.save_plot(plot, score)
    if json:
        typer.echo(to_json(result.record), nl=False)
    elif csv:
        typer.echo(result.table().to_csv(index=False, lineterminator="\n"), nl=False)
    else:
        from ntpscore.cli.tables import print_result

        print_result(result, folder)


def _show_adapt(folder: Path, *, json: bool, csv: bool, plot: Path | None) -> None:
    from ntpscore.adapt.result import load_adapt_result
    from ntpscore.files import to_json

    result = load_adapt_result(folder)
    if plot is not None:
        raise NtpscoreError(f"--plot draws scores by layer: {folder} holds a result of adapt")
    if json:
        typer.echo(to_json(result.record), nl=False)
    elif csv:
        typer.echo(result.loss_curve.to_csv(index=False, lineterminator="\n"), nl=False)
    else:
        from ntpscore.cli.adapt_table import print_adapt_result

        print_adapt_result(result, folder)
