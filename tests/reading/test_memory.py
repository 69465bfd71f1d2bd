"""What a pass takes of memory."""

import pytest
import torch

from ntpscore.core.moments import Moments
from ntpscore.errors import ModelError
from ntpscore.reading import memory
from ntpscore.reading.memory import check_memory, sums_device


def test_moments_that_do_not_fit_are_refused_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = check_memory(4, 32, 3, 2, torch.device("cpu"))
    assert needed == Moments.n_bytes(4, 32, 3, 2) + 40 * 8 * 32**2
    folded = check_memory(4, 32, 3, 2, torch.device("cpu"), folds=5)
    assert folded == needed + 5 * Moments.n_bytes(1, 32, 3, 0)

    class Little:
        available = 420_000

    monkeypatch.setattr(memory.psutil, "virtual_memory", Little)
    with pytest.raises(ModelError, match=r"at most [1-3] layers with --layers"):
        check_memory(4, 32, 3, 2, torch.device("cpu"))
    with pytest.raises(ModelError, match="not even one layer fits"):
        check_memory(4, 3200, 3, 2, torch.device("cpu"))


def test_every_thread_with_sums_of_its_own_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    one, two = (check_memory(4, 32, 3, 2, cpu, copies=copies) for copies in (1, 2))
    assert two - one == Moments.n_bytes(4, 32, 3, 2)


def test_sums_of_mps_are_kept_on_the_processor() -> None:
    assert sums_device(torch.device("mps")) == torch.device("cpu")
    assert sums_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
