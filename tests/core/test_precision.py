"""Which precision is taken where nobody says."""

import pytest
import torch

from ntpscore.core import precision
from ntpscore.core.precision import choose_precision
from ntpscore.core.prefix_products import PRECISIONS


def test_on_processors_it_is_float64() -> None:
    assert choose_precision("auto", "cpu", 64) == "float64"
    assert choose_precision("auto", torch.device("mps"), 64) == "float64"


@pytest.mark.parametrize(
    ("exact", "chosen"), [(0.5, "exact-int8"), (0.9, "float64"), (2.0, "float64")]
)
def test_on_graphics_cards_it_is_what_is_clearly_faster(
    exact: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def timed(one: str, device: torch.device, width: int) -> float:
        asked.append((one, device.type, width))
        return {"float64": 1.0, "exact-int8": exact}[one]

    monkeypatch.setattr(precision, "_seconds", timed)
    assert choose_precision("auto", "cuda:0", 64) == chosen
    assert sorted(asked) == [("exact-int8", "cuda", 64), ("float64", "cuda", 64)]


@pytest.mark.parametrize("asked", PRECISIONS)
def test_what_is_asked_for_is_taken(asked: str) -> None:
    assert choose_precision(asked, "cuda:0", 64) == asked


def test_the_probe_times_the_sums_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    for one in ("float64", "exact-int8"):
        assert 0 < precision._seconds(one, torch.device("cpu"), 16) < 10
    assert len(waits) == 2 * 2 * 4
