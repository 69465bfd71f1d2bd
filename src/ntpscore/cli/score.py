"""`ntpscore score MODEL DATA`."""

from pathlib import Path
from typing import Annotated

import typer

from ntpscore.cli import options
from ntpscore.cli.options import takes_options
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
"""


@takes_options
def score_command(
    model: options.Model,
    data: options.Data,
    text_options: TextOptions,
    model_options: ModelOptions,
    config: ScoreConfig,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the result; an interrupted run goes on from there."),
    ] = None,
    json: options.Json = False,
    every_k: Annotated[
        bool, typer.Option("--every-k", help="Write every k into scores.csv, not only the grid.")
    ] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Forecast the LoRA gain by a file of `ntpscore study calibrate`; default "
            "ntpscore's own study."
        ),
    ] = None,
) -> None:
    """Parse, score, print."""
    from ntpscore.forecast.evidence import Evidence, forecast_gain
    from ntpscore.scoring.run import score

    # A file that can't be read is told before the pass.
    evidence = Evidence.load(calibration)
    result = score(
        model,
        data,
        config,
        text_options=text_options,
        model_options=model_options,
        out=out,
        every_k=every_k,
        progress=True,
    )
    result.record["forecast"] = forecast_gain(result.record, result.table(), evidence)
    if out is not None:
        from ntpscore.files import make_folder

        result.write_record(make_folder(out))
    if json:
        from ntpscore.files import to_json

        typer.echo(to_json(result.record), nl=False)
    else:
        from ntpscore.cli.tables import print_result

        print_result(result, out)


score_command.__doc__ = EXAMPLES
