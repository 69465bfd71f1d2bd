"""Encoders are read with their padding masked, ranked and adapted, but not scored."""

import json
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from ntpscore import load_model, load_predictor, rank_models, score
from ntpscore.adapt.head import MeanTokenClassifier
from ntpscore.adapt.methods import METHODS
from ntpscore.adapt.training import predict
from ntpscore.clock import Clock
from ntpscore.core.score_names import SCORES
from ntpscore.errors import ModelError
from ntpscore.metrics import METRICS
from ntpscore.models import LanguageModel
from ntpscore.models.encoders import UNSCORED
from ntpscore.models.lent import borrow_model
from ntpscore.reading.features import Place, collect_features
from ntpscore.reading.pooling import POOLINGS
from ntpscore.reading.tokens import tokenize
from ntpscore.scoring.result import load_result
from ntpscore.text import load_splits
from tests.support.cli_run import run_cli
from tests.support.encoders import KINDS, lay_out_as_sentence_transformer, save_encoder
from tests.support.labelled_texts import make_rows, write_rows

TEXTS = ["a cat", "the old dog saw some rain today", "snow", "it was very small and then we saw it"]
# What peft and transformers say of themselves.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return save_encoder("bert", tmp_path / "bert")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "my data.jsonl", make_rows(60))


def _features(model: LanguageModel, texts: list[str], batch_tokens: int) -> dict[Place, Any]:
    places = [Place(layer, pooling) for layer in range(model.n_layers + 1) for pooling in POOLINGS]
    features = collect_features(
        model, texts, tokenize(texts, model, None), places, batch_tokens=batch_tokens,
        clock=Clock(("forward", "fit")), progress=False,
    )  # fmt: skip
    return {place: features.get(*place).clone() for place in places}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("batch_tokens", [1, 2048])
def test_features_are_those_of_one_text_at_a_time(
    name: str, batch_tokens: int, tmp_path: Path
) -> None:
    folder = save_encoder(name, tmp_path / name)
    model = load_model(folder)
    assert model.reads_both_ways
    (warning,) = model.warnings
    assert warning == f"{folder} reads a text both ways ({name}): {UNSCORED}"
    got = _features(model, TEXTS, batch_tokens)
    plain = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for row, text in enumerate(TEXTS):
        with torch.inference_mode():
            output = plain(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        states = [*output.hidden_states[:-1], output.last_hidden_state]
        for layer, of_layer in enumerate(states):
            scale = float(of_layer.abs().max())
            for pooling, expected in (("mean", of_layer[0].mean(0)), ("last", of_layer[0, -1])):
                difference = got[Place(layer, pooling)][row] - expected
                # float32, in another order of sums for each shape of a batch.
                assert float(difference.abs().max()) < 1e-5 * scale


@pytest.mark.parametrize("below", ["", "0_Transformer"])
def test_a_folder_of_sentence_transformers_is_read(tmp_path: Path, bert: Path, below: str) -> None:
    expected = _features(load_model(bert), TEXTS, 2048)
    lay_out_as_sentence_transformer(bert, below=below)
    model = load_model(bert)
    assert model.id == str(bert)
    got = _features(model, TEXTS, 2048)
    assert all(torch.equal(got[place], expected[place]) for place in expected)


def test_long_texts_keep_the_token_that_closes_them(tmp_path: Path) -> None:
    model = load_model(save_encoder("roberta", tmp_path / "roberta", context=16))
    tokens = tokenize(["abcde " * 10, "a cat"], model, None)
    assert tokens.truncated == 1
    assert len(tokens.ids[0]) == model.max_length == 16
    assert [ids[-1] for ids in tokens.ids] == [3, 3]
    assert len(tokenize(["abcde " * 10], model, 9).ids[0]) == 9


def test_padding_is_masked_in_training_too(bert: Path) -> None:
    model = load_model(bert)
    classifier = MeanTokenClassifier(model.base, model.width, 3, reads_both_ways=True)
    together = predict(classifier, model, tokenize(TEXTS, model, None), progress=False)
    for row, text in enumerate(TEXTS):
        alone = predict(classifier, model, tokenize([text], model, None), progress=False)
        assert together[row] == pytest.approx(alone[0], abs=1e-5)  # float32, of size 1


def test_an_encoder_in_memory_is_borrowed(bert: Path, data: Path) -> None:
    pair = (
        transformers.AutoModel.from_pretrained(bert),
        transformers.AutoTokenizer.from_pretrained(bert),
    )
    with borrow_model(*pair) as model:
        assert model.reads_both_ways
    with pytest.raises(ModelError, match="is an encoder"):
        score(pair, data)


def test_weights_that_an_encoder_lacks_are_named(bert: Path) -> None:
    path = bert / "model.safetensors"
    weights = transformers.AutoModel.from_pretrained(bert).state_dict()
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 tensors .*encoder\.layer\.1\.output\.dense"):
        load_model(bert)


def test_pickled_weights_are_converted_as_the_message_says(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _features(load_model(bert), TEXTS, 2048)
    torch.save(load_file(bert / "model.safetensors"), bert / "pytorch_model.bin")
    (bert / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="encoder it is AutoModelForMaskedLM") as caught:
        load_model(bert)
    converting = str(caught.value).partition("trust it: ")[2].partition(", and the same")[0]
    monkeypatch.chdir(tmp_path)
    converting = converting.replace("AutoModelForCausalLM", "AutoModelForMaskedLM")
    exec(converting)  # noqa: S102  # what the message tells a user to run
    transformers.AutoTokenizer.from_pretrained(bert).save_pretrained("FOLDER")
    got = _features(load_model("FOLDER"), TEXTS, 2048)
    assert all(torch.equal(got[place], expected[place]) for place in expected)


def test_score_refuses_an_encoder_and_what_it_names_works(
    bert: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("score", bert, data) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "the scores of next tokens are not defined" in told
    for command in ("rank", "adapt"):
        named = told.partition(f"ntpscore {command} ")[2].partition(";")[0]
        assert run_cli(command, *shlex.split(named)[:2]) == 0
    assert (
        run_cli("adapt", bert, data, "--method", "lora", "--rescore", "--out", tmp_path / "o") == 2
    )
    assert "--rescore is not for" in capsys.readouterr().err


@pytest.mark.slow
def test_encoders_are_ranked_beside_causal_models(
    bert: Path, tiny_model_dir: Path, data: Path, tmp_path: Path
) -> None:
    ranking = rank_models(
        data, [bert, tiny_model_dir], all_metrics=True, shuffles=1, skip_sanity_check=True,
        out=tmp_path / "out",
    )  # fmt: skip
    assert not ranking.failures
    standings = ranking.standings.set_index("model")
    assert standings["accuracy"].notna().all()
    assert standings["lora_accuracy"].isna()[str(bert)]
    table = ranking.table()
    rows = table[table["model"] == str(bert)].set_index(["at", "metric"])
    for at in ("last", "best"):
        of_place = rows.loc[at]
        for name in (*SCORES, "leep"):
            assert of_place.loc[name, "reason"] == "not defined: reads both ways"
            assert of_place.isna().loc[name, "value"]
        for name in METRICS.keys() - {"leep"}:
            assert of_place["value"].notna()[name], (name, of_place.loc[name, "reason"])
    (folder,) = (tmp_path / "out").glob("*bert*")
    result = load_result(folder)
    assert result.record["best"] == {}
    assert result.table().empty
    assert all(row["next_token_k90"] is None for row in result.record["layers"])
    assert all(row["r2"] is not None for row in result.record["layers"])
    assert run_cli("show", folder, "--scores") == 0


# Fits of the same features as ridge regression.
_ALIKE = {"ols", "logistic", "probe"}
_SLOW = [pytest.mark.slow]


# A second encoder by a method that reads features and one that trains: the others read the same.
@pytest.mark.parametrize(
    ("name", "method"),
    [
        *(pytest.param("bert", method, marks=_SLOW * (method in _ALIKE)) for method in METHODS),
        pytest.param("modernbert", "ridge", marks=_SLOW),
        pytest.param("modernbert", "lora", marks=_SLOW),
    ],
)
def test_every_method_adapts_an_encoder_and_labels_with_it(
    name: str, method: str, data: Path, tmp_path: Path
) -> None:
    folder = save_encoder(name, tmp_path / name)
    out = tmp_path / "out"
    quick = ("--steps", 3, "--batch-size", 4) if method in ("lora", "scratch") else ()
    assert run_cli("adapt", folder, data, "--method", method, "--out", out, *quick) == 0
    record = json.loads((out / "result.json").read_text())
    assert record["model"]["reads_both_ways"]
    if method == "scratch":
        return
    if method == "lora":
        assert record["targets"] == {"bert": ["key", "query", "value"]}.get(name, ["Wqkv"])
    test = load_splits(data).test
    expected = pd.read_csv(out / "predictions.csv")["predicted"].tolist()
    assert load_predictor(out).predict(test.texts).tolist() == expected
    alone = [load_predictor(out).predict([text])[0] for text in test.texts[:3]]
    assert alone == expected[:3]
