"""Pictures of a result."""

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from ntpscore.errors import OutputError
from ntpscore.figures import DASHES, GREY, MARKERS, PAGE, PERCENT, in_style, palette
from ntpscore.scoring.summary import MAJORITY, NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ntpscore.scoring.result import ScoreResult


def figure_size(result: "ScoreResult", score: str) -> tuple[float, float]:
    """Inches that a picture needs."""
    return PAGE, 3.6 if score == "accuracy" else 1.5 + 0.1 * max(len(result.record["layers"]), 8)


@in_style
def plot_scores(result: "ScoreResult", score: str, ax: "Axes | None" = None) -> "Axes":
    """A heat map of one score, layer by k; see `ScoreResult.plot`."""
    import matplotlib.pyplot as plt

    frame = result.table()
    if score not in set(frame["score"]):
        there = ", ".join(["accuracy", *frame["score"].unique()])
        raise OutputError(f"there is no score {score!r} in this result: choose from {there}")
    frame = frame[frame["score"] == score]
    grid = frame.pivot_table(index="layer", columns="k_fraction", values="value", dropna=False)
    # A score grows with k far more than it differs between layers.
    beside_others = grid - grid.mean()
    widest = np.nanmax(beside_others.abs().to_numpy(), initial=0) or 1.0
    if ax is None:
        ax = plt.subplots(figsize=figure_size(result, score))[1]
    image = ax.imshow(
        beside_others, origin="lower", aspect="auto", vmin=-widest, vmax=widest, cmap="RdBu_r"
    )
    ticks = range(1, grid.shape[1], 2)
    ax.set_xticks(list(ticks), [f"{grid.columns[i]:.2f}" for i in ticks])
    rows = range(0, len(grid), max(1, len(grid) // 10))
    ax.set_yticks(list(rows), [str(grid.index[i]) for i in rows])
    ax.set_xlabel("k / d (share of the width)")
    ax.set_ylabel("layer (0: embedding)")
    remark = " (basis-dependent beyond the labels' rank)" if frame["basis_dependent"].any() else ""
    ax.set_title(f"{score}: {_subject(result)}{remark}", parse_math=False)
    label = f"{score} (share)\nless the layers' mean at that k"
    ax.figure.colorbar(image, ax=ax).set_label(label, parse_math=False)
    return ax


@in_style
def plot_accuracy(result: "ScoreResult", ax: "Axes | None" = None) -> "Axes":
    """Held-out accuracy by layer, beside the words and the majority; see `ScoreResult.plot`."""
    import matplotlib.pyplot as plt

    accuracy = result.record.get("accuracy")
    if accuracy is None or not accuracy["readouts"]:
        raise OutputError("this result has no held-out accuracy to draw")
    measure = accuracy["measure"]
    unit, scale = ("", 1.0) if measure == "r2" else (" (%)", PERCENT)
    ends = [f"{measure}_low", f"{measure}_high"]
    if ax is None:
        ax = plt.subplots(figsize=figure_size(result, "accuracy"))[1]
    for (pooling, rows), colour, marker in zip(
        result.accuracy.groupby("pooling", sort=False),
        cycle(palette()),
        cycle(MARKERS),
        strict=False,
    ):
        ax.plot(
            rows["layer"], scale * rows[measure], color=colour, marker=marker,
            label=f"frozen, {pooling} token",
        )  # fmt: skip
        low, high = (scale * rows[end] for end in ends)
        ax.fill_between(rows["layer"], low, high, alpha=0.2, color=colour, linewidth=0)
    for name, values, dash in zip(
        ("words alone (TF-IDF)", MAJORITY[measure]),
        (accuracy["words"], accuracy["majority"]),
        DASHES[1:],
        strict=True,
    ):
        if values.get(measure) is None:
            continue
        ax.axhline(scale * values[measure], linestyle=dash, color=GREY, label=name)
        low, high = (values.get(end) for end in ends)
        if low is not None and high is not None:
            ax.axhspan(scale * low, scale * high, alpha=0.15, color=GREY, linewidth=0)
    ax.set_xlabel("layer (0: embedding)")
    ax.set_ylabel(f"{NAMES[measure]} on texts left aside{unit}")
    ax.set_title(f"{_subject(result)}, with 95 % intervals", parse_math=False)
    ax.locator_params(axis="x", integer=True)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=4)
    return ax


def _subject(result: "ScoreResult") -> str:
    return f"{result.record['model']['id']} on {result.record['data']['id']}"
