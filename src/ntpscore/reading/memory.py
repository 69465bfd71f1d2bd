"""What a run takes of memory, planned before its pass begins, and what is done where it lacks.

A plan is a pure function of sizes and of the memory there is. The pass needs no logits, so the
vocabulary counts with the weights alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import psutil
import torch
from transformers import PreTrainedConfig

from ntpscore.core.moments import Moments
from ntpscore.core.prefix_products import Precision
from ntpscore.core.scores import solve_bytes
from ntpscore.errors import ModelError
from ntpscore.models import LanguageModel

# Of what is free, the rest being for what allocators lose between blocks.
_MARGIN = 0.9
# Of a block, per token: vectors of the width and of the inner width that live at the same time.
_WIDE, _INNER = 8, 3
_INNER_NAMES = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "d_ff")
_FEWEST_TOKENS = 1024
# Sums of a layer and batch that are on their way from a card to main memory: while one is added,
# the next is made.
STAGES = 2


def sums_device(device: torch.device) -> torch.device:
    """Where sums in float64 can be kept: the model's device, but the processor for `mps`."""
    # Apple's processors have no float64 on the graphics side.
    return torch.device("cpu") if device.type == "mps" else device


def inner_width(config: PreTrainedConfig) -> int:
    """Of a block's inner layer, by the model's configuration; four times the width if unknown."""
    text = config.get_text_config(decoder=True)
    known = (getattr(text, name, None) for name in _INNER_NAMES)
    width: int = getattr(text, "hidden_size", 0)
    return next((inner for inner in known if isinstance(inner, int)), 4 * width)


@dataclass(frozen=True)
class Sizes:
    """What of a model and a run decides what it takes of memory, beside the weights.

    Attributes:
        layers: of the moments.
        width: d.
        inner: width of a block's inner layer.
        outputs: c.
        shuffles: P.
        number: bytes of a number in the pass.
        precision: of the products.
        published: whether the sums of the released code are wanted, too.
        folds: further moments of one layer, without shuffles.
        judging: bytes that held-out accuracy takes of main memory, after the layers were solved.
    """

    layers: int
    width: int
    inner: int
    outputs: int
    shuffles: int
    number: int = 2
    precision: Precision = "float64"
    published: bool = False
    folds: int = 0
    judging: int = 0

    def sums(self, layers: int) -> int:
        """Bytes of the moments of so many layers."""
        return Moments.n_bytes(layers, self.width, self.outputs, self.shuffles, self.published)

    @property
    def folds_bytes(self) -> int:
        """Bytes of the further moments."""
        return self.folds * Moments.n_bytes(1, self.width, self.outputs, 0)

    @property
    def solving(self) -> int:
        """Bytes that solving a layer takes, when batches are gone."""
        return solve_bytes(self.width, self.outputs, self.shuffles)

    def batch(self, tokens: int) -> int:
        """Bytes of a batch of so many tokens: in a block, and while its products are made."""
        d = self.width
        # Prefix sums and tokens side by side, and a copy; label rows of texts of one token each;
        # two products of the width, in float64.
        per_token = self.number * (_WIDE * d + _INNER * self.inner) + (16 + self.number) * d
        per_token += 8 * (1 + self.shuffles) * self.outputs
        products = 16 * d**2
        if self.precision == "float32-pairs":  # tokens, integers and both parts of them
            per_token += 28 * d
        elif self.precision == "float32":  # pairs and products again, narrow
            per_token, products = per_token + 8 * d, products + 8 * d**2
        elif self.precision == "exact-int8":  # every digit with every other, of a quarter at once
            products += 64 * d**2 // max(1, min(4, d // 1024))
        return per_token * tokens + products


@dataclass(frozen=True)
class Room:
    """The memory that a run finds, in bytes.

    Attributes:
        weights: of the model, on the device that reads the texts, then on each further card.
        free: what else may be taken there, in the same order; of the processor, main memory.
        host: main memory that may be taken beside a card; None where there is no card.
    """

    weights: tuple[int, ...]
    free: tuple[int, ...]
    host: int | None = None

    @classmethod
    def of(cls, language_model: LanguageModel, processes: int = 1) -> "Room":
        """As it is now.

        Args:
            language_model: the model, loaded.
            processes: that share this machine's main memory.
        """
        weights: dict[torch.device, int] = {language_model.device: 0}
        for one in language_model.model.parameters():
            weights[one.device] = weights.get(one.device, 0) + one.numel() * one.element_size()
        host = psutil.virtual_memory().available // processes
        cards = [device for device in weights if device.type == "cuda"]
        if language_model.device not in cards:
            return cls((weights[language_model.device],), (host,))
        free = tuple(torch.cuda.mem_get_info(card)[0] for card in cards)
        return cls(tuple(weights[card] for card in cards), free, host)

    def least(self, other: "Room") -> "Room":
        """What both have, for processes that must plan alike."""
        free = tuple(map(min, self.free, other.free))
        host = None if self.host is None or other.host is None else min(self.host, other.host)
        return Room(self.weights, free, host)


class How(NamedTuple):
    """How a run goes about its memory.

    Attributes:
        batch_tokens: tokens per batch, padding included.
        passes: how many run at once on a processor, each with sums of its own.
        on_host: sums are in main memory and not on the card: those of a batch are made there.
        groups: of layers, each with a pass of its own over the texts; the sums of groups that were
            read are on the disk.
    """

    batch_tokens: int
    passes: int = 1
    on_host: bool = False
    groups: int = 1


@dataclass(frozen=True)
class MemoryPlan:
    """What a run takes of memory, and how.

    Attributes:
        sizes: of the run.
        room: that it finds.
        asked: how it would go where memory is ample.
        how: how it goes.
    """

    sizes: Sizes
    room: Room
    asked: How
    how: How

    @property
    def layers(self) -> int:
        """Of the largest group."""
        return math.ceil(self.sizes.layers / self.how.groups)

    @property
    def weights(self) -> int:
        """Bytes of the weights, on the device that has most of them."""
        return max(self.room.weights)

    @property
    def batch(self) -> int:
        """Bytes of the batches that are read at once, and of the sums that are on their way."""
        staged = STAGES * self.sizes.sums(1) if self.how.on_host else 0
        return self.how.passes * self.sizes.batch(self.how.batch_tokens) + staged

    @property
    def sums(self) -> int:
        """Bytes of the sums that are in memory at a time, those of the folds among them."""
        return self.how.passes * self.sizes.sums(self.layers) + self.sizes.folds_bytes

    @property
    def solving(self) -> int:
        """Bytes of solving a layer."""
        return self.sizes.solving

    @property
    def solves_on_host(self) -> bool:
        """Whether layers are solved by the processor, for want of memory on the card."""
        card = self._staying + self.solving
        return self.room.host is not None and card > _MARGIN * self.room.free[0]

    @property
    def _staying(self) -> int:
        """Bytes of the sums that are still on the device when the texts were read."""
        return 0 if self.how.on_host or self.how.groups > 1 else self.sums

    @property
    def on_device(self) -> int:
        """Bytes beside the weights, at the peak, of the device that reads the texts."""
        passing = self.batch if self.how.on_host else self.batch + self.sums
        solving = 0 if self.solves_on_host else self.solving
        after = max(solving, self.sizes.judging) if self.room.host is None else solving
        return max(passing, self._staying + after)

    @property
    def on_host(self) -> int:
        """Bytes of main memory beside a card, at the peak."""
        passing = self.sums + STAGES * self.sizes.sums(1) if self.how.on_host else 0
        after = max(self.sizes.judging, self.solving if self.solves_on_host else 0)
        return max(passing, (0 if self.how.groups > 1 else passing) + after)

    @property
    def peak(self) -> int:
        """The most that is taken at a time of the device that reads the texts."""
        return self.room.weights[0] + self.on_device

    @property
    def short(self) -> dict[str, int]:
        """Bytes that are lacking, by where."""
        where = "main memory" if self.room.host is None else "the card"
        lacking = {where: self.on_device - _MARGIN * self.room.free[0]}
        for number, free in enumerate(self.room.free[1:], 2):
            lacking[f"card {number}"] = self.batch - _MARGIN * free
        if self.room.host is not None:
            lacking["main memory"] = self.on_host - _MARGIN * self.room.host
        return {where: math.ceil(n_bytes) for where, n_bytes in lacking.items() if n_bytes > 0}

    def otherwise(self, how: How) -> "MemoryPlan | None":
        """The same run in another way, if that fits."""
        plan = MemoryPlan(self.sizes, self.room, self.asked, how)
        return None if plan.short else plan

    @property
    def reductions(self) -> str:
        """What is done for want of memory, in a sentence; empty where nothing is."""
        asked, how = self.asked, self.how
        done = [
            f"batches of {how.batch_tokens:,} tokens in place of {asked.batch_tokens:,}"
            if how.batch_tokens < asked.batch_tokens else "",
            f"{how.passes} in place of {asked.passes} passes at once"
            if how.passes < asked.passes else "",
            f"sums ({_gb(self.sums)}) in main memory" if how.on_host else "",
            f"{how.groups} passes over the texts, each for at most {self.layers} of the "
            f"{self.sizes.layers} layers, whose sums wait on the disk (--layers with so many takes "
            "one pass)" if how.groups > 1 else "",
            "layers solved by the processor" if self.solves_on_host else "",
        ]  # fmt: skip
        done = [one for one in done if one]
        if not done:
            return ""
        free = _gb(self.room.free[0])
        where = "in main memory" if self.room.host is None else "on the card"
        return f"for want of memory ({free} free {where}): {', '.join(done)}"

    def __str__(self) -> str:
        """All figures in one line."""
        layers = f"{self.layers} layer{'s' * (self.layers > 1)}"
        return ", ".join(
            [
                f"weights {_gb(self.weights)}",
                f"batches of {self.how.batch_tokens} tokens {_gb(self.batch)}",
                f"sums of {layers}{' in main memory' if self.how.on_host else ''} {_gb(self.sums)}",
                f"solving {_gb(self.solving)}",
            ]
        )


def _gb(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"


def plan_memory(sizes: Sizes, room: Room, asked: How) -> MemoryPlan:
    """How a run fits into memory.

    What does not fit as asked is tried with, in this order, smaller batches, fewer passes at once,
    sums in main memory, and layers in groups of one pass each, as few as possible.

    Args:
        sizes: of the run.
        room: that it finds.
        asked: how it would go where memory is ample.

    Raises:
        ModelError: nothing fits; the message says what is lacking, and what to do.
    """
    plans = [MemoryPlan(sizes, room, asked, how) for how in _ways(sizes, room, asked)]
    fitting = next((plan for plan in plans if not plan.short), None)
    if fitting is not None:
        return fitting
    plan = min(plans, key=lambda plan: (sum(plan.short.values()), -plan.how.groups))
    lacking = ", ".join(f"{_gb(n_bytes)} of {where}" for where, n_bytes in plan.short.items())
    device = "use a machine with more" if room.host is None else "use a larger card, --device cpu"
    narrow = ", or a narrower --dtype" if sizes.number > 2 else ""
    raise ModelError(
        f"{lacking} are lacking, even with one layer at a time, width {sizes.width} and "
        f"{sizes.outputs} label columns: {plan}, held-out accuracy {_gb(sizes.judging)}; "
        f"{device}{narrow}{_advise_shuffles(sizes)}"
    )


def _ways(sizes: Sizes, room: Room, asked: How) -> Iterator[How]:
    """In the order in which they are tried."""
    tokens = [asked.batch_tokens]
    while tokens[-1] // 2 >= _FEWEST_TOKENS:
        tokens.append(tokens[-1] // 2)
    for passes in range(asked.passes, 0, -1):
        yield from (How(n, passes) for n in tokens)
    # Sums of the released code go on from what they are, text by text: no batch's can be added.
    on_host = [True] if room.host is not None and not sizes.published else []
    by_group = {math.ceil(sizes.layers / n): n for n in range(sizes.layers, 0, -1)}
    for groups in sorted(by_group.values()):
        for host in [*([False] if groups > 1 else []), *on_host]:
            yield from (How(n, 1, host, groups) for n in tokens)


def _advise_shuffles(sizes: Sizes) -> str:
    """Where the sums of shuffled labels are most of what a layer takes: to have fewer of them."""
    without = Moments.n_bytes(1, sizes.width, sizes.outputs, 0)
    return f", or fewer --shuffles than {sizes.shuffles}" if sizes.sums(1) > 2 * without else ""
