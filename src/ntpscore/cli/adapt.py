"""`ntpscore adapt MODEL DATA --method METHOD`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ntpscore.adapt.methods import METHODS
from ntpscore.cli import options
from ntpscore.cli.options import AnyOf, takes_options
from ntpscore.errors import NtpscoreError
from ntpscore.models.options import ModelOptions
from ntpscore.options import option_names
from ntpscore.text.options import SplitOptions

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


Configs = AnyOf(*(method.config for method in METHODS.values()))


@takes_options
def adapt_command(
    model: options.Model,
    data: options.Data,
    split_options: SplitOptions,
    model_options: ModelOptions,
    method: Annotated[str, typer.Option(help=f"What to fit: {', '.join(METHODS)}.")],
    given: Annotated[dict[str, Any], Configs],
    out: Annotated[Path | None, typer.Option(help="Folder for the result.")] = None,
    json: options.Json = False,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of frozen features; default --out.", rich_help_panel="Fit"),
    ] = None,
    rescore: Annotated[
        bool,
        typer.Option("--rescore", help="lora: score the adapted model into --out/scores."),
    ] = False,
) -> None:
    """Parse, fit, print."""
    from ntpscore.files import make_folder, to_json
    from ntpscore.models import load_model
    from ntpscore.progress import Progress
    from ntpscore.text import load_splits

    config = make_config(method, given)
    is_frozen = METHODS[method].is_frozen
    if cache is not None and not is_frozen:
        raise NtpscoreError(f"--cache is not for --method {method}: it keeps frozen features")
    if rescore and (method != "lora" or out is None):
        raise NtpscoreError(
            "--rescore is for --method lora with --out: it scores the adapter there"
        )
    folder = None if out is None else make_folder(out)
    train, test = load_splits(data, split_options, seed=config.seed)
    with Progress(True) as bar:
        bar.start(f"loading {model}", None)
        language_model = load_model(model, model_options)
    keywords = {"cache": cache} if is_frozen else {}
    result = METHODS[method].fit(
        language_model, train, test, config=config, folder=folder, progress=True, **keywords
    )
    if rescore and folder is not None:
        from ntpscore.adapt.rescore import rescore_adapter

        rescore_adapter(
            language_model, train, folder, seed=config.seed, max_length=config.max_length
        )
    if json:
        typer.echo(to_json(result.record), nl=False)
    else:
        from ntpscore.cli.adapt_table import print_adapt_result

        print_adapt_result(result, out, Console(stderr=True))


adapt_command.__doc__ = EXAMPLES


def make_config(method: str, given: dict[str, Any]) -> Any:
    """The configuration of a method from the options that were typed.

    Raises:
        NtpscoreError: there is no such method, or an option is not for it.
    """
    if method not in METHODS:
        raise NtpscoreError(f"there is no method {method!r}: choose from {', '.join(METHODS)}")
    config = METHODS[method].config
    names = option_names(config)
    if foreign := sorted(given.keys() - names):
        flags = ", ".join("--" + name.replace("_", "-") for name in foreign)
        others = {"layer": "layers", "layers": "layer"}
        hint = "".join(f": use --{o}" for n, o in others.items() if n in foreign and o in names)
        raise NtpscoreError(f"{flags} can't be chosen for --method {method}{hint}")
    return config(**given)
