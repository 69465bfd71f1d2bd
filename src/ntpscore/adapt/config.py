"""How each method of adapt runs: a frozen configuration each, checked when made.

A value that makes no sense raises an `NtpscoreError`.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ntpscore.errors import NtpscoreError
from ntpscore.models.layers import read_layers
from ntpscore.options import check_options, option
from ntpscore.reading import BATCH_TOKENS_HELP

PoolingChoice = Literal["mean", "last"]
_FIT, _TRAINING, _MODEL = "Fit", "Training (probe, lora, scratch)", "Model"
_MAX_LENGTH = "Cut texts to so many tokens; default the model's context."
_STEPS = "lora: default 625; scratch: 10000."
_BATCH_SIZE = "Texts per pass; probe 64, lora 8, scratch 1."
_LEARNING_RATE = "At its peak; probe, scratch 1e-4, lora 8e-4."
_SEED = "Of samples, training and bootstrap."


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
        typed=str | None,
    )
    pooling: PoolingChoice | None = option(
        None,
        "ridge: mean or last token of a text; default what cross-validates best.",
        panel=_FIT,
        choices=get_args(PoolingChoice),
    )
    penalty: float | None = option(
        None, "ridge: scikit-learn's alpha; default what cross-validates best.", panel=_FIT
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_layer(self.layer)
        if self.penalty is not None:
            _above_zero(self, "penalty")


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
        if self.layers is not None and not self.layers:
            raise NtpscoreError("layers must be at least one")


@dataclass(frozen=True)
class LogisticConfig(FrozenConfig):
    """How `fit_logistic` runs."""

    layer: int | str | None = option(
        None, "A hidden state, such as 12 or last; default the last.", panel=_FIT, typed=str | None
    )
    C: float = option(1.0, "logistic: inverse of the penalty; default 1.", panel=_FIT, flag="--C")

    def __post_init__(self) -> None:
        super().__post_init__()
        _above_zero(self, "C")
        _one_layer(self.layer)
        if self.seed >= 2**32:
            raise NtpscoreError(f"seed must be below 2^32 for scikit-learn, got {self.seed}")


@dataclass(frozen=True)
class ProbeConfig(FrozenConfig):
    """How `fit_probe` runs: AdamW at a constant rate."""

    layer: int | str | None = option(
        None, "A hidden state, such as 12 or last; default the last.", panel=_FIT, typed=str | None
    )
    epochs: int = option(50, "probe: passes over the texts; default 50.", panel=_TRAINING, least=1)
    batch_size: int = option(64, _BATCH_SIZE, panel=_TRAINING, least=1)
    learning_rate: float = option(1e-4, _LEARNING_RATE, panel=_TRAINING)
    weight_decay: float = option(
        0.01, "Per step, times the rate; probe 0.01, else 1e-5.", panel=_TRAINING, least=0
    )
    dropout: float = option(0.05, "probe, lora: default 0.05.", panel=_TRAINING)

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_layer(self.layer)
        _above_zero(self, "learning_rate")
        _finite(self, "weight_decay")
        _share(self, "dropout")


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
    learning_rate: float = option(1e-4, _LEARNING_RATE, panel=_TRAINING)
    warmup_share: float = option(
        0.05, "lora, scratch: share of the steps; default 0.05.", panel=_TRAINING
    )
    weight_decay: float = option(
        1e-5, "Per step, times the rate; probe 0.01, else 1e-5.", panel=_TRAINING, least=0
    )
    max_length: int | None = option(None, _MAX_LENGTH, panel=_MODEL, least=1)
    seed: int = option(0, _SEED, least=0)
    checkpoint_seconds: float = option(
        60.0, "lora, scratch: between checkpoints in --out; default 60.", panel=_TRAINING, least=0
    )

    def __post_init__(self) -> None:
        check_options(self)
        _above_zero(self, "learning_rate")
        _finite(self, "weight_decay")
        _share(self, "warmup_share", with_one=True)


@dataclass(frozen=True)
class LoraConfig(TrainingConfig):
    """How LoRA is trained: as many texts as in the paper, in steps with which it learns."""

    steps: int = option(625, _STEPS, panel=_TRAINING, least=1)
    batch_size: int = option(8, _BATCH_SIZE, panel=_TRAINING, least=1)
    learning_rate: float = option(8e-4, _LEARNING_RATE, panel=_TRAINING)
    rank: int = option(32, "lora: of each update; default 32.", panel=_TRAINING, least=1)
    alpha: int = option(32, "lora: scales by alpha / rank; default 32.", panel=_TRAINING, least=1)
    dropout: float = option(0.05, "probe, lora: default 0.05.", panel=_TRAINING)
    target_modules: str | None = option(
        None,
        "lora: linear layers by name, with commas between, a pattern, or all-linear; default those "
        "that make queries, keys and values.",
        panel=_TRAINING,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _share(self, "dropout")


@dataclass(frozen=True)
class ScratchConfig(TrainingConfig):
    """How a model is trained from scratch; the defaults are the paper's."""

    steps: int = option(10000, _STEPS, panel=_TRAINING, least=1)


# What differs from the defaults.
LORA_RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {"steps": 5000, "batch_size": 1, "learning_rate": 1e-4},
}


def _one_layer(layer: int | str | None) -> None:
    if isinstance(layer, str) and len(read_layers(layer)) > 1:
        raise NtpscoreError(f"layer must be one layer, got {layer}")


def _finite(config: object, name: str) -> None:
    if not math.isfinite(value := getattr(config, name)):
        raise NtpscoreError(f"{name} must be finite, got {value}")


def _above_zero(config: object, name: str) -> None:
    value = getattr(config, name)
    if not 0 < value < math.inf:
        raise NtpscoreError(f"{name} must be above 0 and finite, got {value}")


def _share(config: object, name: str, *, with_one: bool = False) -> None:
    value = getattr(config, name)
    if not (0 <= value < 1 or (with_one and value == 1)):
        end = "to 1" if with_one else "to below 1"
        raise NtpscoreError(f"{name} must be from 0 {end}, got {value}")
