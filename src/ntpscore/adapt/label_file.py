"""Labels of new texts as lines of a file: CSV, or JSON objects."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from ntpscore.adapt.predictor import Outputs, Predictor, cut_into_chunks
from ntpscore.adapt.readout import Readout
from ntpscore.files import quote_formula


def write_labels(
    predictor: Predictor,
    texts: Iterable[str | None],
    file: TextIO,
    *,
    with_probabilities: bool = False,
    as_json: bool = False,
    raw: bool = False,
    on_chunk: Callable[[int], None] = lambda _: None,
) -> int:
    """Write a line for every text, in their order and in constant memory.

    Numbers are written with all their digits.

    Args:
        predictor: what labels them.
        texts: None for one that is missing, whose line has no label.
        file: where to.
        with_probabilities: of each class too.
        as_json: an object a line, in place of CSV with a header.
        raw: in CSV, write labels as they are in the data, though a spreadsheet may take some for
            formulas; else these get `'` before them.
        on_chunk: told how many more texts were written.

    Returns:
        How many texts there were.
    """
    readout = predictor.readout
    if with_probabilities:
        readout.check_has_probabilities()
    names = column_names(readout, with_probabilities=with_probabilities)
    writer = csv.writer(file, lineterminator="\n")
    cell: Callable[[Any], Any] = (lambda value: value) if raw else quote_formula
    if not as_json:
        writer.writerow(map(cell, names))
    total = 0
    with predictor.opened() as outputs_of:
        for chunk in cut_into_chunks(texts):
            present = [text for text in chunk if text is not None]
            values = _values(readout, outputs_of(present), with_probabilities) if present else None
            for text in chunk:
                row = None if text is None or values is None else next(values)
                if as_json:
                    record = _record(readout, row)
                    file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
                else:
                    writer.writerow([""] * len(names) if row is None else map(cell, row))
            total += len(chunk)
            on_chunk(len(chunk))
    return total


def column_names(readout: Readout, *, with_probabilities: bool = False) -> list[str]:
    """The header: `predicted`, or `predicted NAME` each; then `probability NAME`."""
    is_one = readout.task == "classification"
    predicted = ["predicted"] if is_one else [f"predicted {name}" for name in readout.classes]
    probable = [f"probability {name}" for name in readout.classes] if with_probabilities else []
    return predicted + probable


def _values(readout: Readout, outputs: Outputs, with_probabilities: bool) -> Iterator[list[Any]]:
    """The cells of each text."""
    predicted = readout.predict(outputs).tolist()
    probabilities = readout.predict_proba(outputs).tolist() if with_probabilities else None
    for number, labels in enumerate(predicted):
        cells = [labels] if readout.task == "classification" else labels
        yield cells if probabilities is None else cells + probabilities[number]


def _record(readout: Readout, row: list[Any] | None) -> dict[str, Any]:
    """The object of one text: a class, a list of them, or targets by name."""
    if row is None:
        return {"predicted": None}
    names, task = readout.classes, readout.task
    labels = row[: 1 if task == "classification" else len(names)]
    probabilities = row[len(labels) :]
    predicted: Any = labels[0]
    if task == "multilabel":
        predicted = [name for name, has in zip(names, labels, strict=True) if has]
    elif task == "regression":
        predicted = dict(zip(names, labels, strict=True))
    if not probabilities:
        return {"predicted": predicted}
    probability = dict(zip(names, probabilities, strict=True))
    return {"predicted": predicted, "probability": probability}
