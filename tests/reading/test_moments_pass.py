"""Ways to read in little memory give the moments, features and checkpoints of one pass."""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ntpscore import LabelledText, LanguageModel, load_model, load_text
from ntpscore.clock import Clock
from ntpscore.core.folds import Estimate
from ntpscore.core.moments import Moments
from ntpscore.errors import MomentsError, OutputError
from ntpscore.progress import Progress
from ntpscore.reading import moments_pass, reader, sums_on_disk
from ntpscore.reading.features import Features
from ntpscore.reading.memory import How
from ntpscore.reading.moments_pass import CHECKPOINT, MomentsPass
from ntpscore.reading.tokens import tokenize
from ntpscore.scoring.run import STAGES
from tests.support.interrupts import interrupt_pass
from tests.support.labelled_texts import make_rows, write_rows
from tests.support.memory import plan_of

# The same products in another order of the sums, none of which cancels.
SAME_SUMS = 1e-12
TOKENS = 400
WAYS = [
    How(TOKENS),
    How(TOKENS, 2),
    How(TOKENS, 1, on_host=True),
    How(TOKENS, 1, on_host=False, groups=2),
    How(TOKENS, 1, on_host=True, groups=4),
    How(TOKENS, 2, on_host=False, groups=2),
]


@pytest.fixture(scope="module")
def tiny(tiny_model_dir: Path) -> LanguageModel:
    return load_model(tiny_model_dir)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> LabelledText:
    different = {row["text"]: row for row in make_rows(200) if row["split"] == "train"}
    folder = tmp_path_factory.mktemp("texts")
    return load_text(write_rows(folder / "texts.jsonl", list(different.values())))


Read = Callable[..., MomentsPass]


@pytest.fixture
def passing(tiny: LanguageModel, text: LabelledText, monkeypatch: pytest.MonkeyPatch) -> Read:
    """How to make the pass in a way; with a folder there is a checkpoint after every batch."""
    monkeypatch.setattr(moments_pass, "_CHECKPOINT_SHARE", math.inf)
    tokens = tokenize(text.texts, tiny, None)

    def make(how: How, folder: Path | None = None, until: float | None = None) -> MomentsPass:
        return MomentsPass(
            tiny, text, tokens, (0, 1, 2, 3), shuffles=3, seed=0, plan=plan_of(how, layers=4),
            precision="float64", until=until, until_scores=("r2",), folder=folder,
            checkpoint_seconds=0.0, clock=Clock(STAGES), bar=Progress(False), feature_texts=200,
        )  # fmt: skip

    return make


Found = tuple[Moments, Features | None, dict[str, Estimate] | None]


def read(one: MomentsPass) -> Found:
    moments = one.read()
    estimates = None if one.adaptive is None else one.adaptive.estimates
    return moments, one.keep_features(), estimates


def assert_close(moments: Moments, judge: Moments, tolerance: float) -> None:
    """Relative to the largest entry; what stands below the diagonal of a square means nothing."""
    for name, total in judge.sums.items():
        pair = moments.sums[name], total
        found, expected = (one.triu() for one in pair) if name in {"sum_N", "sum_C0"} else pair
        atol = tolerance * float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def assert_same(found: Found, expected: Found) -> None:
    (moments, features, estimates), (judge, kept, known) = found, expected
    assert moments.size == judge.size
    assert (moments.n_texts, moments.n_tokens) == (judge.n_texts, judge.n_tokens)
    assert_close(moments, judge, SAME_SUMS)
    assert features is not None
    assert kept is not None
    assert features.texts == kept.texts
    for place in kept.places:
        torch.testing.assert_close(features.get(*place), kept.get(*place), rtol=1e-6, atol=1e-6)
    if known is None:
        assert estimates is None
    else:
        assert estimates is not None
        assert estimates["r2"].value == pytest.approx(known["r2"].value, abs=1e-9)


@pytest.mark.parametrize(
    ("how", "until"),
    [
        *((how, None) for how in WAYS[1:]),
        pytest.param(WAYS[4], 0.5, marks=pytest.mark.slow),
        pytest.param(WAYS[5], 0.5, marks=pytest.mark.slow),
    ],
)
def test_every_way_of_reading_gives_the_same(passing: Read, how: How, until: float | None) -> None:
    # Two passes at once read other batches, whose paddings change last digits of the model.
    judge = How(TOKENS, how.passes)
    expected = read(passing(judge, until=until))
    assert_same(read(passing(how, until=until)), expected)
    assert until is None or expected[0].n_texts < 200


@pytest.mark.parametrize(
    ("how", "until"),
    [
        (WAYS[2], None),
        (WAYS[3], None),
        pytest.param(WAYS[4], None, marks=pytest.mark.slow),
        pytest.param(WAYS[3], 0.5, marks=pytest.mark.slow),
        pytest.param(WAYS[4], 0.5, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_goes_on_in_whichever_pass_it_was(
    passing: Read, tmp_path: Path, how: How, until: float | None
) -> None:
    expected = read(passing(How(TOKENS), until=until))
    with pytest.MonkeyPatch.context() as patch:
        calls = interrupt_pass(patch, at=-1)
        read(passing(how, until=until))
    n = calls[0]
    per_pass = n // how.groups
    for at in {2, per_pass + 2} if how.groups > 1 and until is None else {n - 1}:
        folder = tmp_path / str(at)
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            calls = interrupt_pass(patch, at)
            with pytest.raises(KeyboardInterrupt):
                read(passing(how, folder, until))
            calls[0] = 10 * n
            again = passing(How(TOKENS), folder, until)  # more memory now: it goes on as it began
            found = read(again)
        assert again.plan.how == how
        which = f"of pass {1 + (at - 1) // per_pass} of {how.groups}"
        assert how.groups == 1 or again.warnings[-1].endswith(which)
        assert "went on from a checkpoint" in again.warnings[-1]
        assert calls[0] <= 10 * n + n - at + 2
        assert_same(found, expected)


def test_what_was_begun_in_a_way_that_no_longer_fits_begins_anew(
    passing: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        interrupt_pass(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            read(passing(How(TOKENS), tmp_path))
    again = passing(WAYS[3], tmp_path)
    assert again.plan.how == How(TOKENS)
    small = plan_of(WAYS[3], layers=4)
    monkeypatch.setattr(type(small), "otherwise", lambda *_: None)
    again = passing(WAYS[3], tmp_path)
    assert again.plan.how == WAYS[3]
    assert again.read().n_texts > 100
    assert not any("went on" in warning for warning in again.warnings)


def test_without_the_sums_of_earlier_passes_a_run_begins_anew(
    passing: Read, tmp_path: Path
) -> None:
    expected = read(passing(How(TOKENS)))
    with pytest.MonkeyPatch.context() as patch:
        calls = interrupt_pass(patch, at=-1)
        read(passing(WAYS[3]))
        calls = interrupt_pass(patch, at=calls[0] - 1)
        with pytest.raises(KeyboardInterrupt):
            read(passing(WAYS[3], tmp_path))
    (tmp_path / sums_on_disk.NAME).unlink()
    again = passing(WAYS[3], tmp_path)
    assert_same(read(again), expected)
    assert not any("went on" in warning for warning in again.warnings)


def test_a_reduced_run_says_so(passing: Read, capsys: pytest.CaptureFixture[str]) -> None:
    assert passing(How(TOKENS)).warnings == []
    (said,) = passing(WAYS[3]).warnings
    assert "2 passes over the texts, each for at most 2 of the 4 layers" in said


def test_a_full_disk_is_told(
    passing: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.posix_fallocate, []

    def full_disk(*args: int) -> None:
        calls.append(args)
        if len(calls) > 1:  # there is room for the features
            raise OSError(28, "No space left on device")
        real(*args)

    monkeypatch.setattr(os, "posix_fallocate", full_disk)
    with pytest.raises(OutputError, match=r"sums of 4 layers.*No space left.*fewer --layers"):
        passing(WAYS[3], tmp_path).read()
    assert not (tmp_path / sums_on_disk.NAME).exists()


@pytest.mark.parametrize("how", [How(TOKENS), WAYS[2]])
def test_a_batch_in_parts_is_added_once(
    passing: Read, monkeypatch: pytest.MonkeyPatch, how: How
) -> None:
    expected = read(passing(How(TOKENS)))
    failed: list[int] = []
    real = Moments.prepare_layer

    def full(moments: Moments, layer: int, *args: object) -> object:
        if layer == 2 and not failed:
            failed.append(layer)
            raise torch.OutOfMemoryError("out of memory")
        return real(moments, layer, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Moments, "prepare_layer", full)
    one = passing(how)
    moments = one.read()
    assert failed
    assert any("batches were cut" in warning for warning in one.warnings)
    # Halves of a batch have other paddings.
    assert_close(moments, expected[0], 1e-5)


def test_a_state_that_is_not_finite_is_named(
    passing: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = reader.stream_hidden_states

    def broken(model: object, ids: object, mask: object, on_layer: object, layers: object) -> None:
        def spoil(layer: int, states: torch.Tensor) -> None:
            if layer == 1:
                states = states.clone()
                states[-1, 0, 0] = math.nan
            on_layer(layer, states)  # type: ignore[operator]

        real(model, ids, mask, spoil, layers)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "stream_hidden_states", broken)
    with pytest.raises(MomentsError, match="layer 1 has a NaN or infinite hidden state"):
        passing(How(TOKENS, 1, on_host=True)).read()


# It dies as soon as a checkpoint of the second pass is written, however soon that is over.
KILLED = """
import os, signal, sys
from ntpscore import ScoreConfig, score
from ntpscore.reading import moments_pass
from ntpscore.reading.memory import How, MemoryPlan
from ntpscore.scoring import run

run.plan_memory = lambda sizes, room, asked: MemoryPlan(
    sizes, room, asked, How(16, 1, on_host=False, groups=2)
)
write = moments_pass.MomentsPass._checkpoint

def write_and_die(reading, folder):
    write(reading, folder)
    if reading._group == 1:
        os.kill(os.getpid(), signal.SIGKILL)

moments_pass.MomentsPass._checkpoint = write_and_die
moments_pass._CHECKPOINT_SHARE = float("inf")
config = ScoreConfig(shuffles=1, batch_tokens=16, checkpoint_seconds=0.0)
score(sys.argv[1], sys.argv[2], config, out=sys.argv[3])
"""


@pytest.mark.slow
def test_a_killed_process_goes_on_in_the_second_pass(tiny_model_dir: Path, tmp_path: Path) -> None:
    from ntpscore import ScoreConfig, score
    from ntpscore.core.moments import read_note
    from ntpscore.result_folder import UNFINISHED

    data = write_rows(tmp_path / "data.jsonl", make_rows(400))
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(tiny_model_dir), str(data), str(out)]
    killed = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": "src"}, stderr=subprocess.DEVNULL, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert read_note(out / UNFINISHED / CHECKPOINT)["group"] == "1"
    assert not (out / "result.json").exists()
    config = ScoreConfig(shuffles=1, batch_tokens=16)
    found = score(tiny_model_dir, data, config, out=out, keep_moments=True)
    assert any("of pass 2 of 2" in warning for warning in found.record["warnings"])
    whole = score(tiny_model_dir, data, config)
    assert_close(Moments.load(out / "moments.safetensors"), whole.moments, SAME_SUMS)
    assert not (out / UNFINISHED).exists()
