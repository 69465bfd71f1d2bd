"""Mean-token features against one text at a time, and their cache."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ntpscore import LanguageModel, load_model
from ntpscore.adapt import features as features_module
from ntpscore.adapt.features import Features, Place, cache_key, collect_features
from ntpscore.adapt.result import STAGES
from ntpscore.clock import Clock
from ntpscore.errors import ModelError, MomentsError, OutputError
from ntpscore.files import write_tensors
from ntpscore.reading.tokens import tokenize
from ntpscore.text import LabelledText, Splits


def collect(
    model: LanguageModel,
    text: LabelledText,
    places: tuple[int | Place, ...],
    cache: Path | None = None,
    max_length: int | None = None,
    batch_tokens: int = 300,
) -> Features:
    tokens = tokenize(text.texts, model, max_length)
    return collect_features(
        model,
        text.texts,
        tokens,
        [place if isinstance(place, Place) else Place(place) for place in places],
        batch_tokens=batch_tokens,
        clock=Clock(STAGES),
        cache=cache,
    )


def test_features_equal_means_and_last_tokens_of_single_texts(
    tiny: LanguageModel, splits: Splits
) -> None:
    found = collect(tiny, splits.test, (0, Place(3, "last"), 3))
    assert not found.from_cache
    assert list(found.by_place) == [(0, "mean"), (3, "last"), (3, "mean")]
    for i, text in enumerate(splits.test.texts):
        ids = torch.tensor([tiny.tokenizer(text)["input_ids"]])
        with torch.inference_mode():
            whole = tiny.model(input_ids=ids, output_hidden_states=True).hidden_states
        for layer in (0, 3):
            # Batched and single float32 passes differ in the last digits.
            mean = found.by_place[Place(layer)][i]
            np.testing.assert_allclose(mean, whole[layer][0].mean(0), atol=1e-5)
        last = found.by_place[Place(3, "last")][i]
        np.testing.assert_allclose(last, whole[3][0, -1], atol=1e-5)


def test_features_of_a_narrow_model_are_float32(tiny_model_dir: Path, splits: Splits) -> None:
    model = load_model(tiny_model_dir, dtype="bfloat16")
    found = collect(model, splits.test, (Place(2, "mean"), Place(2, "last")))
    assert all(tensor.dtype == torch.float32 for tensor in found.by_place.values())
    assert not torch.equal(*found.by_place.values())


def test_cache_spares_the_pass_and_grows_by_layer(
    tiny: LanguageModel, splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = collect(tiny, splits.test, (3,), tmp_path)
    assert not first.from_cache
    (path,) = tmp_path.iterdir()
    assert cache_key(tiny, tokenize(splits.test.texts, tiny, None))[:16] in path.name
    both = collect(tiny, splits.test, (1, Place(1, "last"), 3), tmp_path)
    assert not both.from_cache
    monkeypatch.setattr(features_module, "_read_features", None)
    again = collect(tiny, splits.test, (1, Place(1, "last")), tmp_path)
    assert again.from_cache
    torch.testing.assert_close(again.by_place[Place(1)], both.by_place[Place(1)], rtol=0, atol=0)
    torch.testing.assert_close(first.by_place[Place(3)], both.by_place[Place(3)], rtol=0, atol=0)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("change", ["texts", "model", "length"])
def test_a_changed_key_is_computed_anew(
    tiny: LanguageModel, splits: Splits, tmp_path: Path, change: str
) -> None:
    collect(tiny, splits.test, (3,), tmp_path)
    text = splits.train if change == "texts" else splits.test
    model = replace(tiny, content_hash="other") if change == "model" else tiny
    length = 3 if change == "length" else None
    assert not collect(model, text, (3,), tmp_path, length).from_cache
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", [b"", b"\x10\0\0\0\0\0\0\0{half", None])
def test_a_damaged_file_is_computed_anew_with_a_warning(
    tiny: LanguageModel, splits: Splits, tmp_path: Path, damage: bytes | None
) -> None:
    first = collect(tiny, splits.test, (3,), tmp_path)
    expected = first.by_place[Place(3)].clone()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    # A new file, since the old one is mapped into memory.
    path.unlink()
    path.write_bytes(whole[:-100] if damage is None else damage)
    again = collect(tiny, splits.test, (3,), tmp_path)
    assert not again.from_cache
    assert "is damaged" in again.warnings[0]
    torch.testing.assert_close(again.by_place[Place(3)], expected, rtol=0, atol=0)
    assert collect(tiny, splits.test, (3,), tmp_path).from_cache


def test_a_file_of_something_else_is_not_believed(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    collect(tiny, splits.test, (3,), tmp_path)
    (of_test,) = tmp_path.iterdir()
    collect(tiny, splits.train, (3,), tmp_path)
    (of_train,) = set(tmp_path.iterdir()) - {of_test}
    of_test.replace(of_train)
    assert "other texts" in collect(tiny, splits.train, (3,), tmp_path).warnings[0]
    tokens = tokenize(splits.train.texts, tiny, None)
    key = cache_key(tiny, tokens)
    write_tensors(of_train, {"3": torch.zeros(2, 32)}, {"key": key})
    assert "shape" in collect(tiny, splits.train, (3,), tmp_path).warnings[0]


def test_a_model_without_identity_is_not_cached(
    tiny: LanguageModel, splits: Splits, tmp_path: Path
) -> None:
    unknown = replace(tiny, revision=None, content_hash=None)
    assert not collect(unknown, splits.test, (3,), tmp_path).from_cache
    assert list(tmp_path.iterdir()) == []


def test_errors_name_what_is_wrong(
    tiny: LanguageModel,
    tiny_model_dir: Path,
    splits: Splits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = load_model(tiny_model_dir)
    with torch.no_grad():
        broken.model.base_model.embed_tokens.weight.fill_(float("nan"))
    with pytest.raises(MomentsError, match="layer 0 has a NaN"):
        collect(broken, splits.test, (0,))

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full_disk)
        with pytest.raises(OutputError, match=r"can't write .*No space left"):
            collect(tiny, splits.test, (3,), tmp_path)
    assert list(tmp_path.iterdir()) == []

    class Little:
        available = 1000

    monkeypatch.setattr(features_module.psutil, "virtual_memory", Little)
    with pytest.raises(ModelError, match="fewer layers with --layer"):
        collect(tiny, splits.test, (3,))
