"""Pictures of a result."""

from typing import TYPE_CHECKING

from ntpscore.errors import OutputError
from ntpscore.extras import need_package

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ntpscore.scoring.result import ScoreResult


def plot_scores(result: "ScoreResult", score: str, ax: "Axes | None" = None) -> "Axes":
    """A heat map of one score, layer by k; see `ScoreResult.plot`."""
    need_package("matplotlib", "report", "drawing", OutputError)
    import matplotlib.pyplot as plt

    frame = result.table()
    if score not in set(frame["score"]):
        there = ", ".join(["accuracy", *frame["score"].unique()])
        raise OutputError(f"there is no score {score!r} in this result: choose from {there}")
    grid = frame[frame["score"] == score].pivot_table(
        index="layer", columns="k_fraction", values="value", dropna=False
    )
    if ax is None:
        ax = plt.subplots(figsize=(7, 1.5 + 0.16 * len(grid)))[1]
    image = ax.imshow(
        grid.to_numpy(), origin="lower", aspect="auto", vmin=0, vmax=1, cmap="viridis"
    )
    ticks = range(1, grid.shape[1], 4)
    ax.set_xticks(list(ticks), [f"{grid.columns[i]:.2f}" for i in ticks])
    rows = range(0, len(grid), max(1, len(grid) // 10))
    ax.set_yticks(list(rows), [str(grid.index[i]) for i in rows])
    ax.set_xlabel("k / d")
    ax.set_ylabel("layer")
    model, data = result.record["model"]["id"], result.record["data"]["id"]
    # A file name may hold dollar signs, which matplotlib would read as mathematics.
    marked = frame.loc[frame["score"] == score, "basis_dependent"].any()
    remark = " (basis-dependent beyond the labels' rank)" if marked else ""
    ax.set_title(f"{score}: {model} on {data}{remark}".replace("$", r"\$"))
    ax.figure.colorbar(image, ax=ax)
    return ax


def plot_accuracy(result: "ScoreResult", ax: "Axes | None" = None) -> "Axes":
    """Held-out accuracy by layer, beside the words and the majority; see `ScoreResult.plot`."""
    need_package("matplotlib", "report", "drawing", OutputError)
    import matplotlib.pyplot as plt

    accuracy = result.record.get("accuracy")
    if accuracy is None or not accuracy["readouts"]:
        raise OutputError("this result has no held-out accuracy to draw")
    measure = accuracy["measure"]
    if ax is None:
        ax = plt.subplots(figsize=(7, 4))[1]
    frame = result.accuracy
    for pooling, rows in frame.groupby("pooling", sort=False):
        (line,) = ax.plot(rows["layer"], rows[measure], marker=".", label=f"{pooling} token")
        ax.fill_between(
            rows["layer"], rows[f"{measure}_low"], rows[f"{measure}_high"],
            alpha=0.2, color=line.get_color(), linewidth=0,
        )  # fmt: skip
    for name, values, style in (
        ("words alone", accuracy["words"], "--"),
        ("majority", accuracy["majority"], ":"),
    ):
        if values.get(measure) is not None:
            ax.axhline(values[measure], linestyle=style, color="grey", label=name)
    ax.set_xlabel("layer")
    ax.set_ylabel(f"{measure}, held out")
    model, data = result.record["model"]["id"], result.record["data"]["id"]
    ax.set_title(f"{model} on {data}".replace("$", r"\$"))
    ax.legend()
    return ax
