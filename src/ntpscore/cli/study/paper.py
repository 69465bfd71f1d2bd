"""`ntpscore study figures`, `paper`, `words`, `published`: the paper's figures, tables, points."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ntpscore.cli import options
from ntpscore.cli.options import Only, takes_options
from ntpscore.cli.output import Output
from ntpscore.cli.study.layout import print_blocks, signed
from ntpscore.cli.tables import number, text_table
from ntpscore.extras import need_package
from ntpscore.models.options import ModelOptions
from ntpscore.scoring.config import ScoreConfig
from ntpscore.text.options import TextOptions

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


def figures_command(
    results: options.StudyResults,
    out: Annotated[Path, typer.Option(help="Folder for the figures and tables.")],
    score: Annotated[str, typer.Option(help="The score that is drawn.")] = "algorithm1",
    choice: Annotated[
        Literal["best", "fixed"],
        typer.Option(
            help="Layer and k: with the largest r, as in the paper, or last layer and k/d 0.5."
        ),
    ] = "best",
    model: Annotated[
        list[str] | None, typer.Option(help="Only this model; may be given more than once.")
    ] = None,
    format: Annotated[Literal["png", "svg", "pdf"], typer.Option(help="Of the figures.")] = "png",
) -> None:
    """Draw the paper's Figures 2, 3 and S1 and write its Tables 1 and 2, from a study's results.

    Also draws r of every layer and k, with the fixed and the best configuration marked. What the
    results don't hold yet is left out, and said.

    [b]Examples[/b]

      ntpscore study figures results/smollm2 --out figures

      ntpscore study figures results/smollm2 --score retained --choice fixed --out figures
    """
    need_package("matplotlib", "study", "drawing")
    from ntpscore.study.paper.drawing import draw_study
    from ntpscore.study.statistics.tables import StudyTables

    tables = StudyTables.load(results, models=model)
    drawn, missing = draw_study(tables, out, score=score, choice=choice, format=format)
    for path in drawn:
        typer.echo(str(path))
    for name, reason in missing.items():
        typer.echo(f"left out: {name}: {reason}", err=True)


@takes_options
def paper_command(
    results: options.StudyResults,
    output: Output,
    model: Annotated[
        list[str] | None, typer.Option(help="Only this model; may be given more than once.")
    ] = None,
    score: Annotated[
        list[str] | None, typer.Option(help="Only this score; may be given more than once.")
    ] = None,
) -> None:
    """Judge a study's scores by the paper's own protocol, beside the paper's own figures.

    Outcomes of the training texts, layers 0 to L - 1, of all layers and k the best with the
    expected sign, nothing corrected for that choice: see `ntpscore study tables` for what is left.

    [b]Examples[/b]

      ntpscore study paper results/smollm2

      ntpscore study paper results/smollm2 --model smollm2-135m --csv > paper.csv
    """
    from ntpscore.study.paper.protocol import protocol_limits, protocol_table
    from ntpscore.study.run.cells import load_records, select_records

    records = select_records(load_records(results), models=model)
    table = protocol_table(records, scores=score)
    output.show(
        lambda _: print_blocks(protocol_blocks(table, protocol_limits(records))),
        rows=lambda: table,
    )


_PROTOCOL_NOTE = """\
Spearman's r over n data sets, at the layer (of 0 to L - 1) and k/d with the largest r of the sign
that theory asks for: chosen by that very r, so no evidence by itself. The paper: from the weakest
to the strongest of its eight models. given classes: r there with the number of classes held fixed;
classes, score and classes, outcome: r of that number with each. own_layer_mse: each layer's score
against the error of least squares on that layer, the other outcomes are of the last layer."""


def protocol_blocks(table: "pd.DataFrame", limits: "pd.DataFrame") -> "list[Table | str]":
    """`protocol_table`, a table per model, and `protocol_limits`."""
    headings = ("outcome", "the paper", "score", "n", "r", "layer", "k/d", "given\nclasses",
                "classes,\nscore", "classes,\noutcome")  # fmt: skip
    blocks: list[Table | str] = []
    for model, part in table.groupby("model", sort=False):
        rows, last = [], None
        for row in part.to_dict(orient="records"):
            again = row["outcome"] == last
            last = row["outcome"]
            ends = f"{signed(row['published_low'])} … {signed(row['published_high'])}"
            rows.append(
                [
                    "" if again else str(last),
                    "" if again else ends,
                    str(row["score"]),
                    str(row["n"]),
                    signed(row["r"]),
                    number(row["layer"], 0),
                    number(row["k_fraction"], 2),
                    signed(row["r_given_classes"]),
                    signed(row["r_classes"]),
                    signed(row["r_classes_outcome"]),
                ]
            )
        blocks.append(text_table(headings, rows, names=3, title=str(model)))
    lines = [
        f"{model}: {row['texts_per_dimension']:.1f} texts per dimension; the training accuracy is "
        f"at least .998 on {row['saturated']:.0f} of {row['n']:.0f} data sets"
        for model, row in limits.iterrows()
    ]
    return [*blocks, "\n".join([_PROTOCOL_NOTE, *lines])]


@takes_options
def words_command(
    model: options.Model,
    data: options.Data,
    text_options: TextOptions,
    model_options: ModelOptions,
    config: Annotated[ScoreConfig, Only("max_length", "batch_tokens", "seed", "skip_sanity_check")],
    out: Annotated[Path, typer.Option(help="Picture file; its ending gives the format.")],
    words: Annotated[int, typer.Option(help="How many of the most frequent words.", min=2)] = 300,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print the words and their projections as CSV.")
    ] = False,
) -> None:
    """Draw words at the embedding layer on the first two columns of U and V, as the paper's Fig. 1.

    Coloured by the label each word is over-represented under, and by part of speech.

    [b]Examples[/b]

      ntpscore study words smollm2-135m helpdesk --out words.png

      ntpscore study words Qwen/Qwen2-0.5B dair-ai/emotion --words 200 --out words.svg --csv
    """
    need_package("matplotlib", "study", "drawing")
    from ntpscore.figures import write_figure
    from ntpscore.files import to_csv
    from ntpscore.models import load_model
    from ntpscore.study.paper.word_plot import plot_word_projection
    from ntpscore.study.paper.words import project_words
    from ntpscore.text import load_text

    text = load_text(data, text_options, seed=config.seed)
    table = project_words(load_model(model, model_options), text, n_words=words, config=config)
    figure = plot_word_projection(
        table["word"].tolist(),
        {"U": table[["u1", "u2"]], "V": table[["v1", "v2"]]},
        table["emotion"].tolist(),
        table["part_of_speech"].tolist(),
    )
    write_figure(out, figure)
    if csv:
        typer.echo(to_csv(table), nl=False)


@takes_options
def margin_command(
    model: options.Model,
    data: options.Data,
    text_options: TextOptions,
    model_options: ModelOptions,
    config: Annotated[ScoreConfig, Only("max_length", "seed")],
) -> None:
    """Print Lemma 1's margin at the last layer, and the probability of right decoding it gives.

    [b]Examples[/b]

      ntpscore study margin smollm2-135m helpdesk
    """
    from ntpscore.models import load_model
    from ntpscore.study.paper.margin import decoding_margin
    from ntpscore.text import load_text

    text = load_text(data, text_options, seed=config.seed)
    margin = decoding_margin(load_model(model, model_options), text, max_length=config.max_length)
    typer.echo(
        f"{margin.n_tokens} next tokens, last layer\n"
        f"margin: {margin.smallest:.2g} at the least, {margin.median:.2g} in the median\n"
        f"rows of the vocabulary head: {margin.diameter:.2g} apart or more\n"
        f"error of the linear prediction: {margin.error:.2g} (root mean square)\n"
        f"by Lemma 1 it is decoded right with probability {margin.bound:.2g} or more; were every "
        f"margin the median one, {margin.bound_at_median:.2g}"
    )


@takes_options
def published_command(
    output: Output,
    without: Annotated[
        str, typer.Option(help="Give r also without data sets whose name holds this.")
    ] = "medical",
    seed: Annotated[int, typer.Option(help="Of permutations and bootstrap.", min=0)] = 0,
    figure: Annotated[
        Path | None, typer.Option(help="Draw score against LoRA gain into this picture file.")
    ] = None,
) -> None:
    """Correlate the 96 published points of the paper's Figures 2 and 3, model by model.

    [b]Examples[/b]

      ntpscore study published

      ntpscore study published --without sst2 --csv > published.csv

      ntpscore study published --figure published.png
    """
    from ntpscore.figures import write_figure
    from ntpscore.study.paper.published import correlate_published, plot_published

    table = correlate_published(without, seed=seed)
    if figure is not None:
        write_figure(figure, plot_published(table))
    output.show(lambda _: print_blocks(published_blocks(table)), rows=lambda: table)


_PUBLISHED_NOTE = """\
Spearman's r of the published score with each outcome over the data sets; every second line leaves
out those with {without!r} in their name. error: r of one minus the probe's accuracy with the LoRA
gain; given it: r of the score with the gain, that error held fixed. The authors chose layer and k
for each r: neither p nor interval allows for that.

Mean over models of r with the LoRA gain:"""


def published_blocks(table: "pd.DataFrame") -> "list[Table | str]":
    """The correlations of the published points, as `correlate_published` returns them."""
    rows, last = [], None
    for row in table.to_dict(orient="records"):
        model = str(row["model"]).rpartition("/")[2]
        rows.append(
            [
                "" if model == last else model,
                "" if row["without"] else str(row["outcome"]),
                str(row["n"]),
                signed(row["r"]),
                f"{signed(row['low'])} … {signed(row['high'])}",
                number(row["p"]),
                signed(row["r_probe_error"]),
                signed(row["r_given_probe_error"]),
            ]
        )
        last = model
    headings = ("model", "outcome", "n", "r", "95 %", "p", "error", "given it")
    lines = [_PUBLISHED_NOTE.format(without=str(table["without"].iloc[-1]))]
    for omitted, part in table[table["outcome"] == "lora_gain"].groupby("without"):
        lines.append(
            f"  {'without ' + str(omitted) if omitted else 'all data sets'}: score "
            f"{signed(part['r'].mean())}, error {signed(part['r_probe_error'].mean())}, score "
            f"given error {signed(part['r_given_probe_error'].mean())}"
        )
    return [text_table(headings, rows, names=2), "\n".join(lines)]
