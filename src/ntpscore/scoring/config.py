"""How `score` runs."""

from dataclasses import dataclass
from typing import Literal

from ntpscore.errors import NtpscoreError
from ntpscore.models.layers import read_layers
from ntpscore.options import check_options, option
from ntpscore.reading import BATCH_TOKENS_HELP

# What `until` waits for: it orders tasks by a probe's accuracy (docs/study.md).
UNTIL_SCORES = ("r2",)


@dataclass(frozen=True)
class ScoreConfig:
    """How `score` runs; everything that can change its numbers.

    Attributes:
        layers: hidden-state indices to score, -1 being the last, or a text such as "0,4,8-last";
            None means all, 0 … L.
        shuffles: P, how many label permutations serve as control.
        seed: of the permutations and of the sample of texts.
        max_length: tokens after which a text is cut; None means the model's context.
        batch_tokens: tokens per batch, padding included; None means 2,048, or 16,384 on CUDA.
        precision: of the products that moments add up: `float64`; `exact-int8`, which moves no
            score by more than 1e-6 where the result does not warn; `float32-pairs`, in float32
            where the model is, for Apple's graphics processors (untested there), by up to 1e-3;
            `float32`, faster on cards that are slow in float64, by up to 3e-2; `auto` chooses
            between the first two by timing them on the device.
        until: stop reading once the 95 % intervals of `until_scores`, on the last of the layers and
            with k half the width, reach no farther than this to either side; texts are then read in
            random order. None reads all.
        until_scores: names of scores, `r2` or `r2_adjusted`.
        further_scores: names of scores that are not computed unless asked for: `published`, with
            float32 sums of its own, each text's added one by one.
        pooling: how the scores and `r2` pool the tokens of a text: `mean`, as the paper's Algorithm
            1 and its experiments, or `sum`, as its theory; held-out accuracy is of the mean and
            the last token in any case.
        feature_texts: most texts whose pooled hidden states are kept, for held-out accuracy; with
            more, some are drawn at random. 0 keeps none.
        skip_sanity_check: run even if the model predicts plain English badly.
        checkpoint_seconds: time between checkpoints, if there is an output folder.
    """

    layers: tuple[int, ...] | str | None = option(
        None, "Hidden states to score, such as 0,4,8-last; default all.", typed=str | None
    )
    shuffles: int = option(20, "Label permutations as control.", least=0)
    seed: int = option(0, "Of the permutations and the sample.", least=0)
    max_length: int | None = option(
        None, "Cut texts to so many tokens; default the model's context.", panel="Model"
    )
    batch_tokens: int | None = option(None, BATCH_TOKENS_HELP, panel="Model", least=1)
    precision: str = option(
        "auto", "Of the sums of squares, where a graphics card is slow in float64.",
        panel="Model", choices=("auto", "float64", "exact-int8", "float32-pairs", "float32"),
    )  # fmt: skip
    until: float | None = option(
        None,
        "Stop reading once the 95 % intervals of --until-score reach no farther than this, such as "
        "0.01; texts come in random order.",
    )
    until_scores: tuple[str, ...] = option(
        UNTIL_SCORES,
        "A score, on the last layer and at half the width, that --until waits for; may be given "
        "more than once; default r2.",
        flag="--until-score",
        typed=list[str] | None,
        read=tuple,
    )
    further_scores: tuple[str, ...] = option(
        (),
        "A score that is not computed unless asked for: published, what the authors' released code "
        "gives, float32 rounding included.",
        flag="--score",
        typed=list[str] | None,
        read=tuple,
    )
    pooling: Literal["mean", "sum"] = option(
        "mean", "Of tokens, for scores and r2: the sum is the paper's theory's.",
        choices=("mean", "sum"),
    )  # fmt: skip
    feature_texts: int = option(
        10_000, "Keep the features of at most so many texts, drawn at random.", least=0
    )
    skip_sanity_check: bool = option(False, "Go on if the model predicts English badly.")
    checkpoint_seconds: float = option(60.0, "Time between checkpoints in --out.", least=0)

    def __post_init__(self) -> None:
        check_options(self)
        if self.max_length is not None and self.max_length < 2:
            raise NtpscoreError(
                f"max_length must be at least 2 tokens, got {self.max_length}: "
                "one token has no next token"
            )
        if self.seed >= 2**63:
            raise NtpscoreError(f"seed must be below 2^63, got {self.seed}")
        if isinstance(self.layers, str):
            read_layers(self.layers)
        elif self.layers is not None and (not self.layers or min(self.layers) < -1):
            raise NtpscoreError(
                f"layers must be numbers from 0 on, or -1 for the last, at least one: {self.layers}"
            )
        if self.until is not None and not 0 < self.until < 1:
            raise NtpscoreError(
                f"until must be between 0 and 1, half the width of an interval; got {self.until}"
            )
        if self.until_scores != UNTIL_SCORES:
            self._check_until_scores()
        if self.further_scores:
            self._check_further_scores()

    def _check_further_scores(self) -> None:
        from ntpscore.core.score_names import FURTHER_SCORES

        for name in self.further_scores:
            if name not in FURTHER_SCORES:
                raise NtpscoreError(
                    f"there is no further score {name!r}: choose from {', '.join(FURTHER_SCORES)}; "
                    "the others are always computed"
                )
        if self.until is not None:
            raise NtpscoreError(
                "until can't be combined with the score published, which divides by the number of "
                "texts before it adds: leave one of them out"
            )

    def _check_until_scores(self) -> None:
        from ntpscore.core.folds import ESTIMATED  # imports torch, which `--help` doesn't need

        unknown = [name for name in self.until_scores if name not in ESTIMATED]
        if unknown or not self.until_scores:
            raise NtpscoreError(
                f"until_scores {', '.join(unknown) or 'names none'}: choose from "
                f"{', '.join(ESTIMATED)}"
            )
