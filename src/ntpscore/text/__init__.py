"""Labelled text: read it from wherever it is, check every row, build texts, draw a sample."""

from ntpscore.text.files import PARSERS
from ntpscore.text.labelled import LabelledText, load_text
from ntpscore.text.labels import TASKS, Task
from ntpscore.text.registry import DATA_SETS, RegisteredData, find_data, split_rule
from ntpscore.text.source import Reading, TextSource, describe_reading
from ntpscore.text.splits import Splits, hold_out_texts, load_splits, recode_labels

# What the name of a file of labelled text may end in.
DATA_FILE_ENDINGS = tuple(PARSERS)

__all__ = [
    "DATA_FILE_ENDINGS",
    "DATA_SETS",
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
