"""What `score` and its kin are given: a model and labelled text, read or still to be read."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ntpscore.clock import Clock
from ntpscore.errors import NtpscoreError
from ntpscore.models import LanguageModel, find_model, load_model
from ntpscore.models.options import ModelOptions
from ntpscore.options import refuse_late
from ntpscore.progress import Progress
from ntpscore.text import DATA_FILE_ENDINGS, LabelledText, find_data, load_text
from ntpscore.text.options import TextOptions


def read_text(data: Any, options: TextOptions, *, seed: int, clock: Clock) -> LabelledText:
    """The labelled text, if it was not read before.

    Raises:
        NtpscoreError: it can't be read, or options come too late for it.
    """
    if isinstance(data, LabelledText):
        refuse_late(options, "labelled text that was read before")
        return data
    with clock("load_data"):
        return load_text(data, options, seed=seed)


def take_model(
    model: "str | Path | LanguageModel",
    options: ModelOptions,
    *,
    clock: Clock,
    progress: bool | None,
) -> LanguageModel:
    """The language model, loaded if it was not before.

    Raises:
        NtpscoreError: it can't be loaded, or options come too late for it.
    """
    if isinstance(model, LanguageModel):
        refuse_late(options, "a model that was loaded before")
        return model
    with clock("load_model"), Progress(progress) as shown:
        shown.start(f"loading {model}", None)
        return load_model(model, options)


def check_order(models: Sequence[Any], data: Any, usage: str) -> None:
    """Tell whoever gave the data where a model belongs.

    Args:
        models: what was given as models.
        data: what was given as data.
        usage: the right order.

    Raises:
        NtpscoreError: a model is named as data are, or data as a model is.
    """
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
    return {name: value for one in options for name, value in asdict(one).items()}
