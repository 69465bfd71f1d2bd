"""Ridge regression judged on texts that it was not fitted to, in closed form for many penalties.

With the hat matrix H of a fit to all texts, intercept included, the residuals of a fold b by a fit
without it are `(I − H_bb)⁻¹ (Y_b − Ŷ_b)`, exactly: one eigendecomposition serves every fold and
every penalty, and nothing is fitted twice.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ntpscore.core.lapack import eigh, gram_triangle
from ntpscore.errors import MomentsError

FOLDS = 10
# With fewer folds a fit sees far fewer texts than the final one, whatever that is worth to a class
# of a few texts.
_FEWEST_FOLDS = 5
# As shares of the mean squared norm of a standardised feature. Measured on five layers, 150 and 600
# texts of four data sets: the best lies between 0.3 and 10 wherever labels can be told at all, and
# the error there is flat: one step is worth a hundredth of R². More texts need less, down to some
# thousandth; the strongest leaves the mean of the labels, which is right where there is no signal.
_STEPS = 8
RELATIVE_PENALTIES = tuple(10 ** (6 * step / (_STEPS - 1) - 3) for step in range(_STEPS))
# A feature whose deviations are this small against its values holds nothing but rounding.
_CONSTANT = 1e-12
# Rows of features that are worked on at once.
_ROWS = 1024
# With more label columns penalties are singled out by so many combinations of them.
_MANY_COLUMNS, _COMBINATIONS = 256, 64


@dataclass(frozen=True)
class HeldOut:
    """What ridge regressions predict of texts that they were not fitted to.

    Attributes:
        penalties: (g,) scikit-learn's `alpha`, of `‖Y − Ŷ‖² + α‖W‖²` on the (scaled) features;
            of them those that were judged, see `held_out_ridge`.
        fold_errors: (g, K) squared held-out errors of each fold, summed over its texts and over
            label columns.
        errors: (g,) the same as a mean over all texts.
        chosen: which penalty has the least of `errors`.
        predictions: (n, c) at that penalty, each text by the fit without its fold.
        nested_predictions: (n, c) where the penalty too was chosen without the text: for each fold
            the one with the least error on all others.
        nested_errors: (K,) squared errors of these, summed over each fold.
        other_errors: (K,) the squared errors on all other folds at that fold's penalty.
        mean_error: the squared error, as a mean over texts, of predicting the mean of other folds.
        mean_shifts: (n, c) the mean of all labels less that of the labels of other folds.
        folds: (n,) the fold of each text.
    """

    penalties: Float[Tensor, " g"]
    fold_errors: Float[Tensor, "g K"]
    errors: Float[Tensor, " g"]
    chosen: int
    predictions: Float[Tensor, "n c"]
    nested_predictions: Float[Tensor, "n c"]
    nested_errors: Float[Tensor, " K"]
    other_errors: Float[Tensor, " K"]
    mean_error: float
    mean_shifts: Float[Tensor, "n c"]
    folds: Int[Tensor, " n"]

    @property
    def penalty(self) -> float:
        """The penalty with the least held-out error."""
        return float(self.penalties[self.chosen])

    @property
    def r2(self) -> float:
        """Held-out R² there, all label columns together; NaN where labels never vary."""
        return 1 - float(self.errors[self.chosen]) / (self.mean_error or float("nan"))

    @property
    def class_scores(self) -> Float[Tensor, "n c"]:
        """(n, c) `predictions` to read classes off: with the mean of all labels as intercept.

        A class that a fold has more of than its share is rarer in the others. Where there is hardly
        a signal this alone would decide, always wrongly: accuracy .15 on five balanced classes of
        80 texts. The fit that will be used has the mean of all.
        """
        return self.predictions + self.mean_shifts


class NestedChoice:
    """What the best of several readouts predicts, were it chosen without the texts it is told of.

    For each fold that readout, with its penalty, is taken which has the least squared error on the
    other folds together. What was chosen on all folds and is judged on the same ones looks better
    than it is: this takes about half of that off, and what a single readout gets by luck
    altogether. The other half would need fits without two folds, since the other folds'
    predictions come from fits that saw this one. Measured on labels without signal, six unrelated
    readouts, 53 to 500 texts: accuracy .01 to .04 above chance, R² between −.014 and 0; with no
    second choice .02 to .08, and nowhere below chance.

    Readouts, such as layers, come one by one: there may be too many to be kept.

    Attributes:
        predictions: (n, c) of each fold by the readout that the others choose.
    """

    predictions: Float[Tensor, "n c"]

    def __init__(self) -> None:
        self._errors: Float[Tensor, " K"] | None = None

    def offer(self, held_out: HeldOut) -> None:
        """One more readout of the same texts and folds."""
        if self._errors is None:
            self._folds, self._errors = held_out.folds, held_out.other_errors.clone()
            self.predictions = held_out.nested_predictions.clone()
            return
        if not torch.equal(held_out.folds, self._folds):
            raise MomentsError("readouts can't be compared: their folds differ")
        better = held_out.other_errors < self._errors
        self._errors[better] = held_out.other_errors[better]
        rows = better[held_out.folds]
        self.predictions[rows] = held_out.nested_predictions[rows]


def held_out_ridge(
    features: Float[Tensor, "n d"],
    Y: Float[Tensor, "n c"],
    folds: Int[Tensor, " n"],
    *,
    standardise: bool = True,
    penalties: Float[Tensor, " g"] | None = None,
) -> HeldOut:
    """Held-out predictions of ridge regression with intercept, over a path of penalties.

    Features are scaled to standard deviation 1 over all texts, those of the held-out fold too:
    that looks at no label, so it leaks none, and it keeps the features the same for all folds.

    Costs an eigendecomposition of the smaller of (d, d) and (n, n), and for each penalty and fold
    of m texts the smaller of m²r and r³/3 multiplications, r = min(n, d). Nothing of (n, n) is
    formed where n ≥ d, and one copy of the features in float64. With more than 256 label columns,
    64 random combinations of them single out a few of the penalties, and only these are judged.

    Args:
        features: (n, d), any floating type; worked on in float64.
        Y: (n, c) one-hot classes, indicator columns or targets.
        folds: (n,) the fold 0 … K − 1 of each text, each of at least one.
        standardise: False takes the features as they are, centred. Their few huge directions then
            set the scale of the penalties, so pass your own.
        penalties: (g,) positive, each of them judged; None means `RELATIVE_PENALTIES`, times the
            mean squared norm of a centred feature that is not constant, from the middle on in
            either direction as far as the error falls. On real layers that found the least of all.

    Raises:
        MomentsError: a number is not finite, a fold is empty or alone, no feature varies, or a
            penalty is too small to be solved with.

    Source:
        Golub, Heath, Wahba 1979 (one text a fold); Hastie, Tibshirani, Friedman 2009, The Elements
        of Statistical Learning, section 7.10; the residual of a fold is Woodbury's identity.
    """
    X, _, deviations = _standardised(features, standardise)
    n, d = X.shape
    gram = gram_triangle(X.T if d > n else X)
    walk = penalties is None
    if penalties is None:
        varying = (deviations > 0).sum()
        penalties = X.new_tensor(RELATIVE_PENALTIES) * (gram.trace() / varying)
    if d > n:
        del X
        return _hold_out(*_scores_of_gram(gram), Y, folds, penalties, walk=walk)
    values, vectors = eigh(gram, overwrite=True)
    for block in X.split(_ROWS):  # in the place of the features
        block.copy_(block @ vectors)
    return _hold_out(X, values.clamp(min=0.0), Y, folds, penalties, walk=walk)


def held_out_kernel_ridge(
    kernel: Float[Tensor, "n n"],
    Y: Float[Tensor, "n c"],
    folds: Int[Tensor, " n"],
    *,
    penalties: Float[Tensor, " g"] | None = None,
    overwrite: bool = False,
) -> HeldOut:
    """`held_out_ridge` without standardisation, from the inner products of the features alone.

    An intercept makes the fit independent of where the features' origin is: centring the kernel
    once is the same as centring it for each fold.

    Costs an eigendecomposition of (n, n).

    Args:
        kernel: (n, n) `F Fᵀ`, symmetric positive semi-definite; it need not be centred.
        Y: as `held_out_ridge`.
        folds: as `held_out_ridge`.
        penalties: as `held_out_ridge`, times the mean squared norm of a centred text.
        overwrite: work in the place of a kernel in float64, which holds nothing of use then.

    Raises:
        MomentsError: as `held_out_ridge`.
    """
    K = kernel.to(torch.float64, copy=not overwrite)
    _check_finite(K, "kernel")
    rows, size = K.mean(1, keepdim=True), K.diagonal().abs().mean()
    K.sub_(rows).sub_(rows.T).add_(rows.mean())
    power = K.diagonal().mean()
    if not bool(power > _CONSTANT * size):
        raise MomentsError(f"no feature varies between these {len(K)} texts: nothing can be fitted")
    walk = penalties is None
    if penalties is None:
        penalties = K.new_tensor(RELATIVE_PENALTIES) * power
    return _hold_out(*_scores_of_gram(K), Y, folds, penalties, walk=walk)


def solve_ridge(
    features: Float[Tensor, "n d"], Y: Float[Tensor, "n c"], penalty: float
) -> tuple[Float[Tensor, "d c"], Float[Tensor, " d"], Float[Tensor, " d"]]:
    """Ridge regression with intercept on all texts, at a penalty that `held_out_ridge` chose.

    Args:
        features: as `held_out_ridge`.
        Y: as `held_out_ridge`.
        penalty: α, positive.

    Returns:
        Weights (d, c) of the features less their means (d,), divided by their standard deviations
        (d,), which are given as 1 for those that are constant. The intercept is the mean of Y.

    Raises:
        MomentsError: a number is not finite, or no feature varies.
    """
    X, mean, deviations = _standardised(features, standardise=True)
    _check_finite(Y, "labels")
    right = (Y - Y.mean(0)).to(X)
    by_features = X.shape[1] <= len(X)
    gram = X.T @ X if by_features else X @ X.T
    gram.diagonal().add_(penalty)
    right = X.T @ right if by_features else right
    weights: Tensor = torch.cholesky_solve(right, torch.linalg.cholesky(gram))
    weights = weights if by_features else X.T @ weights
    return weights, mean, torch.where(deviations > 0, deviations, 1.0)


def stratified_folds(
    classes: Int[Tensor, " n"] | None,
    groups: Int[Tensor, " n"],
    *,
    n_folds: int = FOLDS,
    seed: int = 0,
) -> Int[Tensor, " n"]:
    """The fold of each text: groups stay together, classes and sizes are balanced.

    Large groups are dealt out first, each to the fold that has least of its classes. Where every
    text is a group of its own, the folds' texts of each class, and in all, differ by one at most.
    There are as many folds as the rarest class has groups, if these are fewer than wanted, but not
    for that reason fewer than five: then some folds go without that class.

    Args:
        classes: (n,) class indices; None for targets and several labels, which are not stratified.
        groups: (n,) equal for texts that must not be parted.
        n_folds: K, at most so many folds.
        seed: of the order in which groups are dealt out.

    Returns:
        (n,) 0 … K − 1, on the processor.

    Raises:
        MomentsError: there are fewer than two groups.
    """
    members = groups.cpu().unique(return_inverse=True)[1]
    if classes is None:
        classes = torch.zeros_like(members)
    names, codes = classes.cpu().unique(return_inverse=True)
    n_groups, n_classes = int(members.max()) + 1, len(names)
    # Numbered as they first occur, so that folds don't hang on their names.
    first = torch.stack([(codes == code).nonzero()[0, 0] for code in range(n_classes)])
    codes = first.argsort().argsort()[codes]
    if n_groups < 2 or n_folds < 2:
        raise MomentsError(
            f"cross-validation needs two folds at least: {n_groups} groups of texts can't be "
            f"dealt out to {n_folds}"
        )
    pairs, sizes = torch.stack([members, codes], 1).unique(dim=0, return_counts=True)
    rarest = int(torch.bincount(pairs[:, 1], minlength=n_classes).min())
    n_folds = min(n_folds, max(rarest, _FEWEST_FOLDS), n_groups)
    contents: list[list[tuple[int, int]]] = [[] for _ in range(n_groups)]
    for (group, code), size in zip(pairs.tolist(), sizes.tolist(), strict=True):
        contents[group].append((code, size))
    shuffled = torch.randperm(n_groups, generator=torch.Generator().manual_seed(seed)).tolist()
    # Of groups of a size class by class, so that what a class leaves over goes to small folds.
    shuffled.sort(key=lambda group: (-sum(size for _, size in contents[group]), contents[group]))
    totals = torch.bincount(codes).tolist()
    counts = [[0] * n_classes for _ in range(n_folds)]
    texts = [0] * n_folds
    fold_of = torch.empty(n_groups, dtype=torch.long)
    for group in shuffled:
        crowding = [
            (sum(fold[code] * size / totals[code] for code, size in contents[group]), texts[k], k)
            for k, fold in enumerate(counts)
        ]
        chosen = min(crowding)[2]
        for code, size in contents[group]:
            counts[chosen][code] += size
            texts[chosen] += size
        fold_of[group] = chosen
    return fold_of[members]


def mean_shifts(Y: Float[Tensor, "n c"], folds: Int[Tensor, " n"]) -> Float[Tensor, "n c"]:
    """For each text the mean of all labels less that of the labels of the other folds.

    Args:
        Y: (n, c).
        folds: (n,) 0 … K − 1, none of them empty.
    """
    deviations = Y - Y.mean(0)
    sizes = torch.bincount(folds)
    sums = torch.stack([deviations[folds == fold].sum(0) for fold in range(len(sizes))])
    return (sums / (len(Y) - sizes)[:, None])[folds]


def _check_finite(values: Tensor, what: str) -> None:
    if not bool(values.sum().isfinite()):
        raise MomentsError(f"the {what} of a ridge regression are NaN or infinite")


def _standardised(
    features: Float[Tensor, "n d"], standardise: bool
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " d"], Float[Tensor, " d"]]:
    """Features centred, and scaled if wanted; their means and standard deviations.

    Features that are constant but for rounding become zero, and so does their deviation.
    """
    X = features.to(torch.float64, copy=True)
    _check_finite(X, "features")
    mean, largest = X.mean(0), torch.maximum(X.amax(0), -X.amin(0))
    X -= mean
    deviations = torch.linalg.vector_norm(X, dim=0) / len(X) ** 0.5
    varies = deviations > _CONSTANT * largest
    if not bool(varies.any()):
        raise MomentsError(f"no feature varies between these {len(X)} texts: nothing can be fitted")
    deviations = deviations * varies
    if standardise:
        X /= torch.where(varies, deviations, 1.0)
    X *= varies
    return X, mean, deviations


def _scores_of_gram(
    gram: Float[Tensor, "n n"],
) -> tuple[Float[Tensor, "n n"], Float[Tensor, " n"]]:
    """Principal scores of texts, and their squared norms, from centred inner products.

    The scores take the place of the inner products; a further matrix like these is needed on the
    way.
    """
    values, vectors = eigh(gram, overwrite=True)
    values = values.clamp(min=0.0)
    return torch.mul(vectors, values.sqrt(), out=gram), values


def _hold_out(
    scores: Float[Tensor, "n r"],
    values: Float[Tensor, " r"],
    Y: Float[Tensor, "n c"],
    folds: Int[Tensor, " n"],
    penalties: Float[Tensor, " g"],
    *,
    walk: bool,
) -> HeldOut:
    """The held-out fits, of centred features in a basis where `scoresᵀ scores = diag(values)`.

    With `walk` only penalties about the best are judged, see `_judge_penalties`.
    """
    Y, folds = Y.to(scores), folds.to(scores.device)
    _check_finite(Y, "labels")
    sizes = torch.bincount(folds)
    n, K = len(scores), len(sizes)
    if K < 2 or not bool((sizes > 0).all()):
        raise MomentsError(
            f"folds of {sizes.tolist()} texts can't be cross-validated: it takes two folds at "
            "least, and none of them empty"
        )
    if not bool((penalties > 0).all()):
        raise MomentsError(f"penalties must be positive, got {penalties.tolist()}")
    penalties = penalties.to(scores)
    if Y.shape[1] > _MANY_COLUMNS and len(penalties) > 1:
        generator = torch.Generator().manual_seed(0)
        mix = torch.randn(Y.shape[1], _COMBINATIONS, generator=generator, dtype=Y.dtype).to(Y)
        some = _hold_out(scores, values, Y @ mix, folds, penalties, walk=walk)
        chosen, nested = _least_errors(some.fold_errors)
        singled_out = torch.cat([nested, nested.new_tensor([chosen])]).unique()
        penalties, walk = some.penalties[singled_out], False
    mean = Y.mean(0)
    centred = Y - mean
    coordinates = scores.T @ centred  # (r, c)

    def hold_out(low: int, high: int) -> tuple[list[Tensor], Tensor]:
        weights = 1 / (values + penalties[low:high, None])
        return _held_out_residuals(scores, weights, coordinates, centred, folds)

    # Where folds are large, penalties share a product, and all cost little more than some.
    is_walked = walk and len(penalties) > 2 and int(sizes.max()) <= scores.shape[1] // 2
    low, residuals, fold_errors = _judge_penalties(hold_out, len(penalties), is_walked)
    penalties = penalties[low : low + len(residuals)]
    chosen, nested = _least_errors(fold_errors)
    shifts = mean_shifts(Y, folds)
    mean_error = float((Y - mean + shifts).square().sum()) / n
    nested_residuals = torch.empty_like(centred)
    for fold, index in enumerate(nested.tolist()):
        rows = folds == fold
        nested_residuals[rows] = residuals[index][rows]
    every_fold = torch.arange(K, device=folds.device)
    if mean_error <= (_CONSTANT**2) * float(Y.square().sum()) / n:
        mean_error = 0.0
    return HeldOut(
        penalties=penalties,
        fold_errors=fold_errors,
        errors=fold_errors.sum(1) / n,
        chosen=chosen,
        predictions=Y - residuals[chosen],
        nested_predictions=Y - nested_residuals,
        nested_errors=fold_errors[nested, every_fold],
        other_errors=(fold_errors.sum(1, keepdim=True) - fold_errors)[nested, every_fold],
        mean_error=mean_error,
        mean_shifts=shifts,
        folds=folds,
    )


def _judge_penalties(
    judge: Callable[[int, int], tuple[list[Tensor], Float[Tensor, "g K"]]], n: int, walk: bool
) -> tuple[int, list[Tensor], Float[Tensor, "g K"]]:
    """What `judge(low, high)` gives of the penalties that may be chosen, and where these begin.

    Of all n, or of so many about the middle, neighbour by neighbour, that neither the least error
    of all folds nor that of all but one is at an end beyond which there are more.
    """
    low, high = (n // 2 - 1, n // 2 + 1) if walk else (0, n)
    residuals, fold_errors = judge(low, high)
    while True:
        chosen, nested = _least_errors(fold_errors)
        places = {low + chosen, *(low + nested).tolist()}
        if low in places and low > 0:
            low -= 1
            more, errors = judge(low, low + 1)
            residuals, fold_errors = more + residuals, torch.cat([errors, fold_errors])
        elif high - 1 in places and high < n:
            more, errors = judge(high, high + 1)
            residuals, fold_errors = residuals + more, torch.cat([fold_errors, errors])
            high += 1
        else:
            return low, residuals, fold_errors


def _least_errors(fold_errors: Float[Tensor, "g K"]) -> tuple[int, Int[Tensor, " K"]]:
    """The penalty of least error on all folds, and for each fold on all others."""
    total = fold_errors.sum(1, keepdim=True)
    return int(total.argmin()), (total - fold_errors).argmin(0)


def _held_out_residuals(
    scores: Float[Tensor, "n r"],
    weights: Float[Tensor, "g r"],
    coordinates: Float[Tensor, "r c"],
    centred: Float[Tensor, "n c"],
    folds: Int[Tensor, " n"],
) -> tuple[list[Float[Tensor, "n c"]], Float[Tensor, "g K"]]:
    """Residuals of each text by the fit without its fold, and each fold's squares, by penalty.

    Args:
        scores: (n, r) of the texts.
        weights: (g, r) of the scores in the hat matrix, at each penalty.
        coordinates: (r, c) `scoresᵀ centred`.
        centred: (n, c) labels less their means.
        folds: (n,) the fold of each text.
    """
    residuals = [centred - scores @ (weight[:, None] * coordinates) for weight in weights]
    fold_errors = weights.new_empty(len(weights), int(folds.max()) + 1)
    for fold in range(fold_errors.shape[1]):
        rows = (folds == fold).nonzero()[:, 0]
        within = torch.stack([one[rows] for one in residuals])
        held_out = _without_fold(scores[rows], weights, within, len(scores))
        for one, found in zip(residuals, held_out, strict=True):
            one[rows] = found
        fold_errors[:, fold] = held_out.square().sum((1, 2))
    return residuals, fold_errors


def _without_fold(
    scores: Float[Tensor, "m r"],
    weights: Float[Tensor, "g r"],
    residuals: Float[Tensor, "g m c"],
    n: int,
) -> Float[Tensor, "g m c"]:
    """`(I − H)⁻¹` times the residuals of a fold, for each penalty.

    `H = P D Pᵀ` on the fold, with a column of ones in P for the intercept. Where the fold is large,
    `(I − P D Pᵀ)⁻¹ = I + P (D⁻¹ − Pᵀ P)⁻¹ Pᵀ`.

    Args:
        scores: (m, r) of the fold's texts.
        weights: (g, r) of the scores in H.
        residuals: (g, m, c) of the fit to all texts.
        n: texts in all.
    """
    m, r = scores.shape
    P = torch.cat([scores, scores.new_ones(m, 1)], 1)
    D = torch.nn.functional.pad(weights, (0, 1), value=1 / n)
    gram = gram_triangle(P) if m > r // 2 else None
    held_out = torch.empty_like(residuals)
    for i, root in enumerate(D.sqrt()):
        if gram is None:
            held_out[i] = _solve_complement(gram_triangle((P * root).T), residuals[i])
        else:
            inside = root[:, None] * (P.T @ residuals[i])
            outside = _solve_complement(root[:, None] * gram * root, inside)
            held_out[i] = residuals[i] + P @ (root[:, None] * outside)
    return held_out


def _solve_complement(
    H: Float[Tensor, "m m"], targets: Float[Tensor, "m c"]
) -> Float[Tensor, "m c"]:
    """`(I − H)⁻¹` times targets; of H the lower triangle is read, and overwritten."""
    complement = H.neg_()
    complement.diagonal().add_(1.0)
    L, failed = torch.linalg.cholesky_ex(complement)
    if bool(failed):
        raise MomentsError(
            "a ridge penalty is too small to be solved with: some folds are fitted exactly"
        )
    return torch.cholesky_solve(targets, L)
