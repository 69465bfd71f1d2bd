"""The way that every fit on frozen features goes: read, fit heads, evaluate them, write."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from ntpscore.adapt.config import FrozenConfig
from ntpscore.adapt.evaluation import BOOTSTRAP, Evaluation, evaluate
from ntpscore.adapt.head import LinearHead
from ntpscore.adapt.result import (
    STAGES,
    AdaptResult,
    describe_evaluations,
    make_record,
    tabulate_predictions,
    tokenize_splits,
)
from ntpscore.clock import Clock
from ntpscore.models import LanguageModel
from ntpscore.reading.features import Place, collect_features
from ntpscore.reading.reader import check_layers
from ntpscore.text import LabelledText


@dataclass(frozen=True)
class FittedHeads:
    """The heads that a method fitted to features.

    Attributes:
        heads: at least one.
        statistics: of each head, what its method knows of the fit.
        chosen: index of the head that the result is of.
        describe: what only this method has to say in the record, from a row per head: its
            statistics, and its evaluations as `train` and `test`.
        on_train: evaluations of the heads on the texts they were fitted to, where these were fitted
            without their features.
        loss_curve: of training, if there was any.
        warnings: what a reader should know.
    """

    heads: Sequence[LinearHead]
    statistics: Sequence[Mapping[str, Any]] = ({},)
    chosen: int = 0
    describe: Callable[[list[dict[str, Any]]], dict[str, Any]] = field(default=lambda _: {})
    on_train: Sequence[Evaluation] = ()
    loss_curve: pd.DataFrame | None = None
    warnings: Sequence[str] = ()


def find_layer(layer: int | str | None, model: LanguageModel) -> int:
    """The hidden-state index that is meant; None means the last.

    Raises:
        ModelError: the model has no such layer.
    """
    layers = layer if isinstance(layer, str) else [-1 if layer is None else layer]
    return check_layers(layers, model, "--layer")[0]


def fit_on_features(
    method: str,
    fit: Callable[[dict[int, Tensor]], FittedHeads],
    model: LanguageModel,
    train: LabelledText,
    test: LabelledText | None,
    config: FrozenConfig,
    *,
    layers: Sequence[int] | str | None,
    folder: Path | None,
    cache: Path | None,
    progress: bool | None,
    needs_train: bool = True,
) -> AdaptResult:
    """Fit heads to the features of a frozen model; one forward pass over both splits.

    Args:
        method: its name.
        fit: makes heads from (n, d) features by layer.
        model: from `load_model`.
        train: the n texts to fit.
        test: the texts to test; None for none.
        config: of the method.
        layers: hidden states that are needed, see `check_layers`; None means all.
        folder: where the result goes; None keeps it in memory.
        cache: where features are kept; None means the folder.
        progress: show progress bars; None means on a terminal.
        needs_train: whether the fit wants the features of the train split.

    Raises:
        NtpscoreError: bad input.
    """
    clock = Clock(STAGES)
    layers = check_layers(layers, model, "--layer")
    splits = tokenize_splits(model, train, test, config.max_length, clock)
    features: list[dict[int, Tensor]] = []
    notes: list[str] = []
    for split in splits:
        wanted = layers if needs_train or features else ()
        if not wanted:
            features.append({})
            continue
        found = collect_features(
            model,
            split.text.texts,
            split.tokens,
            [Place(layer) for layer in wanted],
            batch_tokens=config.batch_tokens,
            clock=clock,
            cache=cache or folder,
            progress=progress,
        )
        features.append({layer: found.get(layer).float() for layer in wanted})
        notes += found.warnings
    with clock("fit"):
        fitted = fit(features[0])
    chosen = fitted.heads[fitted.chosen]
    rows, evaluations, predictions = [], [], None
    with clock("evaluate"):
        for number, head in enumerate(fitted.heads):
            of_head = list(fitted.on_train[number : number + 1])
            for split, by_split in list(zip(splits, features, strict=True))[len(of_head) :]:
                outputs = head.outputs(by_split[head.layer])
                of_head.append(
                    evaluate(
                        outputs,
                        split.text.labels,
                        task=train.task,
                        split=split.text.source.split,
                        train_labels=train.labels,
                        groups=split.text.groups,
                        kind=head.kind,
                        seed=config.seed,
                        # Only where they are shown: intervals take longer than the fit.
                        bootstrap=BOOTSTRAP if head.layer == chosen.layer else 0,
                    )
                )
                if head is chosen and split is not splits[0]:
                    predictions = tabulate_predictions(outputs, split.text, kind=head.kind)
            rows.append({**fitted.statistics[number], **describe_evaluations(of_head)})
            if head is chosen:
                evaluations = of_head
    curve = fitted.loss_curve
    trainable = len(layers) * chosen.weights[0].numel() * (model.width + 1)
    record = make_record(
        method,
        model,
        splits,
        config,
        layers=layers,
        evaluations=evaluations,
        trainable_parameters=trainable,
        total_parameters=model.model.num_parameters() + trainable,
        clock=clock,
        steps=0 if curve is None else int(curve["step"].iloc[-1]),
        samples_seen=None if curve is None else int(curve["samples"].iloc[-1]),
        warnings=[*notes, *fitted.warnings],
        extra=fitted.describe(rows),
    )
    result = AdaptResult(record, loss_curve=curve, predictions=predictions)
    if folder is not None:
        result.save(folder)
    return result
