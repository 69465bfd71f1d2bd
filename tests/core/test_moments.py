"""The sums against loops over texts; adding up, refusing, saving."""

import itertools
import json
import math
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ntpscore.core import prefix_products
from ntpscore.core.controls import shuffled_labels
from ntpscore.core.label_rows import LabelRows
from ntpscore.core.moments import (
    Batch,
    LayerMoments,
    Moments,
    NonFiniteError,
    read_note,
)
from ntpscore.errors import MomentsError
from tests.reference import cases
from tests.reference import moments as literal
from tests.reference.cases import Case
from tests.support.feeding import Layout, feed, pad_texts
from tests.tolerances import MOMENTS_FLOAT64

CASE = cases.classification_case()
TARGETS = cases.regression_case()
EVERY = (
    cases.regular_cases()
    + cases.large_direction_cases()
    + cases.ill_conditioned_cases()
    + cases.singular_cases()
    + [cases.one_class_case(), cases.one_token_case()]
)
SUMS = (
    "sum_N",
    "sum_C0",
    "sum_C1",
    "sum_M",
    "sum_M_shuffled",
    "sum_mean",
    "sum_next_power",
    "sum_Y",
    "sum_YY",
    "sum_Y_shuffled",
    "sum_Y_shuffled_power",
)


def assert_equals_twin(
    moments: LayerMoments, case: Case, tolerance: float = MOMENTS_FLOAT64
) -> None:
    twin = literal.moments_of_texts(case.texts, case.Y)
    token, label = math.sqrt(np.abs(twin.N).max()), math.sqrt(np.abs(twin.YY).max())
    scale = {
        "N": token**2,
        "M": token * label,
        "C0": np.abs(twin.C0).max(),
        "C1": np.abs(twin.C1).max(),
        "mu": token,
        "p": label,
        "YY": label**2,
    }
    for name, size in scale.items():
        difference = getattr(moments, name).numpy() - getattr(twin, name)
        assert np.abs(difference).max() <= tolerance * size, name
    assert moments.next_power == pytest.approx(twin.token_trace, rel=tolerance)
    assert moments.n_texts == twin.n


def assert_same_sums(one: Moments, other: Moments, tolerance: float = MOMENTS_FLOAT64) -> None:
    for name in SUMS:
        a, b = getattr(one, name), getattr(other, name)
        if name in ("sum_N", "sum_C0"):
            a, b = a.triu(), b.triu()  # below the diagonal nothing is kept
        assert a.shape == b.shape
        if a.numel():
            size = float(b.abs().max())
            assert float((a - b).abs().max()) <= tolerance * size, name
    assert (one.n_texts, one.n_tokens) == (other.n_texts, other.n_tokens)


def held_sums(moments: Moments) -> dict[str, Tensor]:
    return {name: getattr(moments, name).clone() for name in SUMS}


def assert_nothing_added(moments: Moments) -> None:
    assert moments.n_texts == moments.n_tokens == 0
    assert not any(value.any() for value in held_sums(moments).values())


# Accumulating


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_moments_equal_literal_ones(case: Case) -> None:
    moments = feed(case)
    assert_equals_twin(moments.layer(0), case)
    assert moments.n_tokens == sum(X.shape[1] for X in case.texts)


@pytest.mark.parametrize("padding", [0.0, 1e6, math.nan, math.inf])
@pytest.mark.parametrize("layout", ["right", "left", "holes"])
def test_moments_dont_see_padding(layout: Layout, padding: float) -> None:
    moments = feed(CASE, layout=layout, padding=padding)
    assert_equals_twin(moments.layer(0), CASE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_moments_of_narrow_hidden_states_lose_nothing(dtype: torch.dtype) -> None:
    """The rounding is in the hidden states: their sums are as good as those of float64."""
    rounded = CASE._replace(
        texts=[torch.from_numpy(X).to(dtype).double().numpy() for X in CASE.texts]
    )
    moments = feed(CASE, dtype=dtype)
    assert_equals_twin(moments.layer(0), rounded)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_narrow_widths_are_served(d: int) -> None:
    case = cases.classification_case(d=d, n=20, c=2)
    assert_equals_twin(feed(case).layer(0), case)


def test_update_equals_layer_after_layer() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden_states = torch.randn(3, 20, 7, 5, generator=generator)
    _, mask = pad_texts(cases.classification_case(n=20, d=5, lengths=(1, 5)), layout="holes")
    labels = torch.arange(20) % 3
    shuffled = labels[shuffled_labels(20, 2, 0)]
    at_once = Moments((4, 0, 9), 5, 3, 2)
    at_once.update(hidden_states, mask, labels, shuffled)
    by_layer = Moments((4, 0, 9), 5, 3, 2)
    batch = by_layer.batch(mask, labels, shuffled)
    for layer, states in zip((4, 0, 9), hidden_states, strict=True):
        by_layer.add_layer(layer, states, batch)
    by_layer.add_labels(batch)
    assert_same_sums(by_layer, at_once, 0.0)
    listed = Moments((4, 0, 9), 5, 3, 2)
    listed.update(list(hidden_states), mask, labels, shuffled)
    assert_same_sums(listed, at_once, 0.0)


def test_layers_are_found_by_their_index() -> None:
    hidden_states = torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(0))
    moments = Moments((7, 2), 4, 2)
    moments.update(hidden_states, torch.ones(6, 3), torch.arange(6) % 2)
    for layer, states in ((7, hidden_states[0]), (2, hidden_states[1])):
        alone = Moments(1, 4, 2)
        alone.update(states[None], torch.ones(6, 3), torch.arange(6) % 2)
        torch.testing.assert_close(moments.layer(layer).N, alone.layer(0).N)
    assert moments.layer(7).width == 4


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(range(24)),
    cuts=st.sets(st.integers(1, 23), max_size=5),
    merge=st.booleans(),
)
def test_moments_dont_depend_on_order_or_batches(
    order: list[int], cuts: set[int], merge: bool
) -> None:
    case = cases.classification_case(n=24, d=4)
    hidden_states, mask = pad_texts(case)
    labels = torch.from_numpy(case.labels)
    whole = Moments(1, 4, 3)
    whole.update(hidden_states[None], mask, labels)
    parts = Moments(1, 4, 3)
    edges = [0, *sorted(cuts), 24]
    for start, end in itertools.pairwise(edges):
        chosen = torch.tensor(order[start:end])
        target = Moments(1, 4, 3) if merge else parts
        target.update(hidden_states[None, chosen], mask[chosen], labels[chosen])
        parts = parts + target if merge else target
    assert_same_sums(parts, whole)


def test_adding_moments_equals_one_update() -> None:
    whole, twice = feed(CASE, shuffles=2), feed(cases.with_duplicates(CASE))
    assert_same_sums(feed(CASE) + feed(CASE), twice)
    added = whole + whole
    assert added.n_texts == 2 * whole.n_texts
    torch.testing.assert_close(added.sum_M_shuffled, 2 * whole.sum_M_shuffled)


def test_doubling_all_texts_changes_no_mean() -> None:
    once, twice = feed(CASE).layer(0), feed(cases.with_duplicates(CASE)).layer(0)
    for name in ("N", "M", "C0", "C1", "mu", "p", "YY"):
        one, other = getattr(once, name), getattr(twice, name)
        assert float((one - other).abs().max()) <= MOMENTS_FLOAT64 * float(one.abs().max())


def test_an_empty_batch_adds_nothing() -> None:
    moments = Moments(1, 4, 2)
    empty = torch.zeros(0, dtype=torch.long)
    moments.update(torch.zeros(1, 0, 3, 4), torch.zeros(0, 3), empty)
    assert_nothing_added(moments)


# Labels


def test_class_indices_equal_one_hot_rows() -> None:
    hidden_states, mask = pad_texts(CASE)
    labels = torch.from_numpy(CASE.labels)
    permutations = shuffled_labels(len(labels), 3, 1)
    by_index, by_row = Moments(1, CASE.d, 3, 3), Moments(1, CASE.d, 3, 3)
    by_index.update(hidden_states[None], mask, labels, labels[permutations])
    rows = torch.from_numpy(CASE.Y)
    by_row.update(hidden_states[None], mask, rows, rows[permutations])
    assert_same_sums(by_index, by_row, 0.0)
    narrow = Moments(1, CASE.d, 3, 3)
    narrow.update(hidden_states[None], mask, labels.int(), labels[permutations].int())
    assert_same_sums(narrow, by_index, 0.0)


@pytest.mark.parametrize("case", [CASE, TARGETS], ids=["classes", "targets"])
def test_shuffled_moments_are_those_of_the_shuffled_labels(case: Case) -> None:
    moments = feed(case, shuffles=3).layer(0)
    permutations = shuffled_labels(len(case.texts), 3, 0).numpy()
    for p, permutation in enumerate(permutations):
        alone = feed(case._replace(Y=case.Y[permutation])).layer(0)
        for one, other in (
            (moments.M_shuffled[p], alone.M),
            (moments.M_shuffled_centred[p], alone.M_centred),
            (moments.p_shuffled[p], alone.p),
            (moments.Y_shuffled_power[p], alone.YY.trace()),
        ):
            torch.testing.assert_close(one, other, rtol=MOMENTS_FLOAT64, atol=MOMENTS_FLOAT64)


@pytest.mark.parametrize("case", [CASE, TARGETS], ids=["classes", "targets"])
def test_centred_moments_are_covariances(case: Case) -> None:
    moments = feed(case).layer(0)
    features = literal.pooled_features(case.texts)
    together = np.cov(np.hstack([features, case.Y]).T, bias=True)
    d = case.d
    for one, other in (
        (moments.N_centred.numpy(), together[:d, :d]),
        (moments.M_centred.numpy(), together[:d, d:]),
        (float(moments.Y_variances[0]), np.trace(together[d:, d:])),
    ):
        np.testing.assert_allclose(
            one, other, rtol=0, atol=MOMENTS_FLOAT64 * np.abs(together).max()
        )


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), 4, 2), "at least one"),
        (((0, 0), 4, 2), "distinct"),
        ((1, 0, 2), "width"),
        ((1, 4, 0), "n_outputs"),
        ((1, 4, 2, -1), "n_shuffles"),
    ],
)
def test_moments_refuse_senseless_sizes(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(MomentsError, match=message):
        Moments(*arguments)


STATES, MASK, LABELS = torch.ones(1, 3, 4, 5), torch.ones(3, 4), torch.tensor([0, 1, 1])


@pytest.mark.parametrize(
    ("hidden_states", "mask", "labels", "message"),
    [
        (torch.ones(2, 3, 4, 5), MASK, LABELS, "2 layers for moments of 1"),
        (torch.ones(1, 3, 4, 6), MASK, LABELS, "don't fit an attention mask"),
        (torch.ones(1, 3, 3, 5), MASK, LABELS, "don't fit an attention mask"),
        (torch.ones(1, 2, 4, 5), MASK, LABELS, "don't fit an attention mask"),
        (STATES, MASK[:2], LABELS, "don't fit an attention mask"),
        (STATES, MASK, LABELS[:2], "2 labels don't fit"),
        (STATES, MASK[0], LABELS, r"must be \(texts, tokens\)"),
        (STATES, torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]]), LABELS, "text 1 .* no"),
        (STATES, torch.ones(3, 0), LABELS, "text 0 .* no token"),
        (STATES, MASK, torch.tensor([0, 1, 2]), "0 to 2, but .* classes 0 to 1"),
        (STATES, MASK, torch.tensor([0, -1, 1]), "from -1 to 1"),
        (STATES, MASK, torch.ones(3, 3), "3 columns, these moments 2"),
        (STATES, MASK, torch.tensor([[0.0, 1.0], [math.nan, 0.0], [0.0, 0.0]]), "NaN"),
        (STATES, MASK, torch.tensor([[0.0, 1.0], [math.inf, 0.0], [0.0, 0.0]]), "infinite"),
    ],
)
def test_update_refuses_what_does_not_fit(
    hidden_states: Tensor, mask: Tensor, labels: Tensor, message: str
) -> None:
    moments = Moments(1, 5, 2)
    with pytest.raises(MomentsError, match=message):
        moments.update(hidden_states, mask, labels)
    assert_nothing_added(moments)


@pytest.mark.parametrize(
    "labels",
    [torch.tensor([0.0, 1.0]), torch.tensor([[0, 1], [1, 0]]), torch.tensor(1)],
    ids=["targets without columns", "integer rows", "no texts"],
)
def test_update_refuses_labels_of_another_shape(labels: Tensor) -> None:
    moments = Moments(1, 5, 2)
    with pytest.raises(MomentsError, match="label"):
        moments.update(torch.ones(1, 2, 4, 5), torch.ones(2, 4), labels)
    assert_nothing_added(moments)


@pytest.mark.parametrize(
    ("shuffles", "shuffled"),
    [(2, None), (2, LABELS[None]), (2, LABELS.expand(3, 3)), (0, LABELS.expand(2, 3))],
)
def test_update_refuses_missing_or_spare_shuffles(shuffles: int, shuffled: Tensor | None) -> None:
    moments = Moments(1, 5, 2, shuffles)
    with pytest.raises(MomentsError, match=f"for {shuffles} label shuffles"):
        moments.update(STATES, MASK, LABELS, shuffled)
    assert_nothing_added(moments)


def test_update_refuses_shuffles_of_other_texts() -> None:
    moments = Moments(1, 5, 2, 2)
    with pytest.raises(MomentsError, match="shuffled"):
        moments.update(STATES, MASK, LABELS, LABELS[:2].expand(2, 2))
    assert_nothing_added(moments)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_hidden_states_are_named(value: float) -> None:
    moments = Moments((0, 5), 4, 2)
    hidden_states = torch.ones(2, 3, 4, 4)
    hidden_states[1, 2, 1, 3] = value
    with pytest.raises(NonFiniteError, match=r"layer 5 has a NaN or infinite .* text 2") as caught:
        moments.update(hidden_states, torch.ones(3, 4), torch.tensor([0, 1, 1]))
    assert (caught.value.layer, caught.value.text) == (5, 2)
    assert_nothing_added(moments)
    batch = moments.batch(torch.ones(3, 4), LABELS)
    moments.add_layer(0, hidden_states[0], batch)
    before = held_sums(moments)
    with pytest.raises(NonFiniteError, match=r"layer 5 .* text 2"):
        moments.add_layer(5, hidden_states[1], batch)
    assert all(torch.equal(getattr(moments, name), value) for name, value in before.items())


def test_a_layer_is_added_without_a_copy_to_the_host() -> None:
    """A tensor without data can't be copied: whatever asks for a value fails."""
    moments = Moments(1, 5, 2, 3, device="meta")
    Y, Y_shuffled = (
        LabelRows(torch.zeros(sets, 4, 2, dtype=torch.float64, device="meta"), 2) for sets in (1, 3)
    )
    lengths = torch.ones(4, dtype=torch.long, device="meta")
    order = torch.zeros(4, 6, dtype=torch.long, device="meta")
    for where in (None, order):
        batch = Batch((4, 6), lengths, where, 4, 17, Y, Y_shuffled)
        moments.add_layer(0, torch.zeros(4, 6, 5, dtype=torch.bfloat16, device="meta"), batch)
        assert [layer for layer, _ in batch.unchecked] == [0]


def test_adding_a_layer_that_is_not_there_is_refused() -> None:
    moments = Moments((0, 5), 5, 2)
    with pytest.raises(MomentsError, match="layer 1"):
        moments.add_layer(1, STATES[0], moments.batch(MASK, LABELS))
    assert_nothing_added(moments)


class ShortOfMemory(TorchDispatchMode):
    """Memory runs out at the operation of this number that needs some."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if not func.is_view and not name.endswith("_") and name != "_local_scalar_dense":
            self.left -= 1
            if self.left == 0:
                raise torch.OutOfMemoryError
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("classes", [2, 9])
def test_a_layer_of_which_memory_ran_out_can_come_again(
    kernel: bool, threads: int, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it ran out: nothing was added then, or all of it."""
    monkeypatch.setattr(prefix_products, "HAS_KERNEL", kernel and prefix_products.HAS_KERNEL)
    states = torch.randn(3, 4, 30, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 1])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    expected = Moments(1, 30, classes, 1)
    expected.update(states[None], torch.ones(3, 4), labels, labels[None])
    failed = 0
    for at in itertools.count(1):
        moments = Moments(1, 30, classes, 1)
        batch = moments.batch(torch.ones(3, 4), labels, labels[None])
        try:
            with ShortOfMemory(at):
                moments.add_layer(0, states, batch)
        except torch.OutOfMemoryError:
            failed += 1
            assert_nothing_added(moments)
            moments.add_layer(0, states, batch)
        moments.add_labels(batch)
        for name in SUMS:
            assert torch.equal(getattr(moments, name), getattr(expected, name))
        if failed < at:
            break
    torch.set_num_threads(before)
    assert failed > 5


def test_hidden_states_that_nobody_waited_for_are_checked_at_the_end() -> None:
    """As on a graphics card."""
    moments = Moments(1, 5, 2)
    batch = moments.batch(MASK, LABELS)
    batch.unchecked.append((0, torch.tensor([True, False, True])))
    with pytest.raises(NonFiniteError, match=r"layer 0 .* text 1"):
        moments.add_labels(batch)
    assert_nothing_added(moments)


@pytest.mark.parametrize(
    "other", [Moments(2, 4, 2), Moments((1,), 4, 2), Moments(1, 5, 2), Moments(1, 4, 3)]
)
def test_adding_unlike_moments_is_refused(other: Moments) -> None:
    with pytest.raises(MomentsError, match="add up only over the same"):
        _ = Moments(1, 4, 2) + other


def test_reading_needs_a_layer_and_a_text() -> None:
    with pytest.raises(MomentsError, match="no text was added"):
        Moments(1, 4, 2).layer(0)
    with pytest.raises(MomentsError, match=r"no moments of layer 3: there are those of \(0, 1\)"):
        Moments(2, 4, 2).layer(3)


# Size and files


@pytest.mark.parametrize(("layers", "shuffles"), [(1, 0), (3, 4)])
def test_n_bytes_are_what_is_held(layers: int, shuffles: int) -> None:
    moments = Moments(layers, 6, 3, shuffles)
    held = sum(value.numel() * value.element_size() for value in held_sums(moments).values())
    assert Moments.n_bytes(layers, 6, 3, shuffles) == held


@pytest.mark.parametrize("shuffles", [0, 2])
def test_saved_moments_load_exactly(tmp_path: Path, shuffles: int) -> None:
    moments = feed(CASE, shuffles=shuffles)
    path = tmp_path / "moments.safetensors"
    moments.save(path, {"model": "a model", "data": '{"id": 1}'})
    again = Moments.load(str(path))
    assert_same_sums(again, moments, 0.0)
    for name in ("layers", "width", "n_outputs", "n_shuffles"):
        assert getattr(again, name) == getattr(moments, name)
    note = read_note(path)
    assert note["model"] == "a model"
    assert note["data"] == '{"id": 1}'
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    moments.save(path.with_name("two"), more=[moments])
    (moments + moments).save(path)
    assert path.with_name("two").read_bytes() == path.read_bytes()
    assert Moments.load(path).n_texts == 2 * moments.n_texts
    assert "model" not in read_note(path)


def saved(tmp_path: Path) -> Path:
    path = tmp_path / "moments.safetensors"
    feed(CASE).save(path)
    return path


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.05, 0.5, 0.999])
def test_truncated_moments_are_refused(tmp_path: Path, share: float) -> None:
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(MomentsError, match=r"moments\.safetensors .*cut short"):
        Moments.load(path)
    with pytest.raises(MomentsError, match="cut short"):
        read_note(path)


def test_missing_moments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MomentsError, match="no such file"):
        Moments.load(tmp_path / "nowhere")
    with pytest.raises(MomentsError, match="nowhere"):
        read_note(tmp_path / "nowhere")
    with pytest.raises(MomentsError, match="no file of moments"):
        Moments.load(tmp_path)


@pytest.mark.parametrize("text", ["label,text\n1,a\n", "{}" * 50])
def test_a_text_file_is_no_moments(tmp_path: Path, text: str) -> None:
    path = tmp_path / "moments.safetensors"
    path.write_text(text)
    with pytest.raises(MomentsError, match="no file of moments"):
        Moments.load(path)


def test_another_safetensors_file_is_no_moments(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(MomentsError, match=r"model\.safetensors is no file of moments"):
        Moments.load(path)
    assert read_note(path) == {}


def rewrite(path: Path, header: object = None, **tensors: Tensor) -> None:
    """The same file with another header, or with other tensors."""
    text = read_note(path)["ntpscore"] if header is None else json.dumps(header)
    save_file({**load_file(path), **tensors}, path, {"ntpscore": text})


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    rewrite(path, {**json.loads(read_note(path)["ntpscore"]), "schema_version": 99})
    with pytest.raises(MomentsError, match="schema version 99, this ntpscore reads 1"):
        Moments.load(path)


@pytest.mark.parametrize("lost", ["schema_version", "width", "n_texts", "n_tokens"])
def test_a_header_without_an_entry_is_refused(tmp_path: Path, lost: str) -> None:
    path = saved(tmp_path)
    header = json.loads(read_note(path)["ntpscore"])
    del header[lost]
    rewrite(path, header)
    with pytest.raises(MomentsError, match="no file of moments"):
        Moments.load(path)


@pytest.mark.parametrize("header", [[], "text", 3])
def test_a_header_of_another_kind_is_refused(tmp_path: Path, header: object) -> None:
    path = saved(tmp_path)
    rewrite(path, header)
    with pytest.raises(MomentsError, match="no file of moments"):
        Moments.load(path)


@pytest.mark.parametrize("name", ["sum_M", "sum_N", "sum_Y"])
def test_tensors_of_another_shape_are_refused(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path)
    rewrite(path, **{name: torch.ones(1, 3)})
    with pytest.raises(MomentsError, match=r"sum_|no file of moments"):
        Moments.load(path)


@pytest.mark.parametrize("place", ["nowhere/m.safetensors", "file/m.safetensors", "folder"])
def test_an_unwritable_place_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(MomentsError, match="can't write moments to .*" + place.replace(".", r"\.")):
        feed(CASE).save(tmp_path / place)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_a_full_disk_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "moments.safetensors"
    feed(CASE).save(path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores the signal that goes with the limit, so writing fails as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(MomentsError, match="can't write moments to"):
            (feed(CASE) + feed(CASE)).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_sum_pooling_is_that_of_the_sums() -> None:
    case = cases.classification_case("pooled", seed=50, n=30, d=6, c=3, lengths=(1, 7))
    hidden_states, mask = pad_texts(case)
    found = Moments(1, case.d, case.c, pooling="sum")
    found.update(hidden_states[None], mask, torch.from_numpy(case.Y))
    sums = np.stack([X.sum(1) for X in case.texts])
    layer, by_mean = found.layer(0), feed(case).layer(0)
    np.testing.assert_allclose(layer.N, sums.T @ sums / 30, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(layer.M, sums.T @ case.Y / 30, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(layer.mu, sums.mean(0), rtol=1e-12, atol=1e-12)
    assert torch.equal(layer.C0, by_mean.C0)
    assert torch.equal(layer.C1, by_mean.C1)
    assert not torch.allclose(layer.N, by_mean.N)
    with pytest.raises(MomentsError, match="and pooling"):
        found.add(feed(case))


def test_pooling_is_kept_in_files(tmp_path: Path) -> None:
    Moments(1, 3, 2, pooling="sum").save(tmp_path / "sums")
    assert Moments.load(tmp_path / "sums").pooling == "sum"
    assert (Moments(1, 3, 2, pooling="sum") + Moments(1, 3, 2, pooling="sum")).pooling == "sum"


def test_sums_are_added_to_in_place() -> None:
    moments, twice = feed(CASE), feed(CASE) + feed(CASE)
    for total in moments.sums.values():
        total.mul_(2)
    for name in SUMS:
        torch.testing.assert_close(getattr(moments, name), getattr(twice, name), rtol=0, atol=0)
