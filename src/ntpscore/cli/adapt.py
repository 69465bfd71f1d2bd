"""`ntpscore adapt MODEL DATA --method METHOD`."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from ntpscore.cli import options
from ntpscore.cli.options import takes_options
from ntpscore.errors import NtpscoreError
from ntpscore.models.layers import read_layers
from ntpscore.models.options import ModelOptions
from ntpscore.text.options import SplitOptions

Method = Literal["ols", "logistic", "probe", "lora", "scratch"]

EXAMPLES = """
Fit labels with a model, and test: least squares, logistic regression, probe, LoRA, from scratch.

[b]MODEL[/b] and [b]DATA[/b] are as for `ntpscore score`. The test split is the one called "test",
unless --test-split names another or --hold-out leaves a share of the train split aside.

[b]Examples[/b]

  ntpscore adapt smollm2-135m helpdesk --method ols

  ntpscore adapt Qwen/Qwen2-0.5B dair-ai/emotion --method probe --out results/probe

  ntpscore adapt ./my-model reviews.csv --method ols --ridge --hold-out 0.2 --json

  ntpscore adapt Qwen/Qwen2-0.5B dair-ai/emotion --method lora --steps 2000 --rescore --out lora
"""

_FIT, _TRAINING = "Fit", "Training (probe, lora, scratch)"


@takes_options
def adapt_command(
    model: options.Model,
    data: options.Data,
    split_options: SplitOptions,
    model_options: ModelOptions,
    method: Annotated[Method, typer.Option(help="What to fit.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the result.")] = None,
    json: options.Json = False,
    max_length: Annotated[
        int | None,
        typer.Option(
            help="Cut texts to so many tokens; default the model's context.",
            rich_help_panel="Model",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of samples, training and bootstrap.", min=0)] = 0,
    batch_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens per batch of frozen features.", min=1, rich_help_panel="Model"),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            help="Hidden state; default the last. Of ols several, such as 0,4,8-12; default all.",
            rich_help_panel=_FIT,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of frozen features; default --out.", rich_help_panel=_FIT),
    ] = None,
    ridge: Annotated[
        bool | None,
        typer.Option(
            "--ridge",
            help="ols: penalty by generalised cross-validation.",
            rich_help_panel=_FIT,
        ),
    ] = None,
    C: Annotated[
        float | None,
        typer.Option("--C", help="logistic: inverse penalty; default 1.", rich_help_panel=_FIT),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="probe: default 50.", rich_help_panel=_TRAINING)
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="lora: default 5000; scratch: default 10000.", rich_help_panel=_TRAINING),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Texts per step; probe 64, else 1.", rich_help_panel=_TRAINING),
    ] = None,
    gradient_accumulation: Annotated[
        int | None,
        typer.Option(help="lora, scratch: batches per step.", rich_help_panel=_TRAINING),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Default 1e-4.", rich_help_panel=_TRAINING)
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(help="probe 0.01, lora and scratch 1e-5.", rich_help_panel=_TRAINING),
    ] = None,
    warmup_share: Annotated[
        float | None,
        typer.Option(help="lora, scratch: of the steps; default 0.05.", rich_help_panel=_TRAINING),
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(help="probe, lora: default 0.05.", rich_help_panel=_TRAINING),
    ] = None,
    rank: Annotated[
        int | None, typer.Option(help="lora: default 32.", rich_help_panel=_TRAINING)
    ] = None,
    alpha: Annotated[
        int | None, typer.Option(help="lora: default 32.", rich_help_panel=_TRAINING)
    ] = None,
    checkpoint_seconds: Annotated[
        float | None,
        typer.Option(
            help="lora, scratch: time between checkpoints in --out.",
            min=0,
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    rescore: Annotated[
        bool,
        typer.Option(
            "--rescore",
            help="lora: score the adapted model into --out/scores.",
            rich_help_panel=_TRAINING,
        ),
    ] = False,
) -> None:
    """Parse, fit, print."""
    from ntpscore.adapt.result import FROZEN
    from ntpscore.files import make_folder
    from ntpscore.models import load_model
    from ntpscore.progress import Progress
    from ntpscore.text import load_splits

    config = make_config(
        method,
        layers=None if layer is None else read_layers(layer, -1),
        ridge=ridge,
        C=C,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        gradient_accumulation=gradient_accumulation,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup_share=warmup_share,
        dropout=dropout,
        rank=rank,
        alpha=alpha,
        checkpoint_seconds=checkpoint_seconds,
        max_length=max_length,
        batch_tokens=batch_tokens,
        seed=seed,
    )
    is_frozen = method in FROZEN
    if cache is not None and not is_frozen:
        raise NtpscoreError(f"--cache is not for --method {method}: it keeps frozen features")
    if rescore and (method != "lora" or out is None):
        raise NtpscoreError(
            "--rescore is for --method lora with --out: it scores the adapter there"
        )
    folder = None if out is None else make_folder(out)
    splits = load_splits(data, split_options, seed=seed)
    with Progress(True) as shown:
        shown.start(f"loading {model}", None)
        language_model = load_model(model, model_options)
    kept = {"cache": cache} if is_frozen else {}
    result = _fit_function(method)(
        language_model, splits.train, splits.test, config=config, folder=folder, progress=True,
        **kept,
    )  # fmt: skip
    if rescore and folder is not None:
        from ntpscore.adapt.rescore import rescore_adapter

        rescore_adapter(language_model, splits.train, folder, seed=seed, max_length=max_length)
    if json:
        from ntpscore.files import to_json

        typer.echo(to_json(result.record), nl=False)
    else:
        from ntpscore.cli.adapt_table import print_adapt_result

        print_adapt_result(result, out)


adapt_command.__doc__ = EXAMPLES


def _fit_function(method: Method) -> Any:
    from ntpscore import adapt

    return getattr(adapt, f"fit_{method}")


def make_config(method: Method, *, layers: tuple[int, ...] | None, **chosen: Any) -> Any:
    """The configuration of a method from the options that were given.

    Args:
        method: whose.
        layers: what `--layer` says.
        chosen: the other options by name; None where one was not given.

    Raises:
        NtpscoreError: an option is not for this method.
    """
    from ntpscore import adapt

    kind = getattr(adapt, f"{method.title()}Config")
    known = {field.name for field in fields(kind)}
    given = {name: value for name, value in chosen.items() if value is not None}
    if layers is not None:
        if method == "ols":
            given["layers"] = layers
        elif "layer" not in known:
            raise NtpscoreError(f"--layer can't be chosen for --method {method}: it is the last")
        elif len(layers) == 1:
            given["layer"] = layers[0]
        else:
            raise NtpscoreError(f"--layer must be one layer for --method {method}, got {layers}")
    late = sorted(given.keys() - known)
    if late:
        flags = ", ".join("--" + name.replace("_", "-") for name in late)
        raise NtpscoreError(f"{flags} can't be chosen for --method {method}")
    return cast("Any", kind(**given))
