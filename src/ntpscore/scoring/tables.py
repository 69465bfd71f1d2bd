"""Solved scores as a table, and what is known of each layer besides."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ntpscore.core.grid import grid_of_k
from ntpscore.scoring.best import mean_and_sd

if TYPE_CHECKING:
    import pandas as pd

    from ntpscore.core.scores import ScoreTable

COLUMNS = (
    "score",
    "layer",
    "k",
    "k_fraction",
    "value",
    "chance",
    "shuffled_mean",
    "shuffled_sd",
    "basis_dependent",
)


_OF_NEXT_TOKEN = (
    "rank_C0", "dropped_C0", "condition_C0", "residual", "next_token_r2", "next_token_k90",
    "loss_k", "next_token_loss", "probe_loss", "excess_loss", "excess_loss_lower",
    "excess_loss_upper",
)  # fmt: skip


def scores_frame(table: "ScoreTable", *, every_k: bool = False) -> "pd.DataFrame":
    """The scores as a table with the columns of `scores.csv`, one row per score, layer and k.

    Args:
        table: the solved scores.
        every_k: every k = 1 … d instead of the paper's grid.
    """
    import pandas as pd

    k = np.arange(1, table.width + 1) if every_k else np.array(grid_of_k(table.width))
    parts = []
    for name in table.names:
        for layer, scores in zip(table.layers, table.by_layer, strict=True):
            shuffled = scores.shuffled[name][:, k - 1].cpu().numpy()
            mean, sd = mean_and_sd(shuffled)
            parts.append(
                pd.DataFrame(
                    {
                        "score": name,
                        "layer": layer,
                        "k": k,
                        "k_fraction": k / table.width,
                        "value": scores.values[name][k - 1].cpu().numpy(),
                        "chance": scores.chance[name][k - 1].cpu().numpy(),
                        "shuffled_mean": mean,
                        "shuffled_sd": sd,
                        "basis_dependent": scores.basis_dependent[name][k - 1].cpu().numpy(),
                    },
                    columns=list(COLUMNS),
                )
            )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def without_scores(table: "ScoreTable") -> "ScoreTable":
    """The table of a model without next tokens: the fits alone."""
    nothing: dict[str, Any] = {"values": {}, "chance": {}, "shuffled": {}, "basis_dependent": {}}
    return replace(table, by_layer=tuple(replace(layer, **nothing) for layer in table.by_layer))


def layer_record(table: "ScoreTable", *, with_scores: bool = True) -> list[dict[str, Any]]:
    """What is known of each layer besides the scores, as rows for `result.json`.

    Args:
        table: the solved scores.
        with_scores: whether the model has next tokens; if not, what is of them is None.
    """
    rows = []
    for layer, s in zip(table.layers, table.by_layer, strict=True):
        mean, sd = mean_and_sd(s.r2_shuffled.cpu().numpy())
        rows.append(
            {
                "layer": layer,
                "r2": s.r2,
                "r2_adjusted": s.r2_adjusted,
                "r2_chance": s.r2_chance,
                "r2_shuffled_mean": float(mean),
                "r2_shuffled_sd": float(sd),
                "ols_mse": s.ols_mse,
                "rank_N": s.rank_N,
                "rank_N_centred": s.rank_N_centred,
                "rank_C0": s.rank_C0,
                "dropped_N": table.width - s.rank_N,
                "dropped_C0": table.width - s.rank_C0,
                "condition_N": s.condition_N,
                "condition_C0": s.condition_C0,
                "residual": s.residual,
                "n_label_directions": s.n_label_directions,
                "next_token_r2": s.next_token_r2,
                "next_token_k90": s.next_token_k90,
                "loss_k": s.losses.k,
                "next_token_loss": s.losses.next_token,
                "probe_loss": s.losses.probe,
                "excess_loss": s.losses.excess,
                "excess_loss_lower": s.losses.excess_lower,
                "excess_loss_upper": s.losses.excess_upper,
            }
        )
    of_next_token = () if with_scores else _OF_NEXT_TOKEN
    return [row | dict.fromkeys(of_next_token) for row in rows]
