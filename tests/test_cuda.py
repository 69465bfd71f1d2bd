"""The product on a graphics card, against the same on the processor.

`scripts/gpu_check.py` runs this file where there is a card, and on the processor too, with
NTPSCORE_TEST_DEVICE=cpu, to see that the tests themselves hold. No package is needed beyond those
of an image of PyTorch with transformers, peft and scikit-learn.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ntpscore import LanguageModel, ScoreConfig, ScoreResult, load_model, rank_models
from ntpscore import score as score_data
from ntpscore.adapt import LoraConfig, OlsConfig, ProbeConfig, fit_lora, fit_ols, fit_probe
from ntpscore.core import digit_products, prefix_products
from ntpscore.core.controls import shuffled_labels
from ntpscore.core.moments import _SHAPES, Moments, NonFiniteError
from ntpscore.core.precision import choose_precision
from ntpscore.core.prefix_products import (
    PRECISIONS,
    Precision,
    prefix_totals,
    prepare_prefix_products,
    symmetric,
)
from ntpscore.core.score_names import SCORES
from ntpscore.core.scores import score_moments
from ntpscore.errors import ModelError, MomentsError
from ntpscore.reading import reader
from ntpscore.reading.moments_pass import CHECKPOINT
from ntpscore.result_folder import UNFINISHED
from ntpscore.text import Splits, load_splits
from tests.support.labelled_texts import make_rows, write_rows
from tests.tolerances import MOMENTS_FLOAT64, conditioned

DEVICE = os.environ.get("NTPSCORE_TEST_DEVICE", "cuda")
HAS_CUDA = torch.cuda.is_available()
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(DEVICE == "cuda" and not HAS_CUDA, reason="no graphics card"),
]
needs_card = pytest.mark.skipif(not HAS_CUDA, reason="only a graphics card does this")

CONFIG = ScoreConfig(shuffles=3, batch_tokens=400, skip_sanity_check=True)
# A float32 pass ends in other digits on another device; the moments carry them to the scores
# through condition numbers of about 1e4, as they do for another batch size.
SAME_PASS = 1e-3


@pytest.fixture(scope="module", autouse=True)
def _kernels_were_tried() -> None:
    """The first time it waits for the graphics card."""
    if DEVICE == "cuda":
        digit_products.triton_takes(torch.ones(1, device=DEVICE))


@contextmanager
def no_waiting() -> Iterator[None]:
    """Whatever waits for the graphics card is an error."""
    if not HAS_CUDA:
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def batch_of(d: int, dtype: torch.dtype, *, holes: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states (b, t, d) whose coordinates differ in size, and a mask (b, t)."""
    generator = torch.Generator().manual_seed(d)
    b, t = 3 * d, 9
    states = torch.randn(b, t, d, generator=generator) * torch.logspace(0, -2, d)
    states += torch.randn(b, 1, d, generator=generator)
    lengths = torch.randint(1, t + 1, (b,), generator=generator)
    mask = torch.arange(t) < lengths[:, None]
    if holes:
        mask = mask[:, torch.randperm(t, generator=generator)]
    return states.to(dtype), mask.long()


def moments_on(
    device: str, d: int = 24, dtype: torch.dtype = torch.float32, *, holes: bool = False
) -> Moments:
    """The moments of three batches of two layers; adding a layer does not wait for the card."""
    moments = Moments(2, d, 3, 4, device)
    for seed in range(3):
        states, mask = (one.to(device) for one in batch_of(d, dtype, holes=holes))
        labels = torch.arange(len(states), device=device) % 3
        shuffled = labels[shuffled_labels(len(labels), 4, seed).to(device)]
        batch = moments.batch(mask, labels, shuffled)
        with no_waiting():
            for layer in moments.layers:
                moments.add_layer(layer, states * (1 + seed + layer), batch)
        moments.add_labels(batch)
    return moments


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("holes", [False, True])
def test_moments_are_those_of_the_processor(dtype: torch.dtype, holes: bool) -> None:
    here, there = (moments_on(one, dtype=dtype, holes=holes) for one in ("cpu", DEVICE))
    assert there.device.type == DEVICE
    for name in _SHAPES:
        expected, found = getattr(here, name), getattr(there, name).cpu()
        if name in ("sum_N", "sum_C0"):
            expected, found = symmetric(expected), symmetric(found)
        size = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=MOMENTS_FLOAT64 * size)
    assert (here.n_texts, here.n_tokens) == (there.n_texts, there.n_tokens)


@pytest.mark.parametrize("d", [1, 7, 64, 130])
def test_prefix_products_are_those_of_the_processor(d: int) -> None:
    states, mask = batch_of(d, torch.bfloat16, holes=False)
    lengths, sums = mask.sum(1), {}
    for device in ("cpu", DEVICE):
        C0, C1 = torch.zeros(2, d, d, dtype=torch.float64, device=device)
        prepare_prefix_products(states.to(device), lengths.to(device), C0, C1)()
        total, power = prefix_totals(states.to(device), lengths.to(device))
        sums[device] = [one.cpu() for one in (symmetric(C0), C1, total, power)]
    for expected, found in zip(sums["cpu"], sums[DEVICE], strict=True):
        size = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=MOMENTS_FLOAT64 * size)


@needs_card
@pytest.mark.parametrize(
    ("d", "t", "dtype"),
    [
        (40, 130, torch.bfloat16), (40, 130, torch.float16), (40, 130, torch.float32),
        (208, 64, torch.bfloat16), (1, 2, torch.bfloat16), (8, 1, torch.bfloat16),
    ],
)  # fmt: skip
def test_kernels_do_what_plain_torch_does(
    d: int, t: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not digit_products.HAS_TRITON:
        pytest.skip("no Triton for this system")
    assert digit_products.triton_takes(torch.ones(1, device=DEVICE)), "kernels were compiled"
    generator = torch.Generator().manual_seed(d)
    states = torch.randn(7, t, d, generator=generator) * torch.logspace(0, -2, d)
    lengths = torch.tensor([t, 1, max(1, t // 2), t, 1, max(1, t - 1), t], device=DEVICE)
    states = states.to(DEVICE, dtype)
    states[1, 1:] = torch.nan  # padding

    def added(precision: Precision) -> list[torch.Tensor]:
        C0, C1 = torch.zeros(2, d, d, dtype=torch.float64, device=DEVICE)
        with no_waiting():
            prepare_prefix_products(states, lengths, C0, C1, precision)()
        return [symmetric(C0), C1, *prefix_totals(states, lengths)]

    by_triton, judge = added("exact-int8"), added("float64")
    for module in (digit_products, prefix_products):
        monkeypatch.setattr(module, "triton_takes", lambda _: False)
    by_torch = added("exact-int8")
    # Sums in another order may fall on the other side of half a unit.
    for tolerance, others in ((1e-9, by_torch), (1e-6, judge)):
        for found, expected in zip(by_triton, others, strict=True):
            atol = tolerance * float(expected.abs().max())
            torch.testing.assert_close(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_sums_in_every_precision_give_the_scores_of_float64(precision: Precision) -> None:
    tables = []
    for one in ("float64", precision):
        moments = Moments(1, 48, 3, 0, DEVICE, precision=one)
        states, mask = (x.to(DEVICE) for x in batch_of(48, torch.bfloat16, holes=False))
        moments.update(states[None], mask, torch.arange(len(states), device=DEVICE) % 3)
        tables.append(score_moments(moments).by_layer[0])
    judge, found = tables
    tolerance = {"float64": 0.0, "exact-int8": 1e-6, "float32-pairs": 1e-5, "float32": 1e-3}[
        precision
    ]
    for name in SCORES:
        free = judge.basis_dependent[name]
        change = (found.values[name] - judge.values[name]).masked_fill(free, 0.0).abs().max()
        assert float(change) <= tolerance


def test_the_precision_is_chosen_by_a_probe() -> None:
    chosen = choose_precision("auto", DEVICE, 256)
    assert chosen in ("float64", "exact-int8")
    assert choose_precision("auto", "cpu", 256) == "float64"


def test_moments_move_between_devices_by_file_and_by_addition(tmp_path: Path) -> None:
    here, there = moments_on("cpu"), moments_on(DEVICE)
    there.save(tmp_path / "moments.safetensors")
    loaded = Moments.load(tmp_path / "moments.safetensors", "cpu")
    assert torch.equal(symmetric(loaded.sum_C0), symmetric(there.sum_C0.cpu()))
    assert torch.equal((there + here).sum_C1.cpu(), there.sum_C1.cpu() + here.sum_C1)
    assert Moments.load(tmp_path / "moments.safetensors", DEVICE).device.type == DEVICE


def on(device: str, moments: Moments) -> Moments:
    """The same sums on a device."""
    empty = Moments(moments.layers, moments.width, moments.n_outputs, moments.n_shuffles, device)
    return empty + moments


@pytest.mark.parametrize("d", [24, 96])
def test_scores_of_the_same_sums_are_those_of_the_processor(d: int) -> None:
    moments = moments_on("cpu", d)
    here, there = (score_moments(on(device, moments)) for device in ("cpu", DEVICE))
    for one, other in zip(here.by_layer, there.by_layer, strict=True):
        tolerance = conditioned(max(one.condition_N, one.condition_C0))
        for name in SCORES:
            # Beyond the label directions these take whatever basis the solver returns.
            free = one.basis_dependent[name]
            for kind in ("values", "chance"):
                expected = getattr(one, kind)[name].masked_fill(free, 0.0)
                found = getattr(other, kind)[name].cpu().masked_fill(free, 0.0)
                torch.testing.assert_close(
                    found, expected, rtol=0, atol=d * tolerance, equal_nan=True, msg=name
                )
        assert other.r2 == pytest.approx(one.r2, abs=d * tolerance)
        assert (other.rank_N, other.rank_C0) == (one.rank_N, one.rank_C0)
        # Condition numbers are estimated to a few per cent.
        assert other.condition_C0 == pytest.approx(one.condition_C0, rel=0.1)


def test_scores_of_fewer_texts_than_coordinates_are_those_of_the_processor() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(1, 20, 4, 40, generator=generator)
    tables = []
    for device in ("cpu", DEVICE):
        moments = Moments(1, 40, 2, 0, device)
        moments.update(
            states.to(device), torch.ones(20, 4, device=device),
            torch.arange(20, device=device) % 2,
        )  # fmt: skip
        tables.append(score_moments(moments).by_layer[0])
    here, there = tables
    assert (here.rank_N, here.rank_C0) == (there.rank_N, there.rank_C0) == (20, 40)
    for name in ("supervised", "subspace"):
        torch.testing.assert_close(
            there.values[name].cpu(), here.values[name], rtol=0,
            atol=40 * conditioned(here.condition_C0),
        )  # fmt: skip


# Models
# --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def here(tiny_model_dir: Path) -> LanguageModel:
    return load_model(tiny_model_dir, device="cpu")


@pytest.fixture(scope="module")
def there(tiny_model_dir: Path) -> LanguageModel:
    return load_model(tiny_model_dir, device=DEVICE)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "data.jsonl", make_rows(200))


@pytest.fixture(scope="module")
def splits(data: Path) -> Splits:
    return load_splits(data)


def values(result: ScoreResult) -> np.ndarray:
    table = result.table(every_k=True)
    return table["value"][~table["basis_dependent"]].to_numpy()


def test_a_score_is_that_of_the_processor(
    here: LanguageModel, there: LanguageModel, data: Path, tmp_path: Path
) -> None:
    one = score_data(here, data, config=CONFIG)
    other = score_data(there, data, config=CONFIG, out=tmp_path)
    np.testing.assert_allclose(values(other), values(one), atol=SAME_PASS)
    assert other.record["model"]["device"].startswith(DEVICE)
    assert (tmp_path / "result.json").exists()
    assert not (tmp_path / UNFINISHED / CHECKPOINT).exists()
    if HAS_CUDA:
        assert (
            0 < other.record["peak_memory_bytes"] < torch.cuda.get_device_properties(0).total_memory
        )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_score_in_a_narrow_type_is_finite_and_near(
    tiny_model_dir: Path, here: LanguageModel, data: Path, dtype: str
) -> None:
    narrow = load_model(tiny_model_dir, device=DEVICE, dtype=dtype)
    result = score_data(narrow, data, config=CONFIG)
    assert result.record["model"]["dtype"] == dtype
    wide = score_data(here, data, config=CONFIG)
    # The pass is rounded at 2⁻⁸ or 2⁻¹¹; r2 is a mean over 200 texts.
    found, expected = ([layer["r2"] for layer in one.record["layers"]] for one in (result, wide))
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_a_run_goes_on_from_its_checkpoint_on_either_device(
    here: LanguageModel, there: LanguageModel, data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config = replace(CONFIG, checkpoint_seconds=0.0)
    whole = score_data(there, data, config=config)
    real, calls = reader.stream_hidden_states, [0]

    def interrupted(*args: object) -> None:
        calls[0] += 1
        if calls[0] == 4:
            raise KeyboardInterrupt
        real(*args)

    for second in (there, here):
        calls[0] = 0
        folder = tmp_path / f"to-{second.device.type}-{second is here}"
        monkeypatch.setattr(reader, "stream_hidden_states", interrupted)
        with pytest.raises(KeyboardInterrupt):
            score_data(there, data, config=config, out=folder)
        monkeypatch.undo()
        assert Moments.load(folder / UNFINISHED / CHECKPOINT).n_texts > 0
        result = score_data(second, data, config=config, out=folder)
        assert any("went on from a checkpoint" in one for one in result.record["warnings"])
        # The passes before and after may be of two devices.
        np.testing.assert_allclose(values(result), values(whole), atol=SAME_PASS)


@needs_card
def test_batches_are_halved_when_the_card_is_full(there: LanguageModel, tmp_path: Path) -> None:
    texts = write_rows(tmp_path / "long.jsonl", [
        {**row, "text": f"{row['text']} {row['text']} {row['text']}"} for row in make_rows(2000)
    ])  # fmt: skip
    config = replace(CONFIG, batch_tokens=10**6, shuffles=0)
    whole = score_data(there, texts, config=replace(config, batch_tokens=4000))
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    limit = torch.cuda.memory_reserved() + 64 * 2**20
    torch.cuda.set_per_process_memory_fraction(limit / total)
    try:
        halved = score_data(there, texts, config=config)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert any("memory ran out" in one for one in halved.record["warnings"])
    assert halved.moments.n_tokens == whole.moments.n_tokens
    np.testing.assert_allclose(values(halved), values(whole), atol=SAME_PASS)


def test_a_state_that_is_not_finite_is_found_and_named(tiny_model_dir: Path, data: Path) -> None:
    broken = load_model(tiny_model_dir, device=DEVICE)
    with torch.no_grad():
        list(broken.model.base_model.layers)[1].mlp.down_proj.weight[3, 5] = torch.nan
    with pytest.raises(
        MomentsError, match="layer 2 has a NaN or infinite hidden state in the text"
    ):
        score_data(broken, data, config=CONFIG)


def test_non_finite_sums_are_found_once_a_batch() -> None:
    states, mask = (one.to(DEVICE) for one in batch_of(8, torch.float32, holes=False))
    states[5, 0, 3] = torch.inf
    moments = Moments((3,), 8, 2, 0, DEVICE)
    batch = moments.batch(mask, torch.zeros(len(states), dtype=torch.long, device=DEVICE))
    with pytest.raises(NonFiniteError, match=r"layer 3 has a NaN or infinite .* text 5"):  # noqa: PT012
        moments.add_layer(3, states, batch)
        moments.add_labels(batch)


def test_the_device_is_chosen_and_checked(tiny_model_dir: Path) -> None:
    auto = load_model(tiny_model_dir)
    assert auto.device.type == ("cuda" if HAS_CUDA else "cpu")
    with pytest.raises(ModelError, match="'cuda:99' is not available"):
        load_model(tiny_model_dir, device="cuda:99")
    spread = load_model(tiny_model_dir, device_map="auto")
    assert spread.streams


def test_a_model_spread_by_accelerate_scores_alike(
    tiny_model_dir: Path, there: LanguageModel, data: Path
) -> None:
    spread = load_model(tiny_model_dir, device_map="auto")
    np.testing.assert_allclose(
        values(score_data(spread, data, config=CONFIG)),
        values(score_data(there, data, config=CONFIG)),
        atol=SAME_PASS,
    )


def test_models_rank_alike(here: LanguageModel, there: LanguageModel, data: Path) -> None:
    tables = []
    for model in (here, there):
        ranking = rank_models(data, [model], config=CONFIG, all_metrics=True)
        table = ranking.table()
        # Which layer is the best may hang on a single text.
        tables.append(table[table["at"] == "last"].set_index("metric")["value"])
    one, other = tables
    assert list(one.index) == list(other.index)
    assert (one.isna() == other.isna()).all()
    # Ratios of small eigenvalues, and starts of clusters, follow the last digits further; so do
    # texts on the border of a class.
    loose = ("n_leep", "alpha_req", "log_me", "consensus", "accuracy")
    known = one[~one.index.isin(loose)].dropna()
    assert len(known) > 10
    np.testing.assert_allclose(other[known.index], known, rtol=0.01, atol=SAME_PASS)


# Adapting
# --------------------------------------------------------------------------------------------------


def test_least_squares_fit_alike(here: LanguageModel, there: LanguageModel, splits: Splits) -> None:
    one, other = (
        fit_ols(model, splits.train, splits.test, config=OlsConfig(), progress=False)
        for model in (here, there)
    )
    assert one.record["best_layer"] == other.record["best_layer"]
    for mine, theirs in zip(one.record["fits"], other.record["fits"], strict=True):
        assert theirs["r2"] == pytest.approx(mine["r2"], abs=SAME_PASS)


def test_probes_train_alike(here: LanguageModel, there: LanguageModel, splits: Splits) -> None:
    config = ProbeConfig(epochs=3)
    one, other = (
        fit_probe(model, splits.train, splits.test, config=config, progress=False)
        for model in (here, there)
    )
    np.testing.assert_allclose(
        other.loss_curve["loss"].to_numpy(), one.loss_curve["loss"].to_numpy(), atol=SAME_PASS
    )


def test_lora_trains_alike_without_dropout(
    here: LanguageModel, there: LanguageModel, splits: Splits
) -> None:
    config = LoraConfig(
        steps=5, batch_size=8, rank=4, alpha=8, learning_rate=1e-2, dropout=0.0, seed=3
    )
    one, other = (
        fit_lora(model, splits.train, splits.test, config=config, progress=False)
        for model in (here, there)
    )
    mine, theirs = (found.loss_curve["loss"].to_numpy() for found in (one, other))
    assert np.isfinite(theirs).all()
    assert len(theirs) == len(mine)
    if not HAS_CUDA:
        # A card draws the first weights from a generator of its own.
        np.testing.assert_allclose(theirs, mine, atol=SAME_PASS)
