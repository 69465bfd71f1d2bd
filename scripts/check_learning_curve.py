"""Whether the learning curve of a few texts foretells what as many more bring.

Usage: python scripts/check_learning_curve.py MODEL FILE [FILE …]

Of each file 3,000 texts are drawn to fit and 2,000 others to test. The curve sees half of the 3,000
and says what the other half would add; then the readout that was best on the half is fitted to the
half and to all, and tested. Prints a row of a table for each.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ntpscore import LabelledText, LanguageModel, load_model
from ntpscore.clock import Clock
from ntpscore.core.cross_validation import held_out_ridge, solve_ridge
from ntpscore.reading.features import Features, Place, collect_features
from ntpscore.reading.tokens import tokenize
from ntpscore.scoring.accuracy import Folded, judge_readouts
from ntpscore.scoring.learning_curve import trace_learning_curve
from ntpscore.text.splits import load_splits

FEW, MANY, TEST = 1500, 3000, 2000


def features_of(model: LanguageModel, text: LabelledText, places: list[Place]) -> Features:
    """Of texts of at most 128 tokens."""
    tokens = tokenize(text.texts, model, 128)
    clock = Clock(("forward", "fit"))
    return collect_features(model, text.texts, tokens, places, batch_tokens=None, clock=clock)


def is_right(X: Tensor, folded: Folded, X_test: Tensor, labels: np.ndarray) -> np.ndarray:
    """Which test texts a readout puts into their class, its penalty chosen on the fitted ones."""
    Y = torch.from_numpy(folded.targets)
    W, mean, scale = solve_ridge(X, Y, held_out_ridge(X, Y, folded.folds).penalty)
    scores = (X_test.double() - mean) / scale @ W + Y.mean(0)
    right: np.ndarray = scores.argmax(1).numpy() == labels
    return right.astype(float)


def check(model: LanguageModel, file: str) -> str:
    """A row of the table."""
    places = [Place(layer, "mean") for layer in range(model.n_layers + 1)]
    train, test = load_splits(file, max_texts=MANY, max_test_texts=TEST)
    fitted = features_of(model, train, places)
    everything = Folded(train, 0)
    rows = everything.sample(FEW, 0)
    half = Folded(train, 0, rows)
    judged = judge_readouts(lambda place: fitted.get(*place)[rows], places, half)
    best = Place(**judged["best"])
    X, X_test = fitted.get(*best), features_of(model, test, [best]).get(*best)
    curve = trace_learning_curve(X[rows], half, more=len(train) - FEW)
    before = is_right(X[rows], half, X_test, test.labels)
    brought = is_right(X, everything, X_test, test.labels) - before
    margin = 1.96 * brought.std() / np.sqrt(len(brought))
    overlap = brought.mean() - margin <= curve["high"] and curve["low"] <= brought.mean() + margin
    return (
        f"| {Path(file).stem} | {before.mean():.3f} | {brought.mean():.3f} ± {margin:.3f} "
        f"| {curve['gain']:.3f} ({curve['low']:.3f} to {curve['high']:.3f}) "
        f"| {'yes' if overlap else 'no'} |"
    )


def main() -> None:
    """Prints the table."""
    model = load_model(sys.argv[1])
    print(f"| data | accuracy, {FEW} | {MANY - FEW} more brought | was said (95 %) | overlap |")
    print("| --- | --- | --- | --- | --- |")
    for file in sys.argv[2:]:
        print(check(model, file), flush=True)


if __name__ == "__main__":
    main()
