"""Answers to choose from, as sets of multiple-choice questions hold them, in one line of text."""

from typing import Any


def write_choices(value: Any) -> Any:
    """`{"label": ["A", "B"], "text": ["bank", "mall"]}` as `A. bank B. mall`.

    Args:
        value: a cell of a table.

    Returns:
        The text; any other value as it is.
    """
    if not isinstance(value, dict) or value.keys() != {"label", "text"}:
        return value
    labels, texts = value["label"], value["text"]
    if not isinstance(labels, list) or not isinstance(texts, list) or len(labels) != len(texts):
        return value
    return " ".join(f"{label}. {text}" for label, text in zip(labels, texts, strict=True))
