"""`ntpscore study tables` and `rules`: what scores say of outcomes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ntpscore.cli import options
from ntpscore.cli.options import takes_options
from ntpscore.cli.output import Output
from ntpscore.cli.study.layout import print_blocks, signed
from ntpscore.cli.tables import number, text_table
from ntpscore.errors import NtpscoreError, StudyError

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


@takes_options
def tables_command(
    results: options.StudyResults,
    output: Output,
    outcome: Annotated[
        list[str] | None, typer.Option(help="Only this outcome; may be given more than once.")
    ] = None,
    score: Annotated[
        list[str] | None,
        typer.Option(help="Only this score, without the outcomes; may be given more than once."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Only this model; may be given more than once.")
    ] = None,
    cell_seed: Annotated[
        list[int] | None, typer.Option(help="Only cells of this seed, not the mean over seeds.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Give all also without this data set.")
    ] = None,
    permutations: Annotated[int, typer.Option(help="Of the tests.", min=1)] = 10_000,
    seed: Annotated[int, typer.Option(help="Of permutations and bootstrap.", min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Write summary.csv and outcomes.csv into this folder.")
    ] = None,
    write: Annotated[
        bool,
        typer.Option(
            "--write", help="Write all that the results say into RESULTS/summary.md instead."
        ),
    ] = False,
) -> None:
    """Correlate every score and rival of a study with what training reached.

    One row per score and outcome: a configuration fixed in advance (last layer, k/d = 0.5), the
    best of the sweep with its p corrected for the choice, the r left over on data sets that the
    choice had not seen, an interval with the choice inside, and r given the probe's error.

    [b]Examples[/b]

      ntpscore study tables results/demo

      ntpscore study tables results/smollm2 --outcome lora_gain --without sst2

      ntpscore study tables results/smollm2 --csv > summary.csv

      ntpscore study tables results/smollm2 --write
    """
    if write:
        from ntpscore.cli.study.summary import write_summary

        if any((outcome, score, model, cell_seed, out, output.json, output.csv)):
            raise NtpscoreError(
                "--write holds everything: of the options it takes --without, "
                "--permutations and --seed"
            )
        path = write_summary(results, without or (), permutations=permutations, seed=seed)
        typer.echo(str(path))
        return
    from ntpscore.files import make_folder, to_csv, write_text
    from ntpscore.study.statistics.summary import SummaryConfig
    from ntpscore.study.statistics.tables import StudyTables

    tables = StudyTables.load(results, models=model, seeds=cell_seed)
    summary = tables.summary(
        scores=score,
        outcomes=outcome,
        without=without or (),
        config=SummaryConfig(permutations=permutations, seed=seed),
    )
    if out is not None:
        folder = make_folder(out)
        for name, frame in (("summary", summary), ("outcomes", tables.outcomes)):
            write_text(folder / f"{name}.csv", to_csv(frame, raw=output.raw))
    blocks = [outcome_table(tables.outcomes)] if score is None else []
    output.show(lambda _: print_blocks([*blocks, *summary_blocks(summary)]), rows=lambda: summary)


@takes_options
def rules_command(
    results: options.StudyResults,
    output: Output,
    outcome: Annotated[str, typer.Option(help="Print this outcome.")] = "lora_gain",
    model: Annotated[
        list[str] | None, typer.Option(help="Only this model; may be given more than once.")
    ] = None,
    permutations: Annotated[int, typer.Option(help="Of the tests.", min=1)] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the permutations.", min=0)] = 0,
) -> None:
    """Compare rules that choose layer and k beforehand with the best that hindsight finds.

    [b]Examples[/b]

      ntpscore study rules results/smollm2

      ntpscore study rules results/smollm2 --outcome probe_accuracy

      ntpscore study rules results/smollm2 --csv > rules.csv
    """
    from ntpscore.study.run.cells import load_records, select_records
    from ntpscore.study.statistics.rules import compare_rules
    from ntpscore.study.statistics.sweep import OUTCOMES

    records = select_records(load_records(results), models=model)
    rows = compare_rules(
        records,
        outcomes=tuple(OUTCOMES) if output.json or output.csv else (outcome,),
        permutations=permutations,
        seed=seed,
    )
    output.show(lambda _: print_blocks(rules_blocks(rows, outcome)), rows=lambda: rows)


def outcome_table(outcomes: "pd.DataFrame") -> "Table":
    """What the methods reached (`outcomes_table`), a row per data set, a column per outcome."""
    wide = outcomes.pivot_table(
        index=["model", "data"], columns="outcome", values="value", sort=False
    )
    rows = [
        [str(model), str(data), *map(number, values)]
        for (model, data), values in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    headings = [str(outcome).replace("_", "\n") for outcome in wide.columns]
    return text_table(["model", "data", *headings], rows, names=2)


_COLUMNS = (
    "score", "n", "fixed", "p", "tau", "regret", "best", "layer", "k/d", "p", "interval",
    "data\nout", "model\nout", "sign", "given\nerror", "given\nr2", "given\nclasses",
)  # fmt: skip
_SUMMARY_NOTE = """\
Spearman's r over n data sets. fixed: last layer, k/d = 0.5, chosen before any result, its p,
weighted Kendall's tau, and the regret of choosing by it, a data set or, of several models, a
model. best: of every layer and k, its p by permuting the data sets with the choice inside, its
interval one that holds for all configurations at once. data out: each data set at the
configuration that is best on the others. sign: how many configurations have the sign that theory
asks for. given error, given r2, given classes: partial r of the fixed one, with one minus the
probe's accuracy, r2 of the last layer, or the number of classes held fixed."""
_ALL_MODELS_NOTE = """\
all models together: means of their r, at layers of like depth, over the data sets that all have;
model out: each model at the configuration that is best on the others, of the same data sets."""


def summary_blocks(summary: "pd.DataFrame", *, notes: bool = True) -> "list[Table | str]":
    """`summary_table`, a table per outcome and model; notes say below what the columns are."""
    from ntpscore.study.statistics.summary import ALL_MODELS

    blocks: list[Table | str] = []
    lines: list[str] = []
    rows = summary[summary["reason"] == ""]
    for (outcome, model, without), part in rows.groupby(
        ["outcome", "model", "without"], sort=False
    ):
        of_all = model == ALL_MODELS
        title = f"{outcome}: {'all models together' if of_all else model}"
        title += f", without {without}" if without else ""
        headings = [name for name in _COLUMNS if of_all or name != "model\nout"]
        blocks.append(
            text_table(headings, [_summary_row(r, of_all) for _, r in part.iterrows()], title=title)
        )
    for _, row in summary[summary["reason"] != ""].iterrows():
        of_model = "" if row["model"] == ALL_MODELS else f", {row['model']}"
        lines.append(f"{row['score']}, {row['outcome']}{of_model}: {row['reason']}")
    if notes:
        lines.append(_SUMMARY_NOTE)
        if (rows["model"] == ALL_MODELS).any():
            lines.append(_ALL_MODELS_NOTE)
    return [*blocks, "\n".join(lines)] if lines else blocks


def _summary_row(row: "pd.Series[Any]", of_all: bool) -> list[str]:
    return [
        str(row["score"]),
        number(row["n"], 0),
        signed(row["r_fixed"]),
        number(row["p_fixed"]),
        signed(row["tau_fixed"]),
        number(row["regret_fixed"]),
        signed(row["r_best"]),
        number(row["best_layer"], 0),
        number(row["best_k_fraction"], 2),
        number(row["p_best"]),
        f"{signed(row['best_low'])}…{signed(row['best_high'])}",
        signed(row["r_left_out"]),
        *([signed(row["r_left_out_model"])] if of_all else []),
        f"{row['share_expected']:.0%}",
        signed(row["r_fixed_given_probe_error"]),
        signed(row["r_fixed_given_r2"]),
        signed(row["r_fixed_given_classes"]),
    ]


_RULES_NOTE = """\
Spearman's r over data sets, with one-sided p in brackets. The rules see no outcome; the
best of the sweep does, and its p allows for that; left out: each data set read at the
configuration that is best on the others."""


def rules_blocks(rows: "pd.DataFrame", outcome: str) -> "list[Table | str]":
    """R of every score at every rule's choice (`compare_rules`), a table per model."""
    chosen = rows[rows["outcome"] == outcome]
    if chosen.empty:
        known = ", ".join(rows["outcome"].unique())
        raise StudyError(f"there is nothing of the outcome {outcome!r}: choose from {known}")
    blocks: list[Table | str] = []
    for model, part in chosen.groupby("model", sort=False):
        cells = part["r"].map(signed) + " (" + part["p"].map(number) + ")"
        wide = part.assign(cell=cells).pivot_table(
            index="rule", columns="score", values="cell", aggfunc="first", sort=False
        )
        wide = wide.reindex(columns=part["score"].unique()).fillna("–")
        table_rows = [
            [str(rule), *cells] for rule, cells in zip(wide.index, wide.to_numpy(), strict=True)
        ]
        title = f"{outcome}: {model}, {part['n'].iloc[0]} data sets"
        blocks.append(text_table(["rule", *wide.columns], table_rows, title=title))
    return [*blocks, _RULES_NOTE]
