"""What a call of `score` leaves as it was: the model, torch's settings, generators, the process."""

import ctypes
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ntpscore import LanguageModel, ScoreConfig, load_model, score
from ntpscore.models import check_stream
from tests.support.labelled_texts import make_rows, write_rows
from tests.support.left_alone import describe, random_states, settings

CONFIG = ScoreConfig(shuffles=2, batch_tokens=200, skip_sanity_check=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "data.jsonl", make_rows(60))


@pytest.fixture
def tiny(tiny_model_dir: Path) -> LanguageModel:
    return load_model(tiny_model_dir)


@pytest.mark.parametrize(
    ("until", "threads"),
    [
        (None, 1),
        pytest.param(None, 3, marks=pytest.mark.slow),
        pytest.param(0.05, 1, marks=pytest.mark.slow),
        (0.05, 3),
    ],
)
def test_the_model_and_torchs_settings(
    tiny: LanguageModel, data: Path, threads: int, until: float | None
) -> None:
    tiny.model.model.layers[1].register_forward_hook(lambda *_: None)
    tiny.model.model.layers[0].mlp.up_proj.weight.requires_grad_(True)
    weights = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    own = torch.get_num_threads()
    torch.set_num_threads(threads)
    before = describe(tiny), settings()
    score(tiny, data, config=replace(CONFIG, until=until))
    after = describe(tiny), settings()
    torch.set_num_threads(own)
    assert after == before
    assert all(torch.equal(value, weights[name]) for name, value in tiny.model.state_dict().items())


@pytest.mark.parametrize(
    "dtype", [pytest.param(torch.float32, marks=pytest.mark.slow), torch.float64]
)
def test_the_default_number_format_changes_nothing_and_stays(
    tiny: LanguageModel, data: Path, dtype: torch.dtype
) -> None:
    expected = score(tiny, data, config=CONFIG).table()["value"].to_numpy()
    torch.set_default_dtype(dtype)
    try:
        found = score(tiny, data, config=CONFIG)
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.features.get(3).dtype == torch.float32
    # The sums are in float64 either way; a mask or a rotation may be in the default format.
    np.testing.assert_allclose(found.table()["value"].to_numpy(), expected, atol=1e-3)


def test_random_generators(tiny: LanguageModel, data: Path) -> None:
    """Not Python's own: beartype, by which tests check shapes, draws from it."""

    before = random_states()
    score(tiny, data, config=replace(CONFIG, feature_texts=30, until=0.05))
    assert random_states() == before


def test_the_allocator(tiny: LanguageModel, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a library call reaches for the C library")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert score(tiny, data, config=CONFIG).record["data"]["n_texts"] == 60


def test_a_stream_that_fails_leaves_no_hooks(tiny: LanguageModel, data: Path) -> None:
    before = describe(tiny)
    with torch.no_grad():
        tiny.model.model.embed_tokens.weight.fill_(torch.nan)
    with pytest.raises(Exception, match="NaN"):
        score(tiny, data, config=CONFIG)
    assert describe(tiny) == before
    assert check_stream(tiny)
    assert describe(tiny) == before
