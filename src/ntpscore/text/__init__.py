"""Labelled text: read it from wherever it is, check every row, build texts, draw a sample."""

from ntpscore.text.files import FILE_ENDINGS
from ntpscore.text.labelled import LabelledText, load_text
from ntpscore.text.labels import TASKS, Task
from ntpscore.text.registry import DATA_SETS, RegisteredData, find_data, split_rule
from ntpscore.text.source import Reading, TextSource, describe_reading
from ntpscore.text.splits import Splits, hold_out_texts, load_splits, recode_labels

__all__ = [
    "DATA_SETS",
    "FILE_ENDINGS",
    "TASKS",
    "LabelledText",
    "Reading",
    "RegisteredData",
    "Splits",
    "Task",
    "TextSource",
    "describe_reading",
    "find_data",
    "hold_out_texts",
    "load_splits",
    "load_text",
    "recode_labels",
    "split_rule",
]
