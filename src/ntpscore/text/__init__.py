"""Labelled text: read it from wherever it is, check every row, build texts, draw a sample."""

from typing import TYPE_CHECKING

from ntpscore.lazy import load_lazily

if TYPE_CHECKING:
    from ntpscore.text.files import DATA_FILE_ENDINGS as DATA_FILE_ENDINGS
    from ntpscore.text.labelled import LabelledText as LabelledText
    from ntpscore.text.labelled import load_text as load_text
    from ntpscore.text.labels import TASKS as TASKS
    from ntpscore.text.labels import Task as Task
    from ntpscore.text.options import SplitOptions as SplitOptions
    from ntpscore.text.options import TextOptions as TextOptions
    from ntpscore.text.registry import DATA_SETS as DATA_SETS
    from ntpscore.text.registry import RegisteredData as RegisteredData
    from ntpscore.text.registry import find_data as find_data
    from ntpscore.text.registry import split_rule as split_rule
    from ntpscore.text.source import Reading as Reading
    from ntpscore.text.source import TextSource as TextSource
    from ntpscore.text.source import describe_reading as describe_reading
    from ntpscore.text.splits import Splits as Splits
    from ntpscore.text.splits import hold_out_texts as hold_out_texts
    from ntpscore.text.splits import load_splits as load_splits
    from ntpscore.text.splits import recode_labels as recode_labels

__getattr__, __dir__, __all__ = load_lazily(__name__)
