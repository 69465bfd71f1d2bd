"""Every tolerance of the tests of the mathematics, with its reason."""

EPS = 2.220446049250313e-16
"""Distance from 1 to the next float64."""

MOMENTS_FLOAT64 = 1e-12
"""Moments summed in float64, relative to their scale: a few hundred products are added, each
rounded at EPS, so at worst n·ℓ·EPS ≈ 1e-13; ten times that for sums in another order."""

SCORE = 1e-12
"""Scores and projectors of well-conditioned cases (cond ≤ 1e3), absolute: EPS·cond ≈ 2e-13; the
twins differ from 60 digits by 2e-14 at most."""

SQUARED_PAIR = 1e-9
"""Scores of the literal eigenproblem, which forms C1 C1ᵀ, at cond ≤ 1e3: EPS·cond² ≈ 2e-10. At
cond = 2e7 its projectors are wrong by 1e-3 and at 2e9 altogether: never compare with it there."""

LEAST_SQUARES = 1e-11
"""Losses from `lstsq` on the features against closed forms from moments, relative to the loss with
no features: both are good to EPS·cond ≈ 2e-13, and a difference of two losses loses a digit."""

ADAFACTOR = 1e-5
"""Parameters of size 1 after ten float32 steps of at most 1e-2 against the same in float64: each
step rounds at 6e-8 and divides by roots of float32 sums."""

PUBLISHED_R = 0.0051
"""Correlations that were stated with two digits."""

ROUNDING_SLACK = 1e-11
"""Slack for inequalities that hold exactly in real numbers (bounds, monotonicity, [0, 1]), relative
to the quantities compared."""

METRIC = 1e-9
"""Metrics of features against their literal twins, relative, at cond ≤ 1e3: Gram matrices square
the condition number, EPS·cond² ≈ 2e-10, and the twins invert explicitly."""

METRIC_FROM_MOMENTS = 1e-7
"""Metrics of moments against twins that see the features, relative, where n < d: eigenvalues that
are zero come out as EPS·d of the largest, and singular values as the root of that, 1e-8."""

BRUTE_FORCE_EVIDENCE = 1e-6
"""Log evidence per text against a maximum found by Nelder and Mead, absolute: where the maximum
lies at infinite precision the search ends at e^16, which is 1e-7 short of it."""

SIGMAS = 4.0
"""Half-width of a Monte Carlo band in standard errors: a normal mean falls outside once in 16,000;
the seeds are fixed, so a test that passes once passes always."""


def conditioned(cond: float) -> float:
    """Tolerance for scores and projectors from float64 moments of condition number `cond`.

    The moments themselves are rounded at EPS, and the smallest direction of the metric feels it
    EPS·cond; projectors on part of V also divide by a relative gap of eigenvalues, 0.1 or more in
    the cases here. Measured: 0.2·EPS·cond for the factored twin at cond 2e7 and 1e11.
    """
    return max(SCORE, 10.0 * EPS * cond)


CLOSED_FORM = 1e-9
"""Weights, errors and R² of least squares from normal equations, at features of condition up to
1e5 (squared 1e10 in the covariance): EPS·1e5 ≈ 2e-11 for well-scaled random
features, times a margin."""

FLOAT32_STEPS = 1e-5
"""Weights of order 1 after ten optimiser steps in float32 against float64: each step of length 0.01
is rounded at 1e-7, and Adam's ratio amplifies the rounding of small gradients a hundredfold."""

CROSS_VALIDATION = 1e-9
"""Held-out predictions of labels of order 1 from one eigendecomposition against refits: the largest
eigenvalue is at most some 1e4 penalties, which EPS feels once in the hat matrix and once where a
fold is solved for: 1e8·EPS ≈ 2e-8 at worst, 4e-11 measured in the cases here."""
