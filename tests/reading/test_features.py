"""Features against one text at a time; their file, what stops it, and the cache."""

import gc
import json
import os
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ntpscore import LanguageModel, ScoreConfig, load_model, score
from ntpscore.clock import Clock
from ntpscore.errors import MomentsError, OutputError
from ntpscore.reading import features as module
from ntpscore.reading.features import (
    Features,
    KeepFeatures,
    Place,
    choose_texts,
    collect_features,
    features_key,
)
from ntpscore.reading.pooling import POOLINGS
from ntpscore.reading.tokens import tokenize
from ntpscore.text import LabelledText, load_text
from tests.support.labelled_texts import make_rows, write_rows

MEANS = (Place(0), Place(3))
BOTH = tuple(Place(layer, pooling) for layer in (0, 3) for pooling in POOLINGS)


@pytest.fixture(scope="module")
def tiny(tiny_model_dir: Path) -> LanguageModel:
    return load_model(tiny_model_dir)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "data.jsonl", make_rows(60))


@pytest.fixture(scope="module")
def text(data: Path) -> LabelledText:
    return load_text(data)


@pytest.fixture(scope="module")
def other_text(data: Path) -> LabelledText:
    return load_text(data, split="test")


def collect(
    model: LanguageModel,
    text: LabelledText,
    places: tuple[Place, ...] = MEANS,
    cache: Path | None = None,
    max_length: int | None = None,
) -> Features:
    tokens = tokenize(text.texts, model, max_length)
    clock = Clock(("forward", "fit", "total"))
    return collect_features(
        model, text.texts, tokens, places, batch_tokens=100, clock=clock, cache=cache
    )


def one_at_a_time(model: LanguageModel, text: str) -> tuple[torch.Tensor, ...]:
    ids = torch.tensor([model.tokenizer(text)["input_ids"]])
    with torch.inference_mode():
        states = model.model(input_ids=ids, output_hidden_states=True).hidden_states
    return tuple(one[0] for one in states)


# -- what they are --------------------------------------------------------------------------------


def test_features_equal_those_of_single_texts(tiny: LanguageModel, text: LabelledText) -> None:
    found = collect(tiny, text, BOTH)
    assert not found.from_cache
    assert found.places == tuple(sorted(BOTH))
    assert (found.layers, found.poolings) == ((0, 3), tuple(POOLINGS))
    assert found.texts == list(range(60))
    for i, one in enumerate(text.texts):
        whole = one_at_a_time(tiny, one)
        for layer in (0, 3):
            # Batched and single float32 passes differ in the last digits.
            close = {"rtol": 0, "atol": 1e-5}
            torch.testing.assert_close(found.get(layer)[i], whole[layer].mean(0), **close)
            torch.testing.assert_close(found.get(layer, "last")[i], whole[layer][-1], **close)


def test_bfloat16_features_are_float32_means_rounded_once(tmp_path: Path) -> None:
    """Half a unit in the last place, 2^-8, of a sum of 200 numbers in float32."""
    generator = torch.Generator().manual_seed(0)
    states = (10 + torch.randn(4, 200, 32, generator=generator)).bfloat16()
    model = _made_up(torch.bfloat16)
    tokens = _Tokens([[1] * 200] * 4)
    keep = KeepFeatures(tmp_path, model, tokens, [Place(0), Place(0, "last")], range(4))
    keep.start()
    batch = keep.begin([3, 1, 0, 2], torch.ones(4, 200))
    keep.take(batch, 0, states)
    keep.end(batch)
    features = keep.finish()
    assert features.get(0).dtype == torch.bfloat16
    exact = states.double().mean(1)
    error = (features.get(0)[[3, 1, 0, 2]].double() - exact).abs() / exact.abs()
    assert float(error.max()) <= 2**-8 + 200 * 2**-24
    assert torch.equal(features.get(0, "last")[[3, 1, 0, 2]], states[:, -1])


class _Tokens:
    def __init__(self, ids: list[list[int]]) -> None:
        self.ids = ids


def _made_up(dtype: torch.dtype = torch.float32) -> LanguageModel:
    return LanguageModel(
        model=None, tokenizer=None, id="made-up", revision="1", content_hash=None, width=32,
        n_layers=1, dtype=dtype, device=torch.device("cpu"), max_length=None,
    )  # fmt: skip


def test_padding_and_other_texts_are_not_seen(tmp_path: Path) -> None:
    """Rows of a batch that are not kept, positions behind a text, and strides of any kind."""
    lengths = [2, 5, 1, 4]
    tokens = _Tokens([[1] * length for length in lengths])
    states = torch.full((32, 4, 5), torch.nan).permute(1, 2, 0)  # not contiguous
    for row, length in enumerate(lengths):
        states[row, :length] = torch.arange(1.0, 1 + length)[:, None]
    mask = (torch.arange(5) < torch.tensor(lengths)[:, None]).long()
    keep = KeepFeatures(tmp_path, _made_up(), tokens, [Place(0), Place(0, "last")], [1, 2])
    keep.start()
    batch = keep.begin([0, 1, 2, 3], mask)
    keep.take(batch, 0, states)
    keep.take(batch, 1, states)  # a layer that nobody wants
    keep.end(batch)
    nothing = keep.begin([0, 3], mask[[0, 3]])
    keep.take(nothing, 0, states[[0, 3]])
    features = keep.finish()
    assert features.texts == [1, 2]
    assert features.get(0)[:, 0].tolist() == [3.0, 1.0]
    assert features.get(0, "last")[:, 0].tolist() == [5.0, 1.0]


def test_the_file_is_plain_safetensors(
    tiny: LanguageModel, text: LabelledText, tmp_path: Path
) -> None:
    found = collect(tiny, text, BOTH, tmp_path)
    (path,) = tmp_path.iterdir()
    tensors = load_file(path)
    assert tensors.keys() == {"0 mean", "0 last", "3 mean", "3 last"}
    assert all(torch.equal(tensors[str(place)], found.get(*place)) for place in BOTH)


# -- which texts ----------------------------------------------------------------------------------


def test_a_sample_keeps_the_classes_shares_and_whole_groups(text: LabelledText) -> None:
    assert choose_texts(text, 60, 0) == list(range(60))
    groups = np.arange(60) // 3
    for most in (7, 20, 59):
        for seed in range(3):
            alone = choose_texts(text, most, seed)
            assert alone == sorted(set(alone)) == choose_texts(text, most, seed)
            assert len(alone) == most
            kept, all_texts = Counter(text.labels[alone]), Counter(text.labels)
            for label, count in all_texts.items():
                assert abs(kept[label] - most * count / 60) <= 1
            whole = choose_texts(replace(text, groups=groups), most, seed)
            assert most - 3 < len(whole) <= most
            assert set(Counter(groups[i] for i in whole).values()) == {3}
    assert choose_texts(text, 20, 0) != choose_texts(text, 20, 1)


def test_a_rare_class_is_in_the_sample() -> None:
    labels = np.array([0] * 500 + [1])
    rare = LabelledText(
        texts=[f"text {i}" for i in range(501)], labels=labels, task="classification",
        classes=("a", "b"), target_mean=None, target_sd=None, source=None,
    )  # fmt: skip
    assert 500 in choose_texts(rare, 10, 0)


# -- the file and what stops it -------------------------------------------------------------------


def test_what_is_no_file_of_features_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no features at"):
        Features.open(tmp_path / "nothing")
    for content in (b"", b"\x10\0\0\0\0\0\0\0{half"):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(OutputError, match="no file of features, or is damaged"):
            Features.open(tmp_path / "x")
    save_file({"0 mean": torch.ones(2, 3)}, tmp_path / "y")
    with pytest.raises(OutputError, match="no file of features"):
        Features.open(tmp_path / "y")


def test_a_place_that_is_not_there_is_told(tiny: LanguageModel, text: LabelledText) -> None:
    with pytest.raises(
        OutputError, match="no last tokens of layer 3: there are mean of layers 0, 3"
    ):
        collect(tiny, text).get(3, "last")


def test_a_full_disk_is_told_before_the_pass(
    tiny: LanguageModel, text: LabelledText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full_disk)
    with pytest.raises(OutputError, match=r"features of 60 texts .*No space left.*--feature-texts"):
        collect(tiny, text, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_file_goes_with_the_features(
    tiny: LanguageModel, text: LabelledText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    features = collect(tiny, text)
    assert len(list(tmp_path.iterdir())) == 1
    values = features.get(3)
    before = values.clone()
    del features
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(values, before)


def test_a_state_that_is_not_finite_is_told_and_leaves_no_file(
    tiny_model_dir: Path, text: LabelledText, tmp_path: Path
) -> None:
    broken = load_model(tiny_model_dir)
    with torch.no_grad():
        broken.model.base_model.embed_tokens.weight.fill_(float("nan"))
    with pytest.raises(MomentsError, match="layer 0 has a NaN"):
        collect(broken, text, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


# -- the cache ------------------------------------------------------------------------------------


def test_cache_spares_the_pass_and_grows_by_place(
    tiny: LanguageModel, text: LabelledText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = collect(tiny, text, (Place(3),), tmp_path)
    assert not first.from_cache
    (path,) = tmp_path.iterdir()
    assert features_key(tiny, tokenize(text.texts, tiny, None))[:16] in path.name
    more = collect(tiny, text, (Place(1), Place(3, "last")), tmp_path)
    assert not more.from_cache
    assert more.places == (Place(1), Place(3, "last"), Place(3))
    monkeypatch.setattr(module, "BatchReader", None)
    again = collect(tiny, text, (Place(1), Place(3)), tmp_path)
    assert again.from_cache
    assert torch.equal(again.get(1), more.get(1))
    assert torch.equal(first.get(3), again.get(3))
    assert len(list(tmp_path.iterdir())) == 1


def test_the_folder_of_a_score_spares_the_pass(
    tiny: LanguageModel, data: Path, text: LabelledText, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config = ScoreConfig(shuffles=1, batch_tokens=100, layers=(0, 3), skip_sanity_check=True)
    result = score(tiny, data, out=tmp_path, config=config)
    (tmp_path / "score").mkdir()
    elsewhere = collect(tiny, text, BOTH, tmp_path / "score")
    with monkeypatch.context() as patch:
        patch.setattr(module, "BatchReader", None)
        spared = collect(tiny, text, BOTH, tmp_path)
    assert spared.from_cache
    for place in BOTH:
        assert torch.equal(spared.get(*place), elsewhere.get(*place))
        assert torch.equal(spared.get(*place), result.features.get(*place))
    some = score(tiny, data, out=tmp_path, config=replace(config, feature_texts=20))
    assert len(some.features.texts) == 20
    assert not collect(tiny, text, BOTH, tmp_path).from_cache


@pytest.mark.parametrize("change", ["texts", "model", "length"])
def test_a_changed_key_is_computed_anew(
    tiny: LanguageModel, text: LabelledText, other_text: LabelledText, tmp_path: Path, change: str
) -> None:
    collect(tiny, text, cache=tmp_path)
    changed_text = other_text if change == "texts" else text
    model = replace(tiny, content_hash="other") if change == "model" else tiny
    length = 3 if change == "length" else None
    assert not collect(model, changed_text, MEANS, tmp_path, length).from_cache
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", [b"", b"\x10\0\0\0\0\0\0\0{half", None])
def test_a_damaged_file_is_computed_anew_with_a_warning(
    tiny: LanguageModel, text: LabelledText, tmp_path: Path, damage: bytes | None
) -> None:
    first = collect(tiny, text, cache=tmp_path)
    expected = first.get(3).clone()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    # A new file, since the old one is mapped into memory.
    path.unlink()
    path.write_bytes(whole[:-100] if damage is None else damage)
    again = collect(tiny, text, cache=tmp_path)
    assert not again.from_cache
    assert "is damaged" in again.warnings[0]
    assert torch.equal(again.get(3), expected)
    assert collect(tiny, text, cache=tmp_path).from_cache


def test_a_file_of_something_else_is_not_believed(
    tiny: LanguageModel, text: LabelledText, other_text: LabelledText, tmp_path: Path
) -> None:
    collect(tiny, other_text, cache=tmp_path)
    (of_other,) = tmp_path.iterdir()
    collect(tiny, text, cache=tmp_path)
    (of_text,) = set(tmp_path.iterdir()) - {of_other}
    of_other.replace(of_text)
    assert "other texts" in collect(tiny, text, cache=tmp_path).warnings[0]


def test_a_model_without_identity_is_not_cached(
    tiny: LanguageModel, text: LabelledText, tmp_path: Path
) -> None:
    unknown = replace(tiny, revision=None, content_hash=None)
    assert not collect(unknown, text, cache=tmp_path).from_cache
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not tell")
def test_memory_of_features_that_were_looked_at_can_be_given_back(
    tiny: LanguageModel, text: LabelledText
) -> None:
    features = collect(tiny, text)

    def resident() -> int:
        """Of what is mapped from the file, in KiB."""
        maps = Path("/proc/self/smaps").read_text().split(str(features._path))[1:]
        return sum(int(one.split("Rss:")[1].split()[0]) for one in maps)

    before = features.get(0).clone()
    assert resident() > 0
    features.release()
    assert resident() == 0
    assert torch.equal(features.get(0), before)


def test_features_that_do_not_lie_as_they_should_are_refused(tmp_path: Path) -> None:
    note = {"schema_version": 1, "key": "k", "model": "m", "tokens": "t", "of": 4, "texts": [0, 1]}
    metadata = {"ntpscore": json.dumps(note)}
    save_file({"0 mean": torch.ones(2, 3, dtype=torch.int32)}, tmp_path / "a", metadata)
    with pytest.raises(OutputError, match="is no file of features"):
        Features.open(tmp_path / "a")
