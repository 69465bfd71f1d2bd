"""ntpscore: what a causal language model's hidden states know about your labels, before training.

The names below load on first use, so that importing ntpscore stays fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ntpscore.errors import NtpscoreError

if TYPE_CHECKING:
    from ntpscore.core.moments import Moments
    from ntpscore.core.scores import ScoreTable, score_moments
    from ntpscore.models import LanguageModel, load_model
    from ntpscore.rank.run import rank_models
    from ntpscore.scoring.config import ScoreConfig
    from ntpscore.scoring.result import ScoreResult, load_result
    from ntpscore.scoring.run import score
    from ntpscore.text import LabelledText, load_text

__version__ = "0.1.0"

_HOMES = {
    "LabelledText": "ntpscore.text",
    "LanguageModel": "ntpscore.models",
    "Moments": "ntpscore.core.moments",
    "ScoreConfig": "ntpscore.scoring.config",
    "ScoreResult": "ntpscore.scoring.result",
    "ScoreTable": "ntpscore.core.scores",
    "load_model": "ntpscore.models",
    "load_result": "ntpscore.scoring.result",
    "load_text": "ntpscore.text",
    "rank_models": "ntpscore.rank.run",
    "score": "ntpscore.scoring.run",
    "score_moments": "ntpscore.core.scores",
}

__all__ = [
    "LabelledText",
    "LanguageModel",
    "Moments",
    "NtpscoreError",
    "ScoreConfig",
    "ScoreResult",
    "ScoreTable",
    "__version__",
    "load_model",
    "load_result",
    "load_text",
    "rank_models",
    "score",
    "score_moments",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ntpscore' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
