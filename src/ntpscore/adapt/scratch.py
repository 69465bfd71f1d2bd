"""Training from scratch: the same architecture, random weights."""

import copy
from pathlib import Path
from typing import Any

import torch

from ntpscore.adapt.config import ScratchConfig
from ntpscore.adapt.head import MeanTokenClassifier
from ntpscore.adapt.result import AdaptResult
from ntpscore.adapt.training import fit_classifier, seeded_chance
from ntpscore.models import LanguageModel
from ntpscore.models.own_code import shrink_causal_mask
from ntpscore.text import LabelledText


def fit_scratch(
    model: LanguageModel,
    train: LabelledText,
    test: LabelledText | None = None,
    *,
    config: ScratchConfig | None = None,
    folder: Path | None = None,
    progress: bool | None = None,
) -> AdaptResult:
    """Train a model of the same architecture from random weights, with a head on the mean token.

    Weights and optimiser state are float32; matrix products are in the given model's number format.
    The trained weights are not kept: this is the baseline of what pretraining brings.

    The arguments are those of `fit_lora`; of the model, configuration and tokenizer are used.

    Raises:
        NtpscoreError: bad input, or a loss that is no number.

    Source:
        Next Token Perception Score, section 5 and table 1.
    """
    config = config or ScratchConfig()
    base: Any = model.base
    with seeded_chance(model.device, config.seed):
        fresh = type(base)(copy.deepcopy(base.config)).to(model.device, torch.float32)
        shrink_causal_mask(fresh)
        classifier = MeanTokenClassifier(
            fresh, model.output_width, len(train.classes), model.device,
            reads_both_ways=model.reads_both_ways,
        )  # fmt: skip
    return fit_classifier(
        "scratch", classifier, model, train, test, config, folder=folder, progress=progress
    )
