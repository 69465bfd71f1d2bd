"""What `adapt` can fit: every method with its configuration and its function."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntpscore.adapt.config import (
    LogisticConfig,
    LoraConfig,
    OlsConfig,
    ProbeConfig,
    RidgeConfig,
    ScratchConfig,
)

if TYPE_CHECKING:
    from ntpscore.adapt.result import AdaptResult


@dataclass(frozen=True)
class Method:
    """A way to fit labels.

    Attributes:
        name: on the command line, in results and in studies.
        config: the class of its configuration.
        is_frozen: whether it fits features of a model that stays as it is.
    """

    name: str
    config: type[Any]
    is_frozen: bool

    @property
    def fit(self) -> "Callable[..., AdaptResult]":
        """`fit_NAME(model, train, test, *, config, folder, progress)`; frozen ones take a `cache`.

        Its module is loaded on first use: what training needs is slow to import.
        """
        module = importlib.import_module(f"ntpscore.adapt.{self.name}")
        function: Callable[..., AdaptResult] = getattr(module, f"fit_{self.name}")
        return function


METHODS = {
    method.name: method
    for method in (
        Method("ridge", RidgeConfig, is_frozen=True),
        Method("ols", OlsConfig, is_frozen=True),
        Method("logistic", LogisticConfig, is_frozen=True),
        Method("probe", ProbeConfig, is_frozen=True),
        Method("lora", LoraConfig, is_frozen=False),
        Method("scratch", ScratchConfig, is_frozen=False),
    )
}
