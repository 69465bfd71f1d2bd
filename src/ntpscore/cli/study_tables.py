"""The tables of `ntpscore study`, for people."""

import math

import pandas as pd
from rich.console import Console
from rich.table import Table

from ntpscore.study.forecast import Calibration, Forecast


def print_published(table: pd.DataFrame) -> None:
    """Print the correlations of the published points.

    Args:
        table: as `correlate_published` returns it.
    """
    without = str(table["without"].iloc[-1])
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("model", "outcome"):
        shown.add_column(name, no_wrap=True)
    for name in ("n", "r", "95 %", "p", "headroom", "given it"):
        shown.add_column(name, justify="right", no_wrap=True)
    last = None
    for row in table.itertuples():
        model = str(row.model).rpartition("/")[2]
        shown.add_row(
            "" if model == last else model,
            "" if row.without else str(row.outcome),
            str(row.n),
            _signed(row.r),
            f"{_signed(row.low)} … {_signed(row.high)}",
            f"{row.p:.3f}",
            _signed(row.r_headroom),
            _signed(row.r_given_headroom),
        )
        last = model
    console = Console()
    console.print(shown)
    lines = [
        "",
        "Spearman's r of the published score with each outcome over the data sets; every second",
        f"line leaves out those with {without!r} in their name. headroom: r of one minus the",
        "probe's accuracy with the LoRA gain; given it: r of the score with the gain, headroom",
        "held fixed. The authors chose layer and k for each r: neither p nor interval allows for",
        "that.",
        "",
        "Mean over models of r with the LoRA gain:",
    ]
    for omitted, part in table[table["outcome"] == "lora_gain"].groupby("without"):
        lines.append(
            f"  {'without ' + str(omitted) if omitted else 'all data sets'}: score "
            f"{_signed(part['r'].mean())}, headroom {_signed(part['r_headroom'].mean())}, score "
            f"given headroom {_signed(part['r_given_headroom'].mean())}"
        )
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def print_forecast(
    calibration: Calibration, headroom: float | None, forecast: Forecast | None
) -> None:
    """Print how the predictors of the LoRA gain did on unseen data sets, and a forecast.

    Args:
        calibration: as `calibrate_gain` returns it.
        headroom: what the forecast is for, if there is one.
        forecast: of this headroom.
    """
    table = calibration.comparison.set_index("predictor")
    shown = Table(box=None, header_style="bold", pad_edge=False)
    shown.add_column("predictor", no_wrap=True)
    for name in ("mean error", "rms error", "points held", "data sets held", "width"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in table.itertuples():
        shown.add_row(
            str(row.Index),
            f"{row.mae:.3f}",
            f"{row.rmse:.3f}",
            f"{row.covered:.0%}",
            f"{row.data_sets_covered:.0%}",
            f"{row.width:.2f}",
        )
    console = Console()
    console.print(shown)
    points, mae = calibration.points, table["mae"]
    low, high = calibration.headroom_range
    lines = [
        "",
        f"LoRA gain of {len(points)} published points, each data set forecast from the other",
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
    if forecast is not None:
        lines += [
            "",
            f"headroom {headroom:.3f}: LoRA gain {forecast.gain:+.3f}",
            f"{calibration.coverage:.0%} interval: {forecast.low:+.3f} to {forecast.high:+.3f}",
            f"data sets with a headroom within 0.1 of it: {forecast.data_sets_near}",
        ]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _verdict(richer: str, plainer: str, error: float, plain_error: float) -> str:
    word = "beats" if error < plain_error else "does no better than"
    return f"{richer} {word} {plainer}: mean error {error:.3f} against {plain_error:.3f}"


def _signed(value: object) -> str:
    number = float(value)  # type: ignore[arg-type]
    return "–" if math.isnan(number) else f"{number:+.2f}"
