"""`ntpscore study tables --write`: all that a study's results say, on one page."""

import io
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from rich.table import Table

from ntpscore.cli.study.layout import print_blocks
from ntpscore.cli.study.tables import outcome_table, rules_blocks, summary_blocks
from ntpscore.cli.tables import number
from ntpscore.errors import DataError, StudyError
from ntpscore.files import write_text
from ntpscore.study.paper.paper_tables import (
    changes_after_lora,
    probe_against_scratch,
    score_after_lora,
)
from ntpscore.study.run.cells import load_records, select_records
from ntpscore.study.statistics.methods import methods_table
from ntpscore.study.statistics.rules import compare_rules
from ntpscore.study.statistics.summary import SummaryConfig
from ntpscore.study.statistics.tables import StudyTables

FILE = "summary.md"
# Every score and rival by these; the paper's score, ours and least squares by the others, by each
# seed alone, and without a data set.
_MAIN_OUTCOMES = ("probe_accuracy", "lora_gain")
_OTHER_OUTCOMES = ("lora_gain_frozen", "ols_mse", "logistic_accuracy", "lora_accuracy")
_FEW_SCORES = ("algorithm1", "published", "smallest_first", "expected", "retained", "r2")
_AFTER_LORA = "smallest_first"


def write_summary(results: Path, without: Sequence[str], *, permutations: int, seed: int) -> Path:
    """Write `summary.md` into a folder of results, and say where it is.

    Beside what is said of all data sets, those `without` are left out, one at a time.
    """
    options = [f"--without {shlex.quote(data)}" for data in without]
    command = " ".join(
        ["ntpscore study tables", shlex.quote(str(results)), "--write", *options,
         f"--permutations {permutations} --seed {seed}"]
    )  # fmt: skip
    records = load_records(results)
    tables = StudyTables.of(records)
    config = SummaryConfig(permutations=permutations, seed=seed)

    def correlations(outcome: str) -> list[Table | str]:
        scores = None if outcome in _MAIN_OUTCOMES else _known(tables, _FEW_SCORES)
        return summary_blocks(
            tables.summary(outcomes=[outcome], scores=scores, config=config), notes=False
        )

    def of_seed(cell_seed: int) -> list[Table | str]:
        alone = StudyTables.of(select_records(records, seeds=[cell_seed]))
        few = alone.summary(
            outcomes=_MAIN_OUTCOMES[:1], scores=_known(alone, _FEW_SCORES), config=config
        )
        return summary_blocks(few, notes=False)

    def left_out(data: str) -> list[Table | str]:
        few = tables.summary(
            outcomes=_reached(tables, _MAIN_OUTCOMES), scores=_known(tables, _FEW_SCORES),
            without=[data], config=config,
        )  # fmt: skip
        return summary_blocks(few[few["without"] == data], notes=False)

    def rules(outcome: str) -> list[Table | str]:
        rows = compare_rules(records, outcomes=[outcome], permutations=permutations, seed=seed)
        return rules_blocks(rows, outcome)[:-1]

    seeds = sorted({r["seed"] for r in records if r["method"] == "score"})
    after_lora = f"{_AFTER_LORA} on the last layer at k/d = 0.5, before and after LoRA"
    sections: list[tuple[str, Callable[[], str]]] = [
        ("Reached", lambda: _as_text([outcome_table(tables.outcomes)])),
        ("Methods", lambda: methods_markdown(methods_table(records))),
        *(
            (f"Scores and `{name}`", lambda name=name: _as_text(correlations(name)))
            for name in (*_MAIN_OUTCOMES, *_OTHER_OUTCOMES)
        ),
        *(
            (f"Seed {cell_seed} alone", lambda cell_seed=cell_seed: _as_text(of_seed(cell_seed)))
            for cell_seed in (seeds if len(seeds) > 1 else ())
        ),
        *((f"Without {data}", lambda data=data: _as_text(left_out(data))) for data in without),
        *(
            (f"Rules and `{name}`", lambda name=name: _as_text(rules(name)))
            for name in _MAIN_OUTCOMES
        ),
        (
            "Test accuracy of a probe and from scratch (%)",
            lambda: _markdown(probe_against_scratch(tables.outcomes)),
        ),
        (
            "What LoRA does to each score (last layer, k/d = 0.5)",
            lambda: _markdown(changes_after_lora(tables.before_lora, tables.after_lora), "score"),
        ),
        (
            after_lora,
            lambda: _markdown(
                score_after_lora(tables.before_lora, tables.after_lora, score=_AFTER_LORA)
            ),
        ),
    ]
    path = results / FILE
    parts = [
        f"# The study {results.resolve().name}",
        f"Written by `{command}`; docs/study.md says what the columns are.",
    ]
    for title, make in sections:
        try:
            parts.append(f"## {title}\n\n{make()}")
        except (DataError, StudyError):
            # Of this there is nothing yet.
            continue
    write_text(path, "\n\n".join(parts) + "\n")
    return path


def methods_markdown(table: pd.DataFrame) -> str:
    """`methods_table` in Markdown, the majority of each data set's test texts above its rows."""
    lines = [
        "| data | method | test accuracy | 95 % | macro-F1 | train accuracy | seconds | ÷ score |",
        "|" + " --- |" * 8,
    ]
    several = table["model"].nunique() > 1
    for (model, data), part in table.groupby(["model", "data"], sort=False):
        name = f"{data}, {model}" if several else data
        lines.append(f"| {name} | (majority) | {part['majority'].iloc[0]:.3f} |  |  |  |  |  |")
        lines += [
            f"|  | {row['method']} | {row['test_accuracy']:.3f} | {row['low']:.3f}–"
            f"{row['high']:.3f} | {row['macro_f1']:.3f} | {row['train_accuracy']:.3f} | "
            f"{row['seconds']:.0f} | {number(row['seconds_per_score'], 1)} |"
            for _, row in part.iterrows()
        ]
    return "\n".join(lines)


def _known(tables: StudyTables, scores: Sequence[str]) -> list[str]:
    return [score for score in scores if (tables.scores["score"] == score).any()]


def _reached(tables: StudyTables, outcomes: Sequence[str]) -> list[str]:
    return [outcome for outcome in outcomes if (tables.outcomes["outcome"] == outcome).any()]


def _as_text(blocks: Sequence[Table | str]) -> str:
    if not any(isinstance(block, Table) for block in blocks):
        raise DataError("there is no table to print")
    file = io.StringIO()
    print_blocks(blocks, file)
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    return "```text\n" + "\n".join(lines).strip("\n") + "\n```"


def _markdown(frame: pd.DataFrame, rows_are: str = "data") -> str:
    flat = frame.columns.to_flat_index()
    names = [c if isinstance(c, str) else " ".join(str(part) for part in c) for c in flat]
    rows = [
        [str(data), *(number(value, 2) for value in row)]
        for data, row in zip(frame.index, frame.to_numpy(), strict=True)
    ]
    lines = [[rows_are, *names], ["---"] * (1 + len(names)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
