"""The mean token of a text."""

import numpy as np
import pytest
import torch

from ntpscore.reading.features import mean_tokens


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mean_tokens_equals_a_loop_over_tokens(dtype: torch.dtype) -> None:
    hidden_states = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    lengths = [5, 1, 3]
    attention_mask = torch.tensor([[int(t < n) for t in range(5)] for n in lengths])
    expected = np.zeros((3, 4))
    for text, length in enumerate(lengths):
        for t in range(length):
            expected[text] += hidden_states[text, t].double().numpy() / length
    found = mean_tokens(hidden_states, attention_mask)
    assert found.dtype == torch.float32
    # A sum of at most five numbers of size 1 in float32.
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("padding", [float("nan"), float("inf"), 1e30])
def test_mean_tokens_does_not_see_the_padding(padding: float) -> None:
    hidden_states = torch.ones(2, 3, 4)
    hidden_states[1, 1:] = padding
    found = mean_tokens(hidden_states, torch.tensor([[1, 1, 1], [1, 0, 0]]))
    assert torch.equal(found, torch.ones(2, 4))
