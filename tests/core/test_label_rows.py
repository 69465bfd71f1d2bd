"""Labels as rows of a matrix, against one-hot rows text by text."""

import pytest
import torch
from torch import Tensor

from ntpscore.core.label_rows import LabelRows
from ntpscore.core.moments import Moments
from ntpscore.errors import MomentsError
from tests.reference import cases
from tests.support.feeding import pad_texts
from tests.tolerances import MOMENTS_FLOAT64


def one_hot(labels: Tensor, c: int) -> Tensor:
    """(s, b, c), label by label."""
    rows = torch.zeros(*labels.shape, c, dtype=torch.float64)
    for one_set, indices in zip(rows, labels.tolist(), strict=True):
        for text, label in enumerate(indices):
            one_set[text, label] = 1.0
    return rows


@pytest.mark.parametrize("sets", [0, 1, 3])
@pytest.mark.parametrize("b", [0, 1, 7])
@pytest.mark.parametrize("c", [1, 2, 4, 5, 77])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_class_indices_are_one_hot_rows(sets: int, b: int, c: int, dtype: torch.dtype) -> None:
    """Whole numbers: exactly."""
    labels = torch.randint(0, c, (sets, b), generator=torch.Generator().manual_seed(0))
    by_index = LabelRows.of(labels.to(dtype), c)
    by_row = LabelRows.of(one_hot(labels, c), c)
    assert by_index.rows.is_sparse == (c > 4)
    assert by_index.n_texts == by_row.n_texts == b
    for name in ("rows", "totals", "powers", *(["second_moment"] if sets else [])):
        one, other = getattr(by_index, name).to_dense(), getattr(by_row, name)
        assert torch.equal(one, other), name
        assert one.dtype == torch.float64
    sums = torch.full((sets * c, 3), 2.0, dtype=torch.float64)
    X = torch.randint(-9, 9, (b, 3), generator=torch.Generator().manual_seed(1)).double()
    expected = 2 + one_hot(labels, c).mT.flatten(0, 1) @ X
    assert torch.equal(sums.addmm_(by_index.rows, X), expected)


def test_targets_are_their_own_rows() -> None:
    Y = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = LabelRows.of(Y, 3)
    for s in range(2):
        for column in range(3):
            assert torch.equal(found.rows[3 * s + column], Y[s, :, column])
            assert float(found.totals[s, column]) == pytest.approx(float(Y[s, :, column].sum()))
        assert float(found.powers[s]) == pytest.approx(float((Y[s] ** 2).sum()))
    torch.testing.assert_close(found.second_moment, sum(torch.outer(y, y) for y in Y[0]))
    assert LabelRows.of(Y.float(), 3).rows.dtype == torch.float64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.tensor([[0, 3]]), "run from 0 to 3, but these moments are for classes 0 to 2"),
        (torch.tensor([[-1, 0]]), "from -1 to 0"),
        (torch.zeros(1, 2, 4), "4 columns, these moments 3"),
        (torch.full((1, 2, 3), torch.nan), "NaN or infinite"),
        (torch.zeros(2, 3), "must be integers"),
        (torch.zeros(1, 2, 3, dtype=torch.long), "must be integers"),
    ],
)
def test_labels_that_are_none_are_refused(values: Tensor, message: str) -> None:
    with pytest.raises(MomentsError, match=message):
        LabelRows.of(values, 3)


@pytest.mark.parametrize("layout", ["right", "left"])
def test_moments_of_many_classes_equal_those_of_one_hot_rows(layout: str) -> None:
    """The order of additions differs, so that they are equal to the tolerance of moments."""
    case = cases.classification_case("many", seed=3, n=60, d=8, c=11, lengths=(1, 6))
    hidden_states, mask = pad_texts(case, layout=layout)
    labels = torch.from_numpy(case.labels)
    shuffled = torch.stack([labels.roll(1), labels.flip(0), labels])
    by_index, by_row = Moments(1, 8, 11, 3), Moments(1, 8, 11, 3)
    for rows in torch.arange(60).split(17):
        by_index.update(hidden_states[None, rows], mask[rows], labels[rows], shuffled[:, rows])
    by_row.update(hidden_states[None], mask, one_hot(labels[None], 11)[0], one_hot(shuffled, 11))
    for name, one in by_index.sums.items():
        other = by_row.sums[name]
        assert float((one - other).abs().max()) <= MOMENTS_FLOAT64 * float(other.abs().max()), name
    means = torch.stack([X.mean(0) for X in map(torch.from_numpy, [X.T for X in case.texts])])
    for p, of_shuffle in enumerate(shuffled):
        for k in range(11):
            expected = means[of_shuffle == k].sum(0)
            torch.testing.assert_close(by_index.sum_M_shuffled[0, p, k], expected)
