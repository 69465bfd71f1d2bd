"""Pooled hidden states of texts, on disk: kept by the pass that reads them, mapped into memory."""

import hashlib
import json
import mmap
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ntpscore.clock import Clock
from ntpscore.core.moments import NonFiniteError
from ntpscore.errors import MomentsError, OutputError
from ntpscore.files import TemporaryFolder, as_output_error, make_folder, reserve
from ntpscore.models import LanguageModel
from ntpscore.progress import Progress
from ntpscore.reading.pooling import POOLINGS
from ntpscore.reading.ranks import Ranks
from ntpscore.reading.reader import BatchReader, passes_at_once
from ntpscore.reading.tokens import TokenizedText, plan_shares, tokens_per_batch
from ntpscore.result_folder import hold
from ntpscore.text import LabelledText

FEATURES = "features.safetensors"
SCHEMA_VERSION = 1
_NOTE = "ntpscore"
# As safetensors names them.
_TYPES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64",
}  # fmt: skip
# Where rows begin in the file, so that processors read them at full speed.
_ALIGNMENT = 64


class Place(NamedTuple):
    """Where features are from: a hidden-state index, and one of `POOLINGS`."""

    layer: int
    pooling: str = "mean"

    def __str__(self) -> str:
        """A key of the file."""
        return f"{self.layer} {self.pooling}"


class Features:
    """Pooled hidden states of texts, mapped from a file.

    Attributes:
        texts: numbers of the n texts, rising.
        places: layers and poolings.
        key: see `features_key`.
        from_cache: whether no forward pass was needed.
        warnings: what a reader of the result should know.
    """

    def __init__(self, path: Path, note: dict[str, Any], mapped: "_Mapped") -> None:
        self._path = path
        self._mapped, self._tensors = mapped, mapped.tensors
        self.key = str(note["key"])
        self.texts: list[int] = note["texts"]
        self.from_cache = False
        self.warnings: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: str | Path) -> "Features":
        """Map the features in a file; no more than what is looked at comes into memory."""
        path = Path(path)
        try:
            return cls(path, *_open(path))
        except FileNotFoundError as error:
            raise OutputError(f"there are no features at {path}") from error
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{path} is no file of features, or is damaged: {error}") from error

    def release(self) -> None:
        """Give back the memory of what was looked at; it is read again where it is wanted."""
        self._mapped.release()

    def save(self, folder: Path) -> None:
        """Copy the file into another folder."""
        with as_output_error(folder / FEATURES):
            shutil.copyfile(self._path, folder / FEATURES)

    def keep_alive(self, folder: object) -> None:
        """Keep a temporary folder as long as these features."""
        self._folder = folder

    @property
    def places(self) -> tuple[Place, ...]:
        """Layers and poolings, in rising order of the layers."""
        return tuple(self._tensors)

    @property
    def layers(self) -> tuple[int, ...]:
        """Hidden-state indices, in rising order."""
        return tuple(dict.fromkeys(place.layer for place in self._tensors))

    @property
    def poolings(self) -> tuple[str, ...]:
        """Those that are there, of `POOLINGS`."""
        return tuple(p for p in POOLINGS if any(place.pooling == p for place in self._tensors))

    def get(self, layer: int, pooling: str = "mean") -> Tensor:
        """(n, d) features in the number format of the pass, mapped from the file.

        Mean tokens are summed and divided in float32, then rounded to that format.

        Args:
            layer: hidden-state index.
            pooling: one of `poolings`.
        """
        try:
            return self._tensors[Place(layer, pooling)]
        except KeyError:
            raise OutputError(
                f"{self._path} has no {pooling} tokens of layer {layer}: there are "
                f"{', '.join(self.poolings)} of layers {', '.join(map(str, self.layers))}"
            ) from None


def features_key(language_model: LanguageModel, tokens: TokenizedText) -> str:
    """Names the features of texts: the same model on the same token ids has the same ones.

    Token ids stand for the texts, the tokenizer and the length limit together.
    """
    return _hash([language_model.identity, hash_tokens(tokens)])


def hash_tokens(tokens: TokenizedText) -> str:
    """SHA-256 of the token ids of all texts (hex)."""
    hashed = hashlib.sha256()
    for ids in tokens.ids:
        hashed.update(json.dumps(ids).encode())
    return hashed.hexdigest()


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def choose_texts(text: LabelledText, most: int, seed: int) -> list[int]:
    """Texts whose features are kept: all, or some that are drawn at random.

    Each class keeps its share; of a group all texts are taken or none, and its class is that of its
    first text.

    Returns:
        Their numbers, rising.
    """
    n = len(text)
    if n <= most:
        return list(range(n))
    members: dict[int, list[int]] = {}
    for i, group in enumerate(text.groups):
        members.setdefault(int(group), []).append(i)
    classes = text.labels if text.task == "classification" else np.zeros(n)
    strata: dict[int, list[list[int]]] = {}
    for group_texts in members.values():
        strata.setdefault(int(classes[group_texts[0]]), []).append(group_texts)
    rng = np.random.default_rng(seed)
    # Each group by the share of its class that comes before it.
    queue: list[tuple[float, float, list[int]]] = []
    for groups_of_class in strata.values():
        size, before = sum(map(len, groups_of_class)), 0
        for i in rng.permutation(len(groups_of_class)):
            queue.append((before / size, rng.random(), groups_of_class[i]))
            before += len(groups_of_class[i])
    chosen: list[int] = []
    for *_, group_texts in sorted(queue):
        if len(chosen) + len(group_texts) <= most:
            chosen += group_texts
    return sorted(chosen)


class KeepFeatures:
    """Keeps pooled hidden states of some texts in a file that is written while they are read.

    To be begun by `start`, and completed by `finish`; until then the file has a temporary name.

    Args:
        folder: where the file goes; None means a temporary folder that is deleted with the last
            reference to what `finish` returns, or to this.
        language_model: the model.
        tokens: of all texts.
        places: layers and poolings.
        texts: numbers of the texts to keep, rising.
        name: of the file.
    """

    def __init__(
        self,
        folder: Path | None,
        language_model: LanguageModel,
        tokens: TokenizedText,
        places: Sequence[Place],
        texts: Sequence[int],
        name: str = FEATURES,
    ) -> None:
        self._temporary: TemporaryFolder | None = None
        if folder is None:
            self._temporary = TemporaryFolder()
            folder = self._temporary.path
        self._path = folder / name
        self._places = sorted(places)
        self._texts = list(texts)
        self._width, self._dtype = language_model.width, language_model.dtype
        n = len(tokens.ids)
        self._note = {
            "schema_version": SCHEMA_VERSION,
            "key": features_key(language_model, tokens),
            "model": language_model.identity,
            "tokens": hash_tokens(tokens),
            "of": n,
            "texts": self._texts,
        }
        self._rows = np.full(n, -1)
        self._rows[self._texts] = np.arange(len(self._texts))
        self._mapped: _Mapped | None = None
        # Pooled on a graphics card, not yet fetched: to wait for each layer would idle it.
        self._pending: list[_Pooled] = []

    @property
    def _tensors(self) -> dict[Place, Tensor]:
        return self._mapped.tensors if self._mapped else {}

    @property
    def _part(self) -> Path:
        return self._path.with_name(f".{self._path.name}.part")

    def start(self, *, resume: bool = False) -> bool:
        """Make the file, or go on with the one of an interrupted run.

        Args:
            resume: go on, so that what was kept stays.

        Returns:
            Whether there is a file now: going on needs one of the same model, texts and layers.
        """
        if not resume:
            self._mapped = self._create(self._part, self._note)
            return True
        for path in (self._part, self._path):  # complete, but the run was stopped later
            try:
                note, opened = _open(path)
            except (SafetensorError, OSError, ValueError, KeyError, TypeError):
                continue
            if note == self._note and list(opened.tensors) == self._places:
                path.replace(self._part)
                self._mapped = _Mapped(self._part, mmap.ACCESS_WRITE)
                return True
        return False

    def copy(self, features: Features) -> None:
        """Take over what is known, of all the texts."""
        for place in features.places:
            self._tensors[place].copy_(features.get(*place))
            features.release()

    def gather(self, own: Features, ranks: Ranks) -> None:
        """Take over the features of all processes, each of which has those of other texts.

        Args:
            own: of this process.
            ranks: the processes; only the first has begun this.
        """
        rows = torch.from_numpy(self._rows[own.texts])
        for place in self._places:
            block = torch.zeros(len(self._texts), self._width, dtype=self._dtype)
            block[rows] = own.get(*place)
            ranks.add_to_first(block.view(torch.uint8))
            if ranks.is_first:
                self._tensors[place].copy_(block)
                self._release()

    def finish(self, read: Iterable[int] | None = None) -> Features:
        """Give the file its name.

        Args:
            read: numbers of the texts that were read; None means all.
        """
        read = self._texts if read is None else set(read)
        rows = [row for row, text in enumerate(self._texts) if text in read]
        whole = self._part
        if len(rows) < len(self._texts):
            note = {**self._note, "texts": [self._texts[row] for row in rows]}
            whole = self._path.with_name(f".{self._path.name}.fewer")
            fewer = self._create(whole, note)
            for place, tensor in fewer.tensors.items():
                tensor.copy_(self._tensors[place][rows])
                fewer.release()
                self._release()
        with as_output_error(self._path):
            whole.replace(self._path)
        features = Features.open(self._path)
        features.keep_alive(self._temporary)
        return features

    def forget(self) -> None:
        """Delete what was not finished."""
        with suppress(OSError):
            self._part.unlink()

    # -- as a consumer --------------------------------------------------------------------------

    def begin(self, texts: list[int], attention_mask: Tensor) -> "_Batch":
        """See `Consumer.begin`."""
        kept = [i for i, text in enumerate(texts) if self._rows[text] >= 0]
        mask = attention_mask if len(kept) == len(texts) else attention_mask[kept]
        rows = torch.from_numpy(self._rows[[texts[i] for i in kept]])
        return _Batch(texts, kept, rows, mask)

    def take(self, batch: "_Batch", layer: int, hidden_states: Tensor) -> None:
        """See `Consumer.take`.

        Raises:
            NonFiniteError: a text's features are not finite; on a graphics card `end` tells it.
            MomentsError: a pooling makes something else than a vector of each text.
        """
        places = [place for place in self._places if place.layer == layer]
        if not batch.kept or not places:
            return
        if len(batch.kept) < len(hidden_states):
            hidden_states = hidden_states[batch.kept]
        mask = batch.mask.to(hidden_states.device)
        pooled = []
        for place in places:
            values = POOLINGS[place.pooling](hidden_states, mask)
            if values.shape != (len(mask), self._width):
                raise MomentsError(
                    f"the pooling {place.pooling} makes {tuple(values.shape)} of {len(mask)} texts "
                    f"of width {self._width}: it must make a vector of each"
                )
            pooled.append(_Pooled(place, batch.rows, values.to(self._dtype)))
        if hidden_states.device.type == "cpu":
            self._write(pooled, batch)
        else:
            self._pending += pooled

    def end(self, batch: "_Batch") -> None:
        """See `Consumer.end`."""
        pooled, self._pending = self._pending, []
        self._write(pooled, batch)
        self._release()

    def _release(self) -> None:
        if self._mapped is not None:
            self._mapped.release()

    def _write(self, pooled: Sequence["_Pooled"], batch: "_Batch") -> None:
        for place, rows, values in pooled:
            on_processor = values.cpu()
            finite = torch.isfinite(on_processor).all(1)
            if not bool(finite.all()):
                text = self._texts[int(rows[~finite][0])]
                if text in batch.texts:
                    raise NonFiniteError(place.layer, batch.texts.index(text))
                raise MomentsError(  # of a batch that came in parts
                    f"layer {place.layer} has a NaN or infinite hidden state in text {text}"
                )
            self._tensors[place][rows] = on_processor

    def _create(self, path: Path, note: dict[str, Any]) -> "_Mapped":
        """A safetensors file of zeros, mapped into memory to be written."""
        shape = [len(note["texts"]), self._width]
        n_bytes = shape[0] * shape[1] * self._dtype.itemsize
        header: dict[str, Any] = {"__metadata__": {_NOTE: json.dumps(note)}}
        for i, place in enumerate(self._places):
            offsets = [i * n_bytes, (i + 1) * n_bytes]
            header[str(place)] = {
                "dtype": _TYPES[self._dtype], "shape": shape, "data_offsets": offsets
            }  # fmt: skip
        written = json.dumps(header).encode()
        written += b" " * (-(8 + len(written)) % _ALIGNMENT)
        size = 8 + len(written) + len(self._places) * n_bytes
        try:
            reserve(path, size)
            with path.open("r+b") as file:
                file.write(len(written).to_bytes(8, "little") + written)
        except OSError as error:
            raise OutputError(
                f"can't keep the features of {shape[0]} texts ({size / 1e9:.1f} GB) in "
                f"{path.parent}: {error.strerror or error}; choose another "
                f"{'TMPDIR, an --out' if self._temporary else '--out'}, or fewer --feature-texts "
                "or --layers"
            ) from error
        return _Mapped(path, mmap.ACCESS_WRITE)


class _Batch(NamedTuple):
    """Texts of a batch; which of them are kept, in which rows, with which mask."""

    texts: list[int]
    kept: list[int]
    rows: Tensor
    mask: Tensor


class _Pooled(NamedTuple):
    """Features of some rows."""

    place: Place
    rows: Tensor
    values: Tensor


def _open(path: Path) -> tuple[dict[str, Any], "_Mapped"]:
    """Note and tensors of a file, mapped to be read.

    Raises:
        ValueError: they are none of this schema, or don't fit together.
    """
    with safe_open(path, framework="pt") as file:
        note = json.loads((file.metadata() or {})[_NOTE])
        if note["schema_version"] != SCHEMA_VERSION:
            raise ValueError(
                f"schema version {note['schema_version']} in place of {SCHEMA_VERSION}"
            )
    mapped = _Mapped(path, mmap.ACCESS_COPY)
    of_layers = mapped.tensors.values()
    if any(tensor.ndim != 2 or len(tensor) != len(note["texts"]) for tensor in of_layers):
        raise ValueError(f"a layer has not {len(note['texts'])} texts")
    return note, mapped


class _Mapped:
    """The tensors of a file of features, mapped into memory.

    Args:
        path: the file, whose header `safe_open` took, or that was made here.
        access: of `mmap`.

    Attributes:
        tensors: by place, in rising order.

    Raises:
        ValueError: a name or a number format is none of ours.
    """

    def __init__(self, path: Path, access: int) -> None:
        with path.open("rb" if access == mmap.ACCESS_COPY else "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=access)
        whole = torch.frombuffer(self._map, dtype=torch.uint8)
        start = 8 + int.from_bytes(self._map[:8], "little")
        header = json.loads(self._map[8:start])
        del header["__metadata__"]
        types = {name: dtype for dtype, name in _TYPES.items()}
        tensors = {}
        for name, entry in header.items():
            layer, pooling = name.split(" ")
            dtype, (first, last) = types.get(entry["dtype"]), entry["data_offsets"]
            if pooling not in POOLINGS or dtype is None or (start + first) % dtype.itemsize:
                raise ValueError(
                    f"{name!r} ({entry['dtype']}) is no layer with one of {', '.join(POOLINGS)}"
                )
            values = whole[start + first : start + last].view(dtype)
            tensors[Place(int(layer), pooling)] = values.view(entry["shape"])
        self.tensors: dict[Place, Tensor] = dict(sorted(tensors.items()))

    def release(self) -> None:
        """Let the system take back the memory of what was read or written; the file has it."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def collect_features(
    language_model: LanguageModel,
    texts: Sequence[str],
    tokens: TokenizedText,
    places: Sequence[Place],
    *,
    batch_tokens: int | None,
    clock: Clock,
    cache: Path | None = None,
    progress: bool | None = None,
) -> Features:
    """Features of all texts, from a cache or by one forward pass.

    A file of the cache is of one model and the token ids of one split, and holds all places that
    were ever asked for. The folder of a `score` of the same texts serves too. A model without
    revision and content hash can't be told from another, so its features are not cached.

    Args:
        language_model: the model.
        texts: n strings, for messages.
        tokens: theirs.
        places: layers and poolings, at least one.
        batch_tokens: tokens per batch, padding included; None means what suits the device.
        clock: counts the stages `forward` and `fit`.
        cache: a folder; None keeps nothing.
        progress: show a bar.

    Raises:
        ModelError: a text does not fit into memory.
        MomentsError: a hidden state is not finite.
        OutputError: the features don't fit on the disk, or the cache can't be written.
    """
    if language_model.revision is None and language_model.content_hash is None:
        cache = None
    name, known, warnings = FEATURES, None, list[str]()
    with ExitStack() as stack:
        if cache is not None:
            key = features_key(language_model, tokens)
            name = f"features-{key[:16]}.safetensors"
            lock = make_folder(cache) / f".{name}.lock"
            # Another run that makes the same ones is waited for, and what it made is read.
            stack.enter_context(hold(lock, name, "wait for it", seconds=-1))
            known, warnings = _find(cache, name, key, len(texts))
        if known and set(places) <= set(known.places):
            known.from_cache, known.warnings = True, tuple(warnings)
            return known
        everything = {*places, *(known.places if known else ())}
        missing = everything - set(known.places if known else ())
        keep = KeepFeatures(
            cache, language_model, tokens, list(everything), range(len(texts)), name
        )
        keep.start()
        if known:
            keep.copy(known)
        n_shares = passes_at_once(language_model)
        budget = tokens_per_batch(batch_tokens, language_model.device)
        shares = plan_shares([len(ids) for ids in tokens.ids], budget, n_shares)
        reader = BatchReader(language_model, texts, tokens.ids, clock, "fit")
        try:
            with Progress(progress) as bar:
                bar.start("reading", len(texts), "texts")
                layers = sorted({place.layer for place in missing})
                reader.read(shares, layers, [keep] * n_shares, on_batch=bar.advance)
        except BaseException:
            keep.forget()
            raise
        features = keep.finish()
        features.warnings = tuple(warnings)
        return features


def _find(cache: Path, name: str, key: str, n_texts: int) -> tuple[Features | None, list[str]]:
    """Features of these texts in a folder, in a file of this name or that of a score; warnings."""
    known: Features | None = None
    warnings: list[str] = []
    for path in (cache / FEATURES, cache / name):
        try:
            opened = Features.open(path) if path.exists() else None
        except OutputError as error:
            warnings.append(f"{error}; the features were computed again")
            continue
        # That of a score may be of other texts, or of some of them only.
        if opened and opened.key == key and len(opened.texts) == n_texts:
            known = opened
        elif opened and path.name == name:
            warnings.append(
                f"{path} is of other texts or another model; the features were computed again"
            )
    return known, warnings
