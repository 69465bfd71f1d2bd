"""What it takes to adapt a model: closed forms, probes, LoRA, training from scratch.

The names below load on first use.
"""

from typing import TYPE_CHECKING

from ntpscore.lazy import load_lazily

if TYPE_CHECKING:
    from ntpscore.adapt.config import LogisticConfig as LogisticConfig
    from ntpscore.adapt.config import LoraConfig as LoraConfig
    from ntpscore.adapt.config import OlsConfig as OlsConfig
    from ntpscore.adapt.config import ProbeConfig as ProbeConfig
    from ntpscore.adapt.config import RidgeConfig as RidgeConfig
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
    from ntpscore.adapt.ridge import fit_ridge as fit_ridge
    from ntpscore.adapt.scratch import fit_scratch as fit_scratch

__getattr__, __dir__, __all__ = load_lazily(__name__)
