"""`ntpscore study forecast`: how well LoRA's accuracy is foretold, and evidence to forecast by."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ntpscore.cli import options
from ntpscore.cli.options import takes_options
from ntpscore.cli.output import Output
from ntpscore.cli.study.layout import print_blocks
from ntpscore.cli.tables import number, text_table

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

_NOTE = """\
n: cells of LoRA, each forecast from the known cells of other data sets. error: mean absolute error
in accuracy, every data set weighing alike. r: Spearman's, of forecast and accuracy. +5: share of
cells of which it is told right whether LoRA gains five points over the best frozen readout. held:
share of cells within the 80 % interval."""


@takes_options
def forecast_command(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of results, of one study or of several.",
            callback=lambda folders: [options.check_path(folder) for folder in folders],
        ),
    ],
    output: Output,
    known: Annotated[
        list[str] | None,
        typer.Option(
            help="Fit to LoRA cells whose name matches, such as 'gpt2--*/lora-0', and test on the "
            "others; may be given more than once; default all."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write all cells as evidence, for score --calibration.")
    ] = None,
) -> None:
    """Compare forecasts of LoRA's accuracy on data sets that they have not seen.

    Needs cells of lora and probe, and held-out accuracies.

    [b]Examples[/b]

      ntpscore study forecast results/smollm2

      ntpscore study forecast results/first results/second --known '*/lora-0'

      ntpscore study forecast results/smollm2 --out mine.json
    """
    from ntpscore.study.run.cells import load_records
    from ntpscore.study.statistics.forecasts import (
        compare_forecasts,
        forecast_points,
        make_evidence,
    )

    points = forecast_points(load_records(*results))
    table = compare_forecasts(points, known or ("*",))
    if out is not None:
        names = ", ".join(folder.resolve().name for folder in results)
        make_evidence(points, f"the study {names}").save(out)
    output.show(lambda _: print_blocks(forecast_blocks(table)), rows=lambda: table)


def forecast_blocks(table: "pd.DataFrame") -> "list[Table | str]":
    """`compare_forecasts`, a table for the known cells and one for the new ones of each model."""
    headings = ("predictor", "n", "error", "r", "+5", "held")
    blocks: list[Table | str] = []
    for kind, part in table.groupby("cells", sort=False):
        rows = [
            [
                row["predictor"], str(row["n"]), number(row["mean_error"]),
                number(row["spearman"], 2), number(row["gain_told"], 2),
                number(row["held"], 2),
            ]
            for _, row in part.iterrows()
        ]  # fmt: skip
        title = "known cells" if kind == "known" else f"new cells: {kind}"
        blocks.append(text_table(headings, rows, title=f"{title}, {part['data_sets'].max()} sets"))
    return [*blocks, _NOTE]
