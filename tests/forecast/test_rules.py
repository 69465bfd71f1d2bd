"""Rules read what they say of held-out accuracies."""

from typing import Any

import pytest

from ntpscore.forecast.rules import RULE, RULES, frozen_accuracy
from tests.support.forecasts import held_out


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [
        (held_out(0.6), (0.6, 0.6)),
        (held_out(0.5, 0.7), (0.5, 0.7)),
        (held_out(0.5, words=0.65), (0.65, 0.65)),
        (held_out(0.5, majority=0.9), (0.9, 0.9)),
    ],
)
def test_rules_take_the_most_of_what_they_name(
    accuracy: dict[str, Any], expected: tuple[float, float]
) -> None:
    assert (RULES["mean_token"](accuracy), RULES["last_token"](accuracy)) == expected
    assert RULES["kernels"](accuracy) is None


def test_kernels_are_at_least_the_majority() -> None:
    assert RULES["kernels"](held_out(0.5, kernels=0.62)) == 0.62
    assert RULES["kernels"](held_out(0.5, kernels=0.62, majority=0.8)) == 0.8


def test_the_frozen_readout_is_the_one_that_explains_most_not_the_luckiest() -> None:
    accuracy = held_out(0.5, 0.4)
    accuracy["readouts"].append({"layer": 2, "pooling": "mean", "r2": 0.1, "accuracy": 0.99})
    assert frozen_accuracy(accuracy) == 0.5
    assert frozen_accuracy(accuracy, "last") == 0.4
    assert RULE in RULES


def test_words_that_could_not_be_rated_count_for_nothing() -> None:
    accuracy = held_out(0.5)
    accuracy["words"]["accuracy"] = None
    assert RULES["mean_token"](accuracy) == 0.5


def test_a_rule_without_a_readout_that_it_names_says_nothing() -> None:
    accuracy = held_out(0.5)
    accuracy["readouts"] = [row for row in accuracy["readouts"] if row["pooling"] == "mean"]
    assert RULES["last_token"](accuracy) is None
    assert RULES["mean_token"](accuracy) == 0.5
