"""The tables of `ntpscore study`, for people."""

import math

import pandas as pd
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from ntpscore.cli.tables import LAYOUT
from ntpscore.errors import StudyError
from ntpscore.forecast.evidence import Evidence
from ntpscore.forecast.gain import Forecast
from ntpscore.study.run.plan import Plan
from ntpscore.study.run.runner import STATES, StudyStatus
from ntpscore.study.statistics.summary import ALL_MODELS

_MOST_FAILURES = 10
# More than any table needs.
_UNLIMITED = 10_000


def _print_whole(shown: Table) -> None:
    """Print a table as wide as it is: a long line can be read, a number cut short can't."""
    console = Console()
    endless = console.options.update(max_width=_UNLIMITED)
    needed = Measurement.get(console, endless, shown).maximum
    console.width = max(console.width, needed)
    console.print(shown)


def print_status(plan: Plan, status: StudyStatus) -> None:
    """Print how many cells of each model and method are in which state, what runs, what failed.

    Args:
        plan: the study.
        status: how far it is.
    """
    console = Console()
    shown = Table(**LAYOUT)
    shown.add_column("model")
    shown.add_column("method")
    for state in STATES:
        shown.add_column(state, justify="right")
    for (model, method), part in status.cells.groupby(["model", "method"], sort=False):
        counts = part["state"].value_counts()
        shown.add_row(str(model), str(method), *(str(counts.get(s, 0) or "–") for s in STATES))
    _print_whole(shown)
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
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def print_outcomes(outcomes: pd.DataFrame) -> None:
    """Print what the methods reached, a row per model and data set, a column per outcome.

    Args:
        outcomes: as `outcomes_table` returns it, seeds averaged.
    """
    wide = outcomes.pivot_table(
        index=["model", "data"], columns="outcome", values="value", sort=False
    )
    shown = Table(**LAYOUT)
    shown.add_column("model")
    shown.add_column("data")
    for outcome in wide.columns:
        shown.add_column(str(outcome).replace("_", "\n"), justify="right")
    for (model, data), values in zip(wide.index, wide.to_numpy(), strict=True):
        shown.add_row(str(model), str(data), *map(_decimals, values))
    _print_whole(shown)


_COLUMNS = (
    "n", "fixed", "p", "tau", "regret", "best", "layer", "k/d", "p", "interval", "data\nout",
    "model\nout", "sign", "given\nh", "given\nr2",
)  # fmt: skip


def print_summary(summary: pd.DataFrame) -> None:
    """Print the correlations of a study, a table per outcome and model.

    Args:
        summary: as `summary_table` returns it.
    """
    lines: list[str] = []
    rows = summary[summary["reason"] == ""]
    for (outcome, model, without), part in rows.groupby(
        ["outcome", "model", "without"], sort=False
    ):
        whose = "all models together" if model == ALL_MODELS else model
        title = f"{outcome}: {whose}" + (f", without {without}" if without else "")
        shown = Table(title=title, **LAYOUT)
        shown.add_column("score", no_wrap=True)
        columns = [*_COLUMNS]
        if model != ALL_MODELS:
            columns.remove("model\nout")
        for column in columns:
            shown.add_column(column, justify="right", no_wrap=True)
        for _, row in part.iterrows():
            r_left_out_model = [_signed(row["r_left_out_model"])] if model == ALL_MODELS else []
            shown.add_row(
                str(row["score"]),
                f"{row['n']:.0f}",
                _signed(row["r_fixed"]),
                _decimals(row["p_fixed"]),
                _signed(row["tau_fixed"]),
                _decimals(row["regret_fixed"]),
                _signed(row["r_best"]),
                _layer(row["best_layer"]),
                _share(row["best_k_fraction"]),
                _decimals(row["p_best"]),
                f"{_signed(row['best_low'])}…{_signed(row['best_high'])}",
                _signed(row["r_left_out"]),
                *r_left_out_model,
                f"{row['share_expected']:.0%}",
                _signed(row["r_fixed_given_headroom"]),
                _signed(row["r_fixed_given_r2"]),
            )
        _print_whole(shown)
    for _, row in summary[summary["reason"] != ""].iterrows():
        of_model = "" if row["model"] == ALL_MODELS else f", {row['model']}"
        lines.append(f"{row['score']}, {row['outcome']}{of_model}: {row['reason']}")
    lines += [
        "Spearman's r over n data sets. fixed: last layer, k/d = 0.5, chosen before any result,",
        "its p, weighted Kendall's tau, and the regret of choosing by it, a data set or, of",
        "several models, a model. best: of every layer and k, its p by permuting the data sets",
        "with the choice inside, its interval one that holds for all configurations at once. data",
        "out: each data set at the configuration that is best on the others. sign: how many",
        "configurations have the sign that theory asks for. given h, given r2: partial r of the",
        "fixed one, with the headroom (one minus the probe's accuracy) or r2 of the last layer",
        "held fixed.",
    ]
    if (rows["model"] == ALL_MODELS).any():
        lines += [
            "all models together: means of their r, at layers of like depth, over the data sets",
            "that all have; model out: each model at the configuration that is best on the others,",
            "of the same data sets.",
        ]
    Console().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def print_rules(rows: pd.DataFrame, outcome: str) -> None:
    """Print r of every score at every rule's choice, a table per model.

    Args:
        rows: as `compare_rules` returns them.
        outcome: which.

    Raises:
        StudyError: there is nothing of this outcome.
    """
    chosen = rows[rows["outcome"] == outcome]
    if chosen.empty:
        known = ", ".join(rows["outcome"].unique())
        raise StudyError(f"there is nothing of the outcome {outcome!r}: choose from {known}")
    console = Console()
    for model, part in chosen.groupby("model", sort=False):
        shown = Table(title=f"{outcome}: {model}, {part['n'].iloc[0]} data sets", **LAYOUT)
        shown.add_column("rule", no_wrap=True)
        scores = list(part["score"].unique())
        for score in scores:
            shown.add_column(score, justify="right")
        for rule, of_rule in part.groupby("rule", sort=False):
            by_score = of_rule.set_index("score")
            cells = [
                f"{_signed(by_score['r'][score])} ({_decimals(by_score['p'][score])})"
                if score in by_score.index
                else "–"
                for score in scores
            ]
            shown.add_row(str(rule), *cells)
        _print_whole(shown)
    console.print(
        "Spearman's r over data sets, with one-sided p in brackets. The rules see no outcome; the\n"
        "best of the sweep does, and its p allows for that; left out: each data set read at the\n"
        "configuration that is best on the others.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _layer(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0f}"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _decimals(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


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
    _print_whole(shown)
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


def print_forecast(evidence: Evidence, headroom: float | None, forecast: Forecast | None) -> None:
    """Print how the predictors of the LoRA gain did on unseen data sets, and a forecast.

    Args:
        evidence: a calibration and where it is from.
        headroom: what the forecast is for, if there is one.
        forecast: of this headroom.
    """
    calibration = evidence.calibration
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
    _print_whole(shown)
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
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _whose(evidence: Evidence) -> str:
    n = len(evidence.calibration.points)
    if evidence.source == "published points":
        return f"{n} published points"
    return f"{n} points of {evidence.source}"


def _verdict(richer: str, plainer: str, error: float, plain_error: float) -> str:
    word = "beats" if error < plain_error else "does no better than"
    return f"{richer} {word} {plainer}: mean error {error:.3f} against {plain_error:.3f}"


def _signed(value: object) -> str:
    number = float(value)  # type: ignore[arg-type]
    return "–" if math.isnan(number) else f"{number:+.2f}"
