"""How a result was made: model, data, versions, command, seconds and memory."""

import platform
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import transformers

from ntpscore.models import LanguageModel
from ntpscore.reading.tokens import TokenizedText
from ntpscore.text import LabelledText
from ntpscore.version import VERSION

# Of tokens per text.
LENGTHS = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "max": 1.0}


def describe_model(language_model: LanguageModel) -> dict[str, Any]:
    """What a result says of its model."""
    return {
        "id": language_model.id,
        "revision": language_model.revision,
        "content_hash": language_model.content_hash,
        "tokenizer_id": language_model.tokenizer_id,
        "tokenizer_revision": language_model.tokenizer_revision,
        "width": language_model.width,
        "layers": language_model.n_layers,
        "dtype": str(language_model.dtype).removeprefix("torch."),
        "device": str(language_model.device),
        "reads_both_ways": language_model.reads_both_ways,
    }


def describe_text(text: LabelledText, tokens: TokenizedText) -> dict[str, Any]:
    """What a result says of its labelled text."""
    quantiles = np.quantile([len(ids) for ids in tokens.ids], [*LENGTHS.values()])
    return {
        **asdict(text.source),
        "task": text.task,
        "n_texts": len(text),
        "n_tokens": tokens.n_tokens,
        "lengths": dict(zip(LENGTHS, quantiles.tolist(), strict=True)),
        "classes": list(text.classes),
        "class_counts": None if text.task == "regression" else text.class_counts(),
        "target_mean": text.target_mean,
        "target_sd": text.target_sd,
        "truncated": tokens.truncated,
    }


def describe_versions() -> dict[str, str]:
    """The versions that numbers may hang on."""
    return {
        "ntpscore": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def describe_command() -> str | None:
    """The command line to type again; None where ntpscore was called from Python."""
    if Path(sys.argv[0]).stem not in {"ntpscore", "__main__"}:
        return None
    return shlex.join(["ntpscore", *sys.argv[1:]])


def peak_memory() -> int:
    """The largest memory of this process so far, in bytes; on a GPU, what was allocated there."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    # Linux counts in kibibytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
