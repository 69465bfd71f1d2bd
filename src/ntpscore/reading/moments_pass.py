"""The forward pass over all texts that adds their moments, with checkpoints.

Where memory lacks there are several, each for a group of the layers.
"""

import hashlib
import json
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ntpscore.clock import Clock
from ntpscore.core.controls import shuffled_labels
from ntpscore.core.folds import Estimate
from ntpscore.core.grouping import Grouping
from ntpscore.core.moments import Moments, Pooling, read_note
from ntpscore.core.prefix_products import LACKS_KERNEL, Precision
from ntpscore.errors import MomentsError
from ntpscore.files import replacing
from ntpscore.models import LanguageModel
from ntpscore.progress import Progress
from ntpscore.reading.adaptive_reading import AdaptiveReading
from ntpscore.reading.consumers import AddMoments, AddOnHost, InOrder
from ntpscore.reading.features import (
    FEATURES,
    Features,
    KeepFeatures,
    Place,
    choose_texts,
    hash_tokens,
)
from ntpscore.reading.memory import How, MemoryPlan, sums_device
from ntpscore.reading.pooling import POOLINGS
from ntpscore.reading.ranks import Ranks
from ntpscore.reading.reader import BatchReader
from ntpscore.reading.sums_on_disk import SumsOnDisk
from ntpscore.reading.tokens import TokenizedText, plan_shares
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


class MomentsPass:
    """Moments of labelled text, in one forward pass, or one for each group of layers.

    Args:
        language_model: the model.
        text: n texts.
        tokens: theirs.
        layers: hidden-state indices.
        shuffles: P, label permutations.
        seed: of the permutations and of the order of adaptive reading.
        plan: how the run goes about its memory. A checkpoint is gone on from in the way in which it
            was begun, if that fits.
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
        plan: MemoryPlan,
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
        self._folder, self._checkpoint_seconds = folder, checkpoint_seconds
        self._clock, self._bar = clock, bar
        # Two runs that have all of this in common read the same, if they do it in the same way.
        # Token ids, since a changed tokenizer changes them, whatever else stays the same.
        labels = hashlib.sha256(text.labels.tobytes() + text.groups.tobytes()).hexdigest()
        run = [language_model.identity, text.source.content_hash, text.task, text.classes, layers,
               hash_tokens(tokens), labels, shuffles, seed, plan.asked.batch_tokens,
               precision, until, until_scores, ranks.size, published, pooling]  # fmt: skip
        self._fingerprint = hashlib.sha256(json.dumps(run).encode()).hexdigest()
        self.plan = plan = self._as_begun(plan)
        device = torch.device("cpu") if plan.how.on_host else sums_device(language_model.device)
        n_shares = plan.how.passes
        self._labels = torch.from_numpy(np.ascontiguousarray(text.labels)).to(device)
        groups = torch.from_numpy(text.groups)
        grouping = Grouping.of(groups, self._labels)
        self._permutations = shuffled_labels(len(text), shuffles, seed, groups, self._labels).to(
            device, torch.int32
        )
        lengths = [len(ids) for ids in tokens.ids]
        self.adaptive: AdaptiveReading | None = None
        if until is None:
            rounds = [plan_shares(lengths, plan.how.batch_tokens, n_shares * ranks.size)]
        else:
            self.adaptive = AdaptiveReading(
                lengths, text.groups, batch_tokens=plan.how.batch_tokens, n_shares=n_shares,
                seed=seed, half_width=until, names=until_scores, layer=layers[-1], width=width,
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
        self._precision = precision
        self._empty = partial(
            Moments, width=width, n_outputs=n_outputs, n_shuffles=shuffles, device=device,
            precision=precision, grouping=grouping, published_of=len(text) if published else 0,
            pooling=pooling,
        )  # fmt: skip
        # The last layers first: they are those that adaptive reading looks at, and the highest.
        self._layers = layers
        starts = range(0, len(layers), plan.layers)
        self._groups = [layers[start : start + plan.layers] for start in reversed(starts)]
        self._whole: SumsOnDisk | None = None
        # The group, the round, and how many batches of each share of it were read.
        self._group = self._round = self._done = 0
        self._sums: list[Moments] = []
        self.warnings: list[str] = []
        if plan.reductions:
            self._tell(plan.reductions)
        is_slow = LACKS_KERNEL and language_model.device.type == "cpu" and precision == "float64"
        if is_slow and _SLOW_SUMS not in _said:
            _said.add(_SLOW_SUMS)
            self._tell(_SLOW_SUMS)

    def _tell(self, warning: str) -> None:
        self.warnings.append(warning)
        self._bar.say(f"warning: {warning}")

    def _as_begun(self, plan: MemoryPlan) -> MemoryPlan:
        """The plan of an interrupted run of the same kind, if that fits, whatever is free now."""
        how = None
        if self._folder is not None:
            with suppress(MomentsError, ValueError, TypeError):
                note = read_note(self._folder / CHECKPOINT)
                if note.get("run") == self._fingerprint:
                    how = How(*json.loads(note["how"]))
        before = how and plan.otherwise(how)
        hows = self._ranks.collect(before and before.how)
        return before if before and set(hows) == {before.how} else plan

    def _begin_group(self, group: int, moments: Moments | None = None) -> None:
        """Start to read for a group of layers, with what is known of them."""
        self._group, self._round, self._done = group, 0, 0
        more = self.plan.how.passes - (moments is not None)
        empty = [self._empty(self._groups[group]) for _ in range(more)]
        self._sums = empty if moments is None else [moments, *empty]

    def read(self) -> Moments:
        """Run what is left to run; to be called once.

        Raises:
            MomentsError: a hidden state is NaN or infinite.
            ModelError: a single text is too large for the memory.
        """
        if self._folder is not None and self._resume(self._folder):
            n = len(_texts_of(self._rounds))
            self.warnings.append(
                f"went on from a checkpoint after {self._sums[0].n_texts} of {n} texts"
                + self._which_pass(" of ")
            )
        else:
            self._begin_group(0)
            if self._features is not None:
                self._features.start()
            if len(self._groups) > 1:
                self._whole = SumsOnDisk(self._folder, self._empty(self._layers, device="meta"))
        self._next_checkpoint = time.perf_counter() + self._checkpoint_seconds
        for group in range(self._group, len(self._groups)):
            if group > self._group:
                self._begin_group(group)
            moments = self._read_group()
            if self._whole is not None:
                self._whole.put(moments)
                moments = self._whole.moments
        if self._reader.largest_batch < sys.maxsize:
            self.warnings.append(
                f"memory ran out: batches were cut to {self._reader.largest_batch} tokens"
            )
        return moments

    def _read_group(self) -> Moments:
        """All texts, or as many as adaptive reading wants, for one group of layers."""
        n = len(_texts_of(self._rounds))
        stage = "reading" + self._which_pass(", ")
        self._bar.start(stage, n, "texts", self._sums[0].n_texts)
        for number in range(self._round, len(self._rounds)):
            self._read_round(number)
            if self.adaptive is None:
                continue
            if self._group == 0:
                self.adaptive.collect()
            # Processes that read round by round must go on from the same one.
            due = self._ranks.size > 1 and self._ranks.agree(self._is_due())
            if self._folder is not None and due:
                self._checkpoint(self._folder)
            if self._group == 0:
                with self._clock("solve"):
                    if self.adaptive.end_round(number):
                        # Of all that follows, too: the other groups read the same.
                        del self._rounds[number + 1 :]
                        break
        moments, *more = self._sums
        for others in more:
            moments.add(others)
        self._sums.clear()
        self._ranks.add(moments)
        return moments

    def _which_pass(self, before: str) -> str:
        n = len(self._groups)
        return f"{before}pass {self._group + 1} of {n}" if n > 1 else ""

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
            adds = self._adds()
            self._done += self._reader.read(
                [share[self._done :] for share in shares],
                self._groups[self._group],
                [InOrder(self._features, add) if self._features else add for add in adds],
                on_batch=self._bar.advance,
                go_on=lambda: not self._stops_for_checkpoint(),
            )
            for add in adds:
                add.wait()
            if self._folder is not None and self._stops_for_checkpoint():
                self._checkpoint(self._folder)

    def _stops_for_checkpoint(self) -> bool:
        return self._is_due() and (self._ranks.size == 1 or self.adaptive is None)

    def _is_due(self) -> bool:
        return self._folder is not None and time.perf_counter() >= self._next_checkpoint

    def _adds(self) -> list[AddMoments] | list[AddOnHost]:
        """What adds the moments of each share."""
        added = self.adaptive.added if self.adaptive and self._group == 0 else []
        sums = [list(moments) for moments in zip(self._sums, *[added] * bool(added), strict=True)]
        if self.plan.how.on_host:
            return [AddOnHost(one, self._labels, self._permutations) for one in sums]
        return [AddMoments(one, self._labels, self._permutations) for one in sums]

    # -- checkpoints ----------------------------------------------------------------------------

    def _checkpoint(self, folder: Path) -> None:
        start, name = time.perf_counter(), f"{self._group}-{self._round}-{self._done}"
        with self._clock("write"):
            note = {
                "run": self._fingerprint,
                "how": json.dumps(self.plan.how),
                "group": str(self._group),
                "rounds": str(len(self._rounds)),
                "round": str(self._round),
                "done": str(self._done),
                "seconds": json.dumps(self._clock.seconds()),
            }
            if self.adaptive is not None:
                note["next_look"] = str(self.adaptive.next_look)
                estimates = {name: asdict(one) for name, one in self.adaptive.estimates.items()}
                note["estimates"] = json.dumps(estimates)
                self.adaptive.save(folder, name)
            with replacing(folder / CHECKPOINT, kind=MomentsError) as temporary:
                # Added on the way into the file: what goes on stays as if there were none.
                self._sums[0].save(temporary, note, self._sums[1:])
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
            places = self._ranks.collect(loaded and (loaded[0]["group"], loaded[0]["round"]))
            if None in places or len(set(places)) > 1:
                self.adaptive.restart()
                loaded = None
        # Who was killed while others had begun the next group: they read that one again.
        first = min(self._ranks.collect(int(loaded[0]["group"]) if loaded else 0))
        if loaded is None:
            self._whole = None
            return False
        note, moments = loaded
        moments.precision = self._precision
        del self._rounds[int(note["rounds"]) :]
        if first < int(note["group"]):
            self._begin_group(first)
            return True
        self._begin_group(first, moments)
        self._round, self._done = int(note["round"]), int(note["done"])
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
            moments = Moments.load(path, self._labels.device)
            group, rounds = int(note["group"]), int(note["rounds"])
            if self.adaptive is not None:
                name = f"{group}-{note['round']}-{note['done']}"
                self.adaptive.load(folder, name, rounds if group else int(note["round"]))
                self.adaptive.next_look = int(note["next_look"])
                estimates = json.loads(note["estimates"])
                self.adaptive.estimates = {name: Estimate(**estimates[name]) for name in estimates}
            if len(self._groups) > 1:
                empty = self._empty(self._layers, device="meta")
                self._whole = SumsOnDisk(folder, empty, resume=True)
            if self._features is not None and not self._features.start(resume=True):
                return None
        except MomentsError:
            return None
        return note, moments


def _texts_of(rounds: Iterable[Iterable[Iterable[Iterable[int]]]]) -> list[int]:
    """Numbers of the texts in the batches of the shares of some rounds."""
    return [text for shares in rounds for share in shares for batch in share for text in batch]
