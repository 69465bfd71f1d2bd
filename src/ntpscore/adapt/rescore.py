"""The scores of a model after LoRA."""

from pathlib import Path

from ntpscore.adapt.lora import load_adapter
from ntpscore.files import make_folder
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
    *,
    seed: int = 0,
    max_length: int | None = None,
) -> ScoreResult:
    """Score the adapted model, as `ntpscore score` scores the model itself.

    Args:
        model: the model the adapter was trained on; unchanged when this returns.
        text: what it is scored on.
        folder: the result folder of `fit_lora`; the scores go into `scores/` there.
        seed: of the permutations.
        max_length: tokens after which a text is cut.

    Raises:
        OutputError: there is no adapter in the folder, or it doesn't fit the model.

    Source:
        Next Token Perception Score, Table 2.
    """
    with load_adapter(model, folder) as adapted:
        return score_text(
            adapted,
            text,
            folder=make_folder(folder / SCORES_FOLDER),
            # Training for classes may have cost the model its English.
            config=ScoreConfig(seed=seed, max_length=max_length, skip_sanity_check=True),
            progress=True,
        )
