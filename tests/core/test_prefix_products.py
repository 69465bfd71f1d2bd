"""The products of prefix sums against loops over tokens, by torch and by the compiled kernel."""

import importlib
import itertools
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import ntpscore.core
from ntpscore.core import digit_products
from ntpscore.core import prefix_products as module
from ntpscore.core.prefix_products import (
    PRECISIONS,
    SAFE_CONDITION,
    Precision,
    prefix_totals,
    prepare_gram,
    prepare_prefix_products,
    symmetric,
)
from tests.reference import cases
from tests.support.feeding import pad_texts
from tests.support.rotated import largest_change, rotated_states, scores_of
from tests.tolerances import MOMENTS_FLOAT64

# Widths around the kernel's vectors of 8, tiles of 8 by 24 and blocks of 192 columns.
WIDTHS = (1, 5, 8, 9, 23, 24, 25, 31, 48, 100, 191, 192, 200)


@pytest.fixture(params=["torch", "kernel"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "torch":
        monkeypatch.setattr(module, "HAS_KERNEL", False)
    elif not module.HAS_KERNEL:
        pytest.skip("no AVX-512, or no compiler when the package was installed")
    return request.param


def add_prefix_products(states: Tensor, lengths: Tensor, C0: Tensor, C1: Tensor) -> None:
    prepare_prefix_products(states, lengths, C0, C1)()


def add_gram(rows: Tensor, C: Tensor) -> None:
    prepare_gram(rows, C)()


def literal_products(
    hidden_states: Tensor, lengths: list[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """C0, C1, totals and power, one token after the other."""
    d = hidden_states.shape[2]
    C0, C1, total, power = np.zeros((d, d)), np.zeros((d, d)), [], 0.0
    for tokens, length in zip(hidden_states.double().numpy(), lengths, strict=True):
        S = np.zeros(d)
        for i in range(length):
            if i > 0:
                C0 += np.outer(S, S)
                C1 += np.outer(S, tokens[i])
                power += float(tokens[i] @ tokens[i])
            S = S + tokens[i]
        total.append(S)
    return C0, C1, np.array(total), power


def assert_equals_literal(hidden_states: Tensor, lengths: list[int]) -> None:
    d = hidden_states.shape[2]
    C0, C1, totals, power = literal_products(hidden_states, lengths)
    got_C0, got_C1 = torch.ones(d, d, dtype=torch.float64), torch.ones(d, d, dtype=torch.float64)
    add_prefix_products(hidden_states, torch.tensor(lengths), got_C0, got_C1)
    # Sums in another order: rounding of the largest entry.
    for got, expected in ((symmetric(got_C0) - 1, C0), (got_C1 - 1, C1)):
        size = max(1.0, np.abs(expected).max())
        assert np.abs(got.numpy() - expected).max() <= MOMENTS_FLOAT64 * size
    total, next_power = prefix_totals(hidden_states, torch.tensor(lengths))
    np.testing.assert_allclose(
        total.numpy(), totals, rtol=0, atol=MOMENTS_FLOAT64 * np.abs(totals).max()
    )
    assert float(next_power) == pytest.approx(power, rel=MOMENTS_FLOAT64)


def random_states(b: int, t: int, d: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(b * 10_000 + t * 100 + d)
    return torch.randn(b, t, d, generator=generator).to(dtype)


@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.usefixtures("way")
def test_products_equal_literal_ones_at_every_width(d: int) -> None:
    assert_equals_literal(random_states(5, 9, d), [9, 1, 2, 8, 5])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.usefixtures("way")
def test_products_of_narrow_types_lose_nothing(dtype: torch.dtype) -> None:
    assert_equals_literal(random_states(4, 7, 29, dtype), [7, 3, 1, 6])


@pytest.mark.usefixtures("way")
def test_products_of_a_type_the_kernel_does_not_know_lose_nothing() -> None:
    assert_equals_literal(random_states(4, 7, 29).to(torch.float8_e4m3fn), [7, 3, 1, 6])


@pytest.mark.usefixtures("way")
def test_products_serve_more_rows_than_are_packed_at_a_time() -> None:
    assert_equals_literal(random_states(3, 301, 26), [301, 129, 128])
    assert_equals_literal(random_states(1, 129, 26), [129])  # exactly one block of 128 rows


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    extra=st.integers(0, 3),
    d=st.integers(1, 60),
    kernel=st.booleans(),
)
def test_products_equal_literal_ones(lengths: list[int], extra: int, d: int, kernel: bool) -> None:
    has_kernel = module.HAS_KERNEL
    module.HAS_KERNEL = has_kernel and kernel
    try:
        assert_equals_literal(random_states(len(lengths), max(lengths) + extra, d), lengths)
    finally:
        module.HAS_KERNEL = has_kernel


@pytest.mark.usefixtures("way")
def test_large_directions_do_not_drown_the_others() -> None:
    """In the metric of C0: what is seen along every direction is good to 1e-6, as scores need."""
    generator = torch.Generator().manual_seed(0)
    d = 24
    rotation = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    sizes = torch.ones(d, dtype=torch.float64)
    sizes[:3] = 1000.0
    for spread in (torch.diag(sizes), rotation * sizes):
        states = (torch.randn(40, 12, d, generator=generator, dtype=torch.float64) @ spread).float()
        C0, C1, *_ = literal_products(states, [12] * 40)
        got_C0, got_C1 = torch.zeros(d, d, dtype=torch.float64), torch.zeros(d, d).double()
        add_prefix_products(states, torch.full((40,), 12), got_C0, got_C1)
        whitener = np.linalg.inv(np.linalg.cholesky(C0))
        for got, expected in ((symmetric(got_C0), C0), (got_C1, C1)):
            error = whitener @ (got.numpy() - expected) @ whitener.T
            assert np.linalg.norm(error, 2) <= 1e-6


@pytest.mark.parametrize(
    ("dtype", "size", "allowed"),
    [
        (torch.bfloat16, 1.0, 1e-7), (torch.bfloat16, 1e3, 1e-7), (torch.bfloat16, 1e5, 1e-7),
        (torch.float16, 1.0, 1e-7), (torch.float16, 1e3, 1e-7),
        (torch.float32, 1.0, 1e-6), (torch.float32, 1e3, 1e-6), (torch.float32, 4e3, 1e-6),
    ],
)  # fmt: skip
@pytest.mark.parametrize("d", [24, 64])
def test_exact_products_move_scores_by_no_more_than_is_said(
    dtype: torch.dtype, size: float, allowed: float, d: int
) -> None:
    states, labels = rotated_states(d, size, dtype)
    judge = scores_of(states, labels, "float64")
    assert (judge.condition_C0 > 1e6) == (size > 1)
    assert dtype != torch.float32 or judge.condition_C0 < SAFE_CONDITION
    assert largest_change(judge, scores_of(states, labels, "exact-int8")) <= allowed


def test_float32_moves_scores_by_what_its_name_lets_expect() -> None:
    """Little where no direction dominates; where some do, more than any rounding of the data."""
    plain, rotated = (
        largest_change(scores_of(states, labels, "float64"), scores_of(states, labels, "float32"))
        for states, labels in (rotated_states(64, size, torch.float32) for size in (1.0, 1000.0))
    )
    assert plain <= 1e-6
    assert 1e-5 < rotated <= 3e-2


@pytest.mark.parametrize("precision", ["exact-int8", "float32-pairs", "float32"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_other_precisions_add_what_float64_adds(precision: Precision, dtype: torch.dtype) -> None:
    states, lengths = random_states(5, 9, 29, dtype), torch.tensor([9, 1, 2, 8, 5])
    sums = []
    for one in ("float64", precision):
        C0, C1 = torch.ones(2, 29, 29, dtype=torch.float64)
        prepare_prefix_products(states, lengths, C0, C1, one)()
        sums.append((symmetric(C0), C1))
    for found, expected in zip(*sums, strict=True):
        # float32 rounds entries and sums to 24 bits, digits round to 31 or what bfloat16 holds.
        allowed = 1e-5 if precision == "float32" else 1e-8
        assert float((found - expected).abs().max()) <= allowed * float(expected.abs().max())


def test_texts_of_one_token_add_nothing_in_any_precision() -> None:
    for precision in PRECISIONS:
        C0, C1 = torch.zeros(2, 6, 6, dtype=torch.float64)
        prepare_prefix_products(random_states(3, 1, 6), torch.ones(3).long(), C0, C1, precision)()
        assert not C0.any()
        assert not C1.any()


def test_more_rows_than_are_exact_at_once_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    states, lengths = random_states(6, 30, 8), torch.tensor([30, 4, 17, 30, 1, 29])
    sums = []
    for most in (10**6, 48):
        monkeypatch.setattr(module, "MOST_ROWS", most)
        C0, C1 = torch.zeros(2, 8, 8, dtype=torch.float64)
        prepare_prefix_products(states, lengths, C0, C1, "exact-int8")()
        sums.append((C0.triu(), C1))
    for whole, parts in zip(*sums, strict=True):
        # Each part has units of its own.
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6 * float(whole.abs().max()))


class TorchKernels:
    """The kernels for graphics cards by plain torch, as their docstrings describe them."""

    @staticmethod
    def pairs(states: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        tokens = states.double()
        has_next = (torch.arange(1, tokens.shape[1]) < lengths[:, None])[:, :, None]
        return tokens[:, :-1].cumsum(1) * has_next, tokens[:, 1:] * has_next

    @classmethod
    def survey(cls, states: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        prefix, following = cls.pairs(states, lengths)
        total = states[:, 0].double() + following.sum(1)
        largest = prefix.abs().amax(1), following.abs().amax(1)
        return total, following.square().sum(1), *largest

    @classmethod
    def write_digits(
        cls,
        states: Tensor,
        lengths: Tensor,
        first_row: int,
        n_rows: int,
        sums: tuple[Tensor, Tensor],
        tokens: tuple[Tensor, Tensor],
    ) -> None:
        both = cls.pairs(states, lengths)
        for rows, (digits, units) in zip(both, (sums, tokens), strict=True):
            chosen = rows.flatten(0, 1)[first_row : first_row + n_rows]
            left = (chosen / units + 0.5).floor()
            for place in reversed(range(digits.shape[1])):
                digit = (left + 128).remainder(256) - 128
                digits[: len(units), place, :n_rows] = digit.T.to(torch.int8)
                left = (left - digit) / 256

    @classmethod
    def prefix_pairs(cls, states: Tensor, lengths: Tensor) -> Tensor:
        return torch.cat(cls.pairs(states, lengths), 2).flatten(0, 1)

    @staticmethod
    def combine_digits(
        parts: Tensor, digits: tuple[int, int], left_units: Tensor, right_units: Tensor
    ) -> Tensor:
        by_digit = parts.double().unflatten(0, (-1, digits[0])).unflatten(2, (-1, digits[1]))
        weights = [256.0 ** torch.arange(n).flip(0).double() for n in digits]
        product = torch.einsum("ipjq,p,q->ij", by_digit, *weights)
        return product[: len(left_units), : len(right_units)] * left_units[:, None] * right_units


@pytest.mark.parametrize("precision", PRECISIONS)
def test_kernels_for_graphics_cards_are_called_as_they_are_described(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, lengths = random_states(5, 40, 20, torch.bfloat16), torch.tensor([40, 1, 12, 33, 40])
    monkeypatch.setattr(module, "MOST_ROWS", 64)
    monkeypatch.setattr(module, "HAS_KERNEL", False)

    def added() -> list[Tensor]:
        C0, C1 = torch.zeros(2, 20, 20, dtype=torch.float64)
        prepare_prefix_products(states, lengths, C0, C1, precision)()
        return [C0.triu(), C1, *prefix_totals(states, lengths)]

    expected = added()
    monkeypatch.setitem(sys.modules, "ntpscore.core.prefix_kernels", TorchKernels)
    for one in (digit_products, module):
        monkeypatch.setattr(one, "triton_takes", lambda _: True)
    for found, judge in zip(added(), expected, strict=True):
        # Each part has units of its own where plain torch cuts, and those of the batch here.
        torch.testing.assert_close(found, judge, rtol=0, atol=1e-6 * float(judge.abs().max()))


@pytest.mark.parametrize("value", [0.0, 1e30, torch.nan, torch.inf])
@pytest.mark.usefixtures("way")
def test_padding_is_not_read(value: float) -> None:
    states, lengths = random_states(3, 6, 10), torch.tensor([6, 2, 4])
    filled = states.clone()
    for row, length in zip(filled, lengths, strict=True):
        row[length:] = value
    results = []
    for one in (states, filled):
        C0, C1 = torch.zeros(2, 10, 10, dtype=torch.float64)
        add_prefix_products(one, lengths, C0, C1)
        results.append((C0.triu(), C1, *prefix_totals(one, lengths)))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("extra", [0, 1, 7])
@pytest.mark.usefixtures("way")
def test_one_token_texts_have_no_pairs_whatever_the_padding(extra: int) -> None:
    """Exactly none: rounding in place of zero would be solved as if it were a metric."""
    case = cases.one_token_case()
    states, _ = pad_texts(case, extra=extra)
    lengths = torch.ones(len(case.texts), dtype=torch.long)
    C0, C1 = torch.zeros(2, case.d, case.d, dtype=torch.float64)
    add_prefix_products(states, lengths, C0, C1)
    assert not C0.any()
    assert not C1.any()
    total, power = prefix_totals(states, lengths)
    assert power == 0
    assert torch.equal(total, states[:, 0])


@pytest.mark.usefixtures("way")
def test_lengths_may_be_of_any_integers() -> None:
    states, expected = random_states(4, 7, 9), [7, 3, 1, 6]
    for dtype in (torch.int32, torch.int16):
        lengths = torch.tensor(expected, dtype=dtype)
        assert torch.equal(
            prefix_totals(states, lengths)[0], prefix_totals(states, torch.tensor(expected))[0]
        )
        C = torch.zeros(2, 2, 9, 9, dtype=torch.float64)
        add_prefix_products(states, lengths, *C[0])
        add_prefix_products(states, torch.tensor(expected), *C[1])
        assert torch.equal(C[0, 1], C[1, 1])
        assert torch.equal(C[0, 0].triu(), C[1, 0].triu())


@pytest.mark.usefixtures("way")
def test_hidden_states_may_be_a_view() -> None:
    states = random_states(6, 5, 4).transpose(0, 1)
    assert not states.is_contiguous()
    assert_equals_literal(states, [6, 3, 1, 2, 6])


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.usefixtures("way")
def test_the_number_of_threads_changes_nothing(threads: int) -> None:
    states, lengths = random_states(9, 20, 130), torch.full((9,), 20)
    before = torch.get_num_threads()
    results = []
    for n in (1, threads):
        C = torch.zeros(3, 130, 130, dtype=torch.float64)
        torch.set_num_threads(n)
        try:
            add_prefix_products(states, lengths, C[0], C[1])
            add_gram(states[:, 0].double(), C[2])
        finally:
            torch.set_num_threads(before)
        results.append(C)
    # A matrix product of torch may split its sums by thread.
    torch.testing.assert_close(
        results[0].triu(), results[1].triu(), rtol=MOMENTS_FLOAT64, atol=MOMENTS_FLOAT64
    )
    torch.testing.assert_close(
        results[0][1], results[1][1], rtol=MOMENTS_FLOAT64, atol=MOMENTS_FLOAT64 * 1e3
    )


@pytest.mark.parametrize("n", [0, 1, 127, 128, 129])
@pytest.mark.parametrize("d", [1, 7, 24, 193])
@pytest.mark.usefixtures("way")
def test_gram_is_added_to_the_upper_triangle(n: int, d: int) -> None:
    rows = random_states(1, n, d, torch.float64)[0]
    C = torch.ones(d, d, dtype=torch.float64)
    add_gram(rows, C)
    torch.testing.assert_close(
        symmetric(C), rows.T @ rows + 1, rtol=MOMENTS_FLOAT64, atol=MOMENTS_FLOAT64 * (n + 1)
    )


@pytest.mark.parametrize(("d", "n"), [(1, 1), (896, 1), (2048, 2), (3584, 3), (4096, 4), (8192, 4)])
def test_blocks_for_graphics_cards_fill_them(d: int, n: int) -> None:
    blocks = module._blocks(d, torch.device("cuda"))
    assert len(blocks) == n
    assert (blocks[0][0], blocks[-1][1]) == (0, d)
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(blocks))
    assert all(start % 16 == 0 for start, _ in blocks)


def test_products_are_made_on_other_devices() -> None:
    C0, C1 = torch.zeros(2, 10, 10, dtype=torch.float64, device="meta")
    states, lengths = random_states(3, 6, 10).to("meta"), torch.tensor([6, 2, 4]).to("meta")
    add_prefix_products(states, lengths, C0, C1)
    total, power = prefix_totals(states, lengths)
    assert (total.shape, total.dtype, power.shape) == ((3, 10), torch.float64, ())
    assert {one.device.type for one in (C0, C1, total, power)} == {"meta"}


@pytest.mark.skipif(not module.HAS_KERNEL, reason="the guard is the kernel's")
@pytest.mark.parametrize(
    "sums",
    [
        torch.zeros(10, 10),
        torch.zeros(10, 20, dtype=torch.float64)[:, ::2],
    ],
)
def test_the_kernel_refuses_to_write_elsewhere(sums: Tensor) -> None:
    good = torch.zeros(10, 10, dtype=torch.float64)
    states, lengths = random_states(2, 3, 10), torch.tensor([3, 2])
    for pair in ((good, sums), (sums, good)):
        with pytest.raises(ValueError, match=r"contiguous float64 of shape \(10, 10\)"):
            add_prefix_products(states, lengths, *pair)
    with pytest.raises(ValueError, match="contiguous float64"):
        add_gram(torch.zeros(2, 10, dtype=torch.float64), sums)


@pytest.mark.parametrize(("capability", "lacks"), [("AVX512", True), ("AVX2", False)])
def test_without_a_compiled_kernel_torch_does_it(
    capability: str, lacks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = module.HAS_KERNEL, module.LACKS_KERNEL
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
        patch.setitem(sys.modules, "ntpscore.core._prefix_products", None)
        patch.delattr(ntpscore.core, "_prefix_products", raising=False)
        importlib.reload(module)
        assert (False, lacks) == (module.HAS_KERNEL, module.LACKS_KERNEL)
        assert_equals_literal(random_states(4, 7, 29), [7, 3, 1, 6])
    importlib.reload(module)
    assert before == (module.HAS_KERNEL, module.LACKS_KERNEL)


def test_the_kernel_is_used_where_it_was_built_and_the_processor_has_avx512() -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    built = Path(ntpscore.core.__file__).with_name(f"_prefix_products{suffix}").exists()
    flags = Path("/proc/cpuinfo")
    if not flags.exists():
        pytest.skip("this system does not say what the processor has")
    assert (built and "avx512f" in flags.read_text().split()) == module.HAS_KERNEL
