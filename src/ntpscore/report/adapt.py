"""A result of `adapt` as an article."""

from collections import Counter
from typing import Any

from ntpscore.adapt.result import AdaptResult
from ntpscore.plain_text import plain_record
from ntpscore.report.blocks import Article, Block, Section, Table, sentence
from ntpscore.report.common import (
    confusion,
    data_section,
    label_table,
    lines_by_pooling,
    provenance,
)
from ntpscore.report.figures import Ends, Line, Valued, draw_lines, draw_points, draw_values
from ntpscore.scoring.summary import NAMES, show

Record = dict[str, Any]
# Texts of which true and predicted targets are drawn.
_MOST_POINTS = 500


def adapt_article(result: AdaptResult, folder: str) -> Article:
    """All of a result of `adapt`.

    Args:
        result: what was found.
        folder: where it is.
    """
    record: Record = plain_record(result.record)
    data = record["data"]
    fits = {name: record[name] for name in ("test", "train") if record.get(name)}
    converged = record.get("converged") or {}
    fits |= {f"{name}, converged": converged[name] for name in fits if converged.get(name)}
    first = next(iter(fits), None)
    headline = None
    if first is not None:
        measure = "r2" if fits[first].get("accuracy") is None else "accuracy"
        headline = (f"{NAMES[measure]}, {first}", *_ends(fits[first], measure))
    sections = [
        Section("The answer", _answer(record, fits)),
        Section("By layer", _by_layer(record)),
        Section("Mistakes", _mistakes(result)),
        Section("Training loss", _losses(result)),
        *(
            data_section(data[name], title=f"The data: {name}")
            for name in ("train", "test")
            if data.get(name) is not None
        ),
        provenance(record, [record["model"]]),
    ]
    title = f"{record['method']} of {record['model']['id']} on {data['train']['id']}"
    return Article(title, "ntpscore adapt", folder, sections, headline)


def _answer(record: Record, fits: dict[str, Record]) -> list[Block]:
    where = "" if record.get("layer") is None else f", layer {record['layer']}"
    where += f", {record['pooling']} token" if record.get("pooling") else ""
    values = []
    for name, fit in fits.items():
        measure = "r2" if fit.get("accuracy") is None else "accuracy"
        values.append(Valued(f"{record['method']}: {name}", _ends(fit, measure)))
        if fit.get("majority_accuracy") is not None:
            values.append(Valued(f"most frequent: {name}", Ends(fit["majority_accuracy"])))
    if not values or values[0].ends.value is None:
        return ["It was fitted, and tested on nothing."]
    columns = {"split": "split", "n": "texts", "accuracy": "accuracy",
               "majority_accuracy": "majority", "macro_f1": "macro-F1", "r2": "R²", "mse": "MSE",
               "loss": "loss"}  # fmt: skip
    splits = [{**fit, "split": name} for name, fit in fits.items()]
    of = "" if "test" in fits else " It was tested on no other texts: see it as a fit, not a test."
    on = f"{sentence(NAMES[measure])} on the {next(iter(fits))} texts"
    return [
        f"{on}: {show(values[0].ends.value, measure)} by {record['method']}{where}.{of}",
        draw_values(
            f"{sentence(NAMES[measure])}, with 95 % intervals", NAMES[measure], values,
            percent=measure == "accuracy",
        ),
        Table.of("Each split", columns, splits, digits=4),
    ]  # fmt: skip


def _ends(fit: Record, measure: str) -> Ends:
    return Ends(fit.get(measure), *(fit.get(f"{measure}_interval") or ()))


def _by_layer(record: Record) -> list[Block]:
    """What was cross-validated by layer and pooling; of least squares, each fit."""
    rows = record.get("candidates") or record.get("fits") or []
    if len(rows) < 2:
        return []
    measure = "r2" if any(row.get("accuracy") is None for row in rows) else "accuracy"
    what = "held out in cross-validation" if "candidates" in record else "in sample"
    return [draw_lines(
        f"{sentence(NAMES[measure])} of every layer, {what}", "layer", NAMES[measure],
        lines_by_pooling(rows, measure), percent=measure == "accuracy",
        alt=f"Layer {record.get('layer')} was taken.",
    )]  # fmt: skip


def _mistakes(result: AdaptResult) -> list[Block]:
    """What the method says of the texts of the test split."""
    found = result.predictions
    if found is None:
        return []
    frame = plain_record(found.to_dict(orient="list"))
    if "label" in frame:
        pairs = Counter(zip(map(str, frame["label"]), map(str, frame["predicted"]), strict=True))
        classes = list(dict.fromkeys(sorted({name for pair in pairs for name in pair})))
        return confusion({
            true: {said: pairs[true, said] for said in classes if pairs[true, said]}
            for true in classes
        })  # fmt: skip
    blocks: list[Block] = []
    counts: dict[str, tuple[int, int, int]] = {}
    is_labels = result.record["data"]["train"].get("task") == "multilabel"
    for column, true in frame.items():
        if not column.startswith("label "):
            continue
        name = column.removeprefix("label ")
        said = frame[f"predicted {name}"]
        if is_labels:
            both = sum(a and b for a, b in zip(true, said, strict=True))
            counts[name] = (sum(true), sum(said), both)
        else:
            points = [Valued(name, Ends(b), x=a) for a, b in zip(true, said, strict=True)]
            points = points[:_MOST_POINTS]
            blocks.append(draw_points(
                f"{name}: true and predicted", "true", "predicted", points, joined=True,
                alt=f"{len(points)} texts of the test split.",
            ))  # fmt: skip
    return [*blocks, *([label_table(counts)] if counts else [])]


def _losses(result: AdaptResult) -> list[Block]:
    curve = result.loss_curve
    if len(curve) < 2:
        return []
    step = -(-len(curve) // 200)
    curve = curve.groupby(curve.index // step)[["samples", "loss"]].mean()
    losses = curve["loss"].tolist()
    line = Line("loss", curve["samples"].tolist(), [Ends(loss) for loss in losses], markers=False)
    return [draw_lines(
        "Training loss", "texts seen", "loss", [line],
        alt=f"It goes from {losses[0]:.3g} to {losses[-1]:.3g}.",
    )]  # fmt: skip
