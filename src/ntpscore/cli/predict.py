"""`ntpscore predict RESULT [TEXTS]`."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from ntpscore.cli import options
from ntpscore.cli.options import Only, takes_options
from ntpscore.errors import NtpscoreError
from ntpscore.models.options import ModelOptions
from ntpscore.text.options import TextOptions

TEXT_COLUMNS = ("text_column", "pair_column", "template")

EXAMPLES = """
Label new texts with what `ntpscore adapt --out RESULT` fitted.

[b]TEXTS[/b] is a file, folder or data set as for `ntpscore score`; it needs no labels, and a column
of them is not looked at. Without it, or with -, texts are read from standard input, one a line.
Every text has its line of labels, in the same order; columns are found as when the head was fitted.

[b]Examples[/b]

  ntpscore adapt smollm2-135m helpdesk --out results/helpdesk

  ntpscore predict results/helpdesk new.csv --out labels.csv

  ntpscore predict results/helpdesk new.csv --text-column body --proba --out labels.csv

  echo "the printer is on fire" | ntpscore predict results/helpdesk --json --proba
"""


@takes_options
def predict_command(
    result: Annotated[
        Path,
        typer.Argument(
            help="Folder that `ntpscore adapt --out` wrote.", callback=options.check_path
        ),
    ],
    text_options: Annotated[
        TextOptions,
        Only(*TEXT_COLUMNS, "skip_bad_rows", "encoding", "data_configuration", "data_revision"),
    ],
    model_options: ModelOptions,
    texts: Annotated[
        str | None,
        typer.Argument(
            help="What to label; default standard input, a text a line.",
            callback=options.check_data_named,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File for the labels; default, or -, standard output.")
    ] = None,
    proba: Annotated[
        bool, typer.Option("--proba", help="Write the probability of each class too.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Write JSON, an object a line, in place of CSV.")
    ] = False,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Write no ' before labels that a spreadsheet would run."),
    ] = False,
    split: Annotated[
        str | None,
        typer.Option(help="Label this part of the data; default all rows.", rich_help_panel="Data"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Where the model is now, if it is elsewhere.",
            rich_help_panel="Model",
            callback=options.check_model_named,
        ),
    ] = None,
) -> None:
    """Parse, label, write."""
    from ntpscore.adapt.label_file import write_labels
    from ntpscore.adapt.predictor import Predictor
    from ntpscore.files import open_to_write
    from ntpscore.models.locate import check_short_name
    from ntpscore.progress import Progress
    from ntpscore.text.unlabelled import load_unlabelled, read_lines

    out = None if out == Path("-") else out
    if out is not None and os.path.realpath(out) == os.path.realpath(texts or "-"):
        raise NtpscoreError(f"--out {out} is the file of the texts: choose another")
    predictor = Predictor(result, model, model_options)
    readout = predictor.readout
    named = model or readout.model["id"]
    check_short_name(named, trust_remote_code=model_options.trust_remote_code)
    lines: Iterable[str | None]
    if texts is None or texts == "-":
        if sys.stdin is None:
            raise NtpscoreError("standard input is closed: name a file of texts")
        lines = read_lines(
            sys.stdin.buffer,
            encoding=text_options.encoding,
            skip_bad_rows=text_options.skip_bad_rows,
        )
        total = None
    else:
        lines = load_unlabelled(
            texts, text_options, split=split, columns=readout.columns, template=readout.template
        )
        total = len(lines)
    with Progress(True) as bar:
        bar.start(f"loading {named}", None)
        _ = predictor.language_model
        bar.start("labelling", total, "texts")
        try:
            with open_to_write(out) as file:
                n = write_labels(
                    predictor, lines, file, with_probabilities=proba, as_json=json, raw=raw,
                    on_chunk=bar.advance,
                )  # fmt: skip
        except BrokenPipeError:  # whoever reads the labels has enough of them
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        head = readout.head
        where = "" if out is None else f", in {out}"
        bar.say(
            f"{n} texts labelled by {readout.method} (layer {head.layer}, {head.pooling} token) of "
            f"{readout.model['id']}{where}"
        )
        if predictor.n_cut:
            bar.say(f"warning: {predictor.n_cut} of them were cut to the length limit of the fit")


predict_command.__doc__ = EXAMPLES
