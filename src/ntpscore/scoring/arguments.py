"""What `score` and its kin are given: a model and labelled text, read or still to be read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ntpscore.clock import Clock
from ntpscore.errors import NtpscoreError
from ntpscore.models import LanguageModel, find_model, load_model
from ntpscore.models.lent import borrow_model, is_lent
from ntpscore.models.options import ModelOptions
from ntpscore.options import refuse_late
from ntpscore.progress import Progress
from ntpscore.text import (
    DATA_FILE_ENDINGS,
    LabelledText,
    describe_reading,
    find_data,
    load_text,
)
from ntpscore.text.options import TextOptions


def read_text(
    data: Any, options: TextOptions, *, seed: int, clock: Clock, progress: bool | None
) -> LabelledText:
    """The labelled text, if it was not read before; a pair is one of texts and labels.

    What was read and guessed is told before anything is done with it.
    """
    if isinstance(data, LabelledText):
        refuse_late(options, "labelled text that was read before")
        return data
    with clock("load_data"):
        if isinstance(data, tuple):
            data = _frame(*data)
        text = load_text(data, options, seed=seed)
    with Progress(progress) as bar:
        for line in describe_reading(text):
            bar.say(line)
    return text


def _frame(texts: Any, labels: Any = None, *more: Any) -> Any:
    import pandas as pd

    if more or labels is None or isinstance(texts, str) or len(texts) != len(labels):
        raise NtpscoreError(
            "texts with labels are a pair of two lists of the same length: (texts, labels)"
        )
    return pd.DataFrame({"text": list(texts), "label": list(labels)})


@contextmanager
def take_model(
    model: Any, options: ModelOptions, *, clock: Clock, progress: bool | None
) -> Iterator[LanguageModel]:
    """The language model, loaded if it was not before; a pair is one of model and tokenizer."""
    if isinstance(model, LanguageModel):
        refuse_late(options, "a model that was loaded before")
        yield model
    elif is_lent(model):
        refuse_late(options, "a model that was loaded before")
        with borrow_model(*model) as language_model:
            yield language_model
    else:
        with clock("load_model"), Progress(progress) as bar:
            bar.start(f"loading {model}", None)
            language_model = load_model(model, options)
        yield language_model


def check_order(models: Sequence[Any], data: Any, usage: str) -> None:
    """Tell whoever gave the data where a model belongs."""
    swapped = [model for model in models if _names_data(model) and not _names_model(model)]
    if swapped:
        raise NtpscoreError(f"{swapped[0]} is labelled text, not a model: the order is {usage}")
    if _names_model(data) and not _names_data(data):
        raise NtpscoreError(f"{data} is a model, not labelled text: the order is {usage}")


def _names_data(name: Any) -> bool:
    if not isinstance(name, str | Path):
        return False
    return find_data(str(name)) is not None or Path(name).suffix.lower() in DATA_FILE_ENDINGS


def _names_model(name: Any) -> bool:
    if not isinstance(name, str | Path):
        return isinstance(name, LanguageModel)
    path = Path(name)
    is_model = find_model(str(name)) is not None or path.suffix.lower() == ".gguf"
    return is_model or (
        path.name != "" and len(str(path)) < 4096 and (path / "config.json").is_file()
    )


def options_record(*options: Any) -> dict[str, Any]:
    """Options by name, as a result records them."""
    return {name: value for group in options for name, value in asdict(group).items()}
