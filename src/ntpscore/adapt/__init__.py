"""What it takes to adapt a model: closed forms, probes, LoRA, training from scratch.

The names below load on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ntpscore.adapt.evaluation import Evaluation, evaluate
    from ntpscore.adapt.logistic import LogisticConfig, fit_logistic
    from ntpscore.adapt.lora import LoraConfig, fit_lora
    from ntpscore.adapt.ols import OlsConfig, fit_ols
    from ntpscore.adapt.probe import ProbeConfig, fit_probe
    from ntpscore.adapt.result import AdaptResult, load_adapt_result
    from ntpscore.adapt.scratch import ScratchConfig, fit_scratch

_HOMES = {
    "AdaptResult": "result",
    "Evaluation": "evaluation",
    "LogisticConfig": "logistic",
    "LoraConfig": "lora",
    "OlsConfig": "ols",
    "ProbeConfig": "probe",
    "ScratchConfig": "scratch",
    "evaluate": "evaluation",
    "fit_logistic": "logistic",
    "fit_lora": "lora",
    "fit_ols": "ols",
    "fit_probe": "probe",
    "fit_scratch": "scratch",
    "load_adapt_result": "result",
}

__all__ = [
    "AdaptResult",
    "Evaluation",
    "LogisticConfig",
    "LoraConfig",
    "OlsConfig",
    "ProbeConfig",
    "ScratchConfig",
    "evaluate",
    "fit_logistic",
    "fit_lora",
    "fit_ols",
    "fit_probe",
    "fit_scratch",
    "load_adapt_result",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ntpscore.adapt' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ntpscore.adapt.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
