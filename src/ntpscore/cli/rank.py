"""`ntpscore rank DATA MODEL [MODEL …]`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ntpscore.cli import options
from ntpscore.cli.options import Only, Without, takes_options
from ntpscore.cli.output import Output
from ntpscore.errors import NtpscoreError
from ntpscore.models.options import ModelOptions
from ntpscore.plain_text import plain
from ntpscore.scoring.config import ScoreConfig
from ntpscore.text.options import TextOptions

EXAMPLES = """
Rank language models for one data set, without training.

The best is the one whose frozen readout does best on texts left aside; models that can't be told
apart share a rank. [b]DATA[/b] and each [b]MODEL[/b] are given as for score. A model that can't be
loaded, or that memory runs out for, is told at the end, with exit code 1; the others are ranked all
the same. Encoders, such as BERT, are ranked too, without the scores of next tokens.

[b]Examples[/b]

  ntpscore rank helpdesk smollm2-135m gemma3-270m

  ntpscore rank dair-ai/emotion gpt2 Qwen/Qwen2-0.5B --max-texts 2000 --metric log_me

  ntpscore rank reviews.csv ./small ./large --layer last --csv > ranking.csv
"""


_PLACES: dict[str, Literal["both", "last", "best"]] = {
    "both": "both",
    "last": "last",
    "best": "best",
}


def parse_layer(layer: str) -> Literal["both", "last", "best"] | int:
    """Read `--layer`."""
    if layer in _PLACES:
        return _PLACES[layer]
    if layer == "-1":
        return "last"
    if layer.isdecimal():
        return int(layer)
    raise NtpscoreError(
        f"--layer {layer!r} is not understood: give both, last, best or one number from 0 on"
    )


def _check_only_named(names: list[str]) -> list[str]:
    """The names of models; of several, one that is not there is told at the end."""
    if len(names) == 1:
        options.check_model_named(names[0])
    return names


@takes_options
def rank_command(
    data: options.Data,
    models: Annotated[
        list[str],
        typer.Argument(
            help="Folders, .gguf files, short names (see ntpscore models) or hub ids.",
            callback=_check_only_named,
        ),
    ],
    text_options: TextOptions,
    model_options: Annotated[ModelOptions, Without("revision")],
    config: Annotated[
        ScoreConfig, Only("shuffles", "seed", "max_length", "batch_tokens", "skip_sanity_check")
    ],
    output: Output,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the ranking and each model's result; it goes on from there."),
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            help="What to sort by: accuracy; or any metric, score or consensus, which are then "
            "computed and printed too."
        ),
    ] = "accuracy",
    all_metrics: Annotated[
        bool, typer.Option("--all", help="Compute and print every metric.")
    ] = False,
    layer: Annotated[
        str,
        typer.Option(
            help="Where: both (all layers; metrics on the last and the best), last, best (largest "
            "r2_adjusted) or a number."
        ),
    ] = "both",
    calibration: options.Calibration = None,
    ray: options.RayCluster = None,
) -> None:
    """Parse, rank, print."""
    from ntpscore.cli.rank_tables import print_ranking
    from ntpscore.rank.run import rank_models

    result = rank_models(
        data,
        models,
        config,
        text_options=text_options,
        model_options=model_options,
        out=out,
        layer=parse_layer(layer),
        metric=metric,
        all_metrics=all_metrics,
        calibration=calibration,
        ray=ray,
        progress=True,
    )
    output.show(
        lambda console: print_ranking(result, out, console),
        record=result.record,
        rows=lambda: result.table() if result.record["rows"] else result.standings,
    )
    for name, reason in result.failures.items():
        typer.echo(f"ntpscore: not ranked: {plain(name)}: {plain(reason, keep=chr(10))}", err=True)
    if result.failures:
        raise typer.Exit(1)


rank_command.__doc__ = EXAMPLES
