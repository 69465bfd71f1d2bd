"""The way that every fit on frozen features goes: read, fit heads, evaluate them, write."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from ntpscore.adapt.config import FrozenConfig
from ntpscore.adapt.evaluation import BOOTSTRAP, Evaluation, evaluate_split
from ntpscore.adapt.head import LinearHead
from ntpscore.adapt.readout import Readout
from ntpscore.adapt.record import (
    Split,
    describe_evaluations,
    make_record,
    tabulate_predictions,
    tokenize_splits,
)
from ntpscore.adapt.result import STAGES, AdaptResult
from ntpscore.clock import Clock
from ntpscore.models import LanguageModel
from ntpscore.reading.features import Features, Place, collect_features
from ntpscore.reading.reader import check_layers
from ntpscore.reading.tokens import TokenizedText
from ntpscore.result_folder import holds_folder
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
    """The hidden-state index that is meant; None means the last."""
    layers = layer if isinstance(layer, str) else [-1 if layer is None else layer]
    return check_layers(layers, model, "--layer")[0]


class SplitFeatures:
    """The features of one split, read when they are wanted, and no place twice.

    Args:
        model: from `load_model`.
        split: of which.
        batch_tokens: tokens per batch, padding included; None chooses.
        clock: counts the stages `forward` and `fit`.
        cache: where they are kept; None keeps them in memory only.
        progress: show a bar.

    Attributes:
        warnings: what a reader should know.
        seconds: that reading took.
    """

    def __init__(
        self,
        model: LanguageModel,
        split: Split,
        batch_tokens: int | None,
        clock: Clock,
        cache: Path | None,
        progress: bool | None,
    ) -> None:
        self._split = split
        self._collect = partial(
            collect_features,
            model,
            batch_tokens=batch_tokens,
            clock=clock,
            cache=cache,
            progress=progress,
        )
        self._by_place: dict[Place, Tensor] = {}
        self._files: list[Features] = []
        self.warnings: list[str] = []
        self.seconds = 0.0

    def of(self, places: Sequence[Place], rows: Sequence[int] | None = None) -> dict[Place, Tensor]:
        """(n, d) features by place, of all texts or of some, in the number format of the pass."""
        start = time.perf_counter()
        texts, tokens = self._split.text.texts, self._split.tokens
        known = self._by_place
        if rows is not None:
            texts = [texts[row] for row in rows]
            tokens = TokenizedText([tokens.ids[row] for row in rows], tokens.truncated)
            known = {}
        if missing := [place for place in places if place not in known]:
            features = self._collect(texts, tokens, missing)
            self._files.append(features)  # a temporary one is deleted with its last reference
            known |= {place: features.get(*place) for place in missing}
            self.warnings += features.warnings
        self.seconds += time.perf_counter() - start
        return {place: known[place] for place in places}


@holds_folder
def fit_on_features(
    method: str,
    fit: Callable[[SplitFeatures], FittedHeads],
    model: LanguageModel,
    train: LabelledText,
    test: LabelledText | None,
    config: FrozenConfig,
    *,
    folder: Path | None,
    cache: Path | None,
    progress: bool | None,
) -> AdaptResult:
    """Fit heads to the features of a frozen model; one forward pass over both splits.

    Args:
        method: its name.
        fit: makes heads from the features of the train split.
        model: from `load_model`.
        train: the n texts to fit.
        test: the texts to test; None for none.
        config: of the method.
        folder: where the result goes; None keeps it in memory.
        cache: where features are kept; None means the folder.
        progress: show progress bars; None means on a terminal.
    """
    clock = Clock(STAGES)
    splits = tokenize_splits(model, train, test, config.max_length, clock)
    features = [
        SplitFeatures(model, split, config.batch_tokens, clock, cache or folder, progress)
        for split in splits
    ]
    start = time.perf_counter()
    fitted = fit(features[0])
    clock.add("fit", time.perf_counter() - start - features[0].seconds)
    chosen = fitted.heads[fitted.chosen]
    places = list(dict.fromkeys(head.place for head in fitted.heads))
    of_splits = [reader.of(places) for reader in features[1 if fitted.on_train else 0 :]]
    rows, evaluations, predictions = [], [], None
    with clock("evaluate"):
        for number, head in enumerate(fitted.heads):
            of_head = list(fitted.on_train[number : number + 1])
            for split, by_place in zip(splits[len(of_head) :], of_splits, strict=True):
                outputs = head.outputs(by_place[head.place])
                # Intervals only where they are shown: they take longer than the fit.
                bootstrap = BOOTSTRAP if head.place == chosen.place else 0
                how = {"kind": head.kind, "seed": config.seed, "bootstrap": bootstrap}
                of_head.append(evaluate_split(outputs, split.text, train, **how))
                if head is chosen and split is not splits[0]:
                    predictions = tabulate_predictions(outputs, split.text, kind=head.kind)
            rows.append({**fitted.statistics[number], **describe_evaluations(of_head)})
            if head is chosen:
                evaluations = of_head
    curve = fitted.loss_curve
    trainable = len(places) * len(chosen.intercept) * (model.width + 1)
    record = make_record(
        method,
        model,
        splits,
        config,
        layers=sorted({place.layer for place in places}),
        evaluations=evaluations,
        trainable_parameters=trainable,
        total_parameters=model.model.num_parameters() + trainable,
        clock=clock,
        steps=0 if curve is None else int(curve["step"].iloc[-1]),
        samples_seen=None if curve is None else int(curve["samples"].iloc[-1]),
        warnings=[*chain(*(reader.warnings for reader in features)), *fitted.warnings],
        extra={"layer": chosen.layer, "pooling": chosen.pooling, **fitted.describe(rows)},
    )
    result = AdaptResult(
        record,
        loss_curve=curve,
        predictions=predictions,
        readout=Readout.of_fit(chosen, method, model, train, config.max_length),
    )
    if folder is not None:
        result.complete(folder)
    return result
