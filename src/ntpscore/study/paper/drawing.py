"""Writes the figures and tables of a study into a folder."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import pandas as pd
from matplotlib.figure import Figure

from ntpscore.core.score_names import FURTHER_SCORES, SCORES
from ntpscore.errors import DataError, StudyError
from ntpscore.figures import write_figure
from ntpscore.files import make_folder, to_csv, write_text
from ntpscore.study.paper.loss_plot import plot_training_losses
from ntpscore.study.paper.paper_tables import probe_against_scratch, score_after_lora
from ntpscore.study.paper.scatter import (
    Choice,
    plot_accuracy_against_score,
    plot_gain_against_score,
)
from ntpscore.study.paper.sweep_plot import plot_sweep
from ntpscore.study.statistics.selection import correlations
from ntpscore.study.statistics.sweep import OUTCOMES, make_sweep
from ntpscore.study.statistics.tables import StudyTables

Format = Literal["png", "svg", "pdf"]


def draw_study(
    tables: StudyTables,
    folder: str | Path,
    *,
    score: str = "algorithm1",
    choice: Choice = "best",
    format: Format = "png",  # noqa: A002
) -> tuple[list[Path], dict[str, str]]:
    """Draw the paper's figures and write its tables from a study's results.

    Args:
        tables: what was found.
        folder: made if it is missing.
        score: one of the scores.
        choice: layer and k of Figures 2 and 3: the best of the sweep, or the fixed configuration.
        format: ending of the figures.

    Returns:
        The files that were written, and, by name, what could not be made and why.

    Raises:
        StudyError: there is no such score.
        OutputError: the folder can't be written.

    Source:
        Next Token Perception Score, Figures 2, 3 and S1, Tables 1 and 2.
    """
    known = (*SCORES, *FURTHER_SCORES)
    if score not in known:
        raise StudyError(f"there is no score {score!r}: choose from {', '.join(known)}")
    folder = make_folder(folder)
    figures: dict[str, Callable[[], Figure]] = {
        f"figure_2_{score}": lambda: plot_accuracy_against_score(
            tables.scores, tables.outcomes, score=score, choice=choice
        ),
        f"figure_3_{score}": lambda: plot_gain_against_score(
            tables.scores, tables.outcomes, score=score, choice=choice
        ),
        "figure_s1": lambda: plot_training_losses(tables.losses),
    }
    for model in tables.scores["model"].unique():
        for outcome in OUTCOMES:
            name = f"sweep_{score}_{outcome}_{Path(model).name}"
            figures[name] = partial(_sweep, tables, score, outcome, model)
    frames: dict[str, Callable[[], pd.DataFrame]] = {
        "table_1": lambda: probe_against_scratch(tables.outcomes),
        f"table_2_{score}": lambda: score_after_lora(
            tables.before_lora, tables.after_lora, score=score
        ),
    }
    drawn, missing = [], {}
    for name, draw in figures.items():
        try:
            figure = draw()
        except DataError as error:
            missing[name] = str(error)
            continue
        path = folder / f"{name}.{format}"
        write_figure(path, figure)
        drawn.append(path)
    for name, make in frames.items():
        try:
            frame = make()
        except DataError as error:
            missing[name] = str(error)
            continue
        path = folder / f"{name}.csv"
        write_text(path, as_csv(frame))
        drawn.append(path)
    return drawn, missing


def as_csv(frame: pd.DataFrame) -> str:
    """A table of the paper with one line of column names, to two decimals."""
    flat = frame.round(2)
    flat.columns = [" ".join(names) for names in frame.columns]
    return to_csv(flat.reset_index())


def _sweep(tables: StudyTables, score: str, outcome: str, model: str) -> Figure:
    sweep = make_sweep(tables.scores, tables.outcomes, score=score, outcome=outcome, models=[model])
    r = sweep.sign * correlations(sweep)[0]
    return plot_sweep(
        sweep.layers[:, 0], sweep.k_fractions, r, sign=sweep.sign,
        title=f"{score} and {outcome}: {model}",
    )  # fmt: skip
