"""Streaming second moments of hidden states, of every layer at once.

`Moments` holds sums over texts, so moments of batches, shards and machines add up. Everything that
ntpscore reports about a layer is a function of these sums.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ntpscore.core.grouping import Grouping
from ntpscore.core.label_rows import LabelRows
from ntpscore.core.prefix_products import (
    DTYPE,
    Precision,
    prefix_totals,
    prepare_gram,
    prepare_prefix_products,
    symmetric,
)
from ntpscore.core.published import PublishedMoments
from ntpscore.errors import MomentsError
from ntpscore.files import replacing

SCHEMA_VERSION = 1
Pooling = Literal["mean", "sum"]
# One entry per tensor field: its shape in terms of l layers, d width, c outputs, P shuffles.
_SHAPES: dict[str, tuple[str, ...]] = {
    "sum_N": ("l", "d", "d"),
    "sum_C0": ("l", "d", "d"),
    "sum_C1": ("l", "d", "d"),
    "sum_M": ("l", "c", "d"),
    "sum_M_shuffled": ("l", "P", "c", "d"),
    "sum_mean": ("l", "d"),
    "sum_next_power": ("l",),
    "sum_Y": ("c",),
    "sum_YY": ("c", "c"),
    "sum_Y_shuffled": ("P", "c"),
    "sum_Y_shuffled_power": ("P",),
}
# What the released code sums, in float32 and as means; see `core.published`.
_PUBLISHED: dict[str, tuple[str, ...]] = {
    "published_N": ("l", "d", "d"),
    "published_M": ("l", "d", "c"),
    "published_C0": ("l", "d", "d"),
    "published_C1": ("l", "d", "d"),
}
_AXES = _SHAPES | _PUBLISHED
# Of these only what is on and above the diagonal means anything.
_SYMMETRIC = ("sum_N", "sum_C0")
# Held with a row for each label column, since a text adds to that of its class alone; files have
# (…, d, c).
_BY_LABEL = ("sum_M", "sum_M_shuffled")


@dataclass(frozen=True)
class LayerMoments:
    """The second moments of one layer: means over texts, in method order.

    Attributes:
        N: (d, d) `E[x̄ x̄ᵀ]`, x̄ the mean token of a text.
        M: (d, c) `E[x̄ Yᵀ]`.
        C0: (d, d) `E[Σ_{i<ℓ} S_i S_iᵀ]`, S_i the sum of the first i tokens.
        C1: (d, d) `E[Σ_{i<ℓ} S_i x_{i+1}ᵀ]`.
        mu: (d,) `E[x̄]`.
        p: (c,) `E[Y]`.
        YY: (c, c) `E[Y Yᵀ]`.
        next_power: `E[Σ_{i>1} ‖x_i‖²]`, the next-token loss of predicting zero.
        M_shuffled: (P, d, c) `E[x̄ Y_πᵀ]` for P permutations π of the labels.
        p_shuffled: (P, c) `E[Y_π]`.
        Y_shuffled_power: (P,) `E[‖Y_π‖²]`.
        n_texts: how many texts the means are over.
        grouping: of the texts, None where each is independent of the others.
        published: the moments as the released code makes them, if they were asked for.
    """

    N: Float[Tensor, "d d"]
    M: Float[Tensor, "d c"]
    C0: Float[Tensor, "d d"]
    C1: Float[Tensor, "d d"]
    mu: Float[Tensor, " d"]
    p: Float[Tensor, " c"]
    YY: Float[Tensor, "c c"]
    next_power: float
    M_shuffled: Float[Tensor, "P d c"]
    p_shuffled: Float[Tensor, "P c"]
    Y_shuffled_power: Float[Tensor, " P"]
    n_texts: int
    grouping: Grouping | None = None
    published: PublishedMoments | None = None

    def chance_r2(self, rank: int) -> float:
        """The mean R² of least squares on labels that have nothing to do with the features.

        Args:
            rank: the numerical rank of the centred features.

        Returns:
            1 where any labels are fitted perfectly; NaN for one text.
        """
        n = self.n_texts
        if self.grouping is not None:
            return self.grouping.chance_r2(rank, n)
        return min(1.0, rank / (n - 1)) if n > 1 else float("nan")

    @property
    def width(self) -> int:
        """The width d of the hidden states."""
        return self.N.shape[0]

    def to(self, device: torch.device | str) -> "LayerMoments":
        """The same on another device, but for those of the released code."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)

    @cached_property
    def N_centred(self) -> Float[Tensor, "d d"]:
        """(d, d) covariance of the mean token, `N − μμᵀ`.

        A coordinate that never varies has a row and a column of zeros, not of rounding.
        """
        centred = self.N - torch.outer(self.mu, self.mu)
        varies = centred.diagonal() > _NO_VARIANCE * self.N.diagonal()
        return centred * varies[:, None] * varies

    @property
    def M_centred(self) -> Float[Tensor, "d c"]:
        """(d, c) covariance of mean token and labels, `M − μp̄ᵀ`."""
        return self.M - torch.outer(self.mu, self.p)

    @property
    def M_shuffled_centred(self) -> Float[Tensor, "P d c"]:
        """(P, d, c) covariance of mean token and shuffled labels."""
        return self.M_shuffled - self.mu[None, :, None] * self.p_shuffled[:, None, :]

    @property
    def Y_variances(self) -> Float[Tensor, " sets"]:
        """(1 + P,) `tr Cov(Y)`, summed over label columns: of the labels, then of each shuffle.

        Zero for labels that never differ.
        """
        power = torch.cat([self.YY.trace()[None], self.Y_shuffled_power])
        means = torch.cat([self.p[None], self.p_shuffled])
        variances = power - means.square().sum(1)
        return variances * (variances > _NO_VARIANCE * power)


def _dtype(name: str) -> torch.dtype:
    return torch.float32 if name in _PUBLISHED else DTYPE


# A variance below this share of the second moment is the rounding of a difference.
_NO_VARIANCE = 1e-13


class Moments:
    """Sums of second moments over texts, for all layers.

    Args:
        layers: the hidden-state indices that are accumulated, in order; an int n means 0 … n − 1.
        width: d, the width of the hidden states.
        n_outputs: c, the number of classes or of target columns.
        n_shuffles: P, how many label permutations are accumulated beside the labels.
        device: where the sums live; updates may come from the same device only.
        precision: of the products that are added; the sums themselves are always in float64.
        grouping: of the texts, None where each is independent of the others.
        published_of: how many texts there will be, to sum the moments as the released code does,
            too; 0 leaves these out.
        pooling: what x̄ of a text is: the `mean` of its tokens, as in Algorithm 1, or their `sum`,
            as in the paper's theory.

    Examples:
        >>> import torch
        >>> moments = Moments(layers=1, width=4, n_outputs=2)
        >>> hidden_states = torch.randn(1, 3, 5, 4)  # layers, texts, tokens, width
        >>> moments.update(hidden_states, torch.ones(3, 5), torch.tensor([0, 1, 1]))
        >>> moments.n_texts, (moments + moments).n_texts
        (3, 6)
    """

    sum_N: Tensor
    sum_C0: Tensor
    sum_C1: Tensor
    sum_M: Tensor
    sum_M_shuffled: Tensor
    sum_mean: Tensor
    sum_next_power: Tensor
    sum_Y: Tensor
    sum_YY: Tensor
    sum_Y_shuffled: Tensor
    sum_Y_shuffled_power: Tensor
    published_N: Tensor
    published_M: Tensor
    published_C0: Tensor
    published_C1: Tensor

    def __init__(
        self,
        layers: int | Sequence[int],
        width: int,
        n_outputs: int,
        n_shuffles: int = 0,
        device: torch.device | str = "cpu",
        *,
        precision: Precision = "float64",
        grouping: Grouping | None = None,
        published_of: int = 0,
        pooling: Pooling = "mean",
    ) -> None:
        self.pooling: Pooling = pooling
        self.precision: Precision = precision
        self.layers = tuple(range(layers)) if isinstance(layers, int) else tuple(layers)
        if not self.layers or len(set(self.layers)) != len(self.layers):
            raise MomentsError(f"layers must be distinct and at least one, got {self.layers}")
        if width < 1 or n_outputs < 1 or n_shuffles < 0:
            raise MomentsError(
                "width and n_outputs must be at least 1 and n_shuffles at least 0, "
                f"got {width}, {n_outputs} and {n_shuffles}"
            )
        self.width = width
        self.n_outputs = n_outputs
        self.n_shuffles = n_shuffles
        self.n_texts = 0
        self.n_tokens = 0
        self.grouping = grouping
        self.published_of = published_of
        for name, shape in self._shapes().items():
            setattr(self, name, torch.zeros(shape, dtype=_dtype(name), device=device))

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        size = {
            "l": len(self.layers),
            "d": self.width,
            "c": self.n_outputs,
            "P": self.n_shuffles,
        }
        shapes = _SHAPES | (_PUBLISHED if self.published_of else {})
        return {name: tuple(size[axis] for axis in axes) for name, axes in shapes.items()}

    @staticmethod
    def n_bytes(
        n_layers: int, width: int, n_outputs: int, n_shuffles: int, published: bool = False
    ) -> int:
        """Bytes that the sums of such moments take in memory."""
        size = {"l": n_layers, "d": width, "c": n_outputs, "P": n_shuffles}
        shapes = _SHAPES | (_PUBLISHED if published else {})
        return sum(
            _dtype(name).itemsize * math.prod(size[axis] for axis in axes)
            for name, axes in shapes.items()
        )

    @property
    def device(self) -> torch.device:
        """The device that the sums live on."""
        return self.sum_N.device

    @property
    def sums(self) -> dict[str, Tensor]:
        """All of the sums by name, to be added to in place."""
        return {name: getattr(self, name) for name in self._shapes()}

    def sums_of(self, layer: int) -> dict[str, Tensor]:
        """Those of one layer by name, to be added to in place.

        Raises:
            MomentsError: the layer is not among `layers`.
        """
        i = self._index(layer)
        return {name: self.sums[name][i] for name in self._shapes() if _AXES[name][0] == "l"}

    # -- accumulating ---------------------------------------------------------------------------

    def update(
        self,
        hidden_states: Float[Tensor, "l b t d"] | Sequence[Tensor],
        attention_mask: Tensor,
        labels: Tensor,
        shuffled_labels: Tensor | None = None,
    ) -> None:
        """Add a batch of texts.

        Args:
            hidden_states: one (b, t, d) tensor per layer, in the order of `layers`; any float type.
            attention_mask: (b, t), non-zero where there is a token of the text.
            labels: (b,) class indices, or (b, c) target values.
            shuffled_labels: (P, b) or (P, b, c), the labels that each of the P permutations gives
                these texts; required if and only if `n_shuffles` is above 0.

        Raises:
            MomentsError: shapes don't fit, a label is out of range, a text has no token, or a
                hidden state is not finite. Nothing is added then.
        """
        if len(hidden_states) != len(self.layers):
            raise MomentsError(
                f"got hidden states of {len(hidden_states)} layers for moments of "
                f"{len(self.layers)}"
            )
        batch = self.batch(attention_mask, labels, shuffled_labels)
        for layer, layer_states in zip(self.layers, hidden_states, strict=True):
            self._check(batch, layer_states)
            finite = torch.isfinite(layer_states).all(2) | (attention_mask == 0)
            if not bool(finite.all()):
                raise NonFiniteError(layer, int((~finite).any(1).nonzero()[0]))
        for layer, layer_states in zip(self.layers, hidden_states, strict=True):
            self.add_layer(layer, layer_states, batch)
        self.add_labels(batch)

    def batch(
        self, attention_mask: Tensor, labels: Tensor, shuffled_labels: Tensor | None = None
    ) -> "Batch":
        """What `add_layer` and `add_labels` need to know of a batch of texts.

        Args:
            attention_mask: as in `update`.
            labels: as in `update`.
            shuffled_labels: as in `update`.

        Raises:
            MomentsError: shapes don't fit, a label is out of range, or a text has no token.
        """
        return Batch.of(attention_mask, *self._label_rows(labels, shuffled_labels))

    def add_layer(self, layer: int, hidden_states: Float[Tensor, "b t d"], batch: "Batch") -> None:
        """Add one layer of a batch, for passes that produce layer after layer.

        The batch is complete once `add_layer` was called for every layer and `add_labels` once.
        Different layers may be added in different threads.

        Args:
            layer: the hidden-state index, one of `layers`.
            hidden_states: (b, t, d).
            batch: from `batch`.

        Raises:
            MomentsError: as `update`; nothing was added then. On a graphics card, which would have
                to be waited for, a hidden state that is not finite is found by `add_labels`.
        """
        self.prepare_layer(layer, hidden_states, batch)()

    def prepare_layer(
        self, layer: int, hidden_states: Float[Tensor, "b t d"], batch: "Batch"
    ) -> Callable[[], None]:
        """All of `add_layer` that can fail, or needs memory; the adding is left to a call.

        So that a layer of which memory ran out on the way can come again, in parts.

        Args:
            layer: as `add_layer`.
            hidden_states: as `add_layer`; not to be changed before the call.
            batch: as `add_layer`.

        Raises:
            MomentsError: as `add_layer`.
        """
        i = self._index(layer)
        self._check(batch, hidden_states)
        hidden_states = batch.aligned(hidden_states)
        total, next_power = prefix_totals(hidden_states, batch.lengths)
        finite = torch.isfinite(total.sum(1))
        if self.device.type == "cpu":
            _check_finite(layer, finite)
        else:
            batch.unchecked.append((layer, finite))
        mean = total if self.pooling == "sum" else total / batch.lengths[:, None]
        adds: list[Callable[[], Any]] = [
            prepare_prefix_products(
                hidden_states, batch.lengths, self.sum_C0[i], self.sum_C1[i], self.precision
            ),
            prepare_gram(mean, self.sum_N[i]),
            partial(self.sum_M[i].addmm_, batch.Y.rows, mean),
            partial(
                self.sum_M_shuffled[i].view(-1, self.width).addmm_, batch.Y_shuffled.rows, mean
            ),
            partial(self.sum_mean[i].add_, mean.sum(0)),
            partial(self.sum_next_power[i].add_, next_power),
        ]
        if self.published_of:
            published = self._published(i).plus(
                hidden_states.to(self.device),
                batch.lengths,
                batch.Y.rows.to_dense().T,
                self.published_of,
            )
            adds.append(partial(self._published(i).replace_by, published))
        return partial(_call_all, adds)

    def _published(self, i: int) -> PublishedMoments:
        return PublishedMoments(*(getattr(self, name)[i] for name in _PUBLISHED))

    def add_labels(self, batch: "Batch") -> None:
        """Add the labels and counts of a batch; see `add_layer`.

        Raises:
            NonFiniteError: a hidden state of the batch was not finite, and `add_layer` did not wait
                to see it: these moments are spoilt.
        """
        batch.check()
        self.sum_Y += batch.Y.totals[0]
        self.sum_YY += batch.Y.second_moment
        self.sum_Y_shuffled += batch.Y_shuffled.totals
        self.sum_Y_shuffled_power += batch.Y_shuffled.powers
        self.n_texts += batch.n_texts
        self.n_tokens += batch.n_tokens

    def _label_rows(
        self, labels: Tensor, shuffled_labels: Tensor | None
    ) -> tuple[LabelRows, LabelRows]:
        """Of the labels and of the shuffled ones, on this device."""
        if shuffled_labels is None:
            shuffled_labels = labels.new_zeros((0, *labels.shape))
        if shuffled_labels.shape[:1] != (self.n_shuffles,):
            got = len(shuffled_labels) or "none"
            raise MomentsError(
                f"these moments are for {self.n_shuffles} label shuffles, got {got}: "
                "pass shuffled_labels of shape (n_shuffles, b)"
            )
        Y, Y_shuffled = (
            LabelRows.of(values.to(self.device), self.n_outputs)
            for values in (labels[None], shuffled_labels)
        )
        if Y_shuffled.n_texts != Y.n_texts:
            raise MomentsError(
                f"got shuffled labels of {Y_shuffled.n_texts} texts and labels of {Y.n_texts}"
            )
        return Y, Y_shuffled

    def _check(self, batch: "Batch", hidden_states: Tensor) -> None:
        if hidden_states.shape != (*batch.shape, self.width):
            raise MomentsError(
                f"hidden states of shape {tuple(hidden_states.shape)} don't fit an attention mask "
                f"of shape {batch.shape} and width {self.width}"
            )

    def _index(self, layer: int) -> int:
        if layer not in self.layers:
            raise MomentsError(f"no moments of layer {layer}: there are those of {self.layers}")
        return self.layers.index(layer)

    # -- combining and reading ------------------------------------------------------------------

    @property
    def size(self) -> tuple[tuple[int, ...], int, int, int, int, str]:
        """What must be equal where moments are to add up."""
        return (self.layers, self.width, self.n_outputs, self.n_shuffles, self.published_of,
                self.pooling)  # fmt: skip

    def add(self, other: "Moments") -> None:
        """Add the moments of further texts to these, which takes no further memory."""
        if self.size != other.size:
            raise MomentsError(
                "moments add up only over the same layers, width, outputs, shuffles and pooling: "
                f"got {self.size} and {other.size}"
            )
        for name in self._shapes():
            getattr(self, name).add_(getattr(other, name).to(self.device))
        self.n_texts += other.n_texts
        self.n_tokens += other.n_tokens
        self.grouping = self.grouping or other.grouping

    def clear(self) -> None:
        """Forget all texts."""
        for total in self.sums.values():
            total.zero_()
        self.n_texts = self.n_tokens = 0

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of both sets of texts together."""
        both = Moments(
            self.layers, self.width, self.n_outputs, self.n_shuffles, self.device,
            published_of=self.published_of, pooling=self.pooling,
        )  # fmt: skip
        both.add(self)
        both.add(other)
        return both

    def layer(self, layer: int) -> LayerMoments:
        """The moments of one layer, as means over texts.

        Args:
            layer: the hidden-state index, one of `layers`.

        Raises:
            MomentsError: no text was added yet, or the layer is not among `layers`.
        """
        i, n = self._index(layer), self.n_texts
        if n == 0:
            raise MomentsError("no text was added to these moments yet")
        return LayerMoments(
            N=symmetric(self.sum_N[i]) / n,
            M=self.sum_M[i].T / n,
            C0=symmetric(self.sum_C0[i]) / n,
            C1=self.sum_C1[i] / n,
            mu=self.sum_mean[i] / n,
            p=self.sum_Y / n,
            YY=self.sum_YY / n,
            next_power=float(self.sum_next_power[i]) / n,
            M_shuffled=self.sum_M_shuffled[i].mT / n,
            p_shuffled=self.sum_Y_shuffled / n,
            Y_shuffled_power=self.sum_Y_shuffled_power / n,
            n_texts=n,
            grouping=self.grouping,
            published=self._published(i) if self.published_of else None,
        )

    # -- files ----------------------------------------------------------------------------------

    def save(
        self,
        path: str | Path,
        note: dict[str, str] | None = None,
        more: Sequence["Moments"] = (),
    ) -> None:
        """Write the sums as safetensors: to a temporary name first, then renamed.

        Symmetric sums are stored as their upper triangles.

        Args:
            path: the file.
            note: further text entries for the file's metadata, read back by `read_note`.
            more: moments of further texts, which are added in the file.

        Raises:
            MomentsError: the file can't be written.
        """
        together = [self, *more]
        header = {
            "schema_version": SCHEMA_VERSION,
            "layers": self.layers,
            "width": self.width,
            "n_outputs": self.n_outputs,
            "n_shuffles": self.n_shuffles,
            "n_texts": sum(one.n_texts for one in together),
            "n_tokens": sum(one.n_tokens for one in together),
            "grouping": None if self.grouping is None else self.grouping.record,
            "published_of": self.published_of,
            "pooling": self.pooling,
        }
        note = {"ntpscore": json.dumps(header), **(note or {})}
        head: dict[str, Any] = {"__metadata__": note}
        start = 0
        for name, shape in self._stored_shapes().items():
            stop = start + math.prod(shape) * _dtype(name).itemsize
            kind = "F32" if name in _PUBLISHED else "F64"
            head[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, stop]}
            start = stop
        written = json.dumps(head).encode()
        written += b" " * (-len(written) % 8)
        with (
            replacing(Path(path), verb="write moments to", kind=MomentsError) as temporary,
            temporary.open("wb") as file,
        ):
            file.write(len(written).to_bytes(8, "little") + written)
            # Layer by layer, so that hardly more memory is taken than the sums take.
            upper = self._upper
            for name in self.sums:
                for of_layers in zip(*(one.sums[name] for one in together), strict=True):
                    of_layer = sum(of_layers[1:], start=of_layers[0])
                    part = of_layer[upper] if name in _SYMMETRIC else of_layer
                    part = part.mT if name in _BY_LABEL else part
                    file.write(part.contiguous().cpu().numpy().tobytes())

    def _stored_shapes(self) -> dict[str, tuple[int, ...]]:
        """In a file, where symmetric matrices are their upper triangles."""
        shapes = self._shapes()
        triangle = self.width * (self.width + 1) // 2
        shapes |= {name: (shapes[name][0], triangle) for name in _SYMMETRIC}
        return shapes | {name: (*shapes[name][:-2], *shapes[name][:-3:-1]) for name in _BY_LABEL}

    @property
    def _upper(self) -> tuple[Tensor, Tensor]:
        """Rows and columns of what is on and above the diagonal."""
        rows, columns = torch.triu_indices(self.width, self.width, device=self.device)
        return rows, columns

    def _fill(self, name: str, file: Any) -> None:
        """One of the sums, layer by layer, from an open file that has it in the right shape."""
        stored, upper = file.get_slice(name), self._upper
        for i, total in enumerate(getattr(self, name)):
            into = total.mT if name in _BY_LABEL else total
            into[upper if name in _SYMMETRIC else ...] = stored[i].to(total)

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> "Moments":
        """Read moments that `save` wrote.

        Raises:
            MomentsError: the file is missing, truncated, no safetensors file, or holds something
                else than moments of this schema version.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {})["ntpscore"])
                if header["schema_version"] != SCHEMA_VERSION:
                    raise MomentsError(
                        f"{path} has moments of schema version {header['schema_version']}, "
                        f"this ntpscore reads {SCHEMA_VERSION}"
                    )
                moments = cls(
                    header["layers"],
                    header["width"],
                    header["n_outputs"],
                    header["n_shuffles"],
                    device,
                    published_of=header.get("published_of", 0),
                    pooling=header.get("pooling", "mean"),
                )
                for name, shape in moments._stored_shapes().items():
                    if tuple(file.get_slice(name).get_shape()) != shape:
                        raise MomentsError(f"{path}: {name} has not the shape {shape}")
                    moments._fill(name, file)
                moments.n_texts = header["n_texts"]
                moments.n_tokens = header["n_tokens"]
                moments.grouping = Grouping.of_record(header.get("grouping"))
        except FileNotFoundError as error:
            raise MomentsError(f"no moments at {path}: no such file") from error
        except (
            SafetensorError,
            KeyError,
            OSError,
            TypeError,
            ValueError,
            RuntimeError,
        ) as error:
            raise MomentsError(
                f"{path} is no file of moments, or was cut short: {error}"
            ) from error
        return moments


def read_note(path: str | Path) -> dict[str, str]:
    """The metadata entries that `Moments.save` was given for this file.

    Raises:
        MomentsError: the file is missing or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise MomentsError(f"{path} is no file of moments, or was cut short: {error}") from error


class NonFiniteError(MomentsError):
    """A hidden state is NaN or infinite.

    Attributes:
        layer: the hidden-state index.
        text: the position of the first such text in its batch.
    """

    def __init__(self, layer: int, text: int) -> None:
        super().__init__(
            f"layer {layer} has a NaN or infinite hidden state in text {text} of the batch: "
            "try a wider dtype (float32), or leave the text out"
        )
        self.layer = layer
        self.text = text


def _call_all(calls: Iterable[Callable[[], Any]]) -> None:
    for call in calls:
        call()


def _check_finite(layer: int, finite: Bool[Tensor, " b"]) -> None:
    if not bool(finite.all()):
        raise NonFiniteError(layer, int((~finite).nonzero()[0]))


@dataclass(frozen=True)
class Batch:
    """Where the tokens of a padded batch of texts are, and the labels of these.

    Attributes:
        shape: (b, t) of the attention mask.
        lengths: (b,) tokens of each text.
        order: (b, t) for each text the positions of its tokens first, in order; None if every text
            starts at position 0 and has no gap (right padding).
        n_texts: b.
        n_tokens: of all texts.
        Y: their labels.
        Y_shuffled: labels that each of P permutations gives these texts.
        unchecked: layers, and which of the texts are finite there, that nobody has looked at.
    """

    shape: tuple[int, int]
    lengths: Int[Tensor, " b"]
    order: Int[Tensor, "b t"] | None
    n_texts: int
    n_tokens: int
    Y: LabelRows
    Y_shuffled: LabelRows
    unchecked: list[tuple[int, Tensor]] = field(default_factory=list)

    def check(self) -> None:
        """Look at all layers at once, since each look waits for the graphics card.

        Raises:
            NonFiniteError: a hidden state was not finite.
        """
        finite = [of_texts.all() for _, of_texts in self.unchecked]
        if finite and not bool(torch.stack(finite).all()):
            _check_finite(*self.unchecked[int(torch.stack(finite).int().argmin())])

    @classmethod
    def of(cls, attention_mask: Tensor, Y: LabelRows, Y_shuffled: LabelRows) -> "Batch":
        """Read an attention mask (b, t), non-zero where there is a token.

        Raises:
            MomentsError: the mask is not two-dimensional, a text has no token, or there are more or
                fewer labels than texts.
        """
        if attention_mask.ndim != 2:
            raise MomentsError(
                f"the attention mask must be (texts, tokens), got {tuple(attention_mask.shape)}"
            )
        mask: Bool[Tensor, "b t"] = attention_mask != 0
        lengths = mask.sum(1)
        if bool((lengths == 0).any()):
            text = int((lengths == 0).nonzero()[0])
            raise MomentsError(f"text {text} of the batch has no token")
        positions = torch.arange(mask.shape[1], device=mask.device)
        right_padded = bool((mask == (positions < lengths[:, None])).all())
        order = None if right_padded else (~mask).int().argsort(dim=1, stable=True)
        b, t = mask.shape
        if Y.n_texts != b:
            raise MomentsError(f"{Y.n_texts} labels don't fit an attention mask of shape {(b, t)}")
        return cls((b, t), lengths, order, b, int(lengths.sum()), Y, Y_shuffled)

    def aligned(self, hidden_states: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """The hidden states with each text's tokens moved to the front."""
        if self.order is None:
            return hidden_states
        order = self.order.to(hidden_states.device)
        return hidden_states.gather(1, order[:, :, None].expand_as(hidden_states))
