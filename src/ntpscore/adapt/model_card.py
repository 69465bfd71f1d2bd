"""The model card beside a head or an adapter, as the Hugging Face hub reads it."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ntpscore import hub
from ntpscore.plain_text import plain

# What Markdown takes for more than itself, in the middle of a line.
_MARKUP = re.compile(r"[\\`*_{}\[\]()<>#+!|~&$@:]|(?<=www)\.", re.IGNORECASE)
_MOST_CLASSES = 50
# Of an evaluation: what the hub calls it, its name, and what it means.
_FIGURES = {
    "accuracy": (
        "accuracy",
        "Accuracy",
        "share of texts, or of several labels each, that are right",
    ),
    "macro_f1": ("f1", "Macro-F1", "F1, averaged over the classes"),
    "r2": ("r_squared", "R²", "share of the variance of targets, or of columns of 0 and 1"),
    "mse": ("mse", "MSE", "squared error of those, targets in training's standard deviations"),
}
_LIMITS = (
    "- The figures hold for texts like those tested, not for other sources, times or languages.",
    "- The intervals are of the test texts alone: another training sample may differ by more.",
    "- It always gives an answer, also to a text that belongs to none of its classes.",
    "- It learns what is wrong or one-sided in the labels, or in the base model, too.",
)
_TASKS = {
    "classification": "one of these classes",
    "multilabel": "any of these labels",
    "regression": "a number for each of these targets",
}


def make_card(record: Mapping[str, Any]) -> str:
    """The card of a result of `adapt`: metadata with `model-index`, and text for people.

    What comes from the user's data and model is text in it, never markup; of paths the last part
    is told.

    Args:
        record: of the result.
    """
    model, train, method = record["model"], record["data"]["train"], record["method"]
    is_public = model["content_hash"] is None and _is_on_hub(model)
    base, data = _name(model["id"], is_public), _name(train["id"], _is_on_hub(train))
    title = f"{method} of {base} on {data}"
    task = train["task"]
    metadata = ModelCardData(
        base_model=model["id"] if is_public else None,
        library_name="ntpscore",
        pipeline_tag="text-classification",  # the hub's name for regression of texts, too
        tags=["ntpscore", method, *(["peft"] if method == "lora" else [])],
        model_name=plain(title),
        eval_results=list(_results(record)) or None,
    )
    classes = [_text(name) for name in train["classes"][:_MOST_CLASSES]]
    more = len(train["classes"]) - len(classes)
    is_frozen = "layer" in record
    what = "Low-rank updates of the attention and a linear head on the mean token of the last layer"
    if is_frozen:
        what = (
            f"One linear map (`{method}`) of layer {record['layer']} of {model['layers']}, "
            f"{record['pooling']} token,"
        )
    version = record["versions"]["ntpscore"]
    lines = [
        f"# {_text(title)}",
        "",
        f"{what} of {_text(base)}, fitted by ntpscore {version} to {train['n_texts']} texts of "
        f"{_text(data)}. It gives a text {_TASKS[task]}: {', '.join(classes)}"
        + (f" and {more} more." if more else "."),
        "",
        "## How good it is",
        "",
        *_table(record),
        "",
        "## How to use it",
        "",
        "```python",
        "from huggingface_hub import snapshot_download",
        "",
        "import ntpscore  # pip install ntpscore",
        "",
        'folder = snapshot_download("OWNER/NAME")  # or a folder of your own',
        "predictor = ntpscore.load_predictor(folder"
        + (")" if is_public else ', model="WHERE THE BASE MODEL IS")'),
        'print(predictor.predict(["a text", "another one"]))',
        "```",
        "",
        "The base model is not part of this; one with other weights is refused.",
        "",
        "## Limits",
        "",
        *_LIMITS,
        "",
        "## How it was made",
        "",
        *(f"- {name}: {_text(str(value))}" for name, value in _origin(record, base)),
        "",
        "`result.json` beside this has all settings and warnings.",
    ]
    return str(ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n" + "\n".join(lines) + "\n"))


def _text(value: str) -> str:
    """A text on one line, as Markdown shows it."""
    return _MARKUP.sub(r"\\\g<0>", plain(value))


def _is_on_hub(source: Mapping[str, Any]) -> bool:
    return source["revision"] is not None and hub.is_id(source["id"])


def _name(where: str, is_public: bool) -> str:
    """An id, or of what lies on a disk its last part: a folder's name is nobody else's business."""
    return where if is_public else PurePath(where).name or where


def _results(record: Mapping[str, Any]) -> Iterable[EvalResult]:
    """The figures of the test split, for `model-index`."""
    test, data = record["test"], record["data"]["test"]
    if test is None:
        return
    is_public = _is_on_hub(data)
    for key, (kind, name, _) in _FIGURES.items():
        if test[key] is not None:
            yield EvalResult(
                task_type="text-classification",
                dataset_type=data["id"] if is_public else "custom",
                dataset_name=plain(_name(data["id"], is_public)),
                dataset_split=plain(data["split"]),
                dataset_revision=data["revision"],
                metric_type=kind,
                metric_name=name,
                metric_value=test[key],
            )


def _table(record: Mapping[str, Any]) -> list[str]:
    test = record["test"]
    if test is None:
        return ["It was not tested: no texts were left aside."]
    rows = []
    for key, (_, name, meaning) in _FIGURES.items():
        if test[key] is not None:
            interval = test.get(f"{key}_interval")
            ends = "" if interval is None else "{:.3f} to {:.3f}".format(*interval)
            rows.append(f"| {name} | {test[key]:.3f} | {ends} | {meaning} |")
    if test["majority_accuracy"] is not None:
        meaning = "accuracy of always saying the most frequent"
        rows.append(f"| Majority | {test['majority_accuracy']:.3f} |  | {meaning} |")
    of = _text(str(record["data"]["test"]["split"]))
    return [
        f"On the {test['n']} texts of the split {of}, which were not fitted:",
        "",
        "| measure | value | 95 % interval | what it is |",
        "| --- | --- | --- | --- |",
        *rows,
    ]


def _origin(record: Mapping[str, Any], base: str) -> Iterable[tuple[str, Any]]:
    model, config = record["model"], record["config"]
    yield "base model", f"{base}, {model['dtype']}"
    for name in ("revision", "content_hash"):
        if model[name] is not None:
            yield {"content_hash": "SHA-256 of its weights"}.get(name, name), model[name]
    yield "layers", ", ".join(map(str, record["layers"]))
    yield "pooling", record.get("pooling", "mean")
    yield "longest text", f"{config.get('max_length') or 'the context'} (tokens)"
    yield "seed", config.get("seed")
    yield "versions", ", ".join(f"{name} {value}" for name, value in record["versions"].items())
