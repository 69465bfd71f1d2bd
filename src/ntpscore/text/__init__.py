"""Labelled text: read it from wherever it is, check every row, build texts, draw a sample."""

from ntpscore.text.labelled import LabelledText, TextSource, load_text
from ntpscore.text.labels import TASKS, Task
from ntpscore.text.open import BUILT_IN

__all__ = ["BUILT_IN", "TASKS", "LabelledText", "Task", "TextSource", "load_text"]
