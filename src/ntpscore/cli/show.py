"""`ntpscore show DIR`."""

from pathlib import Path
from typing import Annotated

import typer

from ntpscore.cli import options
from ntpscore.cli.options import takes_options
from ntpscore.cli.output import Output
from ntpscore.errors import NtpscoreError


@takes_options
def show_command(
    folder: Annotated[
        Path,
        typer.Argument(
            help="A folder that `ntpscore score`, `rank` or `adapt` wrote.",
            callback=options.check_path,
        ),
    ],
    output: Output,
    plot: Annotated[Path | None, typer.Option(help="Draw into this picture file.")] = None,
    score: Annotated[
        str, typer.Option(help="What --plot draws: accuracy, or a score by layer and k.")
    ] = "accuracy",
    scores: options.Scores = False,
) -> None:
    """Show a result that was saved.

    [b]Examples[/b]

      ntpscore show results/emotion

      ntpscore show results/emotion --plot retained.png

      ntpscore show results/emotion --csv | grep supervised
    """
    from ntpscore.scoring.result import load_result, read_kind

    if (folder / "rank.json").is_file():
        from ntpscore.cli.rank_tables import print_ranking
        from ntpscore.rank.result import load_ranking

        ranking = load_ranking(folder)
        output.show(
            lambda console: print_ranking(ranking, folder, console),
            record=ranking.record,
            rows=lambda: ranking.standings,
        )
    elif read_kind(folder) == "adapt":
        from ntpscore.adapt.result import load_adapt_result
        from ntpscore.cli.adapt_table import print_adapt_result

        adapted = load_adapt_result(folder)
        if plot is not None:
            raise NtpscoreError(f"--plot draws scores by layer: {folder} holds a result of adapt")
        output.show(
            lambda console: print_adapt_result(adapted, folder, console),
            record=adapted.record,
            rows=lambda: adapted.loss_curve,
        )
    else:
        from ntpscore.cli.tables import print_result

        result = load_result(folder)
        if plot is not None:
            result.save_plot(plot, score)
        output.show(
            lambda console: print_result(result, folder, console, scores=scores),
            record=result.record,
            rows=result.table,
        )
