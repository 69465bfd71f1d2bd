"""The transformer in scikit-learn's hands: its own checks, searches, copies and pickles."""

import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from ntpscore import HiddenStateFeatures, LanguageModel, load_model
from ntpscore.clock import Clock
from ntpscore.errors import DataError, ModelError
from ntpscore.integrations import sklearn as room
from ntpscore.models import load
from ntpscore.models.options import ModelOptions
from ntpscore.reading.features import Place, collect_features
from ntpscore.reading.pooling import POOLINGS
from ntpscore.reading.tokens import tokenize
from tests.support.labelled_texts import make_rows

ROWS = make_rows(40)
TEXTS, LABELS = [row["text"] for row in ROWS], [row["label"] for row in ROWS]


@pytest.fixture(scope="module")
def tiny(tiny_model_dir: Path) -> LanguageModel:
    return load_model(tiny_model_dir)


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    room._kept.of = ()
    load._loaded.clear()


class OfRows(TransformerMixin, BaseEstimator):
    """Numbers spelt out as texts, so that checks that know tables alone run as well."""

    def __init__(self, folder: Any = None) -> None:
        self.folder = folder

    def fit(self, X: Any, y: Any = None) -> "OfRows":
        self._features().fit(self._texts(X, reset=True))
        return self

    def transform(self, X: Any) -> Any:
        return self._features().transform(self._texts(X, reset=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []
        return tags

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        return self._features().get_feature_names_out()

    def _features(self) -> HiddenStateFeatures:
        return HiddenStateFeatures(self.folder, layer=1)

    def _texts(self, X: Any, *, reset: bool) -> list[str]:
        from sklearn.utils.validation import validate_data

        return [
            " ".join(f"{x:.1f}" for x in row[:3]) for row in validate_data(self, X, reset=reset)
        ]


def test_checks_of_scikit_learn_pass_on_numbers_spelt_out(tiny_model_dir: Path) -> None:
    done = check_estimator(OfRows(str(tiny_model_dir)), on_skip=None)
    by_status: dict[str, set[str]] = {}
    for one in done:
        by_status.setdefault(one["status"], set()).add(one["check_name"])
    assert by_status.keys() <= {"passed", "skipped"}
    assert len(by_status["passed"]) > 30
    # Of other kinds of arrays, which are of packages that are not there.
    assert all("array_api" in name for name in by_status.get("skipped", set()))


def test_checks_of_scikit_learn_want_tables_and_say_so(tiny_model_dir: Path) -> None:
    with pytest.warns(Warning, match="Can't test estimator"):
        done = check_estimator(HiddenStateFeatures(str(tiny_model_dir)))
    assert {one["check_name"]: one["status"] for one in done} == {
        "check_estimator_cloneable": "passed"
    }


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("layer", [0, 2, -1])
def test_features_are_those_of_adapt(tiny: LanguageModel, layer: int, pooling: str) -> None:
    texts = list(dict.fromkeys(TEXTS))
    place = Place(layer % 4, pooling)
    expected = collect_features(
        tiny, texts, tokenize(texts, tiny, None), [place], batch_tokens=None,
        clock=Clock(("forward", "fit")), progress=False,
    ).get(*place)  # fmt: skip
    features = HiddenStateFeatures(tiny, layer, pooling)
    np.testing.assert_array_equal(features.fit_transform(texts), expected.float().numpy())
    twice = features.transform([*texts[3:5], *texts[3:5]])
    np.testing.assert_array_equal(twice, expected[[3, 4, 3, 4]].float().numpy())


def test_blocks_above_the_layer_are_not_run(tiny: LanguageModel) -> None:
    ran: list[int] = []
    hooks = [
        block.register_forward_hook(lambda *_, i=i: ran.append(i))
        for i, block in enumerate(tiny.blocks)
    ]
    try:
        HiddenStateFeatures(tiny, layer=2).transform(TEXTS[:3])
    finally:
        for hook in hooks:
            hook.remove()
    assert set(ran) == {0, 1}


def test_a_search_loads_once_and_reads_each_text_once(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Any] = []
    read: list[str] = []
    real_load, real_collect = load.load_model, room.collect_features

    def collect(model: Any, texts: list[str], *args: Any, **keywords: Any) -> Any:
        read.extend(texts)
        return real_collect(model, texts, *args, **keywords)

    monkeypatch.setattr(load, "load_model", lambda *a: loads.append(a) or real_load(*a))
    monkeypatch.setattr(room, "collect_features", collect)
    pipeline = make_pipeline(HiddenStateFeatures(str(tiny_model_dir)), RidgeClassifier())
    grid = {
        "hiddenstatefeatures__layer": [3, 2, 0],
        "hiddenstatefeatures__pooling": ["mean", "last"],
    }
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(TEXTS, LABELS)
    assert len(loads) == 1
    assert sorted(read) == sorted(set(TEXTS))
    assert search.best_score_ > 0.4
    assert search.predict(TEXTS[:2]).shape == (2,)


def test_what_is_kept_is_bounded(tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = list(dict.fromkeys(TEXTS))
    expected = HiddenStateFeatures(tiny, 3).transform(texts)
    room._kept.of = ()
    monkeypatch.setattr(room, "_KEPT_BYTES", 10 * tiny.width * tiny.dtype.itemsize)
    found = HiddenStateFeatures(tiny, 3).transform(texts)
    np.testing.assert_allclose(found, expected, atol=1e-5)  # batches differ: float32
    assert len(room._kept.rows) == 10
    assert room._kept.places == (Place(3, "mean"),)


def test_another_model_in_the_folder_is_loaded_anew(tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model_dir, tmp_path / "model")
    features = HiddenStateFeatures(str(folder))
    before = features.transform(TEXTS[:2])
    model = load_model(folder).model
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(1.5)
    model.save_pretrained(folder)
    assert not np.allclose(features.transform(TEXTS[:2]), before)


def test_copies_share_a_model_that_was_given(tiny: LanguageModel) -> None:
    features = HiddenStateFeatures(tiny, layer=1, pooling="last")
    copy = clone(features)
    assert copy is not features
    assert copy.model is tiny
    assert copy.get_params() == features.get_params()
    assert clone(make_pipeline(features)).steps[0][1].model is tiny
    assert clone([tiny], safe=False)[0] is tiny  # as a search does with the values of its grid


def test_pickles_hold_a_name_and_no_model(
    tiny: LanguageModel, tiny_model_dir: Path, tmp_path: Path
) -> None:
    for model in (str(tiny_model_dir), tiny):
        features = HiddenStateFeatures(model, layer=2)
        expected = features.fit_transform(TEXTS[:4])
        pickled = pickle.dumps(features)
        assert len(pickled) < 3000
        np.testing.assert_array_equal(pickle.loads(pickled).transform(TEXTS[:4]), expected)  # noqa: S301
        joblib.dump(features, tmp_path / "f.joblib")
        found = joblib.load(tmp_path / "f.joblib").transform(TEXTS[:4])
        np.testing.assert_array_equal(found, expected)


def test_a_pickled_model_that_changed_is_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model_dir, tmp_path / "model")
    language_model = load_model(folder)
    pickled = pickle.dumps(language_model)
    with torch.no_grad():
        language_model.model.get_input_embeddings().weight.mul_(1.5)
    language_model.model.save_pretrained(folder)
    with pytest.raises(ModelError, match="not the model that was pickled"):
        pickle.loads(pickled)  # noqa: S301


def test_a_model_without_a_name_is_not_pickled(tiny: LanguageModel) -> None:
    with pytest.raises(ModelError, match="can't be pickled"):
        pickle.dumps(HiddenStateFeatures(replace(tiny, loaded_with=None)))


def test_texts_come_as_people_have_them(tiny: LanguageModel) -> None:
    features = HiddenStateFeatures(tiny)
    expected = features.transform(TEXTS[:4])
    frame = pd.DataFrame({"text": TEXTS[:4], "n": range(4)})
    for X in (tuple(TEXTS[:4]), np.array(TEXTS[:4]), frame["text"], frame[["text"]]):
        np.testing.assert_array_equal(features.transform(X), expected)
    for column in ("text", ["text"]):
        found = make_column_transformer((features, column)).fit_transform(frame)
        np.testing.assert_array_equal(found, expected)
    named = clone(features).set_output(transform="pandas").fit_transform(frame["text"])
    assert list(named)[:2] == ["layer3_mean_0", "layer3_mean_1"]
    assert features.transform([]).shape == (0, tiny.width)


@pytest.mark.parametrize(
    ("X", "told"),
    [
        ("one text", "not one string"),
        ([" "], "text 1 is blank"),
        ([1], "not a string"),
        (np.ones((2, 2)), "one column"),
        (7, "not a int"),
    ],
)
def test_what_is_no_text_is_refused(tiny: LanguageModel, X: Any, told: str) -> None:
    for call in (HiddenStateFeatures(tiny).fit, HiddenStateFeatures(tiny).transform):
        with pytest.raises(DataError, match=told):
            call(X)


def test_parameters_that_make_no_sense_are_refused(tiny: LanguageModel) -> None:
    with pytest.raises(ModelError, match="out of range"):
        HiddenStateFeatures(tiny, layer=9).fit(TEXTS)
    with pytest.raises(DataError, match="no pooling 'max'"):
        HiddenStateFeatures(tiny, pooling="max").fit(TEXTS)
    with pytest.raises(ModelError, match="loaded before"):
        HiddenStateFeatures(tiny, options=ModelOptions(dtype="float32")).fit(TEXTS)
