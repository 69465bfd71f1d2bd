"""What it takes to adapt a model: closed forms, probes, LoRA, training from scratch.

The names below load on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ntpscore.adapt.config import LogisticConfig as LogisticConfig
    from ntpscore.adapt.config import LoraConfig as LoraConfig
    from ntpscore.adapt.config import OlsConfig as OlsConfig
    from ntpscore.adapt.config import ProbeConfig as ProbeConfig
    from ntpscore.adapt.config import ScratchConfig as ScratchConfig
    from ntpscore.adapt.evaluation import Evaluation as Evaluation
    from ntpscore.adapt.evaluation import evaluate as evaluate
    from ntpscore.adapt.logistic import fit_logistic as fit_logistic
    from ntpscore.adapt.lora import fit_lora as fit_lora
    from ntpscore.adapt.methods import METHODS as METHODS
    from ntpscore.adapt.ols import fit_ols as fit_ols
    from ntpscore.adapt.probe import fit_probe as fit_probe
    from ntpscore.adapt.result import AdaptResult as AdaptResult
    from ntpscore.adapt.result import load_adapt_result as load_adapt_result
    from ntpscore.adapt.scratch import fit_scratch as fit_scratch

_HOMES = {
    "METHODS": "methods",
    "AdaptResult": "result",
    "Evaluation": "evaluation",
    "LogisticConfig": "config",
    "LoraConfig": "config",
    "OlsConfig": "config",
    "ProbeConfig": "config",
    "ScratchConfig": "config",
    "evaluate": "evaluation",
    "fit_logistic": "logistic",
    "fit_lora": "lora",
    "fit_ols": "ols",
    "fit_probe": "probe",
    "fit_scratch": "scratch",
    "load_adapt_result": "result",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ntpscore.adapt' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ntpscore.adapt.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
