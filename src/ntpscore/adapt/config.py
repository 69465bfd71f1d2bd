"""How each method of adapt runs: a frozen configuration each, checked when made.

A value that makes no sense raises an `NtpscoreError`.
"""

import math
from dataclasses import dataclass

from ntpscore.errors import NtpscoreError
from ntpscore.reading.tokens import BATCH_TOKENS


@dataclass(frozen=True)
class FrozenConfig:
    """What every fit on frozen features is told.

    Attributes:
        max_length: tokens after which a text is cut; None means the model's context.
        batch_tokens: tokens per batch of the forward pass, padding included.
        seed: of all that is random, and of the bootstrap.
    """

    max_length: int | None = None
    batch_tokens: int = BATCH_TOKENS
    seed: int = 0

    def __post_init__(self) -> None:
        _at_least(self, 1, "batch_tokens")
        _at_least(self, 0, "seed")


@dataclass(frozen=True)
class OlsConfig(FrozenConfig):
    """How `fit_ols` runs.

    Attributes:
        layers: hidden-state indices; None means all. The result's `train` and `test` are of the
            last of them, `record["fits"]` has all.
        ridge: penalise the weights, as strongly as generalised cross-validation finds best, layer
            by layer.
    """

    layers: tuple[int, ...] | None = None
    ridge: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers is not None and not self.layers:
            raise NtpscoreError("layers must be at least one")


@dataclass(frozen=True)
class LogisticConfig(FrozenConfig):
    """How `fit_logistic` runs.

    Attributes:
        layer: hidden-state index; None means the last.
        C: inverse strength of the L2 penalty, as scikit-learn has it.
    """

    layer: int | None = None
    C: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _above_zero(self, "C")
        if self.seed >= 2**32:
            raise NtpscoreError(f"seed must be below 2^32 for scikit-learn, got {self.seed}")


@dataclass(frozen=True)
class ProbeConfig(FrozenConfig):
    """How `fit_probe` runs.

    Attributes:
        layer: hidden-state index; None means the last.
        learning_rate: of AdamW, constant.
        epochs: passes over the features.
        batch_size: texts per step.
        dropout: share of a text's features that are zeroed in a step.
        weight_decay: of AdamW.
    """

    layer: int | None = None
    learning_rate: float = 1e-4
    epochs: int = 50
    batch_size: int = 64
    dropout: float = 0.05
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, 1, "epochs", "batch_size")
        _above_zero(self, "learning_rate")
        _at_least(self, 0, "weight_decay")
        _share(self, "dropout")


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained; the defaults are the paper's.

    Attributes:
        steps: of the optimiser.
        batch_size: texts per forward pass.
        gradient_accumulation: forward passes per step.
        learning_rate: at the peak of the schedule.
        warmup_share: of the steps, in which the learning rate rises from zero.
        weight_decay: per step, times the learning rate.
        max_length: tokens after which a text is cut; None means the model's context.
        seed: of the initial weights, the order of the texts and dropout.
        checkpoint_seconds: time between checkpoints, if there is a folder.

    Source:
        Next Token Perception Score, section 5: Adafactor, cosine schedule, 5 % warm-up.
    """

    steps: int = 5000
    batch_size: int = 1
    gradient_accumulation: int = 1
    learning_rate: float = 1e-4
    warmup_share: float = 0.05
    weight_decay: float = 1e-5
    max_length: int | None = None
    seed: int = 0
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        _at_least(self, 1, "steps", "batch_size", "gradient_accumulation")
        _above_zero(self, "learning_rate")
        _at_least(self, 0, "seed", "weight_decay", "checkpoint_seconds")
        _share(self, "warmup_share", with_one=True)
        if self.max_length is not None:
            _at_least(self, 1, "max_length")


@dataclass(frozen=True)
class LoraConfig(TrainingConfig):
    """How LoRA is trained; the defaults are the paper's.

    Attributes:
        rank: of the update of each projection.
        alpha: the update is scaled by alpha / rank.
        dropout: in front of each update.
    """

    rank: int = 32
    alpha: int = 32
    dropout: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, 1, "rank", "alpha")
        _share(self, "dropout")


@dataclass(frozen=True)
class ScratchConfig(TrainingConfig):
    """How a model is trained from scratch; the defaults are the paper's."""

    steps: int = 10000


def _at_least(config: object, least: int, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not least <= value < math.inf:
            raise NtpscoreError(f"{name} must be at least {least}, and finite; got {value}")


def _above_zero(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not 0 < value < math.inf:
            raise NtpscoreError(f"{name} must be above 0 and finite, got {value}")


def _share(config: object, name: str, *, with_one: bool = False) -> None:
    value = getattr(config, name)
    if not (0 <= value < 1 or (with_one and value == 1)):
        end = "to 1" if with_one else "to below 1"
        raise NtpscoreError(f"{name} must be from 0 {end}, got {value}")
