"""`ntpscore study`: what scores say of outcomes over many models and data sets."""

from pathlib import Path
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
    figure: Annotated[
        Path | None, typer.Option(help="Draw score against LoRA gain into this picture file.")
    ] = None,
) -> None:
    """Correlate the 96 published points of the paper's Figures 2 and 3, model by model.

    [b]Examples[/b]

      ntpscore study published

      ntpscore study published --without sst2 --csv > published.csv

      ntpscore study published --figure published.png
    """
    if json and csv:
        raise NtpscoreError("--json and --csv can't both have standard output: give one of them")
    from ntpscore.study.published import correlate_published, draw_published

    table = correlate_published(without, seed=seed)
    if figure is not None:
        draw_published(table, figure)
    if json:
        from ntpscore.result import to_json, without_nan

        typer.echo(to_json(without_nan(table.to_dict(orient="records"))), nl=False)
    elif csv:
        typer.echo(table.to_csv(index=False, lineterminator="\n"), nl=False)
    else:
        from ntpscore.cli.study_tables import print_published

        print_published(table)


@app.command("forecast")
def forecast_command(
    headroom: Annotated[
        float | None,
        typer.Option(help="Forecast for this headroom: one minus the linear probe's accuracy."),
    ] = None,
    without: Annotated[
        str, typer.Option(help="Leave out data sets whose name holds this; empty for none.")
    ] = "medical",
    coverage: Annotated[float, typer.Option(help="Of the intervals.")] = 0.8,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Forecast what LoRA gains over a linear probe, from the 96 published points.

    Says first how well that works on data sets it had not seen, and whether the score helps.

    [b]Examples[/b]

      ntpscore study forecast

      ntpscore study forecast --headroom 0.3

      ntpscore study forecast --without "" --coverage 0.9 --json
    """
    from ntpscore.study.forecast import calibrate_gain
    from ntpscore.study.published import points_with_gain

    calibration = calibrate_gain(points_with_gain(without), coverage=coverage)
    found = None if headroom is None else calibration.forecast(headroom)
    if json:
        from dataclasses import asdict

        from ntpscore.result import to_json, without_nan

        record = {
            "without": without,
            "data_sets": int(calibration.points["data"].nunique()),
            "points": len(calibration.points),
            "coverage": coverage,
            "predictor": calibration.predictor,
            "hangs_on": list(calibration.hangs_on),
            "headroom_range": list(calibration.headroom_range),
            "comparison": calibration.comparison.to_dict(orient="records"),
            "forecast": None if found is None else {"headroom": headroom, **asdict(found)},
        }
        typer.echo(to_json(without_nan(record)), nl=False)
    else:
        from ntpscore.cli.study_tables import print_forecast

        print_forecast(calibration, headroom, found)
