"""`ntpscore adapt MODEL DATA --method METHOD`."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from ntpscore.adapt.config import LORA_RECIPES
from ntpscore.adapt.methods import METHODS
from ntpscore.cli import options
from ntpscore.cli.options import AnyOf, Only, takes_options
from ntpscore.cli.output import Output
from ntpscore.errors import NtpscoreError
from ntpscore.extras import need_package
from ntpscore.models.options import ModelOptions
from ntpscore.options import option_names
from ntpscore.text.options import SplitOptions

EXAMPLES = """
Fit labels with a model, and test them on other texts; `ntpscore predict` then labels new ones.

By default a ridge regression on the hidden states of the layer that suits the labels best. Other
methods are least squares, logistic regression, the paper's probe, LoRA, and training from scratch.

[b]MODEL[/b] and [b]DATA[/b] are as for `ntpscore score`. The test split is the one called "test",
unless --test-split names another, --test-data another file, or --hold-out leaves a share of the
train split aside; where there is none, a fifth is held out.

[b]Examples[/b]

  ntpscore adapt smollm2-135m helpdesk --out results/helpdesk

  ntpscore adapt smollm2-135m reviews.csv --layer 18 --pooling mean --out results/reviews

  ntpscore adapt Qwen/Qwen2-0.5B dair-ai/emotion --method probe --layer last --json

  ntpscore adapt Qwen/Qwen2-0.5B dair-ai/emotion --method lora --rescore --out results/lora

  ntpscore adapt Qwen/Qwen2-0.5B dair-ai/emotion --method lora --recipe paper --out results/paper
"""


# The share of texts that is tested where there is no test split.
HOLD_OUT = 0.2
_TRAINING = "Training (probe, lora, scratch)"
Configs = AnyOf(*(method.config for method in METHODS.values()))


@takes_options
def adapt_command(
    model: options.Model,
    data: options.Data,
    split_options: SplitOptions,
    model_options: ModelOptions,
    given: Annotated[dict[str, Any], Configs],
    output: Annotated[Output, Only("json")],
    method: Annotated[str, typer.Option(help=f"What to fit: {', '.join(METHODS)}.")] = "ridge",
    out: Annotated[Path | None, typer.Option(help="Folder for the result.")] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of frozen features; default --out.", rich_help_panel="Fit"),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help=f"lora: {' or '.join(LORA_RECIPES)} settings, where no others are given.",
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
    log_to: options.LogTo = None,
) -> None:
    """Parse, fit, print."""
    from ntpscore.cli.adapt_table import print_adapt_result
    from ntpscore.models import load_model
    from ntpscore.models.encoders import UNSCORED
    from ntpscore.models.locate import check_short_name
    from ntpscore.progress import Progress
    from ntpscore.result_folder import hold_folder
    from ntpscore.scoring.arguments import check_order
    from ntpscore.text import describe_reading, load_splits

    check_order([model], data, "model, then data")
    check_short_name(model, trust_remote_code=model_options.trust_remote_code)
    if method == "ols" and "layer" in given:  # which takes several
        given = {"layers": given.pop("layer"), **given}
    config = make_config(method, given, recipe)
    is_frozen = METHODS[method].is_frozen
    if method == "lora":
        need_package("peft", "lora", "--method lora")
    if cache is not None and not is_frozen:
        raise NtpscoreError(f"--cache is not for --method {method}: it keeps frozen features")
    if rescore and (method != "lora" or out is None):
        raise NtpscoreError(
            "--rescore is for --method lora with --out: it scores the adapter there"
        )
    with nullcontext() if out is None else hold_folder(out) as folder:
        with Progress(True) as bar:
            train, test = load_splits(data, split_options, seed=config.seed, otherwise=HOLD_OUT)
            for text in (train, test):
                for line in describe_reading(text):
                    bar.say(line)
            bar.start(f"loading {model}", None)
            language_model = load_model(model, model_options)
            if rescore and language_model.reads_both_ways:
                raise NtpscoreError(f"--rescore is not for {model}, an encoder: {UNSCORED}")
        keywords = {"cache": cache} if is_frozen else {}
        result = METHODS[method].fit(
            language_model, train, test, config=config, folder=folder, progress=True, **keywords
        )
        if rescore and folder is not None:
            from ntpscore.adapt.rescore import rescore_adapter
            from ntpscore.scoring.config import ScoreConfig

            scoring = ScoreConfig(seed=config.seed, max_length=config.max_length)
            rescore_adapter(language_model, train, folder, scoring)
    if log_to is not None:
        from ntpscore.integrations import trackers

        trackers.log_to(log_to, result)
    output.show(lambda console: print_adapt_result(result, out, console), record=result.record)


adapt_command.__doc__ = EXAMPLES


def make_config(method: str, given: dict[str, Any], recipe: str | None = None) -> Any:
    """The configuration of a method from the options that were typed."""
    if method not in METHODS:
        raise NtpscoreError(f"there is no method {method!r}: choose from {', '.join(METHODS)}")
    config = METHODS[method].config
    names = option_names(config)
    if foreign := sorted(given.keys() - names):
        flags = ", ".join("--" + name.replace("_", "-") for name in foreign)
        others = {"layer": "layers", "layers": "layer"}
        hint = "".join(f": use --{o}" for n, o in others.items() if n in foreign and o in names)
        raise NtpscoreError(f"{flags} can't be chosen for --method {method}{hint}")
    if recipe is None:
        return config(**given)
    if method != "lora" or recipe not in LORA_RECIPES:
        raise NtpscoreError(f"--recipe is for --method lora: {' or '.join(LORA_RECIPES)}")
    return config(**{**LORA_RECIPES[recipe], **given})
