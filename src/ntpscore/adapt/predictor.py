"""Labels of new texts from what `adapt` fitted, as an estimator of scikit-learn's kind."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import ClassifierTags, RegressorTags, Tags

from ntpscore.adapt.readout import Readout, load_readout
from ntpscore.adapt.result import HEAD, STAGES, read_adapt_folder
from ntpscore.clock import Clock
from ntpscore.errors import DataError, ModelError, OutputError
from ntpscore.models import LanguageModel, load_model
from ntpscore.models.options import ModelOptions
from ntpscore.options import with_keywords
from ntpscore.reading.features import collect_features
from ntpscore.reading.tokens import TokenizedText, tokenize
from ntpscore.text.unlabelled import load_unlabelled

# What is read at once: enough to sort texts by length, few enough to hold.
CHUNK_TEXTS = 4096
CHUNK_CHARACTERS = 4_000_000

Outputs = npt.NDArray[np.float64]
Text = TypeVar("Text", str, str | None)


class Predictor(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Labels texts with a head that was fitted to a model, and needs no fit of its own.

    Model and head are loaded when they are first needed.

    Args:
        folder: a result folder of `adapt`.
        model: where the model is now, or the model itself from `load_model`; None means where it
            was. Its weights must be the ones that were fitted.
        options: how the model is loaded; its number format is that of the fit unless they say
            another.

    Attributes:
        n_cut: texts so far that were cut to the length limit.
    """

    def __init__(
        self,
        folder: str | Path,
        model: "str | Path | LanguageModel | None" = None,
        options: ModelOptions | None = None,
    ) -> None:
        self.folder = folder
        self.model = model
        self.options = options
        self.n_cut = 0
        self._readout: Readout | None = None
        self._language_model: LanguageModel | None = None

    @property
    def readout(self) -> Readout:
        """The head and what it is of.

        Raises:
            OutputError: the folder has no complete result of adapt, or no head that can be read.
        """
        if self._readout is None:
            saved = read_adapt_folder(self.folder)
            if HEAD not in saved.files:
                raise OutputError(
                    f"{self.folder} holds no {HEAD}: {saved.record['method']} keeps none, or "
                    "its result was not kept whole. Fit another method"
                )
            self._readout = load_readout(saved.path(HEAD))
        return self._readout

    @property
    def language_model(self) -> LanguageModel:
        """The model.

        Raises:
            ModelError: it can't be loaded, or is not the one that was fitted.
        """
        if self._language_model is None:
            self._language_model = self._find_model()
        return self._language_model

    @property
    def classes_(self) -> npt.NDArray[Any]:
        """The names of classes, in the order of `predict_proba`; of regression, of targets."""
        return np.array(self.readout.classes, dtype=object)

    def fit(self, X: Any = None, y: Any = None) -> "Predictor":  # noqa: ARG002
        """Does nothing: `adapt` has fitted it. Pipelines want it, as of a `FrozenEstimator`."""
        return self

    def predict(self, X: Iterable[str] | pd.DataFrame) -> npt.NDArray[Any]:
        """The labels of texts.

        Args:
            X: n texts, built as those that were fitted: a pair is two texts with a line break
                between them, a template is filled in. Or a data frame, whose columns are used as
                those that were fitted.

        Returns:
            (n,) names of classes; or (n, c) of 0 and 1 where there are several labels; or (n,)
            targets in their own unit, (n, t) if there are several.

        Raises:
            NtpscoreError: something in it is no text, or as `readout` and `language_model`.
        """
        predicted = self.readout.predict(self._outputs(X))
        is_one_target = self.readout.task == "regression" and predicted.shape[1] == 1
        return predicted.ravel() if is_one_target else predicted

    def predict_proba(self, X: Iterable[str] | pd.DataFrame) -> Outputs:
        """(n, c) probabilities of the classes, which add up to 1, or of each label.

        Those of least squares without a penalty are estimates that were cut to between 0 and 1.

        Args:
            X: as for `predict`.

        Raises:
            NtpscoreError: targets of regression have no probabilities; or as `predict`.
        """
        self.readout.check_has_probabilities()
        return self.readout.predict_proba(self._outputs(X))

    def __getstate__(self) -> dict[str, Any]:
        """Without the model, which is found again by its name."""
        return {**super().__getstate__(), "_language_model": None}

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        if self.readout.task == "regression":
            tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        else:
            tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
            tags.classifier_tags.multi_label = self.readout.task == "multilabel"
        return tags

    def _outputs(self, texts: Iterable[str] | pd.DataFrame) -> Outputs:
        if isinstance(texts, str):
            raise DataError("texts must be a sequence of strings, not one string: put it in a list")
        if isinstance(texts, pd.DataFrame):
            columns, template = self.readout.columns, self.readout.template
            rows = load_unlabelled(texts, columns=columns, template=template) if len(texts) else []
            texts = [text for text in rows if text is not None]
        empty = np.empty((0, len(self.readout.classes)))
        with self.opened() as outputs_of:
            chunks = [outputs_of(chunk) for chunk in cut_into_chunks(check_texts(texts))]
        return np.concatenate([empty, *chunks])

    @contextmanager
    def opened(self) -> Iterator[Callable[[Sequence[str]], Outputs]]:
        """Makes (m, c) outputs of m texts, as many as fit into memory, while the block runs.

        Raises:
            NtpscoreError: as `readout` and `language_model`.
        """
        readout, model = self.readout, self.language_model
        head = readout.head

        def tokens_of(texts: Sequence[str]) -> TokenizedText:
            tokens = tokenize(texts, model, readout.max_length)
            self.n_cut += tokens.truncated
            return tokens

        def outputs_of_features(texts: Sequence[str]) -> Outputs:
            tokens = tokens_of(texts)
            features = collect_features(
                model, texts, tokens, [head.place], batch_tokens=None,
                clock=Clock(STAGES), progress=False,
            )  # fmt: skip
            return head.outputs(features.get(*head.place))

        if readout.method != "lora":
            yield outputs_of_features
            return
        from ntpscore.adapt.lora import load_classifier
        from ntpscore.adapt.training import predict

        with load_classifier(model, Path(self.folder), head) as classifier:
            yield lambda texts: predict(classifier, model, tokens_of(texts), progress=False).astype(
                np.float64
            )

    def _find_model(self) -> LanguageModel:
        fitted = self.readout.model
        model = self.model
        if not isinstance(model, LanguageModel):
            options = self.options or ModelOptions()
            if options.dtype == "auto":
                options = replace(options, dtype=fitted["dtype"])
            if model is None and options.revision is None and fitted["content_hash"] is None:
                options = replace(options, revision=fitted["revision"])
            try:
                model = load_model(fitted["id"] if model is None else model, options)
            except ModelError as error:
                raise ModelError(
                    f"{self.folder} needs its model, {fitted['id']}: {error}. If it is elsewhere "
                    "now, say where with --model"
                ) from error
        # The hash of the weights says it all; what is from the hub has a commit instead.
        names = ["content_hash" if fitted["content_hash"] else "revision", "tokenizer_revision"]
        for name in [*names, "width"]:
            if getattr(model, name) != fitted[name]:
                raise ModelError(
                    f"{model.id} is not the model that {self.folder} was fitted to: its {name} is "
                    f"{getattr(model, name)}, that of {fitted['id']} was {fitted[name]}"
                )
        return model


def load_predictor(
    folder: str | Path,
    model: "str | Path | LanguageModel | None" = None,
    options: ModelOptions | None = None,
    **keywords: Any,
) -> Predictor:
    """What labels new texts with the result of `adapt` in a folder.

    Args:
        folder: the result folder.
        model: where the model is now, or the model itself; None means where it was.
        options: how the model is loaded; in the number format of the fit unless they say another.
        keywords: options by name, such as `device="cuda"`.

    Raises:
        OutputError: the folder has no result of adapt that keeps a head, or it is damaged.
        ModelError: the model can't be loaded, or is not the one that was fitted.
    """
    predictor = Predictor(folder, model, with_keywords(keywords, options or ModelOptions())[0])
    _ = predictor.readout, predictor.language_model
    return predictor


def cut_into_chunks(texts: Iterable[Text]) -> Iterator[list[Text]]:
    """Texts, or None for some, in lists of so many texts and characters at most."""
    chunk: list[Text] = []
    characters = 0
    for text in texts:
        length = len(text or "")
        if chunk and (len(chunk) == CHUNK_TEXTS or characters + length > CHUNK_CHARACTERS):
            yield chunk
            chunk, characters = [], 0
        chunk.append(text)
        characters += length
    if chunk:
        yield chunk


def check_texts(texts: Iterable[str]) -> Iterator[str]:
    """The same texts, if all are strings with something in them.

    Raises:
        DataError: one is not.
    """
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str) or not text.strip():
            what = "blank" if isinstance(text, str) else f"a {type(text).__name__}, not a string"
            raise DataError(f"text {number} is {what}")
        yield text
