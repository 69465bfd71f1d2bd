"""Every public function leaves what is the caller's as it was, whether it returns or raises."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ntpscore
from ntpscore import LanguageModel, ScoreConfig, adapt, load_model, score
from ntpscore.errors import NtpscoreError
from ntpscore.text import Splits, load_splits
from tests.support.labelled_texts import make_rows, write_rows
from tests.support.left_alone import describe, random_states, settings
from tests.support.score_results import make_moments, make_result

CONFIG = ScoreConfig(shuffles=1, batch_tokens=200, skip_sanity_check=True)
FITS: dict[str, Any] = {
    "fit_ols": adapt.OlsConfig(layers=(3,)),
    "fit_ridge": adapt.RidgeConfig(),
    "fit_logistic": adapt.LogisticConfig(),
    "fit_probe": adapt.ProbeConfig(epochs=2),
    "fit_lora": adapt.LoraConfig(steps=2, rank=2),
    "fit_scratch": adapt.ScratchConfig(steps=2),
}


class Given:
    """What the functions are called with."""

    def __init__(self, folder: Path, model_folder: Path) -> None:
        self.folder, self.model_folder = folder, model_folder
        self.data = write_rows(folder / "data.jsonl", make_rows(80))
        self.model: LanguageModel = load_model(model_folder)
        self.splits: Splits = load_splits(str(self.data), hold_out=0.3)
        self.saved = make_result(make_moments()).save(folder / "score")
        adapt.fit_ridge(self.model, *self.splits, folder=folder / "ridge")
        lora = adapt.LoraConfig(steps=1, rank=2)
        adapt.fit_lora(self.model, *self.splits, config=lora, folder=folder / "lora")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> Given:
    return Given(tmp_path_factory.mktemp("given"), tiny_model_dir)


def calls(given: Given) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """By function: a call that returns, and one that raises."""
    nowhere, data, model = given.folder / "nowhere", given.data, given.model
    fits = {
        name: (
            lambda name=name, config=config: getattr(adapt, name)(
                model, *given.splits, config=config
            ),
            lambda name=name, config=config: getattr(adapt, name)(
                model, *given.splits, config=config, folder=data  # a file
            ),
        )
        for name, config in FITS.items()
    }  # fmt: skip
    labels = np.arange(6) % 2
    return {
        **fits,
        "evaluate": (
            lambda: adapt.evaluate(
                np.eye(2)[labels], labels, task="classification", split="a", train_labels=labels
            ),
            lambda: adapt.evaluate(np.eye(2)[labels], labels, task="classification"),
        ),
        "load_model": (
            lambda: load_model(given.model_folder),
            lambda: load_model(given.saved),
        ),
        "load_text": (
            lambda: ntpscore.load_text(data),
            lambda: ntpscore.load_text(data, label_column="none"),
        ),
        "score": (
            lambda: score(model, data, CONFIG),
            lambda: score(model, data, CONFIG, label_column="none"),
        ),
        "rank_models": (
            lambda: ntpscore.rank_models(data, [model], config=CONFIG),
            lambda: ntpscore.rank_models(data, [nowhere / "a"], config=CONFIG),
        ),
        "score_moments": (
            lambda: ntpscore.score_moments(make_moments()),
            lambda: ntpscore.score_moments(ntpscore.Moments(1, 4, 2)),
        ),
        "load_result": (
            lambda: ntpscore.load_result(given.saved),
            lambda: ntpscore.load_result(nowhere),
        ),
        "load_adapt_result": (
            lambda: adapt.load_adapt_result(given.folder / "ridge"),
            lambda: adapt.load_adapt_result(nowhere),
        ),
        "load_adapter": (
            lambda: use_adapter(model, given.folder / "lora"),
            lambda: use_adapter(model, given.folder / "ridge"),
        ),
        "log_to": (
            lambda: ntpscore.log_to(
                "tensorboard", ntpscore.load_result(given.saved), folder=given.folder / "runs"
            ),
            lambda: ntpscore.log_to("none", ntpscore.load_result(given.saved)),
        ),
        "load_predictor": (
            lambda: ntpscore.load_predictor(given.folder / "ridge", model).predict(["the cat"]),
            lambda: ntpscore.load_predictor(nowhere),
        ),
    }


def use_adapter(model: LanguageModel, folder: Path) -> None:
    with ntpscore.load_adapter(model, folder) as adapted:
        assert adapted.content_hash != model.content_hash


def _functions() -> list[str]:
    named = [(one, name) for one in (ntpscore, adapt) for name in one.__all__]
    found = {name: getattr(one, name) for one, name in named}
    return sorted(
        name for name, value in found.items() if callable(value) and not isinstance(value, type)
    )


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("name", _functions())
def test_a_call_leaves_all_as_it_was(given: Given, name: str, raises: bool) -> None:
    call = calls(given)[name][raises]
    _ = given.model.model.model.layers[0].mlp.up_proj.weight.requires_grad_(True)
    before = describe(given.model), settings(), random_states()
    if raises:
        with pytest.raises((NtpscoreError, TypeError)):
            call()
    else:
        call()
    after = describe(given.model), settings(), random_states()
    for was, now in zip(before, after, strict=True):
        assert now == was


@pytest.mark.slow
def test_two_threads_and_an_event_loop_get_the_same_numbers(given: Given) -> None:
    def values() -> Any:
        model = load_model(given.model_folder)
        return score(model, given.data, CONFIG).table()["value"].to_numpy()

    alone = values()
    before = settings()
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(values())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    async def within() -> None:
        found.append(values())

    asyncio.run(within())
    assert len(found) == 3
    for one in found:
        np.testing.assert_allclose(one, alone, atol=1e-9)
    assert settings() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_fork_after_import_and_use_is_no_deadlock(given: Given) -> None:
    moments = make_moments()
    expected = float(ntpscore.score_moments(moments).by_layer[1].r2)
    child = os.fork()
    if not child:  # pragma: no cover  # in another process
        torch.set_num_threads(1)
        same = abs(float(ntpscore.score_moments(moments).by_layer[1].r2) - expected) < 1e-9
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
