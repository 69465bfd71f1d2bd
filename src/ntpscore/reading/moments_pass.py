"""The forward pass over all texts that adds their moments, with checkpoints."""

import hashlib
import json
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ntpscore.clock import Clock
from ntpscore.core.controls import shuffled_labels
from ntpscore.core.grouping import Grouping
from ntpscore.core.moments import Moments, Pooling, read_note
from ntpscore.core.prefix_products import LACKS_KERNEL, Precision
from ntpscore.errors import MomentsError
from ntpscore.files import replacing
from ntpscore.models import LanguageModel
from ntpscore.progress import Progress
from ntpscore.reading.adaptive_reading import AdaptiveReading
from ntpscore.reading.consumers import AddMoments, Consumer, InOrder
from ntpscore.reading.features import (
    FEATURES,
    Features,
    KeepFeatures,
    Place,
    choose_texts,
)
from ntpscore.reading.memory import sums_device
from ntpscore.reading.pooling import POOLINGS
from ntpscore.reading.ranks import Ranks
from ntpscore.reading.reader import BatchReader, passes_at_once
from ntpscore.reading.tokens import TokenizedText, plan_shares, tokens_per_batch
from ntpscore.text import LabelledText

CHECKPOINT = "checkpoint.safetensors"
# Of this process's texts, until those of all are gathered.
_OWN_FEATURES = "own-features.safetensors"
_SLOW_SUMS = (
    "ntpscore was installed without its compiled kernel, so sums take up to three times as long: "
    "install a C compiler (gcc or clang), then ntpscore anew: pip install --force-reinstall "
    "--no-deps --no-cache-dir, and the name or folder it was installed from"
)
# What a process says of itself it says once.
_said: set[str] = set()
# Writing checkpoints may take at most this share of the time between them.
_CHECKPOINT_SHARE = 0.05


def sums_at_once(
    language_model: LanguageModel,
    n_layers: int,
    n_outputs: int,
    n_shuffles: int,
    published: bool = False,
) -> int:
    """How many passes run at once, each with moments of its own."""
    n_bytes = Moments.n_bytes(n_layers, language_model.width, n_outputs, n_shuffles, published)
    return passes_at_once(language_model, n_bytes)


class MomentsPass:
    """Moments of labelled text, in one forward pass.

    Args:
        language_model: the model.
        text: n texts.
        tokens: theirs.
        layers: hidden-state indices.
        shuffles: P, label permutations.
        seed: of the permutations and of the order of adaptive reading.
        batch_tokens: tokens per batch, padding included; None means what suits the device.
        precision: of the products that are added.
        until: see `ScoreConfig`; None reads all.
        until_scores: see `ScoreConfig`.
        folder: where checkpoints and features go; a checkpoint that is there already is gone on
            from. None keeps none.
        checkpoint_seconds: least time between two.
        clock: counts the stages `forward`, `moments`, `solve` and `write`.
        bar: shows how far it is.
        feature_texts: most texts whose features are kept; 0 keeps none.
        published: sum the moments as the released code does, too.
        pooling: of the moments.
        ranks: the processes that read together, each its share of the texts.

    Attributes:
        adaptive: where `until` is given.
        warnings: what a reader of the result should know.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        text: LabelledText,
        tokens: TokenizedText,
        layers: tuple[int, ...],
        *,
        shuffles: int,
        seed: int,
        batch_tokens: int | None,
        precision: Precision,
        until: float | None,
        until_scores: Sequence[str],
        folder: Path | None,
        checkpoint_seconds: float,
        clock: Clock,
        bar: Progress,
        feature_texts: int = 0,
        published: bool = False,
        pooling: Pooling = "mean",
        ranks: Ranks | None = None,
    ) -> None:
        self._ranks = ranks = ranks or Ranks()
        width, n_outputs = language_model.width, len(text.classes)
        self._layers = layers
        self._folder, self._checkpoint_seconds = folder, checkpoint_seconds
        self._clock, self._bar = clock, bar
        device = sums_device(language_model.device)
        batch_tokens = tokens_per_batch(batch_tokens, language_model.device)
        self._labels = torch.from_numpy(np.ascontiguousarray(text.labels)).to(device)
        groups = torch.from_numpy(text.groups)
        grouping = Grouping.of(groups, self._labels)
        self._permutations = shuffled_labels(len(text), shuffles, seed, groups, self._labels).to(
            device
        )
        n_shares = sums_at_once(language_model, len(layers), n_outputs, shuffles, published)
        lengths = [len(ids) for ids in tokens.ids]
        self.adaptive: AdaptiveReading | None = None
        if until is None:
            rounds = [plan_shares(lengths, batch_tokens, n_shares * ranks.size)]
        else:
            self.adaptive = AdaptiveReading(
                lengths, text.groups, batch_tokens=batch_tokens, n_shares=n_shares, seed=seed,
                half_width=until, names=until_scores, layer=layers[-1], width=width,
                n_outputs=n_outputs, grouping=grouping, device=device, pooling=pooling,
                ranks=ranks,
            )  # fmt: skip
            rounds = self.adaptive.rounds
        self._all_rounds = rounds
        self._rounds = [ranks.own(shares) for shares in rounds]
        self._keep = partial(KeepFeatures, folder, language_model, tokens)
        self._features: KeepFeatures | None = None
        if feature_texts:
            self._places = [Place(layer, pooling) for layer in layers for pooling in POOLINGS]
            self._chosen = choose_texts(text, feature_texts, seed)
            own = set(_texts_of(self._rounds))
            chosen = [text for text in self._chosen if text in own]
            name = FEATURES if ranks.size == 1 else _OWN_FEATURES
            self._features = self._keep(self._places, chosen, name=name)
        self._reader = BatchReader(language_model, text.texts, tokens.ids, clock, "moments")
        self._sums = [
            Moments(
                layers,
                width,
                n_outputs,
                shuffles,
                device,
                precision=precision,
                grouping=grouping,
                published_of=len(text) if published else 0,
                pooling=pooling,
            )
            for _ in range(n_shares)
        ]
        # The round, and how many batches of each share of it were read.
        self._round = self._done = 0
        # Two runs that have all of this in common add the same sums batch by batch. Token ids,
        # since a changed tokenizer changes them, whatever else stays the same.
        labels = hashlib.sha256(text.labels.tobytes()).hexdigest()
        run = [language_model.identity, text.source.content_hash, text.task, text.classes, layers,
               tokens.ids, labels, text.groups.tolist(), shuffles, seed, batch_tokens,
               precision, until, until_scores, n_shares, ranks.size, published,
               pooling]  # fmt: skip
        self._fingerprint = hashlib.sha256(json.dumps(run).encode()).hexdigest()
        self.warnings: list[str] = []
        is_slow = LACKS_KERNEL and language_model.device.type == "cpu" and precision == "float64"
        if is_slow and _SLOW_SUMS not in _said:
            _said.add(_SLOW_SUMS)
            self.warnings.append(_SLOW_SUMS)
            bar.say(f"warning: {_SLOW_SUMS}")

    def read(self) -> Moments:
        """Run what is left to run; to be called once.

        Raises:
            MomentsError: a hidden state is NaN or infinite.
            ModelError: a single text is too large for the memory.
        """
        n = len(_texts_of(self._rounds))
        if self._folder is not None and self._resume(self._folder):
            self.warnings.append(
                f"went on from a checkpoint after {self._sums[0].n_texts} of {n} texts"
            )
        elif self._features is not None:
            self._features.start()
        self._next_checkpoint = time.perf_counter() + self._checkpoint_seconds
        self._bar.start("reading", n, "texts", self._sums[0].n_texts)
        for number in range(self._round, len(self._rounds)):
            self._read_round(number)
            if self.adaptive is not None:
                self.adaptive.collect()
                # Processes that read round by round must go on from the same one.
                due = self._ranks.size > 1 and self._ranks.agree(self._is_due())
                if self._folder is not None and due:
                    self._checkpoint(self._folder)
                with self._clock("solve"):
                    if self.adaptive.end_round(number):
                        break
        if self._reader.largest_batch < sys.maxsize:
            self.warnings.append(
                f"memory ran out: batches were cut to {self._reader.largest_batch} tokens"
            )
        moments = self._sums[0]
        for others in self._sums[1:]:
            moments.add(others)
        del self._sums[1:]
        self._ranks.add(moments)
        return moments

    def keep_features(self) -> Features | None:
        """The features of those texts that were read, in their file, if any were to be kept."""
        if self._features is None:
            return None
        own = self._features.finish(_texts_of(self._rounds[: self._round + 1]))
        if self._ranks.size == 1:
            return own
        read = set(_texts_of(self._all_rounds[: self._round + 1]))
        whole = self._keep(self._places, [text for text in self._chosen if text in read])
        if self._ranks.is_first:
            whole.start()
        whole.gather(own, self._ranks)
        return whole.finish() if self._ranks.is_first else None

    def _read_round(self, number: int) -> None:
        shares = self._rounds[number]
        self._done = self._done if number == self._round else 0
        self._round = number
        while self._done < max(map(len, shares)):
            self._done += self._reader.read(
                [share[self._done :] for share in shares],
                self._layers,
                self._pass_on(),
                on_batch=self._bar.advance,
                go_on=lambda: not self._stops_for_checkpoint(),
            )
            if self._folder is not None and self._stops_for_checkpoint():
                self._checkpoint(self._folder)

    def _stops_for_checkpoint(self) -> bool:
        return self._is_due() and (self._ranks.size == 1 or self.adaptive is None)

    def _is_due(self) -> bool:
        return self._folder is not None and time.perf_counter() >= self._next_checkpoint

    def _pass_on(self) -> list[Consumer]:
        """A consumer for each share."""
        consumers: list[Consumer] = []
        for i, moments in enumerate(self._sums):
            sums = [moments] if self.adaptive is None else [moments, self.adaptive.added[i]]
            add = AddMoments(sums, self._labels, self._permutations)
            consumers.append(add if self._features is None else InOrder(self._features, add))
        return consumers

    # -- checkpoints ----------------------------------------------------------------------------

    def _checkpoint(self, folder: Path) -> None:
        start, name = time.perf_counter(), f"{self._round}-{self._done}"
        with self._clock("write"):
            note = {
                "run": self._fingerprint,
                "round": str(self._round),
                "done": str(self._done),
                "seconds": json.dumps(self._clock.seconds()),
            }
            if self.adaptive is not None:
                note["next_look"] = str(self.adaptive.next_look)
                self.adaptive.save(folder, name)
            with replacing(folder / CHECKPOINT, kind=MomentsError) as temporary:
                sum(self._sums[1:], start=self._sums[0]).save(temporary, note)
                if self.adaptive is not None:  # of one round, whichever process is killed when
                    self._ranks.collect(None)
            if self._ranks.is_first:
                AdaptiveReading.forget(folder, but=name)
        now = time.perf_counter()
        wait = max(self._checkpoint_seconds, (now - start) / _CHECKPOINT_SHARE)
        self._next_checkpoint = now + wait

    def _resume(self, folder: Path) -> bool:
        """Take over the sums of an interrupted run of the same kind, if there are any."""
        loaded = self._load_checkpoint(folder)
        if self.adaptive is not None:
            rounds = self._ranks.collect(loaded and loaded[0]["round"])
            if None in rounds or len(set(rounds)) > 1:
                self.adaptive.restart()
                loaded = None
        if loaded is None:
            return False
        note, moments = loaded
        moments.precision = self._sums[0].precision
        self._sums[0], self._round, self._done = moments, int(note["round"]), int(note["done"])
        for stage, seconds in json.loads(note["seconds"]).items():
            if stage not in ("load_data", "load_model", "sanity_check", "tokenize"):
                self._clock.add(stage, seconds)
        return True

    def _load_checkpoint(self, folder: Path) -> tuple[dict[str, str], Moments] | None:
        """Note and sums of this process, its folds and features taken over."""
        path = folder / CHECKPOINT
        try:
            note = read_note(path)
            if note.get("run") != self._fingerprint:
                return None
            moments = Moments.load(path, self._sums[0].device)
            if self.adaptive is not None:
                self.adaptive.load(folder, f"{note['round']}-{note['done']}", int(note["round"]))
                self.adaptive.next_look = int(note["next_look"])
            if self._features is not None and not self._features.start(resume=True):
                return None
        except MomentsError:
            return None
        return note, moments


def _texts_of(rounds: Iterable[Iterable[Iterable[Iterable[int]]]]) -> list[int]:
    """Numbers of the texts in the batches of the shares of some rounds."""
    return [text for shares in rounds for share in shares for batch in share for text in batch]
