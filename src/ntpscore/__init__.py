"""ntpscore: what a causal language model's hidden states know about your labels, before training.

The names below load on first use, so that importing ntpscore stays fast.
"""

from typing import TYPE_CHECKING

from ntpscore.errors import NtpscoreError as NtpscoreError
from ntpscore.lazy import load_lazily
from ntpscore.version import VERSION

if TYPE_CHECKING:
    from ntpscore.adapt.lora import load_adapter as load_adapter
    from ntpscore.adapt.predictor import load_predictor as load_predictor
    from ntpscore.core.moments import Moments as Moments
    from ntpscore.core.scores import ScoreTable as ScoreTable
    from ntpscore.core.scores import score_moments as score_moments
    from ntpscore.integrations.sklearn import HiddenStateFeatures as HiddenStateFeatures
    from ntpscore.integrations.torchmetrics import (
        NextTokenPerceptionScore as NextTokenPerceptionScore,
    )
    from ntpscore.integrations.trackers import log_to as log_to
    from ntpscore.integrations.trainer import NtpscoreCallback as NtpscoreCallback
    from ntpscore.models.language_model import LanguageModel as LanguageModel
    from ntpscore.models.load import load_model as load_model
    from ntpscore.rank.run import rank_models as rank_models
    from ntpscore.scoring.config import ScoreConfig as ScoreConfig
    from ntpscore.scoring.result import ScoreResult as ScoreResult
    from ntpscore.scoring.result import load_result as load_result
    from ntpscore.scoring.run import score as score
    from ntpscore.text.labelled import LabelledText as LabelledText
    from ntpscore.text.labelled import load_text as load_text

__version__ = VERSION
__all__ = ["NtpscoreError", "__version__"]
__getattr__, __dir__, __all__ = load_lazily(__name__)
