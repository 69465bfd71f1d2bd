"""Options that several commands share."""

from typing import Annotated, Literal

import typer

Model = Annotated[
    str,
    typer.Argument(help="Folder, .gguf file, short name (see ntpscore models) or hub id."),
]
Data = Annotated[
    str,
    typer.Argument(help="File, saved folder, short name (see ntpscore datasets) or hub id."),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print result.json, and nothing else, on standard output."),
]
RegistryJson = Annotated[bool, typer.Option("--json", help="Print all that is registered as JSON.")]
RegistryCsv = Annotated[bool, typer.Option("--csv", help="Print all that is registered as CSV.")]
TextColumn = Annotated[str | None, typer.Option(help="Column of the text.", rich_help_panel="Data")]
PairColumn = Annotated[
    str | None, typer.Option(help="Column of the second text.", rich_help_panel="Data")
]
LabelColumn = Annotated[
    str | None,
    typer.Option(help="Column of the label; several with commas between.", rich_help_panel="Data"),
]
Template = Annotated[
    str | None,
    typer.Option(help="Build the text from columns: '{title}: {body}'.", rich_help_panel="Data"),
]
Task = Annotated[
    Literal["auto", "classification", "regression", "multilabel"],
    typer.Option(help="What the labels are for.", rich_help_panel="Data"),
]
SkipBadRows = Annotated[
    bool,
    typer.Option(
        "--skip-bad-rows",
        help="Leave out and count rows without text or label.",
        rich_help_panel="Data",
    ),
]
DataConfiguration = Annotated[
    str | None, typer.Option(help="Configuration of a hub data set.", rich_help_panel="Data")
]
DataRevision = Annotated[
    str | None, typer.Option(help="Revision of a hub data set.", rich_help_panel="Data")
]
Revision = Annotated[
    str | None, typer.Option(help="Revision of a hub model.", rich_help_panel="Model")
]
MaxLength = Annotated[
    int | None,
    typer.Option(
        help="Cut texts to so many tokens; default the model's context.", rich_help_panel="Model"
    ),
]
Dtype = Annotated[
    str, typer.Option(help="auto, bfloat16, float32 or float16.", rich_help_panel="Model")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel="Model")]
DeviceMap = Annotated[
    str | None,
    typer.Option(
        help="Handed to transformers, to spread a model over devices.", rich_help_panel="Model"
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run code that a hub model brings along.",
        rich_help_panel="Model",
    ),
]
BatchTokens = Annotated[
    int, typer.Option(help="Tokens per batch, padding included.", min=1, rich_help_panel="Model")
]
MaxTexts = Annotated[
    int | None,
    typer.Option(help="Draw a stratified sample of so many texts.", min=1, rich_help_panel="Data"),
]
CheckpointSeconds = Annotated[float, typer.Option(help="Time between checkpoints in --out.", min=0)]
Split = Annotated[str, typer.Option(help="The part of the data to score.", rich_help_panel="Data")]
Shuffles = Annotated[int, typer.Option(help="Label permutations as control.", min=0)]
Seed = Annotated[int, typer.Option(help="Of the permutations and the sample.", min=0)]
SkipSanityCheck = Annotated[
    bool, typer.Option("--skip-sanity-check", help="Go on if the model predicts English badly.")
]


def read_template(template: str | None) -> str | None:
    r"""The template with line breaks: a shell hands `\n` over as two characters."""
    return template and template.replace("\\n", "\n")
