"""`ntpscore score MODEL DATA`."""

from pathlib import Path
from typing import Annotated

import typer

from ntpscore.cli import options
from ntpscore.cli.options import Only, takes_options
from ntpscore.cli.output import Output
from ntpscore.models.options import ModelOptions
from ntpscore.scoring.config import ScoreConfig
from ntpscore.text.options import TextOptions

EXAMPLES = """
Score a causal language model on labelled text: one forward pass, no training.

[b]MODEL[/b] is a folder, a .gguf file, a short name that `ntpscore models` lists, or a hub id.
[b]DATA[/b] is a .jsonl, .csv, .tsv or .parquet file, a folder saved by datasets, a short name that
`ntpscore datasets` lists, or a hub id. A file or folder comes before a short name.

[b]Examples[/b]

  ntpscore score smollm2-135m helpdesk

  ntpscore score qwen2-0.5b emotion --max-texts 4000

  ntpscore score Qwen/Qwen2-0.5B dair-ai/emotion --max-texts 4000 --out results/emotion

  ntpscore score Qwen/Qwen2-0.5B reviews.parquet --until 0.01

  ntpscore score Qwen/Qwen2-0.5B pairs.csv --pair-column question2 --label-column same

  ntpscore score ./my-model reviews.parquet --label-column stars --task regression --json

  torchrun --nproc-per-node 4 -m ntpscore score Qwen/Qwen2-0.5B reviews.parquet --out results
"""


def _check_report(wanted: bool) -> bool:
    """What is missing is told before the pass."""
    if wanted:
        from ntpscore.report.page import check_packages

        check_packages()
    return wanted


@takes_options
def score_command(
    model: options.Model,
    data: options.Data,
    text_options: TextOptions,
    model_options: ModelOptions,
    config: ScoreConfig,
    output: Annotated[Output, Only("json")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the result; an interrupted run goes on from there."),
    ] = None,
    every_k: Annotated[
        bool, typer.Option("--every-k", help="Write every k into scores.csv, not only the grid.")
    ] = False,
    keep_moments: Annotated[
        bool,
        typer.Option("--keep-moments", help="Write moments.safetensors, which may be large."),
    ] = False,
    report: Annotated[
        bool,
        typer.Option(
            "--report",
            help="Write report.html, as `ntpscore report` does, into --out; without it, here.",
            callback=_check_report,
        ),
    ] = False,
    scores: options.Scores = False,
    calibration: options.Calibration = None,
    log_to: options.LogTo = None,
) -> None:
    """Parse, score, print."""
    from ntpscore.cli.tables import print_result
    from ntpscore.reading.ranks import Ranks
    from ntpscore.scoring.run import score

    result = score(
        model,
        data,
        config,
        text_options=text_options,
        model_options=model_options,
        out=out,
        every_k=every_k,
        keep_moments=keep_moments,
        calibration=calibration,
        progress=True,
        ranks=Ranks.of_environment(),
    )
    if log_to is not None:
        from ntpscore.integrations import trackers

        trackers.log_to(log_to, result)
    output.show(
        lambda console: print_result(result, out, console, scores=scores), record=result.record
    )
    if report:
        from ntpscore.report.write import FILE, write_report

        path = write_report([result if out is None else out], (out or Path()) / FILE)
        typer.echo(f"report: {path}", err=True)


score_command.__doc__ = EXAMPLES
