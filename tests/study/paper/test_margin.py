"""Lemma 1's margin and bound, against loops over tokens and a literal least-squares fit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ntpscore import LabelledText, LanguageModel, load_model, load_text
from ntpscore.errors import DataError
from ntpscore.study.paper.margin import DecodingMargin, decoding_margin
from tests.support.cli_run import run_cli
from tests.support.labelled_texts import make_rows, write_rows


@pytest.fixture(scope="module")
def tiny(tiny_model_dir: Path) -> LanguageModel:
    return load_model(tiny_model_dir)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("margin") / "rows.jsonl", make_rows(60))


def test_margin_error_and_bound_are_those_of_literal_loops(tiny: LanguageModel, path: Path) -> None:
    text: LabelledText = load_text(path)
    found = decoding_margin(tiny, text)
    W = tiny.model.get_output_embeddings().weight.detach().double().numpy()
    margins, prefixes, targets = [], [], []
    for one in text.texts:
        ids = torch.tensor([tiny.tokenizer(one)["input_ids"]])
        with torch.inference_mode():
            states = tiny.model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
        H = states.double().numpy()
        for i in range(1, len(H)):
            logits = np.sort(W @ H[i])
            margins.append(logits[-1] - logits[-2])
            prefixes.append(H[:i].sum(0))
            targets.append(H[i])
    S, T = np.array(prefixes), np.array(targets)
    error = T - S @ np.linalg.lstsq(S, T, rcond=None)[0]
    assert found.n_tokens == len(T)
    # Margins are differences of float32 logits of the pass, alone or in batches.
    assert found.smallest == pytest.approx(min(margins), abs=1e-4)
    assert found.median == pytest.approx(np.median(margins), abs=1e-4)
    assert found.error == pytest.approx(np.sqrt((error**2).sum(1).mean()), rel=1e-4)
    distances = np.linalg.norm(W[:, None] - W[None], axis=2)
    assert 0.8 * distances.max() <= found.diameter <= distances.max() * (1 + 1e-6)


def test_the_bound_is_chebyshevs() -> None:
    margin = DecodingMargin(n_tokens=1, smallest=0.5, median=4.0, diameter=2.0, error=1.0)
    assert margin.bound == 0
    assert margin.bound_at_median == pytest.approx(0.75)
    assert DecodingMargin(1, 0.0, 1.0, 1.0, 1.0).bound == 0


def test_texts_of_one_token_have_none(tiny: LanguageModel, path: Path) -> None:
    with pytest.raises(DataError, match="no next token"):
        decoding_margin(tiny, load_text(path), max_length=1)


def test_the_command_prints_them(
    tiny_model_dir: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("study", "margin", tiny_model_dir, path) == 0
    printed = " ".join(capsys.readouterr().out.split())
    found = decoding_margin(load_model(tiny_model_dir), load_text(path))
    assert f"{found.n_tokens} next tokens" in printed
    assert f"margin: {found.smallest:.2g} at the least, {found.median:.2g} in the median" in printed
    assert f"right with probability {found.bound:.2g} or more" in printed
