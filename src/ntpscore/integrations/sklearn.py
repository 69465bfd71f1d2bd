"""Hidden states as features of scikit-learn: texts in, an array out."""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from torch import Tensor

from ntpscore.adapt.predictor import check_texts, cut_into_chunks
from ntpscore.clock import Clock
from ntpscore.errors import DataError, ModelError
from ntpscore.models import LanguageModel
from ntpscore.models.load import load_once
from ntpscore.models.options import ModelOptions
from ntpscore.reading.features import Place, collect_features
from ntpscore.reading.pooling import POOLINGS
from ntpscore.reading.reader import check_layers
from ntpscore.reading.tokens import tokenize

# Features that are kept of texts that were read last.
_KEPT_BYTES = 1 << 30
_STAGES = ("forward", "fit")


class HiddenStateFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # without types
    """What a frozen language model makes of texts: the pooled hidden states of one layer.

    The features are those that `adapt` fits. Only the blocks up to the layer are run. Nothing is
    fitted: `transform` may be called at once.

    A model that is named is loaded once in a process, whichever estimators use it; another one, or
    other options, take its place. Features of all layers up to the one asked for are kept in
    memory, as far as a gigabyte goes, so that a search over layers, poolings and folds reads each
    text about once: begin with the deepest layer. Copies and pickles hold the name alone; a model
    that was given itself is shared by clones, and pickled by its name and options, if it has one.

    Args:
        model: folder, `.gguf` file, short name, hub id, or a model from `load_model`.
        layer: hidden-state index, 0 (embedding) to L; -1 is the last.
        pooling: of tokens, one of `ntpscore.reading.pooling.POOLINGS`: `mean`, `last`.
        max_length: tokens after which a text is cut; None means the model's context.
        batch_tokens: tokens per batch, padding included; None means what suits the device.
        options: how a model that is named is loaded.
    """

    def __init__(
        self,
        model: str | Path | LanguageModel,
        layer: int = -1,
        pooling: str = "mean",
        *,
        max_length: int | None = None,
        batch_tokens: int | None = None,
        options: ModelOptions | None = None,
    ) -> None:
        self.model = model
        self.layer = layer
        self.pooling = pooling
        self.max_length = max_length
        self.batch_tokens = batch_tokens
        self.options = options

    def fit(self, X: Any, y: Any = None) -> "HiddenStateFeatures":  # noqa: ARG002
        """Check texts and parameters, and load the model; nothing is learnt.

        Args:
            X: n texts: a sequence, an array, a column of a data frame.
            y: not used.

        Raises:
            NtpscoreError: no texts, no such layer or pooling, or the model can't be loaded.
        """
        _texts_of(X)
        _ = self._language_model_and_place()
        return self

    def transform(self, X: Any) -> npt.NDArray[Any]:
        """(n, d) features, in float32, of a float64 model in float64.

        Args:
            X: as for `fit`.

        Raises:
            NtpscoreError: as `fit`, or the model fails on a text.
        """
        texts = _texts_of(X)
        model, place = self._language_model_and_place()
        rows = _kept.features(model, texts, place, self.max_length, self.batch_tokens)
        dtype = torch.float64 if model.dtype == torch.float64 else torch.float32
        features: npt.NDArray[Any] = rows.to(dtype).numpy()
        return features

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[Any]:  # noqa: ARG002
        """Names of the d features: layer, pooling, coordinate."""
        model, (layer, pooling) = self._language_model_and_place()
        names = [f"layer{layer}_{pooling}_{i}" for i in range(model.width)]
        return np.array(names, dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_clone__(self) -> "HiddenStateFeatures":
        return type(self)(**self.get_params(deep=False))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []
        tags.input_tags.string, tags.input_tags.one_d_array = True, True
        tags.input_tags.two_d_array = False
        return tags

    def _language_model_and_place(self) -> tuple[LanguageModel, Place]:
        if self.pooling not in POOLINGS:
            raise DataError(
                f"there is no pooling {self.pooling!r}: choose from {', '.join(POOLINGS)}"
            )
        model = self.model
        if not isinstance(model, LanguageModel):
            model = load_once(model, self.options or ModelOptions())
        elif self.options is not None:
            raise ModelError("options can't be chosen for a model that was loaded before")
        (layer,) = check_layers([self.layer], model, "layer")
        return model, Place(layer, self.pooling)


def _texts_of(X: Any) -> list[str]:
    """Texts of a sequence, an array, a series, or the only column of a table."""
    if isinstance(X, str):
        raise DataError("texts must be a sequence of strings, not one string: put it in a list")
    values = X.to_numpy() if hasattr(X, "to_numpy") else X
    if isinstance(values, np.ndarray):
        if values.ndim != 1 and (values.ndim != 2 or values.shape[1] != 1):
            raise DataError(f"texts must be one column, got an array of shape {values.shape}")
        values = values.ravel().tolist()
    if not isinstance(values, Iterable):
        raise DataError(f"texts must be a sequence of strings, not a {type(X).__name__}")
    return list(check_texts(values))


@dataclass
class _Kept:
    """Features of texts that were read last, of one model, length limit and set of places."""

    of: tuple[Any, ...] = ()
    places: tuple[Place, ...] = ()
    rows: OrderedDict[str, Tensor] = field(default_factory=OrderedDict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def features(
        self,
        model: LanguageModel,
        texts: list[str],
        place: Place,
        max_length: int | None,
        batch_tokens: int | None,
    ) -> Tensor:
        """(n, d) features of a place."""
        with self.lock:
            # The tokenizer is part of it, and what can't be told from another is not kept.
            is_known = model.content_hash is not None or model.revision is not None
            of = (*model.identity, str(model.device), max_length) if is_known else ()
            if not is_known or of != self.of or place not in self.places:
                self.of, self.places = of, ()
                self.rows.clear()
            missing = [text for text in dict.fromkeys(texts) if text not in self.rows]
            n_bytes = model.width * model.dtype.itemsize
            if not self.places:
                below = [Place(i, p) for i in range(place.layer + 1) for p in POOLINGS]
                fits = len(missing) * len(below) * n_bytes <= _KEPT_BYTES
                self.places = tuple(below) if is_known and fits else (place,)
            for chunk in cut_into_chunks(missing):
                read = collect_features(
                    model, chunk, tokenize(chunk, model, max_length), self.places,
                    batch_tokens=batch_tokens, clock=Clock(_STAGES), progress=False,
                )  # fmt: skip
                values = torch.stack([read.get(*one) for one in self.places], 1)
                self.rows.update(zip(chunk, values.unbind(), strict=True))
            for text in dict.fromkeys(texts):
                self.rows.move_to_end(text)
            index = self.places.index(place)
            empty = torch.empty(0, model.width, dtype=model.dtype)
            found = torch.stack([self.rows[text][index] for text in texts]) if texts else empty
            most = _KEPT_BYTES // (n_bytes * len(self.places)) if is_known else 0
            while len(self.rows) > most:
                self.rows.popitem(last=False)
        return found


_kept = _Kept()
