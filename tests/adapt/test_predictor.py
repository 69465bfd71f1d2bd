"""Labels of new texts: what adapt itself said, and scikit-learn's conventions."""

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from ntpscore import LanguageModel, load_model, load_predictor
from ntpscore.adapt import (
    METHODS,
    AdaptResult,
    LoraConfig,
    OlsConfig,
    ProbeConfig,
    RidgeConfig,
    ScratchConfig,
    fit_ols,
    fit_probe,
    fit_ridge,
    fit_scratch,
    predictor,
)
from ntpscore.adapt.predictor import Predictor
from ntpscore.adapt.readout import load_readout
from ntpscore.adapt.result import HEAD
from ntpscore.errors import DataError, ModelError, NtpscoreError, OutputError
from ntpscore.text import Splits, load_splits, load_text
from tests.support.labelled_texts import make_rows, write_rows

CONFIGS: dict[str, Any] = {
    "ols": OlsConfig(layers=(1, 2), ridge=True),
    "probe": ProbeConfig(layer=2, epochs=5, learning_rate=0.01),
    "lora": LoraConfig(steps=5, batch_size=4, rank=4, learning_rate=1e-2),
}
KEPT = [name for name in METHODS if name != "scratch"]


def fit(method: str, model: LanguageModel, splits: Splits, folder: Path) -> AdaptResult:
    return METHODS[method].fit(model, *splits, config=CONFIGS.get(method), folder=folder)


@pytest.fixture(scope="module")
def ridge_folder(
    tiny: LanguageModel, splits: Splits, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("ridge")
    fit_ridge(tiny, *splits, folder=folder)
    return folder


@pytest.mark.parametrize("method", KEPT)
def test_labels_are_those_of_adapt(
    method: str, tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    result = fit(method, tiny, splits, tmp_path)
    labeller = load_predictor(tmp_path, model=tiny)
    predicted = labeller.predict(splits.test.texts)
    assert predicted.tolist() == result.predictions["predicted"].tolist()
    assert list(labeller.classes_) == list(splits.train.classes)
    probabilities = labeller.predict_proba(splits.test.texts)
    np.testing.assert_allclose(probabilities.sum(1), 1.0, atol=1e-12)
    assert (probabilities >= 0).all()
    assert (labeller.classes_[probabilities.argmax(1)] == predicted).all()
    # One by one: batches and padding change the last digits only.
    alone = np.concatenate([labeller.predict_proba([text]) for text in splits.test.texts[:5]])
    np.testing.assert_allclose(alone, probabilities[:5], atol=1e-4)


@pytest.mark.parametrize("method", ["ridge", "ols", "probe", "lora"])
def test_targets_come_in_their_own_unit(
    method: str, tiny: LanguageModel, regression: Splits, tmp_path: Path
) -> None:
    result = fit(method, tiny, regression, tmp_path)
    labeller = load_predictor(tmp_path, model=tiny)
    predicted = labeller.predict(regression.test.texts)
    assert predicted.shape == (50,)
    np.testing.assert_array_equal(predicted, result.predictions["predicted label"])
    assert is_regressor(labeller)
    with pytest.raises(NtpscoreError, match="no probabilities"):
        labeller.predict_proba(regression.test.texts)


@pytest.mark.parametrize("method", KEPT)
def test_several_labels_are_a_matrix_of_0_and_1(
    method: str, tiny: LanguageModel, multilabel: Splits, tmp_path: Path
) -> None:
    result = fit(method, tiny, multilabel, tmp_path)
    labeller = load_predictor(tmp_path, model=tiny)
    predicted = labeller.predict(multilabel.test.texts)
    names = [f"predicted {name}" for name in labeller.classes_]
    np.testing.assert_array_equal(predicted, result.predictions[names])
    probabilities = labeller.predict_proba(multilabel.test.texts)
    assert ((probabilities > 0.5) == (predicted == 1)).all()
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


def test_several_targets_are_columns(tiny: LanguageModel, tmp_path: Path) -> None:
    rows = [
        {**row, "long": len(row["text"]) / 3, "words": row["text"].count(" ") / 2}
        for row in make_rows(60)
    ]
    data = write_rows(tmp_path / "two.jsonl", rows)
    splits = load_splits(data, label_column="long,words", task="regression")
    result = fit_ridge(tiny, *splits, folder=tmp_path / "out")
    predicted = load_predictor(tmp_path / "out", model=tiny).predict(splits.test.texts)
    np.testing.assert_array_equal(
        predicted, result.predictions[["predicted long", "predicted words"]]
    )


def test_scikit_learns_conventions(ridge_folder: Path, tiny: LanguageModel, splits: Splits) -> None:
    labeller = Predictor(ridge_folder, tiny)
    assert set(labeller.get_params()) == {"folder", "model", "options"}
    again = clone(Predictor(str(ridge_folder)))
    assert again.get_params()["folder"] == str(ridge_folder)
    assert is_classifier(labeller)
    assert "Predictor(" in repr(Predictor(str(ridge_folder)))
    pipeline = make_pipeline(
        FunctionTransformer(lambda texts: [t.strip() for t in texts]), labeller
    )
    padded = [f"  {text}\n" for text in splits.test.texts[:6]]
    expected = labeller.predict(splits.test.texts[:6])
    np.testing.assert_array_equal(pipeline.predict(padded), expected)
    assert pipeline.fit(padded, expected).predict(padded).tolist() == expected.tolist()
    np.testing.assert_array_equal(pipeline.classes_, labeller.classes_)
    for texts in (np.array(splits.test.texts[:6]), pd.Series(splits.test.texts[:6]),
                  iter(splits.test.texts[:6]), tuple(splits.test.texts[:6])):  # fmt: skip
        np.testing.assert_array_equal(labeller.predict(texts), expected)


def test_no_text_has_no_label(ridge_folder: Path, tiny: LanguageModel) -> None:
    labeller = Predictor(ridge_folder, tiny)
    assert labeller.predict([]).shape == (0,)
    assert labeller.predict_proba([]).shape == (0, 3)
    assert labeller.predict(pd.DataFrame({"text": []})).shape == (0,)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a cat", "not one string"),
        (["a cat", None], "text 2 is a NoneType"),
        (["a cat", "  \n"], "text 2 is blank"),
        ([["a", "cat"]], "text 1 is a list"),
    ],
)
def test_what_is_no_text_is_refused(
    ridge_folder: Path, tiny: LanguageModel, texts: object, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Predictor(ridge_folder, tiny).predict(texts)


def test_only_layers_up_to_the_heads_are_run(
    tiny_model_dir: Path, splits: Splits, tmp_path: Path
) -> None:
    model = load_model(tiny_model_dir)
    fit_ols(model, *splits, config=OlsConfig(layers=(1,)), folder=tmp_path)
    ran: list[int] = []
    for number, block in enumerate(model.blocks):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    load_predictor(tmp_path, model=model).predict(splits.test.texts[:3])
    assert set(ran) == {0}


def test_chunks_are_labelled_as_a_whole(
    ridge_folder: Path, tiny: LanguageModel, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    labeller = Predictor(ridge_folder, tiny)
    whole = labeller.predict_proba(splits.test.texts)
    monkeypatch.setattr(predictor, "CHUNK_TEXTS", 7)
    monkeypatch.setattr(predictor, "CHUNK_CHARACTERS", 150)
    chunks = list(predictor.cut_into_chunks(splits.test.texts))
    assert [text for chunk in chunks for text in chunk] == splits.test.texts
    assert all(len(chunk) <= 7 and sum(map(len, chunk)) <= 150 for chunk in chunks)
    assert {len(chunk) for chunk in chunks} != {7}
    # Float32 passes differ in their last digits with the batch.
    np.testing.assert_allclose(labeller.predict_proba(splits.test.texts), whole, atol=1e-4)
    assert list(predictor.cut_into_chunks(["x" * 200, "y"])) == [["x" * 200], ["y"]]


def test_cut_texts_are_counted(tiny: LanguageModel, splits: Splits, tmp_path: Path) -> None:
    fit_ridge(tiny, *splits, config=RidgeConfig(layer=1, max_length=4), folder=tmp_path)
    labeller = load_predictor(tmp_path, model=tiny)
    long = "the cat sat on the mat and looked at the rain"
    assert labeller.predict(["a", long])[1] == labeller.predict([long + " again"])[0]
    assert labeller.n_cut == 2


def test_pairs_and_templates_are_built_from_columns(tiny: LanguageModel, tmp_path: Path) -> None:
    rows = [
        {"a": row["text"], "b": row["text"][::-1], "label": row["label"], "split": row["split"]}
        for row in make_rows(60)
    ]
    data = write_rows(tmp_path / "pairs.jsonl", rows)
    frame = pd.DataFrame(rows)
    new = frame[frame["split"] == "test"].drop(columns=["label", "split"])
    for options in ({"text_column": "a", "pair_column": "b"}, {"template": "{b} & {a}"}):
        splits = load_splits(data, **options)
        result = fit_ridge(tiny, *splits, folder=tmp_path / "out")
        labeller = load_predictor(tmp_path / "out", model=tiny)
        expected = result.predictions["predicted"].tolist()
        assert labeller.predict(new).tolist() == expected
        assert labeller.predict(splits.test.texts).tolist() == expected
    with pytest.raises(DataError, match="has no column 'b'"):
        labeller.predict(new.drop(columns="b"))


def test_the_model_is_loaded_as_it_was(
    ridge_folder: Path, tiny_model_dir: Path, splits: Splits
) -> None:
    labeller = load_predictor(ridge_folder, dtype="float32")
    assert labeller.language_model.id == str(tiny_model_dir)
    assert labeller.language_model.dtype == torch.float32
    assert len(labeller.predict(splits.test.texts)) == 50
    with pytest.raises(NtpscoreError, match="no option 'nonsense'"):
        load_predictor(ridge_folder, nonsense=1)


def test_another_model_is_refused(
    ridge_folder: Path, tiny: LanguageModel, tiny_model_dir: Path, tmp_path: Path
) -> None:
    for other, word in (
        (replace(tiny, content_hash="0" * 64), "its content_hash is 0000"),
        (replace(tiny, tokenizer_revision="else"), "its tokenizer_revision is else"),
    ):
        with pytest.raises(ModelError, match=word):
            load_predictor(ridge_folder, model=other)
    moved = shutil.copytree(tiny_model_dir, tmp_path / "moved")
    assert load_predictor(ridge_folder, model=moved).language_model.id == str(moved)
    weights = load_file(moved / "model.safetensors")
    save_file(
        {k: v + 1e-3 for k, v in weights.items()}, moved / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(ModelError, match=r"is not the model that .* was fitted to"):
        load_predictor(ridge_folder, model=moved)
    with pytest.raises(ModelError, match="say where with --model"):
        load_predictor(ridge_folder, model=tmp_path / "nowhere")


def test_a_revision_tells_models_of_the_hub_apart(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    hub = replace(tiny, id="someone/tiny", content_hash=None, revision="abc")
    fit_ridge(hub, splits.train, None, folder=tmp_path)
    assert len(load_predictor(tmp_path, model=hub).predict(["a cat"])) == 1
    with pytest.raises(ModelError, match="its revision is def"):
        load_predictor(tmp_path, model=replace(hub, revision="def"))


def test_the_model_is_left_as_it_was(tiny_model_dir: Path, splits: Splits, tmp_path: Path) -> None:
    model = load_model(tiny_model_dir)
    fit("lora", model, splits, tmp_path)
    modules = [id(module) for module in model.model.modules()]
    before = {key: value.clone() for key, value in model.model.state_dict().items()}
    load_predictor(tmp_path, model=model).predict(splits.test.texts)
    assert [id(module) for module in model.model.modules()] == modules
    after = model.model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert not any(parameter.requires_grad for parameter in model.model.parameters())


# -- folders and files ---------------------------------------------------------------------------


def test_folders_without_a_head_say_what_to_do(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="no complete result of adapt"):
        load_predictor(tmp_path)
    fit_scratch(tiny, splits.train, config=ScratchConfig(steps=1), folder=tmp_path / "scratch")
    with pytest.raises(OutputError, match=r"holds no head\.safetensors"):
        load_predictor(tmp_path / "scratch")
    fit_probe(tiny, splits.train, None, folder=tmp_path / "old")
    (tmp_path / "old" / HEAD).unlink()
    with pytest.raises(OutputError, match=r"no complete result: head\.safetensors is missing"):
        load_predictor(tmp_path / "old")
    (tmp_path / "old" / "result.json").write_text('{"kind": "score", "schema_version": 1}')
    with pytest.raises(OutputError, match="no result of adapt"):
        load_predictor(tmp_path / "old")


def change(**changes: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            note = json.loads(file.metadata()["readout"])
        metadata = {"schema_version": "1", "readout": json.dumps({**note, **changes})}
        save_file(load_file(path), path, metadata)

    return write


def change_tensor(name: str, tensor: torch.Tensor | None) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        tensors = load_file(path) | {name: tensor}
        save_file({k: v for k, v in tensors.items() if v is not None}, path, metadata)

    return write


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(b"\x80\x04\x95pickled"),
        lambda path: torch.save({"weights": torch.zeros(2)}, path),
        lambda path: save_file({"weights": torch.zeros(2)}, path, {"schema_version": "1"}),
        lambda path: save_file({}, path, {"schema_version": "1", "readout": "[]"}),
        lambda path: save_file({}, path, {"schema_version": "1", "readout": "{}"}),
        change(layer=99),
        change(layer=1.5),
        change(layer=True),
        change(pooling="first"),
        change(kind="votes"),
        change(task="guessing"),
        change(sharpness=-1),
        change(classes=["only one"]),
        change(classes=["a", "b", 3]),
        change(model=None),
        change(model={}),
        change(more="than there is"),
        change(task="regression"),
        change_tensor("weights", None),
        change_tensor("weights", torch.zeros(31, 3, dtype=torch.float64)),
        change_tensor("weights", torch.zeros(32, 3)),
        change_tensor("intercept", torch.full((3,), torch.nan, dtype=torch.float64)),
        change_tensor("scale", torch.zeros(32, dtype=torch.float64)),
        change_tensor("strange", torch.zeros(2)),
    ],
)
def test_a_damaged_head_is_refused(
    ridge_folder: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    folder = shutil.copytree(ridge_folder, tmp_path / "copy")
    damage(folder / HEAD)
    with pytest.raises(OutputError, match="not the file that was written"):
        _ = Predictor(folder).readout
    with pytest.raises(OutputError, match=r"head\.safetensors"):
        load_readout(folder / HEAD)


def test_a_head_of_a_later_version_is_refused(ridge_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(ridge_folder, tmp_path / "copy")
    save_file(load_file(folder / HEAD), folder / HEAD, {"schema_version": "2"})
    with pytest.raises(OutputError, match="has schema version 2, this ntpscore reads 1"):
        load_readout(folder / HEAD)


def test_a_result_is_replaced_whole(tiny: LanguageModel, splits: Splits, tmp_path: Path) -> None:
    fit_ridge(tiny, *splits, folder=tmp_path)
    fit_scratch(tiny, splits.train, config=ScratchConfig(steps=1), folder=tmp_path)
    assert not (tmp_path / HEAD).exists()
    assert not (tmp_path / "predictions.csv").exists()


ODD = ["=1+1", "-1", '@x, "y"', "line\nbreak", "naïve 🙂", "NA", "x\ty", "'quoted'"]


def test_odd_names_survive(tiny: LanguageModel, tmp_path: Path) -> None:
    rows = make_rows(160)
    for number, row in enumerate(rows):
        row["label"] = ODD[number % len(ODD)]
    data = write_rows(tmp_path / "odd.jsonl", rows)
    splits = load_splits(data, task="classification", keep_missing_names=True)
    assert set(splits.train.classes) == set(ODD)
    result = fit_ridge(tiny, *splits, folder=tmp_path / "out")
    labeller = load_predictor(tmp_path / "out", model=tiny)
    assert set(labeller.classes_) == set(ODD)
    predicted = labeller.predict(splits.test.texts)
    assert predicted.tolist() == result.predictions["predicted"].tolist()
    assert set(predicted) <= set(ODD)


# -- the least there can be ---------------------------------------------------------------------

LEAST = {
    "a text per class": pd.DataFrame(
        {"text": ["cat", "dog", "hen", "rain"], "label": list("abcd")}
    ),
    "two classes of one text": pd.DataFrame({"text": ["cat", "rain"], "label": ["a", "b"]}),
    "two targets": pd.DataFrame({"text": ["cat", "rain"], "label": [0.5, 1.5]}),
    "a label that all have": pd.DataFrame(
        {"text": ["cat", "dog", "hen"], "label": [["a"], ["a", "b"], ["a"]]}
    ),
}


@pytest.mark.parametrize("case", LEAST)
@pytest.mark.parametrize("method", KEPT)
def test_the_least_there_can_be_is_fitted_and_labelled(
    case: str, method: str, tiny: LanguageModel, tmp_path: Path
) -> None:
    text = load_text(LEAST[case])
    if method == "logistic" and text.task == "regression":
        pytest.skip("logistic regression has no targets")
    config = replace(CONFIGS["lora"], steps=1) if method == "lora" else None
    METHODS[method].fit(tiny, text, None, config=config, folder=tmp_path)
    labeller = load_predictor(tmp_path, model=tiny)
    predicted = labeller.predict(text.texts)
    assert len(predicted) == len(text)
    if text.task == "regression":
        assert np.isfinite(predicted).all()
    else:
        assert np.isfinite(labeller.predict_proba(text.texts)).all()
    if method == "ridge" and text.task == "classification":
        assert predicted.tolist() == LEAST[case]["label"].tolist()


def test_a_pickle_holds_no_model(ridge_folder: Path, splits: Splits) -> None:
    labeller = load_predictor(ridge_folder)
    pickled = pickle.dumps(labeller)
    assert len(pickled) < 20_000
    predicted = pickle.loads(pickled).predict(splits.test.texts[:5])  # noqa: S301
    assert predicted.tolist() == labeller.predict(splits.test.texts[:5]).tolist()
    assert clone(Predictor(ridge_folder, labeller.language_model)).model is labeller.language_model
