"""How texts are put into batches."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ntpscore import load_model
from ntpscore.reading import tokens
from ntpscore.reading.tokens import (
    TokenIds,
    plan_batches,
    plan_shares,
    tokenize,
    tokens_per_batch,
)


def test_plan_batches_keeps_budget_and_every_text() -> None:
    lengths = [5, 1, 9, 3, 3, 7, 20, 2]
    batches = plan_batches(lengths, 18)
    assert sorted(i for batch in batches for i in batch) == list(range(8))
    in_order = [lengths[i] for batch in batches for i in batch]
    assert in_order == sorted(lengths, reverse=True)
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert len(batch) * longest <= 18 or len(batch) == 1
    assert plan_batches([5], 15) == [[0]]
    assert plan_batches([], 15) == []


def test_a_part_of_the_texts_is_planned_as_if_there_were_no_others() -> None:
    lengths, chosen = [5, 1, 9, 3, 3, 7, 20, 2], [7, 0, 5, 3]
    alone = plan_batches([lengths[i] for i in sorted(chosen)], 18)
    expected = [[sorted(chosen)[i] for i in batch] for batch in alone]
    assert plan_batches(lengths, 18, chosen) == expected


@pytest.mark.parametrize("n_shares", [1, 2, 3, 8])
def test_shares_hold_every_text_and_are_of_one_size(n_shares: int) -> None:
    lengths = np.random.default_rng(0).integers(3, 40, 301).tolist()
    shares = plan_shares(lengths, 512, n_shares)
    assert len(shares) == n_shares
    assert sorted(i for share in shares for batch in share for i in batch) == list(range(301))
    sizes = [sum(lengths[i] for batch in share for i in batch) for share in shares]
    # Dealt by length, they differ by less than the longest text.
    assert max(sizes) - min(sizes) < 40
    numbers = [len(share) for share in shares]
    assert max(numbers) - min(numbers) <= 1
    assert plan_shares(lengths, 512, 1) == [plan_batches(lengths, 512)]


def test_batches_are_larger_on_cuda_unless_told_otherwise() -> None:
    cpu, cuda, mps = (torch.device(one) for one in ("cpu", "cuda", "mps"))
    assert [tokens_per_batch(None, one) for one in (cpu, cuda, mps)] == [2048, 16384, 2048]
    assert tokens_per_batch(7, cuda) == 7


def test_token_ids_are_lists_of_their_own() -> None:
    ids = TokenIds([[3, 70_000], [], [5]])
    ids.extend([[2**31 - 1]])
    assert list(ids) == [[3, 70_000], [], [5], [2**31 - 1]]
    assert (ids[-1], ids[1:3], len(ids), len(TokenIds())) == ([2**31 - 1], [[], [5]], 4, 0)
    with pytest.raises(IndexError):
        ids[4]
    ids[0].append(1)
    assert ids[0] == [3, 70_000]


def test_texts_are_tokenized_in_parts_as_if_at_once(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(tiny_model_dir)
    texts = [f"{n} cats, " * (n % 5 + 1) for n in range(23)]
    at_once = tokenize(texts, model, 9)
    assert 0 < at_once.truncated < 23
    monkeypatch.setattr(tokens, "_AT_ONCE", 5)
    in_parts = tokenize(texts, model, 9)
    expected = [model.tokenizer(text)["input_ids"] for text in texts]
    assert list(in_parts.ids) == list(at_once.ids) == [ids[:9] for ids in expected]
    assert in_parts.truncated == at_once.truncated == sum(len(ids) > 9 for ids in expected)
