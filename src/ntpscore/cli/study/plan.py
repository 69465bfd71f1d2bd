"""`ntpscore study plan`: what a study would cost, before anything is downloaded."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ntpscore.cli.options import takes_options
from ntpscore.cli.output import Output
from ntpscore.cli.study.layout import print_blocks
from ntpscore.cli.study.run import DataFolder, StudyFile
from ntpscore.cli.tables import text_table
from ntpscore.errors import NtpscoreError

if TYPE_CHECKING:
    import pandas as pd

    from ntpscore.study.run.cost import Cost


@takes_options
def plan_command(
    study: StudyFile,
    output: Output,
    data: DataFolder = None,
    tflops: Annotated[
        float | None,
        typer.Option(help="10^12 FLOP/s of a bare forward pass; default as measured on an H100."),
    ] = None,
) -> None:
    """Estimate a study's GPU hours and memory, by model and method; JSON and CSV have every cell.

    Nothing is downloaded or loaded: sizes are registered, or read from a local model's config.json.

    [b]Examples[/b]

      ntpscore study plan studies/paper.toml

      ntpscore study plan studies/paper.toml --tflops 120 --csv
    """
    from ntpscore.study.run.cost import TFLOPS, cost_of
    from ntpscore.study.run.plan import load_plan

    rate = TFLOPS if tflops is None else tflops
    if not 0 < rate < float("inf"):
        raise NtpscoreError(f"--tflops must be above 0 and finite, got {rate}")
    costs = [cost_of(cell, rate) for cell in load_plan(study, data_folder=data).cells]

    def rows() -> "pd.DataFrame":
        import pandas as pd

        return pd.DataFrame([cost.record() for cost in costs])

    output.show(lambda _: _print_costs(costs, rate), rows=rows)


def _print_costs(costs: "Sequence[Cost]", rate: float) -> None:
    groups: dict[tuple[str, str], list[Cost]] = {}
    for cost in costs:
        groups.setdefault((cost.model, cost.method), []).append(cost)
    rows = [[*names, *_summary(group)] for names, group in groups.items()]
    rows.append(["in all", "", *_summary(costs)])
    headings = ["model", "method", "cells", "GPU hours", "peak GB"]
    table = text_table(headings, rows, names=2, bold={len(rows) - 1})
    print_blocks([table, "\n".join(_assumptions(costs, rate))])


def _summary(costs: "Sequence[Cost]") -> list[str]:
    hours = [cost.hours for cost in costs if cost.hours is not None]
    memory = [cost.memory_bytes for cost in costs if cost.memory_bytes is not None]
    return [
        str(len(costs)),
        f"{sum(hours):,.2f}" if hours else "–",
        f"{max(memory) / 1e9:.1f}" if memory else "–",
    ]


def _assumptions(costs: "Sequence[Cost]", rate: float) -> list[str]:
    from ntpscore.study.run.cost import BATCH_TOKENS, BLOCK_SECONDS, OTHER_TOKENS

    milliseconds = BLOCK_SECONDS * 1000
    lines = [
        "An estimate, checked on a processor alone (docs/log.md). It assumes:",
        f"- 2 FLOPs per weight and token of a pass, at {rate:g} TFLOP/s, no block below",
        f"  {milliseconds:.2f} ms; batches of {BATCH_TOKENS:,} tokens, in training the study's;",
        "- three passes per training sample, then one over train and test; a score's pass",
        "  takes 1.57 (width 896) to 2.27 (4,096) bare ones, as measured in float64 on an",
        "  H100 (benchmarks/GPU.md);",
        "- mean tokens as SmolLM2's tokenizer counts them on samples, cut to 128 (imdb:",
        f"  from its characters); {OTHER_TOKENS} for data sets that aren't registered.",
        "Not counted: loading, tokenizing, solving, fitting heads, optimizer; in memory,",
        "activations but for scores. Peak GB: of the largest cell.",
    ]
    if unknown := sum(cost.hours is None for cost in costs):
        lines.append(
            "Not in the sum, since size of model or number of texts is unknown: "
            f"{unknown} of {len(costs)}."
        )
    return lines
