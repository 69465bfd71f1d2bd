"""Whatever a model, its tokenizer or its configuration raises is that model's fault, not a bug."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ntpscore.errors import ModelError, NtpscoreError

# Of an upstream message: some print a whole state dictionary.
_MOST_CHARACTERS = 2000


@contextmanager
def as_model_error(problem: str) -> Iterator[None]:
    """Turn anything that is raised inside into one `ModelError`; errors of ntpscore stay.

    Args:
        problem: what failed, of which model, such as "the tokenizer of gpt2 can't be loaded".
    """
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit, NtpscoreError):
        raise
    except BaseException as error:  # a panic of the tokenizers library is no Exception
        raise ModelError(f"{problem}: {describe_cause(error)}") from error


def describe_cause(error: BaseException) -> str:
    """Kind and whole message of an error, cut where it goes on for pages."""
    if is_out_of_memory(error):
        return f"memory ran out ({error}): use a narrower --dtype, or a device with more memory"
    text = str(error).strip()
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{text}: pip install {error.name.partition('.')[0].replace('_', '-')}"
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[:_MOST_CHARACTERS]} … ({len(text)} characters)"
    kind = type(error).__name__
    # These say nothing by themselves: a missing key's message is the key.
    if not text or isinstance(error, KeyError | AttributeError | TypeError | IndexError):
        return f"{kind}: {text}" if text else kind
    return text


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The processor's allocator raises a plain RuntimeError.
    return "DefaultCPUAllocator" in str(error) or "not enough memory" in str(error)
