"""How each method of adapt runs: a frozen configuration each, checked when made.

A value that makes no sense raises an `NtpscoreError`.
"""

import math
from dataclasses import dataclass
from typing import Any

from ntpscore.errors import NtpscoreError
from ntpscore.models.layers import read_layers
from ntpscore.options import check_options, option
from ntpscore.reading import BATCH_TOKENS_HELP
from ntpscore.reading.pooling import POOLINGS

_FIT, _TRAINING, _MODEL = "Fit", "Training (probe, lora, scratch)", "Model"
_MAX_LENGTH = "Cut texts to so many tokens; default the model's context."
_STEPS = "lora: default 625; scratch: 10000."
_BATCH_SIZE = "Texts per pass; probe 64, lora 8, scratch 1."
_LEARNING_RATE = "At its peak; probe, scratch 1e-4, lora 8e-4."
_WEIGHT_DECAY = "Per step, times the rate; probe 0.01, else 1e-5."
_DROPOUT = "probe, lora: default 0.05."
_SEED = "Of samples, training and bootstrap."


def _one_layer(name: str, layer: int | str) -> str | None:
    several = isinstance(layer, str) and len(read_layers(layer)) > 1
    return f"{name} must be one layer, got {layer}" if several else None


def _finite(name: str, value: float) -> str | None:
    return None if math.isfinite(value) else f"{name} must be finite, got {value}"


def _above_zero(name: str, value: float) -> str | None:
    return None if 0 < value < math.inf else f"{name} must be above 0 and finite, got {value}"


def _below_one(name: str, value: float) -> str | None:
    return None if 0 <= value < 1 else f"{name} must be from 0 to below 1, got {value}"


def _share(name: str, value: float) -> str | None:
    return None if 0 <= value <= 1 else f"{name} must be from 0 to 1, got {value}"


@dataclass(frozen=True)
class FrozenConfig:
    """What every fit on frozen features is told."""

    max_length: int | None = option(None, _MAX_LENGTH, panel=_MODEL, least=1)
    batch_tokens: int | None = option(None, BATCH_TOKENS_HELP, panel=_MODEL, least=1)
    seed: int = option(0, _SEED, least=0)

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class RidgeConfig(FrozenConfig):
    """How `fit_ridge` runs; what is None is chosen by cross-validation inside the train split."""

    layer: int | str | None = option(
        None,
        "A hidden state, such as 12 or last; ridge: default the one that cross-validates best.",
        panel=_FIT,
        check=_one_layer,
        typed=str | None,
    )
    pooling: str | None = option(
        None,
        "ridge: which token stands for a text; default what cross-validates best.",
        panel=_FIT,
        choices=POOLINGS,
    )
    penalty: float | None = option(
        None,
        "ridge: scikit-learn's alpha; default what cross-validates best.",
        panel=_FIT,
        check=_above_zero,
    )


@dataclass(frozen=True)
class OlsConfig(FrozenConfig):
    """How `fit_ols` runs.

    The result's `train` and `test` are of the layer of the least cross-validated error (the last if
    there is none), `record["fits"]` has all.
    """

    layers: tuple[int, ...] | str | None = option(
        None, "ols: hidden states, such as 0,4,8-last; default all.", panel=_FIT, typed=str | None
    )
    ridge: bool = option(False, "ols: penalty by cross-validation.", panel=_FIT)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.layers, str):
            read_layers(self.layers)
        elif self.layers is not None and not self.layers:
            raise NtpscoreError("layers must be at least one")


@dataclass(frozen=True)
class _OfOneLayer(FrozenConfig):
    layer: int | str | None = option(
        None,
        "A hidden state, such as 12 or last; default the last.",
        panel=_FIT,
        check=_one_layer,
        typed=str | None,
    )


@dataclass(frozen=True)
class LogisticConfig(_OfOneLayer):
    """How `fit_logistic` runs."""

    C: float = option(
        1.0,
        "logistic: inverse of the penalty; default 1.",
        panel=_FIT,
        flag="--C",
        check=_above_zero,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed >= 2**32:
            raise NtpscoreError(f"seed must be below 2^32 for scikit-learn, got {self.seed}")


@dataclass(frozen=True)
class ProbeConfig(_OfOneLayer):
    """How `fit_probe` runs: AdamW at a constant rate."""

    epochs: int = option(50, "probe: passes over the texts; default 50.", panel=_TRAINING, least=1)
    batch_size: int = option(64, _BATCH_SIZE, panel=_TRAINING, least=1)
    learning_rate: float = option(1e-4, _LEARNING_RATE, panel=_TRAINING, check=_above_zero)
    weight_decay: float = option(0.01, _WEIGHT_DECAY, panel=_TRAINING, least=0, check=_finite)
    dropout: float = option(0.05, _DROPOUT, panel=_TRAINING, check=_below_one)


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    Source:
        Next Token Perception Score, section 5: Adafactor, cosine schedule, 5 % warm-up.
    """

    steps: int = option(5000, _STEPS, panel=_TRAINING, least=1)
    batch_size: int = option(1, _BATCH_SIZE, panel=_TRAINING, least=1)
    gradient_accumulation: int = option(
        1, "lora, scratch: passes per step; default 1.", panel=_TRAINING, least=1
    )
    learning_rate: float = option(1e-4, _LEARNING_RATE, panel=_TRAINING, check=_above_zero)
    warmup_share: float = option(
        0.05, "lora, scratch: share of the steps; default 0.05.", panel=_TRAINING, check=_share
    )
    weight_decay: float = option(1e-5, _WEIGHT_DECAY, panel=_TRAINING, least=0, check=_finite)
    max_length: int | None = option(None, _MAX_LENGTH, panel=_MODEL, least=1)
    seed: int = option(0, _SEED, least=0)
    checkpoint_seconds: float = option(
        60.0, "lora, scratch: between checkpoints in --out; default 60.", panel=_TRAINING, least=0
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class LoraConfig(TrainingConfig):
    """How LoRA is trained: as many texts as in the paper, in steps with which it learns."""

    steps: int = option(625, _STEPS, panel=_TRAINING, least=1)
    batch_size: int = option(8, _BATCH_SIZE, panel=_TRAINING, least=1)
    learning_rate: float = option(8e-4, _LEARNING_RATE, panel=_TRAINING, check=_above_zero)
    rank: int = option(32, "lora: of each update; default 32.", panel=_TRAINING, least=1)
    alpha: int = option(32, "lora: scales by alpha / rank; default 32.", panel=_TRAINING, least=1)
    dropout: float = option(0.05, _DROPOUT, panel=_TRAINING, check=_below_one)
    target_modules: str | None = option(
        None,
        "lora: linear layers by name, with commas between, a pattern, or all-linear; default those "
        "that make queries, keys and values.",
        panel=_TRAINING,
    )


@dataclass(frozen=True)
class ScratchConfig(TrainingConfig):
    """How a model is trained from scratch; the defaults are the paper's."""

    steps: int = option(10000, _STEPS, panel=_TRAINING, least=1)


# What differs from the defaults.
LORA_RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {"steps": 5000, "batch_size": 1, "learning_rate": 1e-4},
}
