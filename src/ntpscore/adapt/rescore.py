"""The scores of a model after LoRA."""

from dataclasses import replace
from pathlib import Path

from ntpscore.adapt.lora import load_adapter
from ntpscore.models import LanguageModel
from ntpscore.scoring.config import ScoreConfig
from ntpscore.scoring.result import ScoreResult
from ntpscore.scoring.run import score_text
from ntpscore.text import LabelledText

SCORES_FOLDER = "scores"


def rescore_adapter(
    model: LanguageModel,
    text: LabelledText,
    folder: Path,
    config: ScoreConfig,
) -> ScoreResult:
    """Score a model with the adapter in a result folder of `fit_lora`, into `scores/` there.

    As `ntpscore score` scores the model itself, which is unchanged when this returns; the sanity
    check is left out, since training for classes may have cost the model its English.

    Source:
        Next Token Perception Score, Table 2.
    """
    with load_adapter(model, folder) as adapted:
        return score_text(
            adapted,
            text,
            folder=folder / SCORES_FOLDER,
            config=replace(config, skip_sanity_check=True),
            progress=True,
        )
