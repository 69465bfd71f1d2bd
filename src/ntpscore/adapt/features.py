"""Features of texts in chosen layers: one forward pass, kept on disk for the next time."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import psutil
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ntpscore.clock import Clock
from ntpscore.errors import ModelError, MomentsError
from ntpscore.files import make_folder, write_tensors
from ntpscore.models import LanguageModel
from ntpscore.progress import Progress
from ntpscore.reading.consumers import InOrder, KeepLastTokens, KeepMeanTokens
from ntpscore.reading.memory import keep_freed_memory
from ntpscore.reading.reader import BatchReader, passes_at_once
from ntpscore.reading.tokens import TokenizedText, plan_shares

Pooling = Literal["mean", "last"]
POOLINGS: tuple[Pooling, ...] = ("mean", "last")
_MEMORY_MARGIN = 0.9


class Place(NamedTuple):
    """Where features are from: a hidden-state index, and the mean token or the last one."""

    layer: int
    pooling: Pooling = "mean"

    def __str__(self) -> str:
        """A key of the cache."""
        return f"{self.layer}" if self.pooling == "mean" else f"{self.layer} {self.pooling}"

    @classmethod
    def from_key(cls, key: str) -> "Place":
        """What `str` made a key of."""
        layer, *pooling = key.split(" ")
        return cls(int(layer), "last" if pooling == ["last"] else "mean")


@dataclass(frozen=True)
class Features:
    """Pooled hidden states of texts.

    Attributes:
        by_place: (n, d) float32 per layer and pooling, in the order of the texts; where they are
            from a file, mapped into memory.
        from_cache: whether no forward pass was needed.
        warnings: what a reader of the result should know.
    """

    by_place: dict[Place, Tensor]
    from_cache: bool
    warnings: tuple[str, ...] = ()


def collect_features(
    language_model: LanguageModel,
    texts: Sequence[str],
    tokens: TokenizedText,
    places: Sequence[Place],
    *,
    batch_tokens: int,
    clock: Clock,
    cache: Path | None = None,
    progress: bool | None = None,
) -> Features:
    """Features, from the cache or by one forward pass.

    A file of the cache is of one model and the token ids of one split, and holds all places that
    were ever asked for. A model without revision and content hash can't be told from another, so
    its features are not cached.

    Args:
        language_model: the model.
        texts: n strings.
        tokens: theirs.
        places: layers and poolings.
        batch_tokens: tokens per batch, padding included.
        clock: counts the stages `forward` and `fit`.
        cache: a folder; None keeps nothing.
        progress: show a bar.

    Raises:
        ModelError: features don't fit into memory, or a text does not.
        MomentsError: a hidden state is not finite.
        OutputError: the cache can't be written.
    """
    if not places:
        return Features({}, from_cache=False)
    if cache is None or (language_model.revision is None and language_model.content_hash is None):
        return Features(
            _read_features(language_model, texts, tokens, places, batch_tokens, clock, progress),
            from_cache=False,
        )
    key = cache_key(language_model, tokens)
    path = make_folder(cache) / f"features-{key[:16]}.safetensors"
    warnings: list[str] = []
    cached: dict[Place, Tensor] = {}
    if path.exists():
        try:
            cached = _load(path, key, (len(texts), language_model.width))
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            warnings.append(f"{path} is damaged, so the features were computed again: {error}")
    missing = [place for place in places if place not in cached]
    if missing:
        computed = _read_features(
            language_model, texts, tokens, missing, batch_tokens, clock, progress
        )
        with clock("forward"):
            tensors = {str(place): value for place, value in sorted((cached | computed).items())}
            write_tensors(path, tensors, {"key": key})
            cached = _load(path, key, (len(texts), language_model.width))
    by_place = {place: cached[place] for place in places}
    return Features(by_place, from_cache=not missing, warnings=tuple(warnings))


def cache_key(language_model: LanguageModel, tokens: TokenizedText) -> str:
    """Names the features of a split: the same model on the same token ids has the same ones.

    Token ids stand for the texts, the tokenizer and the length limit together.
    """
    return hashlib.sha256(json.dumps([language_model.identity, tokens.ids]).encode()).hexdigest()


def _read_features(
    language_model: LanguageModel,
    texts: Sequence[str],
    tokens: TokenizedText,
    places: Sequence[Place],
    batch_tokens: int,
    clock: Clock,
    progress: bool | None,
) -> dict[Place, Tensor]:
    needed = 4 * len(places) * len(texts) * language_model.width
    free = psutil.virtual_memory().available
    if needed > _MEMORY_MARGIN * free:
        raise ModelError(
            f"the features of {len(texts)} texts in {len(places)} places need {needed / 1e9:.1f} "
            f"GB, but only {free / 1e9:.1f} GB are free: choose fewer layers with --layer, or "
            "fewer texts with --max-texts"
        )
    keep_freed_memory()
    n, width = len(texts), language_model.width
    means = KeepMeanTokens([place.layer for place in places if place.pooling == "mean"], n, width)
    lasts = {
        place.layer: KeepLastTokens(place.layer, n, width, language_model.dtype)
        for place in places
        if place.pooling == "last"
    }
    n_shares = passes_at_once(language_model)
    shares = plan_shares(list(map(len, tokens.ids)), batch_tokens, n_shares)
    reader = BatchReader(language_model, texts, tokens.ids, clock, "fit")
    with Progress(progress) as bar:
        bar.start("reading", n, "texts")
        consumer = InOrder(means, *lasts.values())
        layers = sorted({place.layer for place in places})
        reader.read(shares, layers, [consumer] * n_shares, on_batch=bar.advance)
    for layer, last in lasts.items():
        finite = torch.isfinite(last.states).all(1)
        if not bool(finite.all()):
            text = texts[int((~finite).nonzero()[0])]
            raise MomentsError(
                f"layer {layer} has a NaN or infinite hidden state in the text {text[:80]!r}: try "
                "--dtype float32, or leave the text out"
            )
    return {
        place: means.by_layer[place.layer]
        if place.pooling == "mean"
        else lasts[place.layer].states.float()
        for place in places
    }


def _load(path: Path, key: str, shape: tuple[int, int]) -> dict[Place, Tensor]:
    """The features in a file of the cache, mapped into memory.

    Raises:
        ValueError: they are of another split or model, or of another shape.
    """
    with safe_open(path, framework="pt") as file:
        if (file.metadata() or {}).get("key") != key:
            raise ValueError("it is of other texts or another model")
        tensors = {Place.from_key(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if any(tensor.shape != shape for tensor in tensors.values()):
        raise ValueError(f"a layer has not the shape {shape}")
    return tensors
