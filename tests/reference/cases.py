"""Random texts and labels, the easy ones and the awkward ones."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Case(NamedTuple):
    """Texts of (d, ℓ) token columns, targets Y (n, c), and class indices if there are classes."""

    name: str
    texts: list[Array]
    Y: Array
    labels: NDArray[np.int64] | None

    @property
    def d(self) -> int:
        """Width of a token."""
        return int(self.texts[0].shape[0])

    @property
    def c(self) -> int:
        """Number of classes or targets."""
        return int(self.Y.shape[1])


def one_hot(labels: NDArray[np.int64], c: int) -> Array:
    """Rows of the identity, (n, c)."""
    Y = np.zeros((len(labels), c))
    for row, label in enumerate(labels):
        Y[row, label] = 1.0
    return Y


def random_labels(
    rng: np.random.Generator, n: int, c: int, *, imbalance: float = 1.0
) -> NDArray[np.int64]:
    """Class indices, each class at least once; class j is drawn with weight imbalance^−j."""
    weights = imbalance ** -np.arange(c, dtype=np.float64)
    drawn = rng.choice(c, size=n, p=weights / weights.sum())
    drawn[:c] = np.arange(c)
    return drawn.astype(np.int64)


def random_texts(
    rng: np.random.Generator,
    targets: Array,
    d: int,
    *,
    lengths: tuple[int, int] = (1, 9),
    signal: float = 1.0,
) -> list[Array]:
    """Autoregressive tokens x_t = T x_{t−1} + offset + B y + noise, so that both sides have signal.

    Args:
        rng: Source of randomness.
        targets: What the tokens know about, (n, c).
        d: Width of a token.
        lengths: Smallest and largest number of tokens, both included.
        signal: Size of the tokens' dependence on the targets.
    """
    T = 0.6 * np.linalg.qr(rng.standard_normal((d, d)))[0]
    offset = 0.5 * rng.standard_normal(d)
    B = signal * rng.standard_normal((d, targets.shape[1]))
    texts = []
    for y in targets:
        length = int(rng.integers(lengths[0], lengths[1] + 1))
        x = rng.standard_normal(d)
        columns = []
        for _ in range(length):
            x = T @ x + offset + B @ y + rng.standard_normal(d)
            columns.append(x)
        texts.append(np.array(columns).T)
    return texts


def random_rotation(rng: np.random.Generator, d: int) -> Array:
    """A uniformly random orthogonal matrix, (d, d)."""
    Q, R = np.linalg.qr(rng.standard_normal((d, d)))
    return np.asarray(Q * np.sign(np.diag(R)))


def classification_case(
    name: str = "classification",
    *,
    seed: int = 0,
    d: int = 8,
    n: int = 90,
    c: int = 3,
    lengths: tuple[int, int] = (1, 9),
    imbalance: float = 1.0,
    signal: float = 1.0,
) -> Case:
    """Texts of several lengths (also of one token) with class labels."""
    rng = np.random.default_rng(seed)
    labels = random_labels(rng, n, c, imbalance=imbalance)
    Y = one_hot(labels, c)
    return Case(name, random_texts(rng, Y, d, lengths=lengths, signal=signal), Y, labels)


def regression_case(
    name: str = "regression", *, seed: int = 1, d: int = 8, n: int = 90, t: int = 2
) -> Case:
    """Texts with t standardised targets, known with noise; M has rank d from t = d on."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((n, t))
    texts = random_texts(rng, latent, d)
    Y = latent + 0.5 * rng.standard_normal((n, t))
    Y = (Y - Y.mean(axis=0)) / Y.std(axis=0)
    return Case(name, texts, Y, None)


def multilabel_case(name: str = "multilabel", *, seed: int = 2, d: int = 8, n: int = 90) -> Case:
    """Texts with three labels that may hold together or not at all."""
    rng = np.random.default_rng(seed)
    Y = (rng.random((n, 3)) < np.array([0.5, 0.3, 0.1])).astype(np.float64)
    return Case(name, random_texts(rng, Y, d), Y, None)


def with_large_directions(
    case: Case, *, factor: float = 1e3, directions: int = 2, rotated: bool = False, seed: int = 3
) -> Case:
    """The same case with a few directions `factor` times larger, on the axes or rotated."""
    scale = np.ones(case.d)
    scale[:directions] = factor
    turn = random_rotation(np.random.default_rng(seed), case.d) if rotated else np.eye(case.d)
    texts = [turn @ (scale[:, None] * X) for X in case.texts]
    name = f"{case.name}_{'rotated' if rotated else 'axis'}_{factor:.0e}"
    return case._replace(name=name, texts=texts)


def with_duplicates(case: Case, copies: int = 2) -> Case:
    """Every text and label `copies` times: no moment changes."""
    labels = None if case.labels is None else np.tile(case.labels, copies)
    return Case(
        f"{case.name}_times_{copies}", case.texts * copies, np.tile(case.Y, (copies, 1)), labels
    )


def with_constant_column(case: Case, value: float = 3.0, column: int = 1) -> Case:
    """One coordinate of every token is `value`: Cov(x̄) is singular, and N too if value is 0."""
    texts = []
    for X in case.texts:
        constant = X.copy()
        constant[column, :] = value
        texts.append(constant)
    return case._replace(name=f"{case.name}_constant_{value:g}", texts=texts)


def few_texts_case(*, seed: int = 4, d: int = 12, n: int = 7, c: int = 2) -> Case:
    """Fewer texts than dimensions: N has rank n."""
    return classification_case("few_texts", seed=seed, d=d, n=n, c=c, lengths=(1, 4))


def one_token_case(*, seed: int = 5) -> Case:
    """Every text has one token: C0 and C1 are zero."""
    return classification_case("one_token", seed=seed, lengths=(1, 1))


def one_class_case(*, seed: int = 6) -> Case:
    """Every text has the same label: nothing is left after centring."""
    return classification_case("one_class", seed=seed, c=1)


def empty_class_case(*, seed: int = 7) -> Case:
    """A class without texts: M has a zero column, so rank(M) = 2 while c = 3."""
    case = classification_case("empty_class", seed=seed, c=2)
    return case._replace(Y=np.column_stack([case.Y, np.zeros(len(case.Y))]))


def many_targets_case(*, seed: int = 8, d: int = 6) -> Case:
    """As many targets as dimensions: M has rank d, so no column of U is arbitrary."""
    return regression_case("many_targets", seed=seed, d=d, n=80, t=d + 1)


def regular_cases() -> list[Case]:
    """Cases whose N and C0 are well-conditioned (cond ≤ 1e5)."""
    return [
        classification_case(),
        classification_case("imbalanced", seed=11, c=4, n=120, imbalance=3.0),
        classification_case("two_classes_weak", seed=12, d=5, c=2, signal=0.1),
        regression_case(),
        multilabel_case(),
        many_targets_case(),
        empty_class_case(),
        with_duplicates(classification_case("doubled", seed=13, n=40)),
        with_constant_column(classification_case(seed=14)),
    ]


def large_direction_cases() -> list[Case]:
    """Two directions 1,000 times larger, as language models have them (cond ≈ 1e6 to 1e8)."""
    base = classification_case("large", seed=15)
    return [with_large_directions(base), with_large_directions(base, rotated=True)]


def ill_conditioned_cases() -> list[Case]:
    """Small cases with cond(N) and cond(C0) above 1e10; for these, use the 60-digit twins."""
    base = classification_case("ill", seed=16, d=6, n=30, lengths=(1, 5))
    return [
        with_large_directions(base, factor=1e5),
        with_large_directions(base, factor=1e5, rotated=True),
        with_large_directions(
            regression_case("ill_regression", seed=17, d=6, n=30), factor=1e5, rotated=True
        ),
    ]


def singular_cases() -> list[Case]:
    """Cases whose N or C0 has no inverse, but which still have next-token pairs."""
    return [
        few_texts_case(),
        with_constant_column(classification_case("zero_column", seed=18), value=0.0),
        with_duplicates(few_texts_case(seed=19), copies=3),
    ]
