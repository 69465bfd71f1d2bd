"""What more labels would add."""

import numpy as np
import pytest
import torch

from ntpscore.scoring.accuracy import Folded
from ntpscore.scoring.learning_curve import fit_power_laws, trace_learning_curve
from tests.support.labelled_texts import labelled_text


@pytest.mark.parametrize("curve", [(0.1, 2.0, 0.5), (0.0, 1.0, 0.3), (0.2, 0.0, 1.0)])
def test_a_power_law_is_found_again(curve: tuple[float, float, float]) -> None:
    a, b, c = curve
    sizes = np.array([100.0, 200, 400, 800])
    errors = a + b * sizes**-c
    found = fit_power_laws(sizes, errors[None])[0]
    # The floor and the rate trade against each other; what they predict does not.
    np.testing.assert_allclose(found[0] + found[1] * sizes ** -found[2], errors, atol=1e-9)
    assert found[0] + found[1] * 1600 ** -found[2] == pytest.approx(a + b * 1600**-c, abs=1e-3)


def test_a_fit_is_the_best_of_its_rates_and_never_below_zero() -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([50.0, 100, 200, 400])
    errors = rng.random((20, 4))
    fits = fit_power_laws(sizes, errors)
    assert (fits[:, :2] >= 0).all()
    for row, (a, b, c) in zip(errors, fits, strict=True):
        loss = np.square(row - a - b * sizes**-c).sum()
        for other in (0.1, 0.5, 1.0, 2.0):
            for floor in np.linspace(0, row.min(), 5):
                x = sizes**-other
                slope = max(((row - floor) @ x) / (x @ x), 0)
                assert loss <= np.square(row - floor - slope * x).sum() + 1e-9


def folded_and_features(n: int, task: str = "classification") -> tuple[Folded, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(n, 30, generator=generator)
    weights = torch.randn(30, generator=generator)
    signal = X @ weights / weights.norm() + 0.5 * torch.randn(n, generator=generator)
    texts = [f"text {i}" for i in range(n)]
    labels = (signal > 0).long().numpy() if task == "classification" else signal.numpy()
    return Folded(labelled_text(texts, labels, task), seed=0), X


@pytest.mark.parametrize(
    "task", ["classification", pytest.param("regression", marks=pytest.mark.slow)]
)
def test_more_labels_add_what_they_add(task: str) -> None:
    folded, X = folded_and_features(1000, task)
    half = Folded(folded.text, 0, range(500))
    found = trace_learning_curve(X[:500], half)
    name = "r2" if task == "regression" else "accuracy"
    assert found["measure"] == name
    assert [point["texts"] for point in found["points"]] == [62, 125, 250, 500]
    values = [point[name] for point in found["points"]]
    assert values == sorted(values)
    assert found["more"] == 500
    assert 0 <= found["low"] <= found["gain"] <= found["high"] < 0.2
    reached = trace_learning_curve(X, folded)["points"][-1][name]
    expected = values[-1] + found["gain"]
    # Two binomial standard errors of a thousand texts, and the luck of 500 of them.
    assert reached == pytest.approx(expected, abs=0.05)


def test_too_few_texts_have_no_curve() -> None:
    folded, X = folded_and_features(60)
    found = trace_learning_curve(X, folded)
    assert found["gain"] is None
    assert "too few" in found["reason"]
