"""Products by 8-bit digits against integers of Python, and the bound on what they round."""

import inspect
import sys
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ntpscore.core import digit_products as module
from ntpscore.core.digit_products import (
    FEWEST_DIGITS,
    MOST_DIGITS,
    MOST_ROWS,
    Digits,
    cut_into_digits,
    digit_product,
    rounding,
    triton_takes,
)
from tests.tolerances import EPS

SHAPES = [(1, 1), (1, 5), (7, 1), (16, 32), (33, 17), (100, 40)]


def random_rows(n: int, d: int, seed: int = 0) -> Tensor:
    """Rows whose columns differ in size by many orders, and entries within a column too."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return rows.pow(3) * torch.logspace(-20, 30, d, dtype=torch.float64)


def integers_of(cut: Digits, n: int) -> list[list[int]]:
    """The columns that the digits spell, in units."""
    d = len(cut.units)
    columns = []
    for column in cut.digits[:d].tolist():
        numbers = [0] * n
        for digits in column:
            numbers = [256 * number + digit for number, digit in zip(numbers, digits, strict=False)]
        columns.append(numbers)
    return columns


@pytest.mark.parametrize("n_digits", range(FEWEST_DIGITS, MOST_DIGITS + 1))
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_digits_spell_the_entries_to_the_stated_rounding(n: int, d: int, n_digits: int) -> None:
    rows = random_rows(n, d)
    cut = cut_into_digits(rows, n_digits)
    assert torch.equal(cut.units, torch.exp2(torch.log2(cut.units).round()))
    for j, column in enumerate(integers_of(cut, n)):
        unit, entries = Fraction(float(cut.units[j])), [Fraction(x) for x in rows[:, j].tolist()]
        largest = max(map(abs, entries))
        for number, entry in zip(column, entries, strict=True):
            assert abs(number * unit - entry) <= Fraction(rounding(n_digits)) * largest


@pytest.mark.parametrize("digits", [(2, 2), (3, 3), (4, 3), (4, 4), (2, 4)])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_products_are_those_of_the_integers(n: int, d: int, digits: tuple[int, int]) -> None:
    e = max(1, d // 2)
    left, right = random_rows(n, d), random_rows(n, e, seed=1)
    one, other = cut_into_digits(left, digits[0]), cut_into_digits(right, digits[1])
    found = digit_product(one, other)
    assert found.shape == (d, e)
    columns, others = integers_of(one, n), integers_of(other, n)
    for i in range(d):
        for j in range(e):
            unit = Fraction(float(one.units[i])) * Fraction(float(other.units[j]))
            exact = unit * sum(a * b for a, b in zip(columns[i], others[j], strict=True))
            # Sixteen sums are added in float64, the largest of at most the size of all of them.
            size = unit * sum(abs(a * b) for a, b in zip(columns[i], others[j], strict=True))
            assert abs(Fraction(float(found[i, j])) - exact) <= 16 * Fraction(EPS) * size


def test_a_block_of_a_product_is_that_of_the_whole() -> None:
    rows = random_rows(20, 40)
    cut, other = cut_into_digits(rows, 4), cut_into_digits(rows.flip(1), 3)
    whole = digit_product(cut, other)
    for first, last, start in ((0, 16, 0), (16, 40, 16), (32, None, 32), (16, 32, 0)):
        assert torch.equal(digit_product(cut, other, first, last, start), whole[first:last, start:])


@given(
    entries=st.lists(st.floats(-1e300, 1e300, allow_subnormal=False), min_size=1, max_size=20),
    n_digits=st.integers(FEWEST_DIGITS, MOST_DIGITS),
)
def test_any_column_is_cut_within_the_bound(entries: list[float], n_digits: int) -> None:
    cut = cut_into_digits(torch.tensor(entries, dtype=torch.float64)[:, None], n_digits)
    (column,) = integers_of(cut, len(entries))
    allowed = Fraction(rounding(n_digits)) * max(abs(Fraction(x)) for x in entries)
    for number, entry in zip(column, entries, strict=True):
        assert abs(number * Fraction(float(cut.units[0])) - Fraction(entry)) <= allowed


def test_the_most_rows_of_the_largest_digits_do_not_overflow() -> None:
    n = MOST_ROWS
    lowest = Digits(
        torch.full((32, MOST_DIGITS, n), -128, dtype=torch.int8), torch.ones(3).double()
    )
    number = -128 * (1 + 256 + 256**2 + 256**3)
    assert digit_product(lowest, lowest).tolist() == [[float(n * number**2)] * 3] * 3


@pytest.mark.parametrize(("n", "n_digits"), [(MOST_ROWS + 1, 4), (5, 1), (5, 5)])
def test_what_does_not_fit_into_32_bits_is_refused(n: int, n_digits: int) -> None:
    with pytest.raises(ValueError, match="don't fit into sums of 32 bits"):
        Digits.empty(torch.ones(2).double(), n, n_digits)


def test_columns_of_zeros_and_no_rows_at_all_give_zeros() -> None:
    rows = random_rows(9, 4)
    rows[:, 2] = 0
    cut = cut_into_digits(rows, 3)
    product = digit_product(cut, cut)
    assert not product[2].any()
    assert not product[:, 2].any()
    empty = cut_into_digits(rows[:0], 3)
    assert torch.equal(digit_product(empty, empty), torch.zeros(4, 4).double())


def test_an_entry_that_is_not_finite_spoils_its_column_alone() -> None:
    rows = random_rows(9, 3)
    whole = digit_product(cut_into_digits(rows, 3), cut_into_digits(rows, 3))
    rows[4, 1] = torch.inf
    cut = cut_into_digits(rows, 3)
    product = digit_product(cut, cut)
    assert not product[1].isfinite().any()
    assert torch.equal(product[::2, ::2], whole[::2, ::2])


@pytest.mark.parametrize("works", [True, False, None])
def test_kernels_are_taken_where_they_work(
    works: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kernels:
        @staticmethod
        def try_kernels(device: torch.device) -> bool:
            if works is None:
                raise RuntimeError("no C compiler")
            return works

    class OnCard:
        device = torch.device("cuda")

    monkeypatch.setattr(module, "HAS_TRITON", True)
    monkeypatch.setitem(sys.modules, "ntpscore.core.prefix_kernels", Kernels)
    module._kernels_run.cache_clear()
    # A tensor on a card can't be made here.
    assert inspect.unwrap(module.triton_takes)(OnCard) is bool(works)
    module._kernels_run.cache_clear()


def test_triton_takes_what_lies_on_a_graphics_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HAS_TRITON", True)
    assert not triton_takes(torch.ones(1))
    monkeypatch.setattr(module, "HAS_TRITON", False)
    assert not triton_takes(torch.ones(1))
