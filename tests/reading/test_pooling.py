"""Poolings: what they are, and that a further one needs nothing but its entry."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from ntpscore import HiddenStateFeatures, LanguageModel, load_model, load_predictor, load_result
from ntpscore import score as run_score
from ntpscore.adapt import RidgeConfig, fit_ridge, load_adapt_result
from ntpscore.cli.adapt_table import print_adapt_result
from ntpscore.errors import MomentsError, NtpscoreError, OutputError
from ntpscore.integrations import sklearn
from ntpscore.progress import PlainConsole
from ntpscore.reading.pooling import POOLINGS, last_tokens, mean_tokens
from ntpscore.report.write import write_report
from ntpscore.text import Splits, load_splits
from tests.support.labelled_texts import make_rows, write_rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mean_tokens_equals_a_loop_over_tokens(dtype: torch.dtype) -> None:
    hidden_states = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    lengths = [5, 1, 3]
    attention_mask = torch.tensor([[int(t < n) for t in range(5)] for n in lengths])
    expected = np.zeros((3, 4))
    for text, length in enumerate(lengths):
        for t in range(length):
            expected[text] += hidden_states[text, t].double().numpy() / length
    found = mean_tokens(hidden_states, attention_mask)
    assert found.dtype == torch.float32
    # A sum of at most five numbers of size 1 in float32.
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("padding", [float("nan"), float("inf"), 1e30])
def test_mean_tokens_does_not_see_the_padding(padding: float) -> None:
    hidden_states = torch.ones(2, 3, 4)
    hidden_states[1, 1:] = padding
    found = mean_tokens(hidden_states, torch.tensor([[1, 1, 1], [1, 0, 0]]))
    assert torch.equal(found, torch.ones(2, 4))


@pytest.mark.parametrize("padding", [float("nan"), float("inf"), 1e30])
def test_last_tokens_are_those_before_the_padding(padding: float) -> None:
    hidden_states = torch.arange(24.0).reshape(2, 3, 4).to(torch.bfloat16)
    hidden_states[1, 1:] = padding
    found = last_tokens(hidden_states, torch.tensor([[1, 1, 1], [1, 0, 0]]))
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, torch.stack([hidden_states[0, 2], hidden_states[1, 0]]))


# -- one more -------------------------------------------------------------------------------------


def first_tokens(hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
    return hidden_states[:, 0]


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third pooling, as long as a test runs."""
    monkeypatch.setitem(POOLINGS, "first", first_tokens)
    monkeypatch.setattr(sklearn, "_kept", sklearn._Kept())


@pytest.fixture(scope="module")
def tiny(tiny_model_dir: Path) -> LanguageModel:
    return load_model(tiny_model_dir)


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    """Texts whose first word alone tells their class."""
    rows = [
        {**row, "text": f"{row['label'][0]} {row['text'].split()[0]} {other['text']}"}
        for row, other in zip(make_rows(120), make_rows(120, seed=1), strict=True)
    ]
    return load_splits(write_rows(tmp_path_factory.mktemp("data") / "data.jsonl", rows))


def judge(tiny: LanguageModel, splits: Splits, out: Path):
    return run_score(tiny, splits.train, shuffles=1, skip_sanity_check=True, out=out)


@pytest.mark.usefixtures("first")
def test_a_further_pooling_is_judged_chosen_fitted_kept_and_used(
    tiny: LanguageModel, splits: Splits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = judge(tiny, splits, tmp_path / "score")
    readouts = result.accuracy.set_index(["layer", "pooling"])["accuracy"]
    assert set(readouts.index) >= {(i, p) for i in (1, 2, 3) for p in ("mean", "last", "first")}
    best = result.record["accuracy"]["best"]
    assert best["pooling"] == "first"
    assert f"frozen, layer {best['layer']}, first token" in str(result)
    # The command line knows nothing of it.
    assert "ntpscore adapt" not in str(result)
    assert load_result(tmp_path / "score").features.poolings == ("mean", "last", "first")

    fitted = fit_ridge(tiny, *splits, folder=tmp_path / "fit", cache=tmp_path / "score")
    assert fitted.record["pooling"] == "first"
    assert {row["pooling"] for row in fitted.record["candidates"]} == {"mean", "last", "first"}
    assert fitted.record["test"]["accuracy"] == 1.0
    config = RidgeConfig(layer=1, pooling="first")
    again = fit_ridge(tiny, *splits, config=config, cache=tmp_path / "score")
    assert (again.record["layer"], again.record["pooling"]) == (1, "first")

    labeller = load_predictor(tmp_path / "fit", tiny)
    predicted = labeller.predict(splits.test.texts)
    assert predicted.tolist() == fitted.predictions["predicted"].tolist()
    features = HiddenStateFeatures(tiny, fitted.record["layer"], "first")
    rows = features.fit_transform(splits.test.texts[:3])
    ids = [tiny.tokenizer(text)["input_ids"][:1] for text in splits.test.texts[:3]]
    with torch.inference_mode():
        alone = tiny.model(torch.tensor(ids), output_hidden_states=True).hidden_states
    # Float32 passes over one token and over many differ in the last digits.
    np.testing.assert_allclose(rows, alone[fitted.record["layer"]][:, 0].numpy(), atol=1e-4)

    written = write_report([tmp_path / "score", tmp_path / "fit"], tmp_path / "report.html")
    assert "first token" in written.read_text(encoding="utf-8")
    print_adapt_result(load_adapt_result(tmp_path / "fit"), None, PlainConsole())
    assert "first: " in capsys.readouterr().out


@pytest.mark.slow
def test_a_further_pooling_changes_nothing_of_the_others(
    tiny: LanguageModel, splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = judge(tiny, splits, tmp_path / "without")
    monkeypatch.setitem(POOLINGS, "first", first_tokens)
    result = judge(tiny, splits, tmp_path / "with")
    others = result.accuracy[result.accuracy["pooling"] != "first"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, without.accuracy, check_exact=True)
    for name in ("accuracy", "low", "high"):
        assert result.record["forecast"][name] == without.record["forecast"][name]
    pd.testing.assert_frame_equal(result.table(), without.table(), check_exact=True)


def test_what_needs_a_pooling_that_is_not_there_says_so(
    tiny: LanguageModel, splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(POOLINGS, "first", first_tokens)
        judge(tiny, splits, tmp_path / "score")
        config = RidgeConfig(layer=1, pooling="first")
        fit_ridge(tiny, *splits, config=config, folder=tmp_path / "fit")
    with pytest.raises(OutputError, match="pooling 'first' is none of mean, last: import the file"):
        load_predictor(tmp_path / "fit", tiny)
    with pytest.raises(OutputError, match=r"'0 first' .* is no layer with one of mean, last"):
        _ = load_result(tmp_path / "score").features.places
    assert "first token" in str(load_result(tmp_path / "score"))
    again = fit_ridge(tiny, *splits, cache=tmp_path / "score")
    assert "the features were computed again" in " ".join(again.record["warnings"])
    with pytest.raises(NtpscoreError, match="there is no pooling 'first': choose from mean, last"):
        RidgeConfig(pooling="first")


def test_a_pooling_that_makes_no_vector_of_each_text_is_told(
    tiny: LanguageModel, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(POOLINGS, "flat", lambda hidden_states, _: hidden_states[:, 0, 0])
    with pytest.raises(MomentsError, match=r"the pooling flat makes \(\d+,\) of \d+ texts of wid"):
        fit_ridge(tiny, *splits, config=RidgeConfig(layer=1, pooling="flat"))
