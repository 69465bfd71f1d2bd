"""Held-out ridge regression in closed form, against refits; folds; the choice repeated in folds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from ntpscore.core.cross_validation import (
    RELATIVE_PENALTIES,
    NestedChoice,
    held_out_kernel_ridge,
    held_out_ridge,
    stratified_folds,
)
from ntpscore.errors import MomentsError
from tests.reference import ridge
from tests.tolerances import CROSS_VALIDATION, SIGMAS

# Texts, width and folds: both sides of n = d, folds that are small and large against the width.
SHAPES = [(60, 7, 10), (60, 7, 3), (30, 40, 5), (24, 24, 4), (25, 24, 4), (26, 25, 13), (90, 60, 3)]
shapes = pytest.mark.parametrize(("n", "d", "K"), SHAPES)


def make_case(n, d, K, c=3, seed=0):
    """Features of unequal scales and offsets, labels that hang on them, folds of unequal sizes."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * np.exp(rng.normal(size=d)) + rng.normal(size=d)
    codes = np.concatenate(
        [np.arange(c), (X[c:, 0] + rng.normal(size=n - c) > 0) + rng.integers(0, c - 1, n - c)]
    )
    folds = np.concatenate([np.arange(K), rng.integers(0, K, n - K)])
    return X, np.eye(c)[codes], folds


def hold_out(X, Y, folds, **options):
    return held_out_ridge(torch.as_tensor(X), torch.as_tensor(Y), torch.as_tensor(folds), **options)


def every_penalty(X, *, standardise=True):
    """The whole default path, by its definition."""
    X = ridge.standardise(X) if standardise else X - X.mean(0)
    return torch.as_tensor(np.array(RELATIVE_PENALTIES) * (X**2).sum() / X.shape[1])


def hold_out_everywhere(X, Y, folds, *, standardise=True):
    penalties = every_penalty(X, standardise=standardise)
    return hold_out(X, Y, folds, standardise=standardise, penalties=penalties)


def choose(candidates):
    choice = NestedChoice()
    for held_out in candidates:
        choice.offer(held_out)
    return choice.predictions


@shapes
@pytest.mark.parametrize("standardise", [True, False])
def test_held_out_predictions_are_those_of_refits(n, d, K, standardise) -> None:
    X, Y, folds = make_case(n, d, K)
    scaled = ridge.standardise(X) if standardise else X
    for penalty in every_penalty(X, standardise=standardise).tolist():
        at = torch.tensor([penalty], dtype=torch.float64)
        held_out = hold_out(X, Y, folds, standardise=standardise, penalties=at)
        by_hand = ridge.held_out_predictions(scaled, Y, folds, penalty)
        by_sklearn = cross_val_predict(Ridge(alpha=penalty), scaled, Y, cv=PredefinedSplit(folds))
        np.testing.assert_allclose(held_out.predictions, by_hand, rtol=0, atol=CROSS_VALIDATION)
        np.testing.assert_allclose(held_out.predictions, by_sklearn, rtol=0, atol=CROSS_VALIDATION)
        errors = ((Y - by_hand) ** 2).sum(1)
        assert float(held_out.errors[0]) == pytest.approx(errors.mean(), rel=CROSS_VALIDATION)
        for fold in range(K):
            assert float(held_out.fold_errors[0, fold]) == pytest.approx(
                errors[folds == fold].sum(), rel=CROSS_VALIDATION
            )


@shapes
def test_classes_are_those_of_sklearns_classifier(n, d, K) -> None:
    X, Y, folds = make_case(n, d, K)
    held_out = hold_out(X, Y, folds)
    classes = cross_val_predict(
        RidgeClassifier(alpha=held_out.penalty),
        ridge.standardise(X),
        Y.argmax(1),
        cv=PredefinedSplit(folds),
    )
    np.testing.assert_array_equal(held_out.predictions.argmax(1), classes)


@shapes
def test_the_kernel_path_equals_the_feature_path(n, d, K) -> None:
    X, Y, folds = make_case(n, d, K)
    features = hold_out_everywhere(X, Y, folds, standardise=False)
    # The kernel of features with another origin.
    kernel = torch.as_tensor((X + 3.0) @ (X + 3.0).T)
    by_kernel = held_out_kernel_ridge(
        kernel, torch.as_tensor(Y), torch.as_tensor(folds), penalties=features.penalties
    )
    torch.testing.assert_close(
        by_kernel.fold_errors, features.fold_errors, rtol=CROSS_VALIDATION, atol=CROSS_VALIDATION
    )
    torch.testing.assert_close(
        by_kernel.predictions, features.predictions, rtol=0, atol=CROSS_VALIDATION
    )
    default = held_out_kernel_ridge(kernel, torch.as_tensor(Y), torch.as_tensor(folds))
    shares = default.penalties.numpy() / (((X - X.mean(0)) ** 2).sum() / n)
    places = np.searchsorted(np.array(RELATIVE_PENALTIES) * (1 - 1e-9), shares, side="right") - 1
    np.testing.assert_allclose(shares, np.array(RELATIVE_PENALTIES)[places], rtol=1e-9)
    assert (np.diff(places) == 1).all()


def test_the_chosen_penalty_has_the_least_held_out_error() -> None:
    X, Y, folds = make_case(60, 7, 10)
    held_out = hold_out_everywhere(X, Y, folds)
    by_hand = [
        ((Y - ridge.held_out_predictions(ridge.standardise(X), Y, folds, penalty)) ** 2).sum()
        for penalty in held_out.penalties.tolist()
    ]
    assert held_out.chosen == int(np.argmin(by_hand))
    means = np.stack([Y[folds != fold].mean(0) for fold in folds])
    assert held_out.mean_error == pytest.approx(((Y - means) ** 2).sum() / 60, rel=1e-12)
    assert held_out.r2 == pytest.approx(1 - min(by_hand) / ((Y - means) ** 2).sum(), rel=1e-9)


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0, 1e3])
@pytest.mark.parametrize(("n", "d", "K"), [(60, 20, 10), (200, 30, 20), (40, 90, 10), (80, 80, 8)])
def test_penalties_are_judged_as_far_as_the_error_falls(n, d, K, noise) -> None:
    rng = np.random.default_rng(n)
    X, folds = rng.normal(size=(n, d)) * np.logspace(0, -2, d), np.arange(n) % K
    Y = X @ rng.normal(size=(d, 3)) + noise * rng.normal(size=(n, 3))
    everywhere = hold_out_everywhere(X, Y, folds)
    found = hold_out(X, Y, folds)
    first, last = (int((everywhere.penalties - p).abs().argmin()) for p in found.penalties[[0, -1]])
    torch.testing.assert_close(found.penalties, everywhere.penalties[first : last + 1])
    # Enough on either side of the least to see it rise.
    assert first == 0 or found.chosen > 0
    assert last == len(RELATIVE_PENALTIES) - 1 or found.chosen < len(found.penalties) - 1
    assert len(found.penalties) < len(RELATIVE_PENALTIES)
    at = {"rtol": CROSS_VALIDATION, "atol": CROSS_VALIDATION}
    torch.testing.assert_close(found.fold_errors, everywhere.fold_errors[first : last + 1], **at)
    for name in ("predictions", "nested_predictions", "nested_errors", "other_errors", "r2"):
        torch.testing.assert_close(getattr(found, name), getattr(everywhere, name), **at)


def test_the_nested_choice_never_looks_at_the_fold() -> None:
    candidates, paths = [], []
    X, Y, folds = make_case(60, 20, 6)
    for columns in (slice(0, 5), slice(5, 20), slice(0, 20)):
        candidates.append(hold_out_everywhere(X[:, columns], Y, folds))
        for penalty in candidates[-1].penalties.tolist():
            scaled = ridge.standardise(X[:, columns])
            paths.append(ridge.held_out_predictions(scaled, Y, folds, penalty))
    expected = np.empty_like(Y)
    chosen = set()
    for fold in range(6):
        errors = [((Y - path)[folds != fold] ** 2).sum() for path in paths]
        best = int(np.argmin(errors))
        chosen.add(best // len(RELATIVE_PENALTIES))
        expected[folds == fold] = paths[best][folds == fold]
    assert len(chosen) > 1
    np.testing.assert_allclose(choose(candidates), expected, rtol=0, atol=CROSS_VALIDATION)
    for held_out in candidates:
        np.testing.assert_allclose(
            held_out.mean_shifts,
            [Y.mean(0) - Y[folds != fold].mean(0) for fold in folds],
            rtol=0,
            atol=1e-12,
        )


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), power=st.integers(-20, 20))
def test_scale_offset_order_and_constant_columns_change_nothing(seed, power) -> None:
    X, Y, folds = make_case(30, 12, 5, seed=seed)
    plain = hold_out_everywhere(X, Y, folds)
    order = np.random.default_rng(seed).permutation(30)
    other = np.hstack([X * 2.0**power, np.full((30, 3), 7.3)])[order]
    moved = hold_out(other, Y[order], folds[order], penalties=plain.penalties)
    torch.testing.assert_close(
        moved.fold_errors, plain.fold_errors, rtol=CROSS_VALIDATION, atol=CROSS_VALIDATION
    )
    unscaled = hold_out_everywhere(X, Y, folds, standardise=False)
    scaled = unscaled.penalties * 4.0**power
    moved = hold_out(other, Y[order], folds[order], standardise=False, penalties=scaled)
    by_default = hold_out(other, Y[order], folds[order], standardise=False)
    assert by_default.penalty == pytest.approx(moved.penalty, rel=1e-9)
    torch.testing.assert_close(
        moved.fold_errors, unscaled.fold_errors, rtol=CROSS_VALIDATION, atol=CROSS_VALIDATION
    )


def test_duplicates_in_one_fold_are_not_seen_by_it() -> None:
    X = make_case(24, 30, 2)[0]
    twice = np.repeat(np.arange(24), 2)
    folds = np.repeat(np.arange(24) % 6, 2)
    rng = np.random.default_rng(1)
    noise = np.eye(3)[rng.integers(0, 3, 24)]
    together = hold_out(X[twice], noise[twice], folds)
    apart = hold_out(X[twice], noise[twice], np.tile([0, 1], 24))
    expected = ridge.held_out_predictions(
        ridge.standardise(X[twice]), noise[twice], folds, together.penalty
    )
    np.testing.assert_allclose(together.predictions, expected, rtol=0, atol=CROSS_VALIDATION)
    # The twin of each text in the other fold gives its label away.
    assert apart.r2 > 0.5 > together.r2


def test_labels_that_never_vary_have_no_r2() -> None:
    X, _, folds = make_case(20, 4, 4)
    for Y in (np.ones((20, 1)), np.full((20, 2), 0.1)):
        held_out = hold_out(X, Y, folds)
        np.testing.assert_allclose(held_out.predictions, Y, rtol=0, atol=CROSS_VALIDATION)
        assert np.isnan(held_out.r2)
        np.testing.assert_array_equal(choose([held_out]), held_out.nested_predictions)


def test_without_signal_the_mean_of_the_labels_is_left() -> None:
    X, _, folds = make_case(40, 60, 5)
    rng = np.random.default_rng(0)
    held_out = hold_out(X, rng.normal(size=(40, 2)), folds)
    strongest = float(held_out.errors[-1])
    # As far from the mean's error as a thousandth of the label's variance.
    assert strongest == pytest.approx(held_out.mean_error, rel=0.02)
    assert held_out.r2 > -0.02


def test_targets_and_indicators_are_columns_of_their_own() -> None:
    X, Y, folds = make_case(50, 8, 5)
    targets = np.column_stack([Y[:, 0] + Y[:, 1], 100 * X[:, 1] + 5])
    penalties = torch.tensor([3.0], dtype=torch.float64)
    together = hold_out(X, targets, folds, penalties=penalties)
    for column in range(2):
        alone = hold_out(X, targets[:, [column]], folds, penalties=penalties)
        np.testing.assert_allclose(
            together.predictions[:, [column]], alone.predictions, rtol=1e-9, atol=1e-9
        )


def test_what_can_not_be_held_out_is_refused() -> None:
    X, Y, folds = make_case(20, 4, 4)
    with pytest.raises(MomentsError, match="no feature varies"):
        hold_out(np.ones((20, 4)), Y, folds)
    with pytest.raises(MomentsError, match="features of a ridge regression are NaN"):
        hold_out(X + np.nan, Y, folds)
    with pytest.raises(MomentsError, match="labels of a ridge regression are NaN"):
        hold_out(X, Y + np.inf, folds)
    with pytest.raises(MomentsError, match="two folds"):
        hold_out(X, Y, np.zeros(20, dtype=int))
    with pytest.raises(MomentsError, match="none of them"):
        hold_out(X, Y, np.where(folds == 1, 0, folds))
    with pytest.raises(MomentsError, match="must be positive"):
        hold_out(X, Y, folds, penalties=torch.tensor([0.0]))
    wide, Y, folds = make_case(20, 40, 4)
    with pytest.raises(MomentsError, match="too small"):
        hold_out(wide, Y, folds, penalties=torch.tensor([1e-30]))
    Y, folds = torch.as_tensor(Y), torch.as_tensor(folds)
    with pytest.raises(MomentsError, match="no feature varies"):
        held_out_kernel_ridge(torch.ones(20, 20), Y, folds)
    with pytest.raises(MomentsError, match="kernel of a ridge regression"):
        held_out_kernel_ridge(torch.full((20, 20), torch.nan), Y, folds)
    with pytest.raises(MomentsError, match="folds differ"):
        choose([hold_out(wide, Y, folds), hold_out(wide, Y, 3 - folds)])


# -- labels without signal ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "d", "n_classes", "pairs"),
    [(150, 30, 5, False), (80, 120, 5, False), (60, 70, 2, True)],
)
def test_accuracy_without_signal_is_that_of_chance(n, d, n_classes, pairs) -> None:
    runs, candidates = 20, 4
    single, nested, with_choice = [], [], []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        y = np.arange(n) % n_classes
        groups = np.arange(n) // 2 if pairs else np.arange(n)
        y = y if pairs else rng.permutation(y)
        Y = torch.as_tensor(np.eye(n_classes)[y])
        folds = stratified_folds(torch.as_tensor(y), torch.as_tensor(groups), seed=seed)
        held_out = [
            held_out_ridge(torch.as_tensor(rng.normal(size=(n, d))), Y, folds)
            for _ in range(candidates)
        ]
        outputs = [
            held_out[0].class_scores,
            choose(held_out) + held_out[0].mean_shifts,
            min(held_out, key=lambda one: float(one.errors.min())).class_scores,
        ]
        for rates, predictions in zip((single, nested, with_choice), outputs, strict=True):
            rates.append(float((predictions.argmax(1).numpy() == y).mean()))
    chance = 1 / n_classes
    # Of one run, and of the mean of all.
    error = (chance * (1 - chance) / n) ** 0.5
    assert abs(np.mean(single) - chance) < SIGMAS * np.std(single) / runs**0.5
    assert np.mean(nested) > chance - SIGMAS * np.std(nested) / runs**0.5
    assert np.mean(nested) < chance + error
    assert np.mean(nested) < np.mean(with_choice)


# -- folds ----------------------------------------------------------------------------------------


def count(folds, classes):
    return np.array(
        [
            np.bincount(classes[folds == k], minlength=classes.max() + 1)
            for k in range(folds.max() + 1)
        ]
    )


@settings(max_examples=30, deadline=None)
@given(n=st.integers(20, 80), n_classes=st.integers(1, 5), seed=st.integers(0, 10**6))
def test_folds_balance_classes_and_sizes(n, n_classes, seed) -> None:
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, n_classes, n)
    folds = stratified_folds(torch.as_tensor(classes), torch.arange(n), seed=seed).numpy()
    counts = count(folds, classes)
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.ptp(counts.sum(1)) <= 1
    assert len(counts) >= 5


@settings(max_examples=30, deadline=None)
@given(n_groups=st.integers(10, 40), seed=st.integers(0, 10**6))
def test_folds_keep_groups_together(n_groups, seed) -> None:
    rng = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(n_groups), rng.integers(0, n_groups, 60)]) * 5 - 7
    classes = rng.integers(0, 3, len(groups))
    folds = stratified_folds(torch.as_tensor(classes), torch.as_tensor(groups), seed=seed)
    again = stratified_folds(torch.as_tensor(classes), torch.as_tensor(groups), seed=seed)
    assert torch.equal(folds, again)
    for group in np.unique(groups):
        assert len(folds[torch.as_tensor(groups == group)].unique()) == 1
    sizes = np.bincount(folds)
    assert np.ptp(sizes) <= np.bincount(groups + 7).max()


def test_balanced_pairs_make_balanced_folds() -> None:
    pairs = torch.arange(60) // 2
    folds = stratified_folds(torch.arange(60) % 2, pairs).numpy()
    assert (count(folds, np.arange(60) % 2) == 3).all()


def test_the_order_of_texts_in_folds_hangs_on_the_seed() -> None:
    classes, groups = torch.arange(50) % 2, torch.arange(50)
    first, second = (stratified_folds(classes, groups, seed=seed) for seed in (0, 1))
    assert not torch.equal(first, second)
    unstratified = stratified_folds(None, groups, seed=0)
    assert np.bincount(unstratified).tolist() == [5] * 10


def test_there_are_fewer_folds_where_a_class_or_the_groups_are_few() -> None:
    def n_folds(classes, groups=None, wanted=10):
        classes = torch.tensor(classes)
        groups = torch.arange(len(classes)) if groups is None else torch.tensor(groups)
        return len(stratified_folds(classes, groups, n_folds=wanted).unique())

    assert n_folds([0] * 20 + [1] * 10) == 10
    assert n_folds([0] * 20 + [1] * 7) == 7
    # A class of two texts does not cost half of the texts.
    assert n_folds([0] * 20 + [1] * 2) == 5
    assert n_folds([0] * 20 + [1] * 2, wanted=3) == 3
    # Seven texts of one class in six groups.
    assert n_folds([0] * 20 + [1] * 7, [*range(26), 25]) == 6
    assert n_folds([0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 2]) == 3


def test_a_single_group_can_not_be_dealt_out() -> None:
    with pytest.raises(MomentsError, match="1 groups of texts"):
        stratified_folds(None, torch.zeros(5, dtype=torch.long))
    with pytest.raises(MomentsError, match="dealt out to 1"):
        stratified_folds(None, torch.arange(5), n_folds=1)


@pytest.mark.parametrize(("n", "d"), [(120, 9), (60, 80)])
def test_of_many_label_columns_the_best_penalties_are_judged(n, d) -> None:
    X, few, folds = make_case(n, d, 4)
    rng = np.random.default_rng(1)
    Y = few @ rng.normal(size=(few.shape[1], 300)) + rng.normal(size=(n, 300))
    found = hold_out(X, Y, folds)
    # Squared errors add up over columns: those of parts that are few enough for all penalties.
    parts = [hold_out_everywhere(X, Y[:, start : start + 100], folds) for start in (0, 100, 200)]
    errors = sum(part.errors for part in parts)
    fold_errors = sum(part.fold_errors for part in parts)
    assert len(found.penalties) < len(RELATIVE_PENALTIES) == len(parts[0].penalties)
    assert found.penalty == pytest.approx(float(parts[0].penalties[errors.argmin()]), rel=1e-12)
    places = torch.searchsorted(parts[0].penalties * (1 - 1e-9), found.penalties) - 1
    at = {"rtol": CROSS_VALIDATION, "atol": CROSS_VALIDATION}
    torch.testing.assert_close(found.errors, errors[places], **at)
    torch.testing.assert_close(found.fold_errors, fold_errors[places], **at)
    again = hold_out(X, Y, folds, penalties=found.penalties[[found.chosen]])
    torch.testing.assert_close(found.predictions, again.predictions, **at)


@pytest.mark.parametrize(("n", "d"), [(60, 7), (20, 40)])
def test_what_is_handed_in_stays_as_it_was(n, d) -> None:
    X, Y, folds = (torch.as_tensor(one) for one in make_case(n, d, 4))
    kernel = X @ X.T
    before = X.clone(), Y.clone(), kernel.clone()
    hold_out(X, Y, folds)
    kept = held_out_kernel_ridge(kernel, Y, folds)
    assert all(map(torch.equal, before, (X, Y, kernel)))
    worked_in = held_out_kernel_ridge(kernel, Y, folds, overwrite=True)
    assert torch.equal(kept.predictions, worked_in.predictions)
