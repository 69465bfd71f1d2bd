"""`ntpscore study`: what scores say of outcomes over many models and data sets."""

from typing import Annotated

import typer

from ntpscore.errors import NtpscoreError

app = typer.Typer(
    help="What scores say of outcomes, over many models and data sets.", no_args_is_help=True
)


@app.callback()
def study() -> None:
    """What scores say of outcomes, over many models and data sets."""


@app.command("published")
def published_command(
    without: Annotated[
        str, typer.Option(help="Give r also without data sets whose name holds this.")
    ] = "medical",
    seed: Annotated[int, typer.Option(help="Of permutations and bootstrap.", min=0)] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print a list of rows as JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the rows as CSV.")] = False,
) -> None:
    """Correlate the 96 published points of the paper's Figures 2 and 3, model by model.

    [b]Examples[/b]

      ntpscore study published

      ntpscore study published --without sst2 --csv > published.csv
    """
    if json and csv:
        raise NtpscoreError("--json and --csv can't both have standard output: give one of them")
    from ntpscore.study.published import correlate_published

    table = correlate_published(without, seed=seed)
    if json:
        from ntpscore.result import to_json, without_nan

        typer.echo(to_json(without_nan(table.to_dict(orient="records"))), nl=False)
    elif csv:
        typer.echo(table.to_csv(index=False, lineterminator="\n"), nl=False)
    else:
        from ntpscore.cli.study_tables import print_published

        print_published(table)
