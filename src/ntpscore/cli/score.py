"""`ntpscore score MODEL DATA`."""

from pathlib import Path
from typing import Annotated

import typer

from ntpscore.cli import options
from ntpscore.errors import NtpscoreError

_MOST_LAYERS = 10_000

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


def parse_layers(
    layers: str | None,
) -> tuple[int, ...] | None:
    """Read `--layers`: numbers and ranges with both ends, such as `0,4,8-12`.

    Raises:
        NtpscoreError: it is something else.
    """
    if layers is None:
        return None
    found: list[int] = []
    for part in layers.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise NtpscoreError(
                f"--layers {layers!r} is not understood: give numbers and ranges, such as 0,4,8-12"
            )
        if int(last or first) > _MOST_LAYERS:
            raise NtpscoreError(f"--layers {layers!r} is out of range of any model")
        found += range(int(first), int(last or first) + 1)
    if not found:
        raise NtpscoreError(f"--layers {layers!r} names no layer")
    return tuple(found)


def score_command(
    model: options.Model,
    data: options.Data,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the result; an interrupted run goes on from there."),
    ] = None,
    json: options.Json = False,
    max_texts: options.MaxTexts = None,
    split: options.Split = "train",
    text_column: options.TextColumn = None,
    pair_column: options.PairColumn = None,
    label_column: options.LabelColumn = None,
    template: options.Template = None,
    task: options.Task = "auto",
    skip_bad_rows: options.SkipBadRows = False,
    data_configuration: options.DataConfiguration = None,
    data_revision: options.DataRevision = None,
    revision: options.Revision = None,
    layers: Annotated[
        str | None, typer.Option(help="Hidden states to score, such as 0,4,8-12; default all.")
    ] = None,
    max_length: options.MaxLength = None,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    device_map: options.DeviceMap = None,
    trust_remote_code: options.TrustRemoteCode = False,
    shuffles: options.Shuffles = 20,
    seed: options.Seed = 0,
    batch_tokens: options.BatchTokens = 2048,
    until: Annotated[
        float | None,
        typer.Option(
            help="Stop reading once the 95 % intervals of --until-score reach no farther than "
            "this, such as 0.01; texts come in random order."
        ),
    ] = None,
    until_scores: Annotated[
        list[str] | None,
        typer.Option(
            "--until-score",
            help="A score, on the last layer and at half the width, that --until waits for; may "
            "be given more than once; default r2.",
        ),
    ] = None,
    every_k: Annotated[
        bool, typer.Option("--every-k", help="Write every k into scores.csv, not only the grid.")
    ] = False,
    skip_sanity_check: options.SkipSanityCheck = False,
    checkpoint_seconds: options.CheckpointSeconds = 60.0,
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
    from ntpscore.scoring.config import UNTIL_SCORES, ScoreConfig
    from ntpscore.scoring.run import score

    # A file that can't be read is told before the pass.
    evidence = Evidence.load(calibration)
    result = score(
        model,
        data,
        out=out,
        config=ScoreConfig(
            layers=parse_layers(layers),
            shuffles=shuffles,
            seed=seed,
            max_length=max_length,
            batch_tokens=batch_tokens,
            until=until,
            until_scores=tuple(until_scores or UNTIL_SCORES),
            skip_sanity_check=skip_sanity_check,
            checkpoint_seconds=checkpoint_seconds,
        ),
        split=split,
        max_texts=max_texts,
        text_column=text_column,
        pair_column=pair_column,
        label_column=label_column,
        template=options.read_template(template),
        task=task,
        skip_bad_rows=skip_bad_rows,
        data_configuration=data_configuration,
        data_revision=data_revision,
        revision=revision,
        dtype=dtype,
        device=device,
        device_map=device_map,
        trust_remote_code=trust_remote_code,
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
