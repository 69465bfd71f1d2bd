"""`ntpscore study forecast` and `calibrate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ntpscore.cli.study.layout import print_blocks, text_table

if TYPE_CHECKING:
    from ntpscore.forecast.evidence import Evidence
    from ntpscore.forecast.gain import Forecast


def forecast_command(
    headroom: Annotated[
        float | None,
        typer.Option(help="Forecast for this headroom: one minus the linear probe's accuracy."),
    ] = None,
    without: Annotated[
        str, typer.Option(help="Leave out data sets whose name holds this; empty for none.")
    ] = "medical",
    coverage: Annotated[float, typer.Option(help="Of the intervals.")] = 0.8,
    calibration: Annotated[
        Path | None,
        typer.Option(help="From a file of `study calibrate` instead of the published points."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Forecast what LoRA gains over a linear probe, from the 96 published points.

    Says first how well that works on data sets it had not seen, and whether the score helps.

    [b]Examples[/b]

      ntpscore study forecast

      ntpscore study forecast --headroom 0.3

      ntpscore study forecast --without "" --coverage 0.9 --json
    """
    from ntpscore.forecast.evidence import Evidence
    from ntpscore.forecast.gain import calibrate_gain
    from ntpscore.study.paper.published import points_with_gain

    if calibration is None:
        evidence = Evidence(
            calibrate_gain(points_with_gain(without), coverage=coverage), "published points", None
        )
    else:
        evidence = Evidence.load(calibration)
    _show_calibration(evidence, headroom, json=json)


def calibrate_command(
    results: Annotated[Path, typer.Argument(help="A study's folder of results.")],
    basis: Annotated[
        Literal["probe", "r2"],
        typer.Option(
            "--from",
            help="Headroom by the probe's accuracy, or by r2_adjusted, which `score` finds itself.",
        ),
    ] = "r2",
    without: Annotated[
        str, typer.Option(help="Leave out data sets whose name holds this; empty for none.")
    ] = "",
    coverage: Annotated[float, typer.Option(help="Of the intervals.")] = 0.8,
    out: Annotated[
        Path | None, typer.Option(help="Write a file for --calibration of score and forecast.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Calibrate a forecast of the LoRA gain on a study's own cells of score, probe and LoRA.

    Says how well it does on data sets it had not seen, and whether the score helps.

    [b]Examples[/b]

      ntpscore study calibrate results/smollm2

      ntpscore study calibrate results/smollm2 --out mine.json
    """
    from ntpscore.study.statistics.calibrate import calibrate_study

    evidence = calibrate_study(results, basis=basis, without=without, coverage=coverage)
    if out is not None:
        evidence.save(out)
    _show_calibration(evidence, None, json=json)


def _show_calibration(evidence: "Evidence", headroom: float | None, *, json: bool) -> None:
    calibration = evidence.calibration
    found = None if headroom is None else calibration.forecast(headroom)
    if json:
        from dataclasses import asdict

        from ntpscore.files import to_json, without_nan

        record = {
            "source": evidence.source,
            "basis": calibration.basis,
            "data_sets": int(calibration.points["data"].nunique()),
            "points": len(calibration.points),
            "coverage": calibration.coverage,
            "predictor": calibration.predictor,
            "hangs_on": list(calibration.hangs_on),
            "headroom_range": list(calibration.headroom_range),
            "comparison": calibration.comparison.to_dict(orient="records"),
            "forecast": None if found is None else {"headroom": headroom, **asdict(found)},
        }
        typer.echo(to_json(without_nan(record)), nl=False)
    else:
        print_forecast(evidence, headroom, found)


def print_forecast(
    evidence: "Evidence", headroom: float | None, forecast: "Forecast | None"
) -> None:
    """Print how the predictors of the LoRA gain did on unseen data sets, and a forecast.

    Args:
        evidence: a calibration and where it is from.
        headroom: what the forecast is for, if there is one.
        forecast: of this headroom.
    """
    calibration = evidence.calibration
    table = calibration.comparison.set_index("predictor")
    rows = [
        [
            str(row.Index), f"{row.mae:.3f}", f"{row.rmse:.3f}", f"{row.covered:.0%}",
            f"{row.data_sets_covered:.0%}", f"{row.width:.2f}",
        ]
        for row in table.itertuples()
    ]  # fmt: skip
    headings = ("predictor", "mean error", "rms error", "points held", "data sets held", "width")
    points, mae = calibration.points, table["mae"]
    low, high = calibration.headroom_range
    lines = [
        "",
        f"LoRA gain of {_whose(evidence)}, each data set forecast from the other",
        f"{points['data'].nunique() - 1}; intervals aim at {calibration.coverage:.0%}.",
        _verdict("headroom", "the constant", mae["headroom"], mae["constant"]),
        _verdict(
            "the score beside headroom", "headroom alone", mae["headroom_and_score"],
            mae["headroom"],
        ),
        f"Used: {calibration.predictor}, for headrooms from {low:.3f} to {high:.3f}.",
    ]  # fmt: skip
    if calibration.hangs_on:
        lines.append(f"That choice hangs on {', '.join(calibration.hangs_on)}.")
    if calibration.basis == "r2":
        lines.append("Headroom is 1 - r2_adjusted of the last layer, as `ntpscore score` gives it.")
    if forecast is not None:
        lines += [
            "",
            f"headroom {headroom:.3f}: LoRA gain {forecast.gain:+.3f}",
            f"{calibration.coverage:.0%} interval: {forecast.low:+.3f} to {forecast.high:+.3f}",
            f"data sets with a headroom within 0.1 of it: {forecast.data_sets_near}",
            forecast.verdict,
        ]
    print_blocks([text_table(headings, rows), "\n".join(lines)])


def _whose(evidence: "Evidence") -> str:
    n = len(evidence.calibration.points)
    if evidence.source == "published points":
        return f"{n} published points"
    return f"{n} points of {evidence.source}"


def _verdict(richer: str, plainer: str, error: float, plain_error: float) -> str:
    word = "beats" if error < plain_error else "does no better than"
    return f"{richer} {word} {plainer}: mean error {error:.3f} against {plain_error:.3f}"
