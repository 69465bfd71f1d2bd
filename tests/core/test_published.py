"""What the released code computes, against its procedure written out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ntpscore.core.grid import grid_of_k
from ntpscore.core.leading_blocks import columns_at
from ntpscore.core.moments import LayerMoments, Moments
from ntpscore.core.published import PublishedMoments, score_published
from ntpscore.core.scores import score_layer
from ntpscore.errors import MomentsError
from tests.reference import cases, published
from tests.reference.cases import Case
from tests.support.feeding import pad_texts

CASES = [
    cases.classification_case("plain", seed=40, n=60, d=20, c=3, lengths=(1, 9)),
    cases.classification_case("few", seed=41, n=12, d=20, c=2, lengths=(1, 3)),  # N is singular
]
NAMED = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def literal(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    texts = [X.astype(np.float32) for X in case.texts]
    return published.sums(texts, case.Y.astype(np.float32))


def read(case: Case, batches: int = 1, shuffles: int = 0) -> Moments:
    hidden_states, mask = pad_texts(case, dtype=torch.float32)
    n = len(case.texts)
    moments = Moments(1, case.d, case.c, shuffles, published_of=n)
    for rows in np.array_split(np.arange(n), batches):
        labels = torch.from_numpy(case.Y[rows])
        shuffled = labels.expand(shuffles, -1, -1) if shuffles else None
        moments.update(hidden_states[None, rows], mask[rows], labels, shuffled)
    return moments


def of(case: Case, batches: int = 1) -> LayerMoments:
    return read(case, batches).layer(0)


@NAMED
def test_sums_are_those_of_the_written_out_procedure(case: Case) -> None:
    found = of(case).published
    assert found is not None
    for name, judge in zip(("N", "M", "C0", "C1"), literal(case), strict=True):
        value = getattr(found, name)
        assert value.dtype == torch.float32
        # Matrix products of another shape may add in another order: a few units of the last place.
        np.testing.assert_allclose(value, judge, rtol=0, atol=1e-6 * np.abs(judge).max())
        exact = getattr(of(case), name).numpy()
        np.testing.assert_allclose(value, exact, rtol=0, atol=1e-5 * np.abs(exact).max())


@NAMED
def test_scores_of_the_same_sums_are_those_of_the_procedure(case: Case) -> None:
    N, M, C0, C1 = literal(case)
    values, chance = score_published(PublishedMoments(*map(torch.from_numpy, (N, M, C0, C1))))
    at = np.array(grid_of_k(case.d)) - 1
    # Of eigenvectors that are the same bit for bit, since no last bit may differ on the way to
    # them; what differs is a pseudo-inverse in float32 or a QR in float64.
    np.testing.assert_allclose(values.numpy()[at], published.scores(N, M, C0, C1), atol=2e-4)
    kept = published.eigenvectors(C1 @ C1.T, C0).shape[1]
    np.testing.assert_array_equal(chance, columns_at(case.d, kept).double() / case.d)


def test_the_score_is_there_only_where_it_was_asked_for() -> None:
    case = CASES[0]
    found = score_layer(read(case, shuffles=2).layer(0))
    value, _ = score_published(of(case).published)  # type: ignore[arg-type]
    torch.testing.assert_close(found.values["published"], value, equal_nan=True)
    assert bool(found.basis_dependent["published"].all())
    assert found.shuffled["published"].shape == (2, case.d)
    assert bool(found.shuffled["published"].isnan().all())
    assert "published" not in score_layer(replace(of(case), published=None)).values


def test_columns_are_those_of_the_released_grid() -> None:
    """`int(fraction · rank)` with the grid's floats, for every step and rank."""
    fractions = np.arange(0.05, 1.0, 0.05)
    for d in (7, 32, 576, 640):
        first = {step * d // 20: step for step in range(19, 0, -1)}
        for rank in {1, d // 3 + 1, d - 1, d}:
            columns = columns_at(d, rank)
            for k, step in first.items():
                if k:
                    assert columns[k - 1] == int(fractions[step - 1] * rank)
    assert columns_at(640, 640).tolist() == list(range(1, 641))


def test_they_add_up_are_kept_and_read_back(tmp_path) -> None:  # type: ignore[no-untyped-def]
    whole, parts = of(CASES[0]).published, read(CASES[0], 3)
    parts.save(tmp_path / "moments")
    again = Moments.load(tmp_path / "moments").layer(0).published
    assert whole is not None
    for name in ("N", "M", "C0", "C1"):
        value = getattr(again, name)
        assert torch.equal(value, getattr(parts.layer(0).published, name))
        scale = float(value.abs().max())
        torch.testing.assert_close(value, getattr(whole, name), rtol=0, atol=1e-6 * scale)
    both = parts + parts
    doubled = both.layer(0).published
    assert doubled is not None
    torch.testing.assert_close(doubled.C0, 2 * parts.layer(0).published.C0)  # type: ignore[union-attr]


def test_a_number_that_is_not_finite_is_refused() -> None:
    bad = of(CASES[0]).published
    assert bad is not None
    bad.C0[0, 0] = float("inf")
    with pytest.raises(MomentsError, match="float32 is NaN or infinite"):
        score_published(bad)


def test_where_nothing_is_above_the_cut_off_there_is_no_score() -> None:
    zeros = torch.zeros(4, 4, dtype=torch.float32)
    values, share = score_published(PublishedMoments(zeros, zeros[:, :2], zeros, zeros))
    assert values.isnan().all()
    assert (share == 0).all()
