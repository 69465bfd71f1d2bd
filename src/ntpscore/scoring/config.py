"""How `score` runs."""

from dataclasses import dataclass

from ntpscore.core.folds import ESTIMATED
from ntpscore.errors import NtpscoreError
from ntpscore.reading.tokens import BATCH_TOKENS

# What `until` waits for: it orders tasks by a probe's accuracy (docs/study.md).
UNTIL_SCORES = ("r2",)


@dataclass(frozen=True)
class ScoreConfig:
    """How `score` runs; everything that can change its numbers.

    Attributes:
        layers: hidden-state indices to score; None means all, 0 … L.
        shuffles: P, how many label permutations serve as control.
        seed: of the permutations and of the sample of texts.
        max_length: tokens after which a text is cut; None means the model's context.
        batch_tokens: tokens per batch, padding included.
        until: stop reading once the 95 % intervals of `until_scores`, on the last of the layers and
            with k half the width, reach no farther than this to either side; texts are then read in
            random order. None reads all.
        until_scores: names of scores, `r2` or `r2_adjusted`.
        skip_sanity_check: run even if the model predicts plain English badly.
        checkpoint_seconds: time between checkpoints, if there is an output folder.
    """

    layers: tuple[int, ...] | None = None
    shuffles: int = 20
    seed: int = 0
    max_length: int | None = None
    batch_tokens: int = BATCH_TOKENS
    until: float | None = None
    until_scores: tuple[str, ...] = UNTIL_SCORES
    skip_sanity_check: bool = False
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            NtpscoreError: one of them makes no sense.
        """
        for name, least in (("shuffles", 0), ("batch_tokens", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise NtpscoreError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.max_length is not None and self.max_length < 2:
            raise NtpscoreError(
                f"max_length must be at least 2 tokens, got {self.max_length}: "
                "one token has no next token"
            )
        if self.seed >= 2**63:
            raise NtpscoreError(f"seed must be below 2^63, got {self.seed}")
        if self.layers is not None and (not self.layers or min(self.layers) < 0):
            raise NtpscoreError(f"layers must be numbers from 0 on, at least one: {self.layers}")
        if self.until is not None and not 0 < self.until < 1:
            raise NtpscoreError(
                f"until must be between 0 and 1, half the width of an interval; got {self.until}"
            )
        unknown = [name for name in self.until_scores if name not in ESTIMATED]
        if unknown or not self.until_scores:
            raise NtpscoreError(
                f"until_scores {', '.join(unknown) or 'names none'}: choose from "
                f"{', '.join(ESTIMATED)}"
            )
        if not self.checkpoint_seconds >= 0:
            raise NtpscoreError(
                f"checkpoint_seconds must be at least 0, got {self.checkpoint_seconds}"
            )
