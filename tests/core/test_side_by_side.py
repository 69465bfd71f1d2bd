"""Work on several things at once."""

import pytest
import torch

from ntpscore.core.side_by_side import side_by_side


def test_what_is_fitted_side_by_side_comes_in_order_and_leaves_torch_as_it_was() -> None:
    threads = torch.get_num_threads()
    begun: list[int] = []

    def fit(item: int) -> int:
        begun.append(item)
        assert torch.get_num_threads() == 1
        return item**2

    for i, found in enumerate(side_by_side(fit, range(9))):
        assert found == i**2
        assert len(begun) <= i + 1 + threads
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda item: 1 // item, [2, 1, 0, 3]))
    assert torch.get_num_threads() == threads
