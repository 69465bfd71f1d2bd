"""Mean-token features of chosen layers: one forward pass, kept on disk for the next time."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ntpscore.clock import Clock
from ntpscore.core.moments import NonFiniteError
from ntpscore.core.pooling import mean_tokens
from ntpscore.errors import ModelError
from ntpscore.files import make_folder, write_tensors
from ntpscore.models import LanguageModel
from ntpscore.progress import Progress
from ntpscore.reading.reader import BatchReader, keep_freed_memory
from ntpscore.reading.tokens import TokenizedText, plan_batches
from ntpscore.text import LabelledText

_MEMORY_MARGIN = 0.9


@dataclass(frozen=True)
class Features:
    """The mean tokens of texts, by layer.

    Attributes:
        by_layer: (n, d) float32 per hidden-state index, in the order of the texts; where they are
            from a file, mapped into memory.
        from_cache: whether no forward pass was needed.
        warnings: what a reader of the result should know.
    """

    by_layer: dict[int, Tensor]
    from_cache: bool
    warnings: tuple[str, ...] = ()


def collect_features(
    language_model: LanguageModel,
    text: LabelledText,
    tokens: TokenizedText,
    layers: Sequence[int],
    *,
    batch_tokens: int,
    clock: Clock,
    cache: Path | None = None,
    progress: bool | None = None,
) -> Features:
    """Mean-token features, from the cache or by one forward pass.

    A file of the cache is of one model and the token ids of one split, and holds all layers that
    were ever asked for. A model without revision and content hash can't be told from another, so
    its features are not cached.

    Args:
        language_model: the model.
        text: n texts.
        tokens: theirs.
        layers: hidden-state indices.
        batch_tokens: tokens per batch, padding included.
        clock: counts the stages `forward` and `fit`.
        cache: a folder; None keeps nothing.
        progress: show a bar.

    Raises:
        ModelError: features don't fit into memory, or a text does not.
        MomentsError: a hidden state is not finite.
        OutputError: the cache can't be written.
    """
    if not layers:
        return Features({}, from_cache=False)
    if cache is None or (language_model.revision is None and language_model.content_hash is None):
        return Features(
            _read_features(language_model, text, tokens, layers, batch_tokens, clock, progress),
            from_cache=False,
        )
    key = cache_key(language_model, tokens)
    path = make_folder(cache) / f"features-{key[:16]}.safetensors"
    warnings: list[str] = []
    cached: dict[int, Tensor] = {}
    if path.exists():
        try:
            cached = _load(path, key, (len(text), language_model.width))
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            warnings.append(f"{path} is damaged, so the features were computed again: {error}")
    missing = [layer for layer in layers if layer not in cached]
    if missing:
        computed = _read_features(
            language_model, text, tokens, missing, batch_tokens, clock, progress
        )
        with clock("forward"):
            tensors = {str(layer): value for layer, value in sorted((cached | computed).items())}
            write_tensors(path, tensors, {"key": key})
            cached = _load(path, key, (len(text), language_model.width))
    by_layer = {layer: cached[layer] for layer in layers}
    return Features(by_layer, from_cache=not missing, warnings=tuple(warnings))


def cache_key(language_model: LanguageModel, tokens: TokenizedText) -> str:
    """Names the features of a split: the same model on the same token ids has the same ones.

    Token ids stand for the texts, the tokenizer and the length limit together.
    """
    return hashlib.sha256(json.dumps([language_model.identity, tokens.ids]).encode()).hexdigest()


def _read_features(
    language_model: LanguageModel,
    text: LabelledText,
    tokens: TokenizedText,
    layers: Sequence[int],
    batch_tokens: int,
    clock: Clock,
    progress: bool | None,
) -> dict[int, Tensor]:
    needed = 4 * len(layers) * len(text) * language_model.width
    free = psutil.virtual_memory().available
    if needed > _MEMORY_MARGIN * free:
        raise ModelError(
            f"the features of {len(text)} texts in {len(layers)} layers need {needed / 1e9:.1f} "
            f"GB, but only {free / 1e9:.1f} GB are free: choose fewer layers with --layer, or "
            "fewer texts with --max-texts"
        )
    keep_freed_memory()
    features = {layer: torch.empty(len(text), language_model.width) for layer in layers}

    def part(
        indices: list[int], attention_mask: Tensor
    ) -> tuple[Callable[[int, Tensor], None], Callable[[], None]]:
        def on_layer(layer: int, hidden_states: Tensor) -> None:
            mean = mean_tokens(hidden_states, attention_mask)
            finite = torch.isfinite(mean).all(1)
            if not bool(finite.all()):
                raise NonFiniteError(layer, int((~finite).nonzero()[0]))
            features[layer][indices] = mean.cpu()

        return on_layer, lambda: None

    reader = BatchReader(language_model, text.texts, tokens.ids, clock, "fit")
    with Progress(progress) as bar:
        bar.start("reading", len(text), "texts")
        batches = plan_batches([len(one) for one in tokens.ids], batch_tokens)
        reader.read(batches, layers, part, on_batch=lambda batch: bar.advance(len(batch)))
    return features


def _load(path: Path, key: str, shape: tuple[int, int]) -> dict[int, Tensor]:
    """The features in a file of the cache, mapped into memory.

    Raises:
        ValueError: they are of another split or model, or of another shape.
    """
    with safe_open(path, framework="pt") as file:
        if (file.metadata() or {}).get("key") != key:
            raise ValueError("it is of other texts or another model")
        tensors = {int(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if any(tensor.shape != shape for tensor in tensors.values()):
        raise ValueError(f"a layer has not the shape {shape}")
    return tensors
