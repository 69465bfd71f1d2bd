"""Rival transferability metrics, and the trivial baselines; each in the file of its name.

A metric takes the `moments` of one layer; or `features` (n, d), a row per text, with `labels` (n,)
of class indices and, where it holds texts out, `groups` (n,), equal for texts that folds keep
together (None parts all); or what its own documentation says. Where it is not defined it raises a
`MetricError`: where it needs one class per text, for targets, several labels at once and a single
class; where it needs a spread, for features that never differ.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from typing import Literal

__all__ = ["METRICS", "Metric", "Needs"]

Needs = Literal["moments", "features", "next_token", "labels", "model"]


@dataclass(frozen=True)
class Metric:
    """A metric and what a reader must know to use it.

    Attributes:
        name: of the metric, its function and its column.
        module: that its function is in, relative to this package or of any other.
        higher_is_better: None where the value nearest to 1 is best.
        needs: `moments`: the moments of one layer. `features`: (n, d) mean-token features of one
            layer, and the labels. `next_token`: chunks of next-token distributions, and the labels.
            `labels`: the labels alone. `model`: the model alone.
        reference: authors and year.
        baseline: whether it is a trivial one, that takes no part in a consensus.
    """

    name: str
    module: str
    higher_is_better: bool | None
    needs: Needs
    reference: str
    baseline: bool = False

    @property
    def function(self) -> Callable[..., float]:
        """Takes what `needs` says and returns a float, or raises `MetricError`."""
        function: Callable[..., float] = getattr(import_module(self.module, __name__), self.name)
        return function

    @property
    def in_folds(self) -> bool:
        """Whether it holds texts out, so that `function` takes `groups` too."""
        return "groups" in signature(self.function).parameters

    def merit(self, value: float) -> float:
        """The value turned so that higher is better."""
        if self.higher_is_better is None:
            return -abs(value - 1)
        return value if self.higher_is_better else -value


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("r2", ".ols_r2", True, "moments", "least squares"),
        Metric("r2_adjusted", ".ols_r2", True, "moments", "Ezekiel 1930"),
        Metric("ridge_cv", ".ridge_cv", True, "features", "Golub et al. 1979"),
        Metric("h_score", ".h_score", True, "moments", "Bao et al. 2019"),
        Metric("h_score_shrunk", ".h_score", True, "features", "Ibrahim et al. 2021"),
        Metric("log_me", ".log_me", True, "moments", "You et al. 2021"),
        Metric("leep", ".leep", True, "next_token", "Nguyen et al. 2020"),
        Metric("n_leep", ".n_leep", True, "features", "Li et al. 2021"),
        Metric("trans_rate", ".trans_rate", True, "features", "Huang et al. 2022"),
        Metric("gbc", ".gbc", True, "features", "Pándy et al. 2022"),
        Metric(
            "nearest_neighbours", ".nearest_neighbours", True, "features", "Cover and Hart 1967"
        ),
        Metric("lda", ".lda", True, "features", "Fisher 1936"),
        Metric("rank_me", ".rank_me", True, "moments", "Garrido et al. 2023"),
        Metric("alpha_req", ".alpha_req", None, "moments", "Agrawal et al. 2022"),
        Metric("ridge_accuracy", ".baselines", True, "features", "ridge probe", baseline=True),
        Metric("ridge_error", ".baselines", True, "features", "ridge probe", baseline=True),
        Metric("model_size", ".baselines", True, "model", "parameters", baseline=True),
        Metric("n_classes", ".baselines", False, "labels", "the data", baseline=True),
        Metric("majority_share", ".baselines", True, "labels", "the data", baseline=True),
    )
}
