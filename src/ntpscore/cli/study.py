"""`ntpscore study`: what scores say of outcomes over many models and data sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ntpscore.cli import options
from ntpscore.cli.options import Only, takes_options
from ntpscore.errors import NtpscoreError
from ntpscore.models.options import ModelOptions
from ntpscore.scoring.config import ScoreConfig
from ntpscore.text.options import TextOptions

if TYPE_CHECKING:
    from ntpscore.forecast.evidence import Evidence
    from ntpscore.study.run.plan import Plan
    from ntpscore.study.run.runner import Folders

app = typer.Typer(
    help="What scores say of outcomes, over many models and data sets.", no_args_is_help=True
)


@app.callback()
def study() -> None:
    """What scores say of outcomes, over many models and data sets."""


StudyFile = Annotated[Path, typer.Argument(help="A study file, in TOML.", metavar="STUDY.toml")]
Results = Annotated[
    Path | None, typer.Option(help="Folder of results; default results/NAME of NAME.toml.")
]
Work = Annotated[
    Path | None,
    typer.Option(help="Folder of checkpoints and cached features; default build/study/NAME."),
]
DataFolder = Annotated[
    Path | None,
    typer.Option("--data", help="Read data set NAME from NAME.jsonl (or .csv, …) in this folder."),
]
# What a script can tell from bad input: the study is there, some of its cells failed.
_SOME_FAILED = 1


@app.command("run")
def run_command(
    study: StudyFile,
    results: Results = None,
    work: Work = None,
    data: DataFolder = None,
    only: Annotated[
        str, typer.Option(help="Run only cells whose name matches, such as '*--emotion/lora-*'.")
    ] = "*",
    retry: Annotated[
        bool, typer.Option("--retry", help="Run cells that failed before once more.")
    ] = False,
    redo: Annotated[
        bool, typer.Option("--redo", help="Run cells that were made with other options anew.")
    ] = False,
    keep_work: Annotated[
        bool, typer.Option("--keep-work", help="Keep checkpoints, adapters and tables in --work.")
    ] = False,
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code", help="Run models' own code where the study file asks for it."
        ),
    ] = False,
) -> None:
    """Run what is missing of a study: models × data sets × methods × seeds.

    Each cell runs in a process of its own and leaves one small file in --results. A cell that fails
    is recorded as failed, and the others go on; a study that was stopped, even killed, goes on
    where it was. Run it in several terminals to use more processors: each takes what no other has
    begun. Exits with 1 if a cell failed.

    [b]Examples[/b]

      ntpscore study run studies/demo.toml

      ntpscore study run studies/smollm2.toml --data ~/data --only '*/score-*'

      ntpscore study run studies/smollm2.toml --retry
    """
    from ntpscore.cli.study_tables import print_status
    from ntpscore.study.run.runner import run_study

    plan, folders = _open(study, results, work, data)

    def say(line: str) -> None:
        typer.echo(line, err=True)

    status = run_study(
        plan, folders, only=only, retry=retry, redo=redo, keep_work=keep_work,
        trust_remote_code=trust_remote_code, say=say,
    )  # fmt: skip
    print_status(plan, status)
    if status.count("failed"):
        raise typer.Exit(_SOME_FAILED)


@app.command("status")
def status_command(
    study: StudyFile,
    results: Results = None,
    work: Work = None,
    json: Annotated[bool, typer.Option("--json", help="Print a list of cells as JSON.")] = False,
) -> None:
    """Tell what of a study is done, running, failed and missing, and the time left.

    [b]Examples[/b]

      ntpscore study status studies/demo.toml

      ntpscore study status studies/smollm2.toml --json
    """
    from ntpscore.study.run.runner import study_status

    plan, folders = _open(study, results, work, None)
    status = study_status(plan, folders)
    if json:
        from ntpscore.files import to_json, without_nan

        typer.echo(to_json(without_nan(status.cells.to_dict(orient="records"))), nl=False)
    else:
        from ntpscore.cli.study_tables import print_status

        print_status(plan, status)


def _open(
    study: Path, results: Path | None, work: Path | None, data: Path | None
) -> "tuple[Plan, Folders]":
    from ntpscore.study.run.plan import load_plan
    from ntpscore.study.run.runner import Folders

    plan = load_plan(study, data_folder=data)
    return plan, Folders(
        results=results or Path("results", plan.name),
        work=work or Path("build", "study", plan.name),
    )


@app.command("tables")
def tables_command(
    results: Annotated[Path, typer.Argument(help="A study's folder of results.")],
    outcome: Annotated[
        list[str] | None, typer.Option(help="Only this outcome; may be given more than once.")
    ] = None,
    score: Annotated[
        list[str] | None,
        typer.Option(help="Only this score, without the outcomes; may be given more than once."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Only this model; may be given more than once.")
    ] = None,
    cell_seed: Annotated[
        list[int] | None, typer.Option(help="Only cells of this seed, not the mean over seeds.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Give all also without this data set.")
    ] = None,
    permutations: Annotated[int, typer.Option(help="Of the tests.", min=1)] = 10_000,
    seed: Annotated[int, typer.Option(help="Of permutations and bootstrap.", min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Write summary.csv and outcomes.csv into this folder.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the rows as CSV.")] = False,
) -> None:
    """Correlate every score and rival of a study with what training reached.

    One row per score and outcome: a configuration fixed in advance (last layer, k/d = 0.5), the
    best of the sweep with its p corrected for the choice, the r left over on data sets that the
    choice had not seen, an interval with the choice inside, and r given the headroom.

    [b]Examples[/b]

      ntpscore study tables results/demo

      ntpscore study tables results/smollm2 --outcome lora_gain --without sst2

      ntpscore study tables results/smollm2 --csv > summary.csv
    """
    if json and csv:
        raise NtpscoreError("--json and --csv can't both have standard output: give one of them")
    from ntpscore.files import make_folder, to_json, without_nan, write_text
    from ntpscore.study.statistics.summary import SummaryConfig
    from ntpscore.study.statistics.tables import StudyTables

    tables = StudyTables.load(results, models=model, seeds=cell_seed)
    summary = tables.summary(
        scores=score,
        outcomes=outcome,
        without=without or (),
        config=SummaryConfig(permutations=permutations, seed=seed),
    )
    if out is not None:
        folder = make_folder(out)
        for name, frame in (("summary", summary), ("outcomes", tables.outcomes)):
            text = frame.to_csv(index=False, lineterminator="\n")
            write_text(folder / f"{name}.csv", text)
    if json:
        typer.echo(to_json(without_nan(summary.to_dict(orient="records"))), nl=False)
    elif csv:
        typer.echo(summary.to_csv(index=False, lineterminator="\n"), nl=False)
    else:
        from ntpscore.cli.study_tables import print_outcomes, print_summary

        if score is None:
            print_outcomes(tables.outcomes)
        print_summary(summary)


@app.command("figures")
def figures_command(
    results: Annotated[Path, typer.Argument(help="A study's folder of results.")],
    out: Annotated[Path, typer.Option(help="Folder for the figures and tables.")],
    score: Annotated[str, typer.Option(help="The score that is drawn.")] = "published",
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
    from ntpscore.study.paper.drawing import draw_study
    from ntpscore.study.statistics.tables import StudyTables

    tables = StudyTables.load(results, models=model)
    drawn, missing = draw_study(tables, out, score=score, choice=choice, format=format)
    for path in drawn:
        typer.echo(str(path))
    for name, reason in missing.items():
        typer.echo(f"left out: {name}: {reason}", err=True)


@app.command("words")
@takes_options
def words_command(
    model: options.Model,
    data: options.Data,
    text_options: TextOptions,
    model_options: ModelOptions,
    config: Annotated[ScoreConfig, Only("seed", "max_length", "skip_sanity_check")],
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
    from ntpscore.files import write_figure
    from ntpscore.models import load_model
    from ntpscore.study.paper.figures import plot_word_projection
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
        typer.echo(table.to_csv(index=False, lineterminator="\n"), nl=False)


@app.command("rules")
def rules_command(
    results: Annotated[Path, typer.Argument(help="A study's folder of results.")],
    outcome: Annotated[str, typer.Option(help="Print this outcome.")] = "lora_gain",
    model: Annotated[
        list[str] | None, typer.Option(help="Only this model; may be given more than once.")
    ] = None,
    permutations: Annotated[int, typer.Option(help="Of the tests.", min=1)] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the permutations.", min=0)] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print all rows as JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print all rows as CSV.")] = False,
) -> None:
    """Compare rules that choose layer and k beforehand with the best that hindsight finds.

    [b]Examples[/b]

      ntpscore study rules results/smollm2

      ntpscore study rules results/smollm2 --outcome probe_accuracy

      ntpscore study rules results/smollm2 --csv > rules.csv
    """
    if json and csv:
        raise NtpscoreError("--json and --csv can't both have standard output: give one of them")
    from ntpscore.study.statistics.rules import compare_rules
    from ntpscore.study.statistics.sweep import OUTCOMES
    from ntpscore.study.statistics.tables import load_records, select_records

    records = select_records(load_records(results), models=model)
    rows = compare_rules(
        records,
        outcomes=tuple(OUTCOMES) if json or csv else (outcome,),
        permutations=permutations,
        seed=seed,
    )
    if json:
        from ntpscore.files import to_json, without_nan

        typer.echo(to_json(without_nan(rows.to_dict(orient="records"))), nl=False)
    elif csv:
        typer.echo(rows.to_csv(index=False, lineterminator="\n"), nl=False)
    else:
        from ntpscore.cli.study_tables import print_rules

        print_rules(rows, outcome)


@app.command("published")
def published_command(
    without: Annotated[
        str, typer.Option(help="Give r also without data sets whose name holds this.")
    ] = "medical",
    seed: Annotated[int, typer.Option(help="Of permutations and bootstrap.", min=0)] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print a list of rows as JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the rows as CSV.")] = False,
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
    if json and csv:
        raise NtpscoreError("--json and --csv can't both have standard output: give one of them")
    from ntpscore.study.paper.published import correlate_published, draw_published

    table = correlate_published(without, seed=seed)
    if figure is not None:
        draw_published(table, figure)
    if json:
        from ntpscore.files import to_json, without_nan

        typer.echo(to_json(without_nan(table.to_dict(orient="records"))), nl=False)
    elif csv:
        typer.echo(table.to_csv(index=False, lineterminator="\n"), nl=False)
    else:
        from ntpscore.cli.study_tables import print_published

        print_published(table)


@app.command("forecast")
def forecast_command(
    headroom: Annotated[
        float | None,
        typer.Option(help="Forecast for this headroom: one minus the linear probe's accuracy."),
    ] = None,
    without: Annotated[
        str, typer.Option(help="Leave out data sets whose name holds this; empty for none.")
    ] = "medical",
    coverage: Annotated[float, typer.Option(help="Of the intervals.")] = 0.8,
    calibration: Annotated[
        Path | None,
        typer.Option(help="From a file of `study calibrate` instead of the published points."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Forecast what LoRA gains over a linear probe, from the 96 published points.

    Says first how well that works on data sets it had not seen, and whether the score helps.

    [b]Examples[/b]

      ntpscore study forecast

      ntpscore study forecast --headroom 0.3

      ntpscore study forecast --without "" --coverage 0.9 --json
    """
    from ntpscore.forecast.evidence import Evidence
    from ntpscore.forecast.gain import calibrate_gain
    from ntpscore.study.paper.published import points_with_gain

    if calibration is None:
        evidence = Evidence(
            calibrate_gain(points_with_gain(without), coverage=coverage), "published points", None
        )
    else:
        evidence = Evidence.load(calibration)
    _show_calibration(evidence, headroom, json=json)


@app.command("calibrate")
def calibrate_command(
    results: Annotated[Path, typer.Argument(help="A study's folder of results.")],
    basis: Annotated[
        Literal["probe", "r2"],
        typer.Option(
            "--from",
            help="Headroom by the probe's accuracy, or by r2_adjusted, which `score` finds itself.",
        ),
    ] = "r2",
    without: Annotated[
        str, typer.Option(help="Leave out data sets whose name holds this; empty for none.")
    ] = "",
    coverage: Annotated[float, typer.Option(help="Of the intervals.")] = 0.8,
    out: Annotated[
        Path | None, typer.Option(help="Write a file for --calibration of score and forecast.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Calibrate a forecast of the LoRA gain on a study's own cells of score, probe and LoRA.

    Says how well it does on data sets it had not seen, and whether the score helps.

    [b]Examples[/b]

      ntpscore study calibrate results/smollm2

      ntpscore study calibrate results/smollm2 --out mine.json
    """
    from ntpscore.study.statistics.calibrate import calibrate_study

    evidence = calibrate_study(results, basis=basis, without=without, coverage=coverage)
    if out is not None:
        evidence.save(out)
    _show_calibration(evidence, None, json=json)


def _show_calibration(evidence: "Evidence", headroom: float | None, *, json: bool) -> None:
    calibration = evidence.calibration
    found = None if headroom is None else calibration.forecast(headroom)
    if json:
        from dataclasses import asdict

        from ntpscore.files import to_json, without_nan

        record = {
            "source": evidence.source,
            "basis": calibration.basis,
            "data_sets": int(calibration.points["data"].nunique()),
            "points": len(calibration.points),
            "coverage": calibration.coverage,
            "predictor": calibration.predictor,
            "hangs_on": list(calibration.hangs_on),
            "headroom_range": list(calibration.headroom_range),
            "comparison": calibration.comparison.to_dict(orient="records"),
            "forecast": None if found is None else {"headroom": headroom, **asdict(found)},
        }
        typer.echo(to_json(without_nan(record)), nl=False)
    else:
        from ntpscore.cli.study_tables import print_forecast

        print_forecast(evidence, headroom, found)
