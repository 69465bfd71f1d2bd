"""Options that several commands share."""

from typing import Annotated, Literal

import typer

MaxTexts = Annotated[
    int | None, typer.Option(help="Draw a stratified sample of so many texts.", min=1)
]
Split = Annotated[str, typer.Option(help="The part of the data to score.")]
TextColumn = Annotated[str | None, typer.Option(help="Column of the text.")]
PairColumn = Annotated[str | None, typer.Option(help="Column of the second text.")]
LabelColumn = Annotated[
    str | None, typer.Option(help="Column of the label; several with commas between.")
]
Template = Annotated[
    str | None, typer.Option(help="Build the text from columns: '{title}: {body}'.")
]
TaskName = Annotated[
    Literal["auto", "classification", "regression", "multilabel"],
    typer.Option(help="What the labels are for."),
]
SkipBadRows = Annotated[
    bool, typer.Option("--skip-bad-rows", help="Leave out and count rows without text or label.")
]
DataConfiguration = Annotated[str | None, typer.Option(help="Configuration of a hub data set.")]
DataRevision = Annotated[str | None, typer.Option(help="Revision of a hub data set.")]
MaxLength = Annotated[
    int | None, typer.Option(help="Cut texts to so many tokens; default the model's context.")
]
Dtype = Annotated[str, typer.Option(help="auto, bfloat16, float32 or float16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
DeviceMap = Annotated[
    str | None, typer.Option(help="Handed to transformers, to spread a model over devices.")
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that a hub model brings along.")
]
Shuffles = Annotated[int, typer.Option(help="Label permutations as control.", min=0)]
Seed = Annotated[int, typer.Option(help="Of the permutations and the sample.", min=0)]
BatchTokens = Annotated[int, typer.Option(help="Tokens per batch, padding included.", min=1)]
PrecisionName = Annotated[
    Literal["float64", "mixed"],
    typer.Option(help="Of the sums; mixed is faster, and changes scores by some 1e-5."),
]
SkipSanityCheck = Annotated[
    bool, typer.Option("--skip-sanity-check", help="Go on if the model predicts English badly.")
]


def read_template(template: str | None) -> str | None:
    r"""The template with line breaks: a shell hands `\n` over as two characters."""
    return template and template.replace("\\n", "\n")
