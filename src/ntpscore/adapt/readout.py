"""A fitted head with all that labelling new texts takes, and the file it is kept in."""

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from scipy.special import expit, softmax

from ntpscore.adapt.evaluation import OutputKind, predictions
from ntpscore.adapt.head import LinearHead
from ntpscore.adapt.result import HEAD
from ntpscore.errors import NtpscoreError, OutputError
from ntpscore.files import write_tensors
from ntpscore.models import LanguageModel
from ntpscore.reading.pooling import POOLINGS
from ntpscore.reading.provenance import describe_model
from ntpscore.text import TASKS, LabelledText, Task

SCHEMA_VERSION = 1
_TENSORS = ("weights", "intercept", "mean", "scale")


@dataclass(frozen=True)
class Readout:
    """A head, what its outputs mean, and of which model and texts it is.

    Attributes:
        head: the linear map.
        method: that fitted it.
        task: what the labels are for.
        classes: the classes' names, or the targets'.
        target_mean: each target's mean before standardising; None but for regression.
        target_sd: each target's standard deviation; None but for regression.
        model: what a result says of its model.
        columns: which column was the text, and which the pair.
        template: builds texts from columns, if one was used.
        max_length: tokens after which a text is cut; None means the model's context.
    """

    head: LinearHead
    method: str
    task: Task
    classes: tuple[str, ...]
    target_mean: tuple[float, ...] | None
    target_sd: tuple[float, ...] | None
    model: dict[str, Any]
    columns: dict[str, str]
    template: str | None
    max_length: int | None

    @classmethod
    def of_fit(
        cls,
        head: LinearHead,
        method: str,
        model: LanguageModel,
        train: LabelledText,
        max_length: int | None,
    ) -> "Readout":
        """The readout that a head fitted to these texts is."""
        columns = {k: v for k, v in train.source.columns.items() if k in ("text", "pair")}
        return cls(
            head, method, train.task, train.classes, train.target_mean, train.target_sd,
            describe_model(model), columns, train.source.template, max_length,
        )  # fmt: skip

    def predict(self, outputs: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """(n,) names of classes, (n, c) labels of 0 and 1, or (n, t) targets in their own unit."""
        predicted = predictions(outputs, self.task, self.head.kind)
        if self.task == "classification":
            # Strings of whatever length, kept as they are: NumPy's own drop zeros at the end.
            names: npt.NDArray[Any] = np.array(self.classes, dtype=object)[predicted]
            return names
        if self.task == "multilabel":
            return predicted.astype(np.int64)
        unscaled: npt.NDArray[Any] = predicted * np.array(self.target_sd) + np.array(
            self.target_mean
        )
        return unscaled

    def check_has_probabilities(self) -> None:
        """Refuse targets of regression."""
        if self.task == "regression":
            raise NtpscoreError("targets of regression have no probabilities: ask for labels alone")

    def predict_proba(self, outputs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(n, c) probabilities: of one class, which add up to 1, or of each label."""
        self.check_has_probabilities()
        is_one = self.task == "classification"
        if self.head.kind == "targets":
            if self.head.sharpness is None:
                # Estimates of one-hot targets add up to 1, but may lie outside of 0 to 1.
                outputs = outputs.clip(0, None if is_one else 1)
                return outputs / outputs.sum(axis=1, keepdims=True) if is_one else outputs
            outputs = self.head.sharpness * (outputs if is_one else outputs - 0.5)
        probabilities: npt.NDArray[np.float64] = (
            softmax(outputs, axis=1) if is_one else expit(outputs)
        )
        return probabilities

    def save(self, folder: Path) -> None:
        """Write `head.safetensors` into a folder."""
        head = self.head
        tensors = {name: getattr(head, name) for name in _TENSORS}
        note = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "head"}
        note |= {f.name: getattr(head, f.name) for f in fields(head) if f.name not in _TENSORS}
        write_tensors(
            folder / HEAD,
            {name: tensor for name, tensor in tensors.items() if tensor is not None},
            {"schema_version": str(SCHEMA_VERSION), "readout": json.dumps(note)},
        )


def load_readout(path: Path) -> Readout:
    """Read `head.safetensors`, which holds numbers and JSON: nothing in it is run."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        version = metadata.get("schema_version")
        if version != str(SCHEMA_VERSION):
            raise OutputError(
                f"{path} has schema version {version}, this ntpscore reads {SCHEMA_VERSION}"
            )
        note = json.loads(metadata["readout"])
        own = {f.name: note.pop(f.name) for f in fields(Readout) if f.name != "head"}
        for name in ("classes", "target_mean", "target_sd"):
            own[name] = None if own[name] is None else tuple(own[name])
        readout = Readout(LinearHead(**tensors, **note), **own)
        _check(readout)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise OutputError(
            f"{path} is damaged, or no head of ntpscore ({error}): run its `ntpscore adapt` again"
        ) from error
    return readout


def _check(readout: Readout) -> None:
    """That all parts fit together; ValueError where one does not."""
    head, model, c = readout.head, readout.model, len(readout.classes)
    d = model["width"]
    shapes = {"weights": (d, c), "intercept": (c,), "mean": (d,), "scale": (d,)}
    for name, shape in shapes.items():
        tensor = getattr(head, name)
        if tensor is None:
            continue
        if tensor.shape != shape or tensor.dtype != torch.float64:
            raise ValueError(f"{name} is {tensor.dtype} of shape {tuple(tensor.shape)}")
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{name} is not finite")
    allowed = {
        "task": readout.task in TASKS,
        "classes": c > 0 and all(isinstance(name, str) for name in readout.classes),
        "kind": head.kind in get_args(OutputKind),
        "layer": type(head.layer) is int and 0 <= head.layer <= model["layers"],
        "scale": head.scale is None or bool((head.scale > 0).all()),
        "sharpness": head.sharpness is None or 0 < head.sharpness < math.inf,
        "targets": readout.task != "regression"
        or len(readout.target_mean or ()) == len(readout.target_sd or ()) == c,
    }
    if head.pooling not in POOLINGS:
        raise ValueError(
            f"its pooling {head.pooling!r} is none of {', '.join(POOLINGS)}: import the file that "
            "adds it, if there is one"
        )
    if wrong := [name for name, is_right in allowed.items() if not is_right]:
        raise ValueError(f"{', '.join(wrong)} can't be used")
